//! What is there now, that a call would change?
//!
//! A tool may name another tool of its server that reads what it is about to change, so that
//! reviewers see before and after.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error};

use crate::json::{Map, Value};

/// A JSON Pointer (RFC 6901) that is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(String);

impl Pointer {
    /// What it points to.
    pub fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.pointer(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if (text.is_empty() || text.starts_with('/')) && escapes {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format!("`{text}` is no JSON Pointer; write it like `/customer/id`")))
    }
}

/// How to read what a call would change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// The tool of the same server that reads it; of tier `low`.
    pub tool: String,
    /// What it gets: by name, from this call's arguments.
    #[serde(default)]
    pub arguments: BTreeMap<String, Pointer>,
    /// Where in its result the text or object stands as it is.
    pub current: Pointer,
    /// Where in this call's arguments it stands as it is to be.
    pub proposed: Pointer,
}

impl Preview {
    /// The arguments of the read; none, where the call lacks one.
    pub fn asks(&self, arguments: &Value) -> Option<Value> {
        let asked: Option<Map<String, Value>> = self
            .arguments
            .iter()
            .map(|(name, place)| Some((name.clone(), place.of(arguments)?.clone())))
            .collect();
        asked.map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_preview_takes_its_arguments_from_the_call() {
        let preview = json!({"tool": "read", "arguments": {"id": "/customer/id", "all": ""},
            "current": "/text", "proposed": "/text"});
        let preview: Preview = serde_json::from_value(preview).unwrap();
        let call = json!({"customer": {"id": 7}});
        assert_eq!(preview.asks(&call), Some(json!({"id": 7, "all": call})));
        assert_eq!(preview.asks(&json!({"customer": {}})), None);
        for wrong in ["customer", "/a~2", "/a~", "#/a"] {
            assert!(serde_json::from_value::<Pointer>(json!(wrong)).is_err(), "{wrong}");
        }
    }
}

//! How is a member of the record written?
//!
//! Digests and ids without a `String` for each; names, sentences and lists cut to their bounds.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::{LIST_ITEMS, MESSAGE_BYTES, NAME_BYTES};
use crate::json::Digest;
use crate::refusal::Reason;

pub(super) mod id {
    use super::{Cow, Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(in crate::trail) fn serialize<S: Serializer>(
        id: &Uuid,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }

    pub(in crate::trail) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Uuid, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Uuid::try_parse(&text).map_err(serde::de::Error::custom)
    }
}

pub(super) mod digest {
    use super::{Cow, Deserialize, Deserializer, Digest, Serializer};

    // Without a `String` for each: an intent has three of them.
    pub(in crate::trail) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Some(Digest(bytes)) = digest else { return serializer.serialize_none() };
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        if let Some(digits) = text.get_mut(7..) {
            hex::encode_to_slice(bytes, digits).map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }

    pub(in crate::trail) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        hex::decode_to_slice(digits, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Some(Digest(bytes)))
    }
}

pub(super) fn name<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&cut(text, NAME_BYTES))
}

pub(super) fn maybe<S: Serializer>(
    text: &Option<Cow<'_, str>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    name(text.as_deref().unwrap_or_default(), serializer)
}

pub(super) fn problem<S: Serializer>(
    text: &Option<Cow<'_, str>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&cut(text.as_deref().unwrap_or_default(), MESSAGE_BYTES))
}

pub(super) fn reason<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    Short::of(reason).serialize(serializer)
}

pub(super) fn reasons<S: Serializer>(list: &[Reason], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().take(LIST_ITEMS).map(Short::of))
}

#[derive(Serialize)]
struct Short<'a> {
    code: Cow<'a, str>,
    message: Cow<'a, str>,
    policy: Cow<'a, str>,
}

impl<'a> Short<'a> {
    fn of(reason: &'a Reason) -> Self {
        Self {
            code: cut(&reason.code, NAME_BYTES),
            message: cut(&reason.message, MESSAGE_BYTES),
            policy: cut(&reason.policy, NAME_BYTES),
        }
    }
}

/// Cuts a text so that its JSON is not longer than `limit` and the ellipsis.
pub(super) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    // No character takes more than six times its bytes.
    if text.len() <= limit / 6 {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => character.len_utf8(),
        };
        if used > limit {
            return Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default()));
        }
    }
    Cow::Borrowed(text)
}

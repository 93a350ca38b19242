//! Is it a JSON-RPC message, and of which kind?
//!
//! JSON-RPC 2.0 as MCP uses it: one message for each body, an id that is a string or an integer.
//! Unknown members stay where they are, since what goes on is this very value.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, Limits, Map, Value};
use crate::refusal::Refusal;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has a method and an id.
    Request,
    /// It has a method and no id.
    Notification,
    /// It answers a request of the other side.
    Response,
}

/// One message, whole, as the client sent it.
#[derive(Debug, Clone)]
pub struct Message {
    kind: Kind,
    object: Map<String, Value>,
}

impl Message {
    /// Reads a body, strictly.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        match json::parse(body, limits)? {
            Value::Object(object) => Self::of(object),
            Value::Array(_) => Err(Refusal::Batch),
            _ => Err(Refusal::Envelope("it must be an object")),
        }
    }

    fn of(object: Map<String, Value>) -> Result<Self, Refusal> {
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(Refusal::Envelope("`jsonrpc` must be \"2.0\""));
        }
        match object.get("params") {
            None | Some(Value::Object(_)) => {}
            Some(_) => return Err(Refusal::Envelope("`params` must be an object")),
        }
        let answers = object.contains_key("result") || object.contains_key("error");
        let kind = match (object.get("method"), object.get("id")) {
            (Some(Value::String(_)), _) if answers => {
                return Err(Refusal::Envelope("it has a `method` and an answer"));
            }
            (Some(Value::String(_)), None) => Kind::Notification,
            (Some(Value::String(_)), Some(id)) if is_id(id) => Kind::Request,
            (None, Some(id)) if answers && is_id(id) => Kind::Response,
            (Some(Value::String(_)) | None, Some(_)) => {
                return Err(Refusal::Envelope("`id` must be a string or an integer"));
            }
            _ => return Err(Refusal::Envelope("`method` must be a string")),
        };
        if kind == Kind::Response && object.contains_key("result") == object.contains_key("error") {
            return Err(Refusal::Envelope("an answer has either `result` or `error`"));
        }
        Ok(Self { kind, object })
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The method; empty for a response.
    pub fn method(&self) -> &str {
        self.object.get("method").and_then(Value::as_str).unwrap_or_default()
    }

    /// The id, where it has one.
    pub fn id(&self) -> Option<&Value> {
        self.object.get("id")
    }

    /// `params`, where it has any.
    pub fn params(&self) -> Option<&Map<String, Value>> {
        self.object.get("params").and_then(Value::as_object)
    }

    /// `params._meta`, where it has one.
    pub fn meta(&self) -> Option<&Map<String, Value>> {
        self.params()?.get("_meta").and_then(Value::as_object)
    }

    /// A string member of `params`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()?.get(name).and_then(Value::as_str)
    }

    /// `params`, to take from or put back.
    pub fn params_mut(&mut self) -> Option<&mut Map<String, Value>> {
        self.object.get_mut("params").and_then(Value::as_object_mut)
    }

    /// The bytes that go upstream.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A map of JSON values always serialises.
        serde_json::to_vec(&self.object).unwrap_or_default()
    }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(_) => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

/// A message of the server, read no deeper than the gate needs; the rest stays the bytes it was.
#[derive(Debug, Deserialize)]
pub struct FromServer<'a> {
    /// The id, verbatim.
    #[serde(borrow, default)]
    pub id: Option<&'a RawValue>,
    /// The method, for requests and notifications.
    #[serde(default)]
    pub method: Option<String>,
    /// The parameters, verbatim.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
    /// The result, verbatim.
    #[serde(borrow, default)]
    pub result: Option<&'a RawValue>,
    /// The error, verbatim.
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

impl<'a> FromServer<'a> {
    /// Reads one message; a member named twice is an error, as is anything after it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The code of its error, where it has one.
    pub fn error_code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Coded {
            code: i64,
        }
        serde_json::from_str::<Coded>(self.error?.get()).ok().map(|error| error.code)
    }

    /// Whether it answers the request with this id. An integer is compared as text, so `1` and
    /// `"1"` differ, as they must.
    pub fn answers(&self, id: &Value) -> bool {
        if self.method.is_some() || (self.result.is_none() && self.error.is_none()) {
            return false;
        }
        let Some(raw) = self.id else { return false };
        match serde_json::from_str::<Value>(raw.get()) {
            Ok(value) => value == *id,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Kind, &'static str> {
        Message::parse(text.as_bytes(), &Limits::default())
            .map(|m| m.kind())
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn what_is_a_message_and_what_is_not() {
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Ok(Kind::Request)),
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, Ok(Kind::Request)),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Ok(Kind::Notification)),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Ok(Kind::Response)),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, Ok(Kind::Response)),
            // A06
            ("[]", Err("batch")),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Err("batch")),
            // A08: null is not a notification
            (r#"{"jsonrpc":"2.0","id":null,"method":"tools/call"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":true,"method":"tools/call"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":{},"method":"tools/call"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":[],"method":"tools/call"}"#, Err("invalid_request")),
            // Neither fish nor flesh
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":1}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, Err("invalid_request")),
            (r#"{"id":1,"method":"ping"}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, Err("invalid_request")),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, Err("invalid_request")),
            (r#""ping""#, Err("invalid_request")),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_is_matched_by_id_and_type() {
        for (answer, id, expected) in [
            (r#"{"id":1,"result":{}}"#, Value::from(1), true),
            (r#"{"id":"1","result":{}}"#, Value::from(1), false),
            (r#"{"id":1,"error":{}}"#, Value::from("1"), false),
            (r#"{"id":"\u0061","error":{}}"#, Value::from("a"), true),
            (r#"{"id":1,"method":"ping"}"#, Value::from(1), false),
            (r#"{"result":{}}"#, Value::from(1), false),
        ] {
            assert_eq!(FromServer::read(answer.as_bytes()).unwrap().answers(&id), expected);
        }
    }

    #[test]
    fn an_answer_with_a_member_twice_is_not_read() {
        assert!(FromServer::read(br#"{"id":1,"result":{},"result":{"a":1}}"#).is_err());
    }
}

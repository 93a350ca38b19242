//! Is it JSON that every parser reads alike?
//!
//! One pass over the bytes. Written by hand because strictness is the point: a general parser
//! keeps one of two duplicate keys and rounds what it cannot hold, each in its own way.

use serde_json::{Map, Value};

use super::{Fault, FaultKind, number, string};

/// Nesting that no configuration can raise: what `jsonschema` and Rego recurse over must fit a
/// thread's stack.
pub const DEPTH_CAP: usize = 128;

/// With some of its features on, `serde_json` reads `{"$serde_json::private::RawValue":"[1]"}` as
/// `[1]`, also out of a text: a value that policy never saw.
const RESERVED: &str = "$serde_json::private::";

/// How large a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Arrays and objects within each other; never more than [`DEPTH_CAP`].
    pub depth: usize,
    /// Elements and members in all, which is what bounds memory: one of two bytes can take up to
    /// 260 while the text is read, and half of that afterwards.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 20, depth: 64, values: 100_000 }
    }
}

/// Reads one text, whole, or says where it goes wrong first.
///
/// Integers come out as integers and all else as floats (`1.0` stays `1.0`), so that a fresh
/// serialisation means the same to a parser that tells the two apart.
///
/// # Errors
/// On whatever is not JSON, is read differently by different parsers, or is over the limits.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Fault> {
    if bytes.len() > limits.bytes {
        return Err(Fault { kind: FaultKind::Size, at: limits.bytes });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault { kind: FaultKind::Text, at: error.valid_up_to() })?;
    let mut reader = Reader {
        text,
        at: 0,
        depth_left: limits.depth.min(DEPTH_CAP),
        values_left: limits.values,
        elements: Vec::new(),
        members: Vec::new(),
    };
    reader.space();
    let value = reader.value()?;
    reader.space();
    if reader.at == bytes.len() { Ok(value) } else { Err(reader.fault(FaultKind::Syntax)) }
}

/// A place in the text, and what may still come.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
    values_left: usize,
    /// The elements of all arrays under way, and so for members, each with the place of its key:
    /// a container is made when its size is known, so that nothing is grown or left unused.
    elements: Vec<Value>,
    members: Vec<(usize, String, Value)>,
}

impl Reader<'_> {
    fn fault(&self, kind: FaultKind) -> Fault {
        Fault { kind, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = number::read(self.text, self.at)?;
                self.at = end;
                Ok(Value::Number(number))
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.fault(FaultKind::Syntax)),
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let (string, end) = string::read(self.text, self.at)?;
        self.at = end;
        Ok(string)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        let end = self.at + word.len();
        if self.text.as_bytes().get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.fault(FaultKind::Syntax));
        }
        self.at = end;
        Ok(value)
    }

    /// Goes one level down for `inner`. The recursion is bounded by [`DEPTH_CAP`].
    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        self.depth_left =
            self.depth_left.checked_sub(1).ok_or_else(|| self.fault(FaultKind::Depth))?;
        self.at += 1;
        let value = inner(self);
        self.depth_left += 1;
        value
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.values_left =
            self.values_left.checked_sub(1).ok_or_else(|| self.fault(FaultKind::Size))?;
        Ok(())
    }

    fn array(&mut self) -> Result<Value, Fault> {
        self.space();
        if self.closes(b']') {
            return Ok(Value::Array(Vec::new()));
        }
        let first = self.elements.len();
        loop {
            self.count()?;
            let element = self.value()?;
            self.elements.push(element);
            if !self.goes_on(b']')? {
                return Ok(Value::Array(self.elements.split_off(first)));
            }
        }
    }

    fn object(&mut self) -> Result<Value, Fault> {
        self.space();
        if self.closes(b'}') {
            return Ok(Value::Object(Map::new()));
        }
        let first = self.members.len();
        loop {
            self.count()?;
            let member = self.member()?;
            self.members.push(member);
            if !self.goes_on(b'}')? {
                break;
            }
        }
        let mut object = Map::with_capacity(self.members.len() - first);
        for (at, key, value) in self.members.drain(first..) {
            if object.insert(key, value).is_some() {
                return Err(Fault { kind: FaultKind::DuplicateKey, at });
            }
        }
        Ok(Value::Object(object))
    }

    fn member(&mut self) -> Result<(usize, String, Value), Fault> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fault(FaultKind::Syntax));
        }
        let key = self.string()?;
        if key.starts_with(RESERVED) {
            return Err(Fault { kind: FaultKind::ReservedKey, at });
        }
        self.space();
        if !self.closes(b':') {
            return Err(self.fault(FaultKind::Syntax));
        }
        self.space();
        Ok((at, key, self.value()?))
    }

    fn closes(&mut self, byte: u8) -> bool {
        let closes = self.peek() == Some(byte);
        self.at += usize::from(closes);
        closes
    }

    /// Past a comma and what space there is, or past the end of this container.
    fn goes_on(&mut self, end: u8) -> Result<bool, Fault> {
        self.space();
        if self.closes(b',') {
            self.space();
            return Ok(true);
        }
        if self.closes(end) { Ok(false) } else { Err(self.fault(FaultKind::Syntax)) }
    }
}

#[cfg(test)]
mod tests;

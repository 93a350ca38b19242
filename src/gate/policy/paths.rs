//! Which part of the input does a package read?
//!
//! A tree of keys. It makes the key that an outcome is remembered by, and it cuts the input down to
//! what is in the key: an evaluation never sees more than that, so equal keys mean equal outcomes.

use std::collections::BTreeMap;

use crate::json::{Map, Value};

/// Places in the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// All of the value here, whatever it is.
    whole: bool,
    below: Vec<(String, Reads)>,
}

impl Reads {
    /// The whole input.
    pub(super) fn all() -> Self {
        Self { whole: true, below: Vec::new() }
    }

    /// Add the value at `path`.
    pub(super) fn add(&mut self, path: &[String]) {
        if self.whole {
            return;
        }
        let Some((key, rest)) = path.split_first() else {
            *self = Self::all();
            return;
        };
        let at = match self.below.binary_search_by(|(k, _)| k.cmp(key)) {
            Ok(at) => at,
            Err(at) => {
                self.below.insert(at, (key.clone(), Self::default()));
                at
            }
        };
        if let Some((_, child)) = self.below.get_mut(at) {
            child.add(rest);
        }
    }

    /// Add all that `other` reads.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.whole {
            *self = Self::all();
        }
        if self.whole {
            return;
        }
        for (key, theirs) in &other.below {
            match self.below.binary_search_by(|(k, _)| k.cmp(key)) {
                Ok(at) => {
                    if let Some((_, ours)) = self.below.get_mut(at) {
                        ours.merge(theirs);
                    }
                }
                Err(at) => self.below.insert(at, (key.clone(), theirs.clone())),
            }
        }
    }

    /// Whether anything at, above or below `path` is read.
    pub(super) fn touches(&self, path: &[&str]) -> bool {
        if self.whole {
            return true;
        }
        match path.split_first() {
            None => !self.below.is_empty(),
            Some((key, rest)) => {
                self.below.iter().any(|(k, child)| k == key && child.touches(rest))
            }
        }
    }

    /// Append the exact value of each place: present and absent differ, and nothing is hashed.
    /// False when it would be longer than `limit`.
    pub(super) fn key(&self, input: &Value, limit: usize, out: &mut Vec<u8>) -> bool {
        self.key_at(Some(input), out);
        out.len() <= limit
    }

    fn key_at(&self, value: Option<&Value>, out: &mut Vec<u8>) {
        match value {
            None => out.push(b'-'),
            Some(value) if self.whole => write(value, out),
            Some(Value::Object(members)) => {
                out.push(b'{');
                for (key, child) in &self.below {
                    child.key_at(members.get(key), out);
                }
            }
            // What is not an object has nothing at any path below it.
            Some(_) => out.push(b'-'),
        }
    }

    /// The input with nothing in it but these places.
    pub(super) fn cut(&self, input: &Value) -> regorus::Value {
        if self.whole {
            return convert(input);
        }
        let Value::Object(members) = input else {
            return regorus::Value::new_object();
        };
        let mut kept = BTreeMap::new();
        for (key, child) in &self.below {
            if let Some(value) = members.get(key)
                && (child.whole || value.is_object())
            {
                kept.insert(regorus::Value::from(key.as_str()), child.cut(value));
            }
        }
        regorus::Value::from(kept)
    }
}

/// Unambiguous bytes of a value: tags, lengths, and members in the order of their keys.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Number(number) => {
            if let Some(n) = number.as_i64() {
                out.push(b'i');
                out.extend_from_slice(&n.to_le_bytes());
            } else if let Some(n) = number.as_u64() {
                out.push(b'u');
                out.extend_from_slice(&n.to_le_bytes());
            } else {
                out.push(b'd');
                out.extend_from_slice(&number.as_f64().unwrap_or(f64::NAN).to_le_bytes());
            }
        }
        Value::String(text) => write_text(b's', text, out),
        Value::Array(items) => {
            out.push(b'a');
            out.extend_from_slice(&items.len().to_le_bytes());
            for item in items {
                write(item, out);
            }
        }
        Value::Object(members) => {
            out.push(b'o');
            out.extend_from_slice(&members.len().to_le_bytes());
            write_members(members, out);
        }
    }
}

fn write_members(members: &Map<String, Value>, out: &mut Vec<u8>) {
    if members.keys().is_sorted() {
        for (key, value) in members {
            write_text(b'k', key, out);
            write(value, out);
        }
        return;
    }
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in sorted {
        write_text(b'k', key, out);
        write(value, out);
    }
}

fn write_text(tag: u8, text: &str, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&text.len().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The same value for the interpreter.
pub(super) fn convert(value: &Value) -> regorus::Value {
    match value {
        Value::Null => regorus::Value::Null,
        Value::Bool(truth) => regorus::Value::Bool(*truth),
        Value::Number(number) => {
            if let Some(n) = number.as_i64() {
                regorus::Value::from(n)
            } else if let Some(n) = number.as_u64() {
                regorus::Value::from(n)
            } else {
                regorus::Value::from(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        Value::String(text) => regorus::Value::from(text.as_str()),
        Value::Array(items) => regorus::Value::from(items.iter().map(convert).collect::<Vec<_>>()),
        Value::Object(members) => regorus::Value::from(
            members
                .iter()
                .map(|(key, value)| (regorus::Value::from(key.as_str()), convert(value)))
                .collect::<BTreeMap<_, _>>(),
        ),
    }
}

//! What is the one way to write this value?
//!
//! RFC 8785: no space, keys in the order of their UTF-16 code units, numbers as ECMAScript
//! writes them. `1` and `1.0` are one number to it, and so to a call's hash.

use std::io::Write as _;

use serde_json::{Map, Number, Value};

use super::string::stop;

/// The canonical text of a value.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut text = Vec::with_capacity(256);
    write_canonical(value, &mut text);
    text
}

/// Appends the canonical text of a value.
pub fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::String(string) => write_string(string, out),
        Value::Array(elements) => {
            out.push(b'[');
            for (nth, element) in elements.iter().enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                write_canonical(element, out);
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| utf16_order(a, b));
    out.push(b'{');
    for (nth, (key, value)) in sorted.into_iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write_canonical(value, out);
    }
    out.push(b'}');
}

/// The order of UTF-16 code units, without leaving UTF-8.
///
/// The two orders differ only in that UTF-16 puts what needs surrogates (first byte F0 to F4)
/// before U+E000 to U+FFFF (first byte EE or EF). No other byte is EE or more.
fn utf16_order(a: &str, b: &str) -> std::cmp::Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    match number.as_f64() {
        // Integers that `parse` accepts are written alike either way. Larger ones come only from
        // elsewhere, and there two that differ must not get one hash: exact, where RFC 8785 rounds.
        Some(double) if number.is_f64() => {
            out.extend_from_slice(ryu_js::Buffer::new().format(double).as_bytes());
        }
        _ => {
            // A vector takes whatever is written to it.
            let _ = write!(out, "{number}");
        }
    }
}

fn write_string(string: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = string.as_bytes();
    loop {
        let (plain, from) = rest.split_at(stop(rest, 0));
        out.extend_from_slice(plain);
        let Some((byte, after)) = from.split_first() else { break };
        write_escape(*byte, out);
        rest = after;
    }
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        b'"' | b'\\' => byte,
        _ => {
            let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests;

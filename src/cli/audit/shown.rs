//! How does an entry look on a terminal?
//!
//! Names in it come from outsiders, so whatever could steer a terminal is shown as an escape.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::Value;

use crate::trail::Entry;

/// A name in a line is cut after so many characters.
const COLUMN: usize = 40;

pub(super) fn print(entry: &Entry, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let body = String::from_utf8_lossy(&entry.body);
    if json {
        return writeln!(out, "{}", plain_json(&body));
    }
    let line = match serde_json::from_str(&body) {
        Ok(value) => line(&value),
        Err(_) => format!("entry {} is not JSON: {}", entry.index, cut(&body)),
    };
    writeln!(out, "{}", line.trim_end())
}

fn line(value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(cut).unwrap_or_default();
    let start = format!("{:<27}", text("at"));
    match text("kind").as_ref() {
        "intent" => format!(
            "{start}  {:<7}  {:<6}  {:<36}  {:<16}  {:<32}  {}",
            text("effect"),
            text("tier"),
            text("id"),
            text("agent"),
            format!("{}/{}", text("server"), text("tool")),
            text("code"),
        ),
        "outcome" => format!(
            "{start}  {:<7}  {:<6}  {:<36}  {:<16}  {:<32}  {}",
            "outcome",
            "",
            text("id"),
            text("outcome"),
            duration(value),
            text("code"),
        ),
        "hold" => format!(
            "{start}  {:<7}  {:<6}  {:<36}  {:<16}  {:<32}  {}",
            "hold",
            "",
            text("id"),
            text("by"),
            text("hold"),
            text("what"),
        ),
        kind => {
            let mut rest = String::new();
            for key in ["version", "config", "old", "new", "problem"] {
                if value.get(key).is_some() {
                    let _ = write!(rest, "  {key} {}", text(key));
                }
            }
            format!("{start}  {kind:<7}{rest}")
        }
    }
}

fn duration(value: &Value) -> String {
    let ms = |key: &str| value.get(key).and_then(Value::as_f64).unwrap_or_default() / 1000.0;
    format!("{:.3} ms, gate {:.3} ms", ms("duration_us"), ms("gate_us"))
}

pub(super) fn tell(entry: &Entry, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let body = String::from_utf8_lossy(&entry.body);
    if json {
        return writeln!(out, "{}", plain_json(&body));
    }
    let value: Value = serde_json::from_str(&body).unwrap_or_default();
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("entry");
    writeln!(out, "{} (entry {}, {})", plain(kind), entry.index, entry.chain)?;
    for (key, member) in value.as_object().into_iter().flatten() {
        if !["kind", "v"].contains(&key.as_str()) {
            tree(key, member, 1, out)?;
        }
    }
    Ok(())
}

fn tree(key: &str, value: &Value, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let key = plain(key);
    let margin = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            writeln!(out, "{margin}{key}")?;
            members.iter().try_for_each(|(key, member)| tree(key, member, depth + 1, out))
        }
        Value::Array(items) => {
            writeln!(out, "{margin}{key}")?;
            items.iter().try_for_each(|item| match item.as_object() {
                Some(members) => {
                    writeln!(out, "{margin}  -")?;
                    members.iter().try_for_each(|(key, value)| tree(key, value, depth + 2, out))
                }
                None => tree("-", item, depth + 1, out),
            })
        }
        Value::String(text) => writeln!(out, "{margin}{key:<12} {}", plain(text)),
        other => writeln!(out, "{margin}{key:<12} {other}"),
    }
}

/// A name for a line: safe, and not longer than a column is wide.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(COLUMN) {
        Some((at, _)) => Cow::Owned(format!("{}…", plain(text.get(..at).unwrap_or_default()))),
        None => plain(text),
    }
}

/// The text with escapes for whatever a terminal would obey or not show.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c == '\\' || is_hidden(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\\' => shown.push_str("\\\\"),
            hidden if is_hidden(hidden) => shown.extend(hidden.escape_unicode()),
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

/// JSON of the same meaning, without what a terminal would obey or not show.
fn plain_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            // Outside its strings, JSON has nothing of the kind but line breaks.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

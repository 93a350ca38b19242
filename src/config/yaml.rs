//! What does the text say, and where does it say so?
//!
//! YAML read into a tree whose every node knows its place, so that readers can name all faults of
//! a file at once and not only the first. Aliases, anchors and merges are refused: a config needs
//! none, and they are how small texts become large ones.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Spanned};

use super::problem::Problem;

/// The longest text that is read.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 32;
/// The most nodes that are read.
pub const MAX_NODES: usize = 100_000;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// The place of its first character.
    pub at: Place,
}

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// What can stand in a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`: as if the key were not there.
    Null,
    /// `true` or `false`; `yes` and `on` are text.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and their values, in the order of the file; no key stands twice.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub at: Place,
}

impl Value {
    /// Whether it is a list of nothing: written on purpose, which is not the same as absent.
    pub const fn is_empty_list(&self) -> bool {
        matches!(self, Self::List(items) if items.is_empty())
    }

    /// What it is, for a message; never what it holds.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// The first place where the text is not YAML, or is more than a config may be.
pub fn read(text: &str, path: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::whole(path, format!("is longer than {MAX_BYTES} bytes")));
    }
    if let Some(place) = forbidden_character(text) {
        return Err(Problem {
            path: path.into(),
            line: place.line,
            column: place.column,
            message: "a control character or byte-order mark stands here; remove it".into(),
        });
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| problem(&error, path))
}

// Some readers end a document at such a character, and what follows would go unread.
fn forbidden_character(text: &str) -> Option<Place> {
    let (mut line, mut column) = (1, 0);
    for character in text.chars() {
        column += 1;
        if character == '\n' {
            (line, column) = (line + 1, 0);
        } else if character == '\u{feff}'
            || character.is_control() && !matches!(character, '\t' | '\r')
        {
            return Some(Place { line, column });
        }
    }
    None
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_documents: 1,
        },
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn problem(error: &Error, path: &str) -> Problem {
    let error = error.without_snippet();
    let place = error.location().map(|location| place(&location)).unwrap_or_default();
    let text = match error {
        Error::Message { msg, .. } | Error::ExternalMessage { msg, .. } => msg.clone(),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("key `{key}` stands twice in one section")
        }
        Error::Budget { breach, .. } => breach_message(breach).to_owned(),
        other => other.render_with_formatter(&serde_saphyr::UserMessageFormatter),
    };
    // The place is told already.
    let message = text.split(" at line ").next().unwrap_or_default();
    Problem { path: path.into(), line: place.line, column: place.column, message: message.into() }
}

const fn breach_message(breach: &BudgetBreach) -> &'static str {
    match breach {
        BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => {
            "anchors and aliases are not read; write the value out"
        }
        BudgetBreach::Documents { .. } => "a second document begins here; keep one to a file",
        BudgetBreach::Depth { .. } => "nesting is too deep",
        _ => "the document is too large",
    }
}

fn place(location: &serde_saphyr::Location) -> Place {
    let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
    Place { line: narrow(location.line()), column: narrow(location.column()) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { value, at: place(&referenced) })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Value, E> {
        Err(E::custom("the number is too large"))
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Value, E> {
        Err(E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
            let key = Key { name: key.value, at: place(&key.referenced) };
            if !seen.insert(key.name.clone()) {
                return Err(A::Error::custom(format!(
                    "key `{}` stands twice in one section",
                    key.name
                )));
            }
            entries.push((key, node));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        read(text, "c.yaml").unwrap_err().to_string()
    }

    #[test]
    fn every_node_knows_its_place() {
        let root = read("# comment\na: 1\nb:\n  - x\n  - {c: true, d: ~}\n", "c.yaml").unwrap();
        let Value::Map(entries) = root.value else { panic!("not a map") };
        let [(a, one), (b, list)] = entries.as_slice() else { panic!("not two") };
        assert_eq!((a.name.as_str(), a.at.line, a.at.column), ("a", 2, 1));
        assert_eq!((&one.value, one.at.line, one.at.column), (&Value::Integer(1), 2, 4));
        assert_eq!((b.at.line, b.at.column), (3, 1));
        let Value::List(items) = &list.value else { panic!("not a list") };
        assert_eq!((items[1].at.line, items[1].at.column), (5, 5));
        let Value::Map(inner) = &items[1].value else { panic!("not a map") };
        assert_eq!(inner[0].1.value, Value::Bool(true));
        assert_eq!(inner[1].1.value, Value::Null);
    }

    #[test]
    fn scalars_are_what_yaml_1_2_says() {
        for (text, expected) in [
            ("127.0.0.1:8700", Value::Text("127.0.0.1:8700".into())),
            ("2025-03-26", Value::Text("2025-03-26".into())),
            ("yes", Value::Text("yes".into())),
            ("12:30", Value::Text("12:30".into())),
            ("'5'", Value::Text("5".into())),
            ("0.5", Value::Number(0.5)),
            ("", Value::Null),
        ] {
            assert_eq!(read(text, "c.yaml").unwrap().value, expected, "{text}");
        }
    }

    #[test]
    fn what_a_config_may_not_be_is_refused() {
        let bomb = "a: &a [x]\nb: [*a, *a]\n";
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        for text in [
            bomb,
            "a: *b\n",
            &deep,
            "a: 1\na: 2\n",
            "a: 1\n\"a\": 2\n",
            "a: [\n",
            "a: 1\n---\nb: 2\n",
            "\u{feff}a: 1\n",
            "a: \"\u{0}\"\n",
            "{a: 1}}",
            "? [x]\n: y\n",
        ] {
            assert!(fault(text).starts_with("c.yaml:"), "{text}");
        }
        assert!(read(&"#".repeat(MAX_BYTES), "c.yaml").is_ok());
        assert!(fault(&"#".repeat(MAX_BYTES + 1)).contains("longer"));
        let deepest = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(read(&deepest, "c.yaml").is_ok());
    }
}

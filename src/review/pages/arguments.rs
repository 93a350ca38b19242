//! What exactly would be sent?
//!
//! The whole arguments as a tree, in the order of their canonical text. What is long is in pieces
//! that have to be on screen before approval opens; nothing is left out.

use maud::{Markup, html};

use crate::json::{Map, Value};
use crate::review::visible::{Block, Line};

/// Characters of a value, or of a name, that is shown at once.
const SHORT: usize = 400;
/// Lines likewise.
const SHORT_LINES: usize = 12;
/// Characters of a piece: less than a screen of the smallest phone.
const PIECE: usize = 1_000;
/// Lines of a piece.
const PIECE_LINES: usize = 20;
/// Leaves, or characters in all, of arguments that are shown at once.
const FEW: usize = 40;
const LITTLE: usize = 4_000;

/// Whether it has anything that must have been on screen before approval.
pub fn is_long(arguments: &Value) -> bool {
    let mut size = Size::default();
    size.add(arguments);
    size.long || is_much(&size)
}

const fn is_much(size: &Size) -> bool {
    size.leaves > FEW || size.characters > LITTLE
}

#[derive(Default)]
struct Size {
    leaves: usize,
    characters: usize,
    long: bool,
}

impl Size {
    fn add(&mut self, value: &Value) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    self.text(name);
                    self.add(value);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                items.iter().for_each(|item| self.add(item))
            }
            Value::String(text) => {
                self.leaves += 1;
                self.text(text);
            }
            _ => {
                self.leaves += 1;
                self.characters += 1;
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.characters += text.chars().count();
        self.long |= is_long_text(text);
    }
}

fn is_long_text(text: &str) -> bool {
    text.len() > SHORT && text.chars().count() > SHORT
        || text.bytes().filter(|byte| *byte == b'\n').count() >= SHORT_LINES
}

/// The tree. `watched`: each leaf has to be on screen too, since there are many.
pub fn tree(arguments: &Value) -> Markup {
    let mut size = Size::default();
    size.add(arguments);
    let tree = Tree { watched: is_much(&size) };
    html! {
        div.arguments data-arguments { (tree.value(arguments, &mut String::new())) }
    }
}

struct Tree {
    watched: bool,
}

impl Tree {
    fn value(&self, value: &Value, path: &mut String) -> Markup {
        match value {
            Value::Object(members) if !members.is_empty() => self.object(members, path),
            Value::Array(items) if !items.is_empty() => self.array(items, path),
            leaf => self.leaf(leaf, path),
        }
    }

    fn object(&self, members: &Map<String, Value>, path: &mut String) -> Markup {
        // RFC 8785 sorts by UTF-16 code units.
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        html! {
            dl {
                @for (name, value) in sorted {
                    div.member {
                        dt { (text(name)) }
                        dd { (self.below(path, &escaped(name), value)) }
                    }
                }
            }
        }
    }

    fn array(&self, items: &[Value], path: &mut String) -> Markup {
        html! {
            ol start="0" {
                @for (n, item) in items.iter().enumerate() {
                    li { (self.below(path, &n.to_string(), item)) }
                }
            }
        }
    }

    fn below(&self, path: &mut String, step: &str, value: &Value) -> Markup {
        let length = path.len();
        path.push('/');
        path.push_str(step);
        let shown = self.value(value, path);
        path.truncate(length);
        shown
    }

    fn leaf(&self, leaf: &Value, path: &str) -> Markup {
        let (kind, shown) = match leaf {
            Value::String(text) if text.is_empty() => ("empty", html! {}),
            Value::String(text) => ("string", self::text(text)),
            Value::Number(number) => ("number", html! { (number.to_string()) }),
            Value::Bool(yes) => ("boolean", html! { (yes) }),
            Value::Null => ("null", html! { "null" }),
            Value::Array(_) => ("nothing", html! { "[]" }),
            Value::Object(_) => ("nothing", html! { "{}" }),
        };
        let in_pieces = matches!(leaf, Value::String(text) if is_long_text(text));
        let part = (self.watched && !in_pieces).then_some("unseen");
        html! {
            span class=(kind) data-leaf=(path) data-part=[part] { (shown) }
        }
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A text, in pieces if it is long.
pub fn text(text: &str) -> Markup {
    if !is_long_text(text) {
        return html! { (Block(text)) };
    }
    let begins: String = text.chars().take(80).collect();
    let length = text.chars().count();
    html! {
        details.long {
            summary { (length) " characters: " q { (Line(&begins)) "…" } }
            div.pieces {
                @for piece in pieces(text) { span.piece data-part="unseen" { (Block(piece)) } }
            }
        }
    }
}

/// Pieces of at most so many characters and lines; together they are the text.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut begun, mut characters, mut lines) = (0, 0, 0);
    for (at, c) in text.char_indices() {
        if characters == PIECE || lines == PIECE_LINES {
            pieces.extend(text.get(begun..at));
            (begun, characters, lines) = (at, 0, 0);
        }
        characters += 1;
        lines += usize::from(c == '\n');
    }
    pieces.extend(text.get(begun..).filter(|piece| !piece.is_empty()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_left_out_and_what_is_long_is_locked() {
        let few: Vec<_> = (0..FEW).collect();
        let many: Vec<_> = (0..=FEW).collect();
        for (value, long) in [
            (json!({}), false),
            (json!({"a": {"b": [1, true, null, "", [], {}]}}), false),
            (json!({"a": "x".repeat(SHORT)}), false),
            (json!({"a": "x".repeat(SHORT + 1)}), true),
            (json!({"x".repeat(SHORT + 1): 1}), true),
            (json!({"a": "\n".repeat(SHORT_LINES - 1)}), false),
            (json!({"a": "\n".repeat(SHORT_LINES)}), true),
            (json!(few), false),
            (json!(many), true),
            (json!(vec!["x".repeat(SHORT); 11]), true),
        ] {
            assert_eq!(is_long(&value), long, "{value}");
            let markup = tree(&value).0;
            assert_eq!(markup.contains("data-part=\"unseen\""), long, "{markup}");
        }
        for text in
            ["a\nb".repeat(5_000), "é".repeat(PIECE), "é".repeat(PIECE + 1), "\n".repeat(99)]
        {
            let pieces = pieces(&text);
            assert_eq!(pieces.concat(), text);
            let fits = |piece: &&str| {
                piece.chars().count() <= PIECE && piece.lines().count() <= PIECE_LINES
            };
            assert!(pieces.iter().all(fits));
        }
    }

    #[test]
    fn each_leaf_has_its_pointer_and_shows_what_hides() {
        let markup = tree(&json!({"b": [{"c/~": "<i>\u{202E}"}], "a": 1.5})).0;
        assert!(markup.contains(r#"data-leaf="/b/0/c~1~0""#), "{markup}");
        assert!(
            markup.contains(r#"&lt;i&gt;<span class="hidden" data-hidden="202E">U+202E</span>"#)
        );
        assert!(markup.find("/a").unwrap() < markup.find("/b").unwrap(), "canonical order");
        assert!(markup.contains(r#"<span class="number" data-leaf="/a">1.5</span>"#));
    }
}

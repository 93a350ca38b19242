//! What does a text look like, with all that is in it?
//!
//! Agents, servers and tools write text that reviewers sign. A character that cannot be seen, that
//! turns the reading direction, or that only looks like a space, is shown as its code point.

use maud::{Markup, PreEscaped, Render, html};

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a line: a name, a sentence. Line breaks and tabs are shown as code points too.
    Line,
    /// In a block that keeps line breaks and tabs.
    Block,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    Plain(&'t str),
    Hidden(char),
}

/// A text by somebody else, in a line.
pub struct Line<'t>(pub &'t str);

/// A text by somebody else, in a block that keeps its line breaks.
pub struct Block<'t>(pub &'t str);

impl Render for Line<'_> {
    fn render(&self) -> Markup {
        markup(self.0, Place::Line)
    }
}

impl Render for Block<'_> {
    fn render(&self) -> Markup {
        markup(self.0, Place::Block)
    }
}

/// As markup, in which hidden characters are elements.
pub fn markup(text: &str, place: Place) -> Markup {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text, place) {
        match piece {
            Piece::Plain(text) => out.push_str(&html! { (text) }.0),
            Piece::Hidden(hidden) => {
                let code = code(hidden);
                let element = html! { span.hidden data-hidden=(code) { "U+" (code) } };
                out.push_str(&element.0);
            }
        }
    }
    PreEscaped(out)
}

/// As plain text without any control character: what a terminal can be given.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text, Place::Line) {
        match piece {
            Piece::Plain(text) => out.push_str(text),
            Piece::Hidden(hidden) => {
                out.push_str("<U+");
                out.push_str(&code(hidden));
                out.push('>');
            }
        }
    }
    out
}

/// JSON text in which what cannot be seen is escaped (RFC 8259, section 7).
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for piece in pieces(json, Place::Block) {
        match piece {
            Piece::Plain(text) => out.push_str(text),
            Piece::Hidden(hidden) => {
                for unit in hidden.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

fn code(hidden: char) -> String {
    format!("{:04X}", u32::from(hidden))
}

fn pieces(text: &str, place: Place) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut begun = 0;
    let mut before = None;
    for (at, c) in text.char_indices() {
        let hidden = match c {
            '\n' | '\t' => place == Place::Line,
            // After what has a picture, it asks for the picture.
            '\u{FE0F}' => !before.is_some_and(has_picture),
            _ => is_hidden(c),
        };
        if hidden {
            found.extend(text.get(begun..at).filter(|plain| !plain.is_empty()).map(Piece::Plain));
            found.push(Piece::Hidden(c));
            begun = at + c.len_utf8();
        }
        before = Some(c);
    }
    found.extend(text.get(begun..).filter(|plain| !plain.is_empty()).map(Piece::Plain));
    found
}

const fn has_picture(c: char) -> bool {
    matches!(c, '\u{203C}' | '\u{2049}' | '\u{2122}' | '\u{2139}'..='\u{3299}' | '\u{1F000}'..='\u{1FAFF}')
}

/// Controls, `Default_Ignorable_Code_Point`, spaces other than the usual one, what has no picture
/// (private use, non-characters), and blanks that are letters by name (UTS #39, UAX #44).
pub const fn is_hidden(c: char) -> bool {
    matches!(c,
        // Controls, with escape, carriage return and the C1 set that terminals obey.
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'
        // Spaces that are not the space.
        | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
        // Soft hyphen, joiners, marks of direction, line separators, overrides, isolates.
        | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFB}'
        // Letters without a picture.
        | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{2800}' | '\u{3164}' | '\u{FFA0}' | '\u{13430}'..='\u{1345F}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D159}' | '\u{1D173}'..='\u{1D17A}'
        // Variation selectors and tags, which carry whole messages.
        | '\u{FE00}'..='\u{FE0F}' | '\u{E0000}'..='\u{E0FFF}'
        // Private use and non-characters.
        | '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' | '\u{FDD0}'..='\u{FDEF}'
        | '\u{FFFE}' | '\u{FFFF}' | '\u{1FFFE}' | '\u{1FFFF}' | '\u{2FFFE}' | '\u{2FFFF}'
        | '\u{3FFFE}'..='\u{DFFFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e09_what_cannot_be_seen_is_shown_as_its_code_point() {
        let shown =
            |code: &str| format!("<span class=\"hidden\" data-hidden=\"{code}\">U+{code}</span>");
        for (text, line, block) in [
            ("plain text", "plain text".to_owned(), "plain text".to_owned()),
            ("Grüße, 你好, עברית", "Grüße, 你好, עברית".into(), "Grüße, 你好, עברית".into()),
            ("<b>&\"'", "&lt;b&gt;&amp;&quot;'".into(), "&lt;b&gt;&amp;&quot;'".into()),
            ("a\u{202E}b", format!("a{}b", shown("202E")), format!("a{}b", shown("202E"))),
            ("\u{1B}[2J", format!("{}[2J", shown("001B")), format!("{}[2J", shown("001B"))),
            ("a\nb\tc", format!("a{}b{}c", shown("000A"), shown("0009")), "a\nb\tc".into()),
            ("\r", shown("000D"), shown("000D")),
            ("\u{9B}", shown("009B"), shown("009B")),
            ("\u{E0041}", shown("E0041"), shown("E0041")),
            (
                "\u{A0}\u{3000}",
                format!("{}{}", shown("00A0"), shown("3000")),
                format!("{}{}", shown("00A0"), shown("3000")),
            ),
            (
                "\u{2066}\u{200B}",
                format!("{}{}", shown("2066"), shown("200B")),
                format!("{}{}", shown("2066"), shown("200B")),
            ),
            ("\u{2764}\u{FE0F}", "\u{2764}\u{FE0F}".into(), "\u{2764}\u{FE0F}".into()),
            ("a\u{FE0F}", format!("a{}", shown("FE0F")), format!("a{}", shown("FE0F"))),
            ("\u{10FFFF}", shown("10FFFF"), shown("10FFFF")),
            ("", String::new(), String::new()),
        ] {
            assert_eq!(markup(text, Place::Line).0, line, "{text:?}");
            assert_eq!(markup(text, Place::Block).0, block, "{text:?}");
        }
    }

    #[test]
    fn e09_json_to_edit_hides_nothing_and_means_the_same() {
        let value = serde_json::json!({"a\u{202E}": "b\u{E0041}\u{200B}\n\u{7F}"});
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(is_hidden_in_block), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    fn is_hidden_in_block(c: char) -> bool {
        c != '\n' && is_hidden(c)
    }

    #[test]
    fn e09_a_terminal_gets_no_control_character() {
        for point in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let shown = plain(&point.to_string());
            assert!(!shown.chars().any(char::is_control), "{point:?}");
            let spaces = shown.chars().filter(|c| c.is_whitespace()).count();
            assert_eq!(spaces, usize::from(point == ' '), "{point:?}");
        }
        assert_eq!(plain("a\u{1B}[31mb\n"), "a<U+001B>[31mb<U+000A>");
    }
}

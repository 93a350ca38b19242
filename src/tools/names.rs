//! Can this name stand in a policy, on a review page and in a record for this one tool only?
//!
//! Names are matched byte for byte and never normalised. One that looks like another, or like
//! nothing, is refused.

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// Methods that are decided under their own name, so no tool may have it.
const RESERVED: &[&str] = &[
    "initialize",
    "ping",
    "tools/call",
    "tools/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    "server/discover",
    "subscriptions/listen",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tasks/cancel",
];

/// Whether a tool may have this name; why not, if not.
///
/// # Errors
/// A sentence that does not repeat the name.
pub fn usable_name(name: &str) -> Result<(), String> {
    let why = if name.is_empty() {
        "its name is empty"
    } else if name.len() > LONGEST {
        "its name is longer than 128 bytes"
    } else if RESERVED.contains(&name) || name.starts_with("notifications/") {
        "its name is that of an MCP method"
    } else if name.trim() != name {
        "its name begins or ends with white space"
    } else if name.chars().any(is_invisible) {
        "its name holds a character that cannot be seen"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}

/// Control, format, bidirectional and other characters that leave no mark (Unicode Cc, Cf, Zl, Zp,
/// default ignorable), and white space other than a plain blank.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_names_that_cannot_be_told_apart_by_eye_are_unusable() {
        for (name, usable) in [
            ("refund", true),
            ("crm/get customer", true),
            ("überweisung", true),
            ("支払い", true),
            ("", false),
            (" refund", false),
            ("refund ", false),
            ("re\u{200b}fund", false),
            ("re\u{202e}fund", false),
            ("refund\u{feff}", false),
            ("refund\n", false),
            ("re\u{0}fund", false),
            ("re\u{a0}fund", false),
            ("refund\u{e0041}", false),
            ("resources/read", false),
            ("notifications/x", false),
        ] {
            assert_eq!(usable_name(name).is_ok(), usable, "{name:?}");
        }
        assert!(usable_name(&"x".repeat(128)).is_ok());
        assert!(usable_name(&"x".repeat(129)).is_err());
    }
}

//! What do people read in a chat?
//!
//! A message as Slack's incoming webhooks take it. Only our own words are markup; whatever the
//! agent, a server or a policy wrote is plain text, on one line, with its hidden characters made
//! visible, and what the agent says of itself is marked as its claim.

use serde_json::{Value, json};

use super::Kind;
use crate::hold::{Hold, State};

/// The longest text of somebody else's, in characters: eight times as long escaped, it still fits
/// into what Slack takes (3000).
const LONGEST: usize = 350;
/// The most reasons that are told.
const MOST_REASONS: usize = 5;

/// The body of a message.
pub(super) fn body(what: Kind, hold: &Hold, url: &str, with_claims: bool) -> Vec<u8> {
    let asked = format!(
        "{} wants {} / {} (tier {})",
        plain(&hold.ask.agent.id),
        plain(&hold.ask.server),
        plain(&hold.ask.tool),
        hold.context.tier.name(),
    );
    let headline = headline(what, hold);
    let mut blocks = vec![markup(&format!("*{headline}*")), verbatim(&asked)];
    let reasons = hold.context.reasons.iter().take(MOST_REASONS);
    blocks.extend(reasons.map(|reason| verbatim(&format!("Held: {}", plain(&reason.message)))));
    if with_claims {
        blocks.extend(claims(hold));
    }
    blocks.push(markup(&match hold.state {
        State::Pending => format!(
            "<{url}|Review it>; signatures missing: {}; it expires at {}",
            hold.missing(&hold.terms),
            hold.expires_at,
        ),
        _ => format!("<{url}|See it>"),
    }));
    // The text is what notifications show, and what clients without blocks do.
    let text = format!("{headline}: {asked}");
    json!({"text": text, "mrkdwn": false, "blocks": blocks}).to_string().into_bytes()
}

fn headline(what: Kind, hold: &Hold) -> String {
    match what {
        Kind::Created => "A call waits for signatures".into(),
        Kind::Reminder => "A call still waits for signatures".into(),
        Kind::Escalated => "Nobody has answered yet; a call waits for signatures".into(),
        Kind::Decided => format!("A held call was decided: {}", hold.state.name()),
        Kind::Finished => format!("An approved call was sent: {}", hold.state.name()),
    }
}

/// What the agent wrote: no more than what it says.
fn claims(hold: &Hold) -> Vec<Value> {
    let claimed = &hold.ask.claimed;
    let mut blocks = Vec::new();
    for (what, said) in [("it acts for", &claimed.user), ("its reason is", &claimed.reason)] {
        if let Some(said) = said {
            blocks.push(verbatim(&format!("The agent claims that {what}: {}", plain(said))));
        }
    }
    let arguments = plain(&hold.ask.arguments.to_string());
    blocks.push(verbatim(&format!("Arguments, as the agent wrote them: {arguments}")));
    blocks
}

fn markup(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn verbatim(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}})
}

/// Somebody else's words, bounded and inert.
fn plain(text: &str) -> String {
    let mut told = String::with_capacity(text.len().min(LONGEST));
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            told.push('…');
            break;
        }
        match character {
            '&' => told.push_str("&amp;"),
            '<' => told.push_str("&lt;"),
            '>' => told.push_str("&gt;"),
            '\n' | '\r' | '\t' => told.push(' '),
            hidden if is_hidden(hidden) => told.extend(hidden.escape_unicode()),
            shown => told.push(shown),
        }
    }
    told
}

/// Control, bidirectional and zero-width characters.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

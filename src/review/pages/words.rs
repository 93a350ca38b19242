//! How is it said?
//!
//! Times, states and a call's sentence, in words.

use std::time::Duration;

use maud::{Markup, html};

use crate::gate::Gate;
use crate::hold::{Ask, Hold, HoldTerms, State};
use crate::review::visible::{self, Line};
use crate::time::At;
use crate::tools::{About, Class, Part, Sentence};

/// A duration, roughly: `4 min`.
pub(super) fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..5_400 => format!("{} min", seconds / 60),
        5_400..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Since when; the script keeps it up to date.
pub(super) fn since(at: At) -> Markup {
    html! { time datetime=(at) title=(at) data-since { (roughly(At::now().since(at))) } }
}

/// Until when, likewise.
pub(super) fn until(at: At) -> Markup {
    html! { time datetime=(at) title=(at) data-until { (roughly(at.since(At::now()))) } }
}

/// What a call will do.
pub(super) struct Said(Vec<Part>);

impl Said {
    /// By the tool's template; else its title, or its name.
    pub(super) fn of(ask: &Ask, class: &Class) -> Self {
        let by_template = class.says.as_ref().and_then(|says| say(says, ask));
        Self(by_template.unwrap_or_else(|| {
            let title = class.title.clone().map(Part::Own);
            let title = title.unwrap_or_else(|| Part::Given(ask.tool.clone()));
            let begins: Vec<_> = ask.arguments.as_object().into_iter().flatten().take(3).collect();
            let mut parts = vec![title];
            for (n, (name, value)) in begins.into_iter().enumerate() {
                parts.push(Part::Own(if n == 0 { ": " } else { ", " }.to_owned()));
                parts.push(Part::Given(format!("{} {}", cut(name), brief(value))));
            }
            parts
        }))
    }

    /// As markup in which what the call put in is marked.
    pub(super) fn markup(&self) -> Markup {
        html! {
            @for part in &self.0 {
                @match part {
                    Part::Own(text) => (Line(text)),
                    Part::Given(text) => b.given { (Line(text)) },
                }
            }
        }
    }

    /// As plain text.
    pub(super) fn plain(&self) -> String {
        let text = |part: &Part| match part {
            Part::Own(text) | Part::Given(text) => visible::plain(text),
        };
        self.0.iter().map(text).collect()
    }
}

pub(super) fn say(sentence: &Sentence, ask: &Ask) -> Option<Vec<Part>> {
    sentence.say(&About {
        arguments: &ask.arguments,
        agent: &ask.agent.id,
        claimed: &ask.claimed,
        tool: &ask.tool,
    })
}

/// How it is undone, where the operator said so.
pub(super) fn undo(ask: &Ask, class: &Class) -> Option<Markup> {
    let parts = class.undo.as_ref().and_then(|undo| say(undo, ask))?;
    Some(Said(parts).markup())
}

fn brief(value: &crate::json::Value) -> String {
    match value {
        crate::json::Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

/// As much of it as a sentence bears; the arguments stand in full below.
fn cut(text: &str) -> String {
    let begins: String = text.chars().take(60).collect();
    if begins.len() < text.len() { format!("{begins}…") } else { begins }
}

/// The class of a hold's tool, as the operator has it now.
pub(super) fn class_of(gate: &Gate, ask: &Ask) -> std::sync::Arc<Class> {
    gate.snapshot().classifier.classify(&ask.server, &ask.tool)
}

/// Who may sign.
pub(super) fn who(terms: &HoldTerms, escalated: &std::collections::BTreeSet<String>) -> String {
    let names: Vec<_> = terms
        .reviewers
        .iter()
        .chain(escalated)
        .map(|name| visible::plain(&name.replacen("group:", "group ", 1)))
        .collect();
    if names.is_empty() { "any reviewer".to_owned() } else { names.join(" or ") }
}

/// Where it is, in a sentence.
pub(super) fn standing(hold: &Hold) -> String {
    let by = hold.history.iter().rev().find(|event| event.what != "told");
    let by = by.and_then(|event| event.by.as_deref());
    let by = by.map_or(String::new(), |by| format!(" by {}", visible::plain(by)));
    match hold.state {
        State::Pending => match hold.missing(&hold.terms) {
            1 => "Pending: one signature is missing".to_owned(),
            n => format!("Pending: {n} signatures are missing"),
        },
        State::Approved => format!("Approved{by}; it will be sent"),
        State::Executing => "Approved; it is being sent".to_owned(),
        State::Done => "Done: approved, and the tool did it".to_owned(),
        State::Failed => "Failed: approved and sent, and the tool failed".to_owned(),
        State::Unknown => "Unknown: it was sent, and nobody knows what came of it".to_owned(),
        State::Denied => format!("Denied{by}"),
        State::Expired => "Expired: nobody signed it in time".to_owned(),
        State::Cancelled => "Cancelled: the caller took it back".to_owned(),
        State::Void => "Void: what it was bound to is no longer so".to_owned(),
    }
}

//! What exactly would change?
//!
//! Two texts line by line; two values by their indented text in canonical order, so that what
//! differs is what was changed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::words::class_of;
use crate::call::Tier;
use crate::gate::desk::StepFault;
use crate::hold::Hold;
use crate::json::{Map, Value};
use crate::review::act::Office;
use crate::review::auth::Person;
use crate::review::visible::Block;

/// Bytes of either side; larger ones are not compared.
const LARGEST: usize = 512 * 1024;
/// How long comparing may take; after that it is coarser.
const PATIENCE: Duration = Duration::from_millis(300);
/// Lines of unchanged text around a change.
const AROUND: usize = 3;
/// How long the read may take.
const READ_TIME: Duration = Duration::from_secs(10);

/// Before and after, as one block.
pub(super) fn of(before: &Value, after: &Value) -> Markup {
    let (before, after) = (text(before), text(after));
    if before == after {
        return html! { p data-diff { "Nothing would change." } };
    }
    if before.len().max(after.len()) > LARGEST {
        return html! { p data-diff { "Too large to compare; the new one stands above in full." } };
    }
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&before, &after);
    html! {
        div.diff data-diff tabindex="0" role="region" aria-label="Differences" {
            @for group in diff.grouped_ops(AROUND) {
                div.hunk {
                    @for op in &group {
                        @for change in diff.iter_changes(op) { (line(change.tag(), change.value())) }
                    }
                }
            }
        }
    }
}

fn line(tag: ChangeTag, text: &str) -> Markup {
    let text = text.strip_suffix('\n').unwrap_or(text);
    html! {
        @match tag {
            ChangeTag::Delete => del { "- " (Block(text)) },
            ChangeTag::Insert => ins { "+ " (Block(text)) },
            ChangeTag::Equal => span { "  " (Block(text)) },
        }
    }
}

/// A text as it is; another value as indented JSON, sorted.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(&sorted(other)).unwrap_or_default(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut pairs: Vec<_> = members.iter().collect();
            pairs.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            let members = pairs.into_iter().map(|(name, value)| (name.clone(), sorted(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Reads what is there now, through the gate, and compares.
pub(super) async fn before_and_after(
    person: Person,
    Shared(office): Shared<Arc<Office>>,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse() else { return super::hold::absent(&person, &StepFault::Unknown) };
    match office.gate.desk().hold(id).await {
        Ok(hold) => read(&office, &hold).await.into_response(),
        Err(fault) => super::hold::absent(&person, &fault),
    }
}

async fn read(office: &Office, hold: &Hold) -> Markup {
    let unknown =
        |why: &str| html! { p data-diff { "What is there now is not known: " (why) "." } };
    let ask = &hold.ask;
    let class = class_of(&office.gate, ask);
    let Some(preview) = &class.preview else { return unknown("the tool names no read for it") };
    let reader = office.gate.snapshot().classifier.classify(&ask.server, &preview.tool);
    if reader.tier != Tier::Low {
        return unknown("the read that the tool names is not of tier `low`");
    }
    let (Some(arguments), Some(proposed)) =
        (preview.asks(&ask.arguments), preview.proposed.of(&ask.arguments))
    else {
        return unknown("the call lacks what the read needs");
    };
    let asked = office.hand.read(&ask.server, &preview.tool, arguments);
    match tokio::time::timeout(READ_TIME, asked).await {
        Ok(Ok(result)) => match preview.current.of(&result) {
            Some(current) => of(current, proposed),
            None => unknown("it does not stand where the tool file says"),
        },
        Ok(Err(refusal)) => unknown(&refusal.to_string()),
        Err(_) => unknown("the read took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_what_was_changed() {
        for (before, after, gone, new) in [
            (json!("a\nb\nc"), json!("a\nB\nc"), &["- b"][..], &["+ B"][..]),
            (
                json!({"b": 1, "a": [1, 2]}),
                json!({"a": [1, 3], "b": 1}),
                &["-     2"],
                &["+     3"],
            ),
            (json!(""), json!("<b>"), &[], &["+ &lt;b&gt;"]),
        ] {
            let markup = of(&before, &after).0;
            let found = |tag: &str| -> Vec<String> {
                let begins = format!("<{tag}>");
                markup
                    .split(&begins)
                    .skip(1)
                    .map(|part| part.split('<').next().unwrap().to_owned())
                    .collect()
            };
            assert_eq!(found("ins"), new, "{markup}");
            if !gone.is_empty() {
                assert_eq!(found("del"), gone, "{markup}");
            }
        }
        assert!(of(&json!({"a": 1, "b": 2}), &json!({"b": 2, "a": 1})).0.contains("Nothing"));
        assert!(of(&json!("x".repeat(LARGEST + 1)), &json!("")).0.contains("Too large"));
    }
}

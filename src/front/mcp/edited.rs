//! What did a reviewer change, as the agent is told?

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::answer::Members;
use super::ticket::HOLD;
use crate::hold::{Edit, Hold};
use crate::json::Value;

/// Changes that are told one by one.
const MOST: usize = 20;

/// Adds to a result what was changed before it was sent: for the model in words, for the client in
/// `_meta`.
pub(super) fn tell(
    members: &mut Members,
    hold: &Hold,
    edit: &Edit,
) -> Result<(), serde_json::Error> {
    let mut changes = Vec::new();
    differences(&edit.arguments, &hold.ask.arguments, String::new(), &mut changes);
    let words = if changes.len() > MOST {
        format!("{} of its arguments", changes.len())
    } else {
        changes.iter().map(|change| format!("`{change}`")).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "A reviewer changed this call before it ran: {words}. The result above is of the changed call."
    );
    let mut content: Vec<Box<RawValue>> = match members.get("content") {
        Some(content) => serde_json::from_str(content.get())?,
        None => Vec::new(),
    };
    content.push(to_raw_value(&json!({"type": "text", "text": text}))?);
    members.insert("content".to_owned(), to_raw_value(&content)?);
    let mut meta: Members = match members.get("_meta") {
        Some(meta) => serde_json::from_str(meta.get())?,
        None => Members::new(),
    };
    let told = json!({
        "id": hold.id,
        "edited": {"changed": changes, "arguments": hold.ask.arguments},
    });
    meta.insert(HOLD.to_owned(), to_raw_value(&told)?);
    members.insert("_meta".to_owned(), to_raw_value(&meta)?);
    Ok(())
}

/// Where two values differ, as JSON Pointers.
fn differences(before: &Value, after: &Value, at: String, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
            for key in keys {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                let (before, after) = (before.get(key), after.get(key));
                match (before, after) {
                    (Some(before), Some(after)) => differences(before, after, at, found),
                    _ => found.push(at),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (place, (before, after)) in before.iter().zip(after).enumerate() {
                differences(before, after, format!("{at}/{place}"), found);
            }
        }
        _ if before == after => {}
        _ => found.push(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_by_its_place() {
        for (before, after, expected) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (json!({"a": 1, "b": 2}), json!({"a": 2, "b": 2}), vec!["/a"]),
            (json!({"a": 1}), json!({"b": 1}), vec!["/a", "/b"]),
            (json!({"a": [1, {"b/c": 2}]}), json!({"a": [1, {"b/c": 3}]}), vec!["/a/1/b~1c"]),
            (json!({"a": [1]}), json!({"a": [1, 2]}), vec!["/a"]),
        ] {
            let mut found = Vec::new();
            differences(&before, &after, String::new(), &mut found);
            assert_eq!(found, expected, "{before} {after}");
        }
    }
}

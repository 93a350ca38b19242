//! How does a hold read on a terminal?
//!
//! Whatever comes from the gate may be an agent's own text: each of it passes [`visible::plain`],
//! so that no control character reaches the terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::review::visible;
use crate::time::At;

/// As JSON, for programs.
pub(super) fn json(value: &Value) -> String {
    format!("{}\n", escaped(value))
}

/// JSON in which every character that does not show is escaped: the same value, and safe to see.
pub(super) fn escaped(value: &Value) -> String {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut text = String::with_capacity(pretty.len());
    for character in pretty.chars() {
        if character == '\n' || !visible::is_hidden(character) {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// A text in it, made safe to see; nothing where there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => visible::plain(text),
        Some(other) => visible::plain(&other.to_string()),
    }
}

/// A list of holds, one to a line.
pub(super) fn table(listed: &Value) -> String {
    let none = Vec::new();
    let holds = listed.pointer("/holds").and_then(Value::as_array).unwrap_or(&none);
    let now = At::now();
    let head = ["ID", "STATE", "TIER", "AGENT", "TOOL", "MISSING", "WAITING", "EXPIRES"];
    let mut rows = vec![head.map(str::to_owned)];
    for hold in holds {
        rows.push([
            text(hold, "/id"),
            text(hold, "/state"),
            text(hold, "/tier"),
            text(hold, "/agent"),
            tool(hold),
            text(hold, "/missing"),
            time(hold, "/created_at").map_or(String::new(), |at| short(now.since(at).as_secs())),
            time(hold, "/expires_at").map_or(String::new(), |at| left(at, now)),
        ]);
    }
    let mut table = columns(&rows);
    let total = listed.pointer("/total").and_then(Value::as_u64).unwrap_or_default();
    if total > holds.len() as u64 {
        let _ = writeln!(table, "{} of {total}; `--limit` shows more", holds.len());
    }
    table
}

fn columns(rows: &[[String; 8]]) -> String {
    let mut widths = [0; 8];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// All of one hold.
pub(super) fn hold(hold: &Value) -> String {
    let mut text = String::new();
    head(hold, &mut text);
    list("why it is held", hold, "/reasons", reason, &mut text);
    list("warnings", hold, "/warnings", reason, &mut text);
    list("it takes", hold, "/charges", charge, &mut text);
    arguments("arguments", hold.pointer("/arguments"), &mut text);
    if hold.pointer("/edited").is_some_and(|edited| !edited.is_null()) {
        let by = format!(
            "the agent's own arguments, before {} edited them",
            self::text(hold, "/edited/by")
        );
        arguments(&by, hold.pointer("/edited/arguments"), &mut text);
    }
    claimed(hold, &mut text);
    list("signatures", hold, "/signatures", signature, &mut text);
    list("what happened", hold, "/history", happened, &mut text);
    text
}

fn head(hold: &Value, to: &mut String) {
    let harm = match hold.pointer("/reversible").and_then(Value::as_bool) {
        Some(true) => "can be undone",
        _ => "cannot be undone",
    };
    let groups = names(hold, "/agent_groups");
    let agent = text(hold, "/agent");
    let rows = [
        ("hold", text(hold, "/id")),
        ("state", text(hold, "/state")),
        ("agent", if groups.is_empty() { agent } else { format!("{agent} ({groups})") }),
        ("wants", tool(hold)),
        ("tier", format!("{}, {harm}", text(hold, "/tier"))),
        (
            "signatures",
            format!("{} of {} missing", text(hold, "/missing"), text(hold, "/approvals")),
        ),
        ("may sign", names(hold, "/terms/reviewers")),
        ("also", names(hold, "/terms/escalated")),
        ("not before", text(hold, "/terms/not_before")),
        ("not after", text(hold, "/terms/not_after")),
        ("waits since", text(hold, "/created_at")),
        ("expires", text(hold, "/expires_at")),
        ("ended", text(hold, "/ending/message")),
        ("environment", text(hold, "/environment")),
        ("hash", text(hold, "/hash")),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(to, "{name:12} {value}");
    }
}

fn claimed(hold: &Value, to: &mut String) {
    let Some(Value::Object(claims)) = hold.pointer("/claimed") else { return };
    if claims.is_empty() {
        return;
    }
    to.push_str("\nwhat the agent says of it (its own claim)\n");
    for (name, claim) in claims {
        match claim {
            Value::Array(many) => {
                for one in many {
                    let _ = writeln!(to, "  {}: {}", visible::plain(name), text(one, ""));
                }
            }
            one => {
                let _ = writeln!(to, "  {}: {}", visible::plain(name), text(one, ""));
            }
        }
    }
}

fn arguments(title: &str, value: Option<&Value>, to: &mut String) {
    let _ = writeln!(to, "\n{title}");
    let pretty = serde_json::to_string_pretty(value.unwrap_or(&Value::Null)).unwrap_or_default();
    for line in pretty.lines() {
        let _ = writeln!(to, "  {}", visible::plain(line));
    }
}

fn list(title: &str, hold: &Value, at: &str, line: fn(&Value) -> String, to: &mut String) {
    let Some(Value::Array(items)) = hold.pointer(at) else { return };
    if !items.is_empty() {
        let _ = writeln!(to, "\n{title}");
    }
    for item in items {
        let _ = writeln!(to, "  {}", line(item));
    }
}

fn reason(reason: &Value) -> String {
    format!("{} ({}, {})", text(reason, "/message"), text(reason, "/code"), text(reason, "/policy"))
}

fn charge(charge: &Value) -> String {
    format!("{} of budget {}", text(charge, "/amount"), text(charge, "/budget"))
}

fn signature(signature: &Value) -> String {
    let line = format!("{} at {}", text(signature, "/reviewer"), text(signature, "/at"));
    with_note(line, &text(signature, "/justification"))
}

fn happened(event: &Value) -> String {
    let by = text(event, "/by");
    let by = if by.is_empty() { by } else { format!(" by {by}") };
    let line =
        format!("{}  {}{by}, {}", text(event, "/at"), text(event, "/what"), text(event, "/state"));
    with_note(line, &text(event, "/note"))
}

fn with_note(line: String, note: &str) -> String {
    if note.is_empty() { line } else { format!("{line}: {note}") }
}

/// What an edit changes.
pub(super) fn change(hold: &Value, after: &Value) -> String {
    let mut text = String::new();
    head(hold, &mut text);
    arguments("arguments as asked for", hold.pointer("/arguments"), &mut text);
    arguments("arguments as they would be sent", Some(after), &mut text);
    text
}

/// What became of a hold by what was just said to it.
pub(super) fn outcome(hold: &Value) -> String {
    let missing = hold.pointer("/missing").and_then(Value::as_u64).unwrap_or_default();
    let more = match (text(hold, "/state").as_str(), missing) {
        ("pending", 1) => "; 1 more signature is needed".to_owned(),
        ("pending", missing) => format!("; {missing} more signatures are needed"),
        _ => String::new(),
    };
    format!("{} is {}{more}\n", text(hold, "/id"), text(hold, "/state"))
}

/// One change, on a line.
pub(super) fn event(change: &Value) -> String {
    let [id, what, state] = ["/id", "/what", "/state"].map(|at| text(change, at));
    format!("{}  {id}  {what}, {state}\n", At::now())
}

fn tool(hold: &Value) -> String {
    format!("{}/{}", text(hold, "/server"), text(hold, "/tool"))
}

fn names(hold: &Value, at: &str) -> String {
    let Some(Value::Array(names)) = hold.pointer(at) else { return String::new() };
    names.iter().map(|name| text(name, "")).collect::<Vec<_>>().join(", ")
}

fn time(hold: &Value, at: &str) -> Option<At> {
    serde_json::from_value(hold.pointer(at)?.clone()).ok()
}

fn left(until: At, now: At) -> String {
    if until <= now {
        "over".to_owned()
    } else {
        format!("in {}", short(until.since(now).as_secs()))
    }
}

/// The two largest units say enough.
fn short(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        ..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h{:02}m", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{}d{:02}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

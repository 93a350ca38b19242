//! What may be asked at all?
//!
//! One table names every method of MCP, in each direction, with what becomes of it. What is not
//! in the table is refused: a method the gate does not know is a way to a tool that it does not
//! know either.

/// What becomes of a message with a given method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Goes through as it is.
    Pass,
    /// Is a call: the gate decides it.
    Decide,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// The member of `params` that `Mcp-Name` mirrors (2026-07-28, SEP-2243 and SEP-2663).
    pub named_by: Option<&'static str>,
    /// Which revisions have it.
    pub spoken: Spoken,
}

/// Which revisions have a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// All, or it is the server's to say.
    Ever,
    /// Only up to 2025-11-25.
    WithSessions,
    /// Where the client says that it knows the tasks extension; before 2026-07-28 the server
    /// minds that.
    WithTasks,
}

const fn pass(name: &'static str) -> Method {
    Method { name, fate: Fate::Pass, named_by: None, spoken: Spoken::Ever }
}

const fn decide(name: &'static str) -> Method {
    Method { name, fate: Fate::Decide, named_by: None, spoken: Spoken::Ever }
}

const fn decide_named(name: &'static str, by: &'static str) -> Method {
    Method { name, fate: Fate::Decide, named_by: Some(by), spoken: Spoken::Ever }
}

const fn task(name: &'static str) -> Method {
    Method { spoken: Spoken::WithTasks, ..decide_named(name, "taskId") }
}

const fn old_task(name: &'static str) -> Method {
    Method { spoken: Spoken::WithSessions, ..decide(name) }
}

/// Requests that a client may send.
const REQUESTS: &[Method] = &[
    decide_named("tools/call", "name"),
    pass("tools/list"),
    pass("initialize"),
    pass("ping"),
    pass("server/discover"),
    pass("resources/list"),
    pass("resources/templates/list"),
    pass("prompts/list"),
    pass("logging/setLevel"),
    decide_named("resources/read", "uri"),
    decide_named("prompts/get", "name"),
    decide("completion/complete"),
    decide("resources/subscribe"),
    decide("resources/unsubscribe"),
    decide("subscriptions/listen"),
    task("tasks/get"),
    task("tasks/update"),
    task("tasks/cancel"),
    old_task("tasks/result"),
    old_task("tasks/list"),
];

/// Notifications that a client may send.
const NOTIFICATIONS: &[Method] = &[
    pass("notifications/initialized"),
    pass("notifications/cancelled"),
    pass("notifications/progress"),
    pass("notifications/roots/list_changed"),
    pass("notifications/tasks/status"),
    pass("notifications/message"),
];

/// Requests that a server may send to a client (up to 2025-11-25), or ask for within an
/// input-required result (2026-07-28).
const FROM_SERVER: &[Method] = &[
    pass("ping"),
    decide("sampling/createMessage"),
    decide("elicitation/create"),
    decide("roots/list"),
    decide("tasks/get"),
    decide("tasks/result"),
    decide("tasks/list"),
    decide("tasks/cancel"),
];

fn find(table: &'static [Method], name: &str) -> Option<&'static Method> {
    table.iter().find(|method| method.name == name)
}

/// The row of a client's request; none is a refusal.
pub fn request(name: &str) -> Option<&'static Method> {
    find(REQUESTS, name)
}

/// The row of a client's notification; none is a refusal.
pub fn notification(name: &str) -> Option<&'static Method> {
    find(NOTIFICATIONS, name)
}

/// The row of a server's request to the client; none is a refusal.
pub fn from_server(name: &str) -> Option<&'static Method> {
    find(FROM_SERVER, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b06_what_is_not_in_the_table_is_refused() {
        for (name, fate) in [
            ("tools/call", Some(Fate::Decide)),
            ("resources/read", Some(Fate::Decide)),
            ("tools/list", Some(Fate::Pass)),
            ("server/discover", Some(Fate::Pass)),
            ("tools/Call", None),
            ("tools/call ", None),
            ("rpc.discover", None),
            ("sampling/createMessage", None), // a client never asks that
            ("", None),
        ] {
            assert_eq!(request(name).map(|m| m.fate), fate, "{name:?}");
        }
    }

    #[test]
    fn no_request_is_taken_for_a_notification() {
        for method in REQUESTS {
            assert!(notification(method.name).is_none(), "{}", method.name);
        }
        for method in NOTIFICATIONS {
            assert!(request(method.name).is_none(), "{}", method.name);
        }
    }
}

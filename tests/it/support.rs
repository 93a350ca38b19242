//! What a black-box test stands on: a gate, a server behind it, a client before it, the trail.
//!
//! Everything blocks, so that a test reads from top to bottom: the gate is a process, the upstream
//! has threads of its own, the client is a socket.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod client;
mod disk;
mod gate;
mod review;
mod upstream;

pub(crate) use client::{Connection, Response, call, post, rpc};
pub(crate) use disk::{Injected, Mounted};
pub(crate) use gate::{Gate, Setup};
pub(crate) use review::{Reviewer, reviewer_token};
pub(crate) use upstream::{Events, Reply, Seen, Sender, Upstream, tool};

#[test]
fn an_allowed_call_goes_up_once_and_is_on_record() {
    let upstream = Upstream::of_tools(&[tool("echo", r#"{"text":{"type":"string"}}"#)]);
    let gate = Gate::start(&Setup::to(&upstream));
    let response = gate.post(&call(1, "echo", r#"{"text":"hello"}"#));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json()["result"]["content"][0]["text"], "echo");
    let seen = upstream.only_call();
    assert_eq!(seen.json()["params"]["arguments"]["text"], "hello");
    let decision = gate.only_decision();
    assert_eq!((&decision["effect"], &decision["code"]), (&"allow".into(), &"allowed".into()));
    let refused = gate.post(&call(2, "missing", "{}"));
    assert_eq!(refused.code(), "unknown_tool");
    assert_eq!(gate.decisions(2)[1]["code"], "unknown_tool");
    assert_eq!(upstream.calls().len(), 1);
    assert_eq!(gate.stop(), 0);
}

#[test]
fn events_pass_as_they_come() {
    let upstream = Upstream::of_tools(&[tool("slow", "{}")]);
    let events = upstream.stream_on("tools/call");
    let gate = Gate::start(&Setup::to(&upstream));
    let mut connection = gate.connect();
    connection.send(&post("/mcp/crm", &[], call(7, "slow", "{}")));
    let sender = events.next();
    assert_eq!(connection.head().status, 200);
    sender.data(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
    assert!(connection.event().unwrap().contains("notifications/message"));
    sender.data(r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
    assert!(connection.event().unwrap().contains("\"content\":[]"));
    drop(sender);
    assert_eq!(connection.event(), None);
}

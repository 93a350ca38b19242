//! The disk is full, or somebody else has the store: what waits goes on waiting.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{arguments, held, refund, refunds, ticket, until};
use crate::support::{Gate, Mounted, Reply, Setup, Upstream, call, tool};

/// Takes all the room that there is.
fn fill(directory: &Path) -> PathBuf {
    let ballast = directory.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
    ballast
}

/// A gate that sends only what its agent comes back for.
fn patient(upstream: &Upstream) -> Setup {
    let setup = Setup::to(upstream).holds("").reviewers(&["ann", "ben"]);
    setup.config("hold: {wait: 1ms, on_approval: await_retry}")
}

fn ask(gate: &Gate, order: &str) -> crate::support::Response {
    gate.post(&call(1, "refund", &arguments(order)))
}

/// Asks for one call after the other until one is not held; gives how many were.
fn ask_until_refused(gate: &Gate) -> usize {
    for order in 0..2000 {
        let answer = ask(gate, &format!("more-{order}"));
        if answer.message()["result"]["_meta"]["io.countersign/hold"].is_null() {
            assert_eq!(answer.code(), "store_failed", "{}", answer.text());
            return order;
        }
    }
    panic!("never refused");
}

#[test]
fn i05_on_a_full_disk_nothing_new_is_held_and_nothing_held_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let Some(_mounted) = Mounted::at(&state, 4096) else { return };
    let upstream = Upstream::of_tools(&[refund(), tool("echo", "{}")]);
    let gate = Gate::start_in(&patient(&upstream), directory);
    ask(&gate, "signed");
    gate.reviewer("ann").approves();
    ask(&gate, "waits");
    let waits = gate.reviewer("ann").only("pending");
    let ballast = fill(&state);
    let kept = ask_until_refused(&gate);
    // Neither signed, nor sent, nor lost.
    let signed = gate.reviewer("ann").act(&waits, "approve", json!({}));
    assert_eq!((signed.status, &signed.json()["error"]["code"]), (503, &json!("store_failed")));
    assert_eq!(ask(&gate, "signed").code(), "store_failed");
    assert!(refunds(&upstream).is_empty());
    gate.reviewer("ann").holds("approved", 1);
    let pending = gate.reviewer("ben").request("GET", "/holds?state=pending&limit=1", None).json();
    assert_eq!(pending["total"], json!(kept + 1));
    // What needs no signature depends on its record alone.
    let echo = gate.post(&call(1, "echo", "{}"));
    let sent =
        upstream.calls().iter().filter(|seen| seen.json()["params"]["name"] == "echo").count();
    match echo.message()["result"]["isError"].as_bool() {
        Some(true) => assert_eq!((&*echo.code(), sent), ("record_failed", 0)),
        _ => assert_eq!(sent, 1),
    }
    assert!(gate.log().contains("database or disk is full"), "{}", gate.log());
    fs::remove_file(ballast).unwrap();
    // Room is all it takes.
    ticket(&ask(&gate, "new").message());
    assert_eq!(gate.reviewer("ann").act(&waits, "approve", json!({})).status, 200);
    for order in ["signed", "waits"] {
        let answer = ask(&gate, order).message();
        assert_eq!(answer["result"]["content"][0]["text"], "refund", "{answer:#}");
    }
    let sent: Vec<_> = refunds(&upstream).iter().map(|sent| sent["order"].clone()).collect();
    let of_refunds: Vec<_> = sent.into_iter().filter(|order| !order.is_null()).collect();
    assert_eq!(of_refunds, ["signed", "waits"]);
    let gate = Gate::start_in(&patient(&upstream), gate.kill());
    gate.reviewer("ann").holds("done", 2);
}

#[test]
fn i05_what_a_tool_answered_while_the_disk_is_full_is_kept_once_it_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let Some(_mounted) = Mounted::at(&state, 4096) else { return };
    let upstream = Upstream::of_tools(&[refund()]);
    let filled = state.clone();
    upstream.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            fill(&filled);
            let text = "x".repeat(1 << 20);
            Reply::Result(json!({"content": [{"type": "text", "text": text}]}))
        })
    });
    let gate = Gate::start_in(&patient(&upstream), directory);
    ask(&gate, "7");
    gate.reviewer("ann").approves();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&gate, "7").message());
        until("it cannot be kept", || gate.log().contains("cannot be kept now; trying again"));
        // Nobody sends it a second time meanwhile.
        assert_eq!(ticket(&ask(&gate, "7").message())["state"], "executing");
        fs::remove_file(state.join("ballast")).unwrap();
        let answer = waiting.join().unwrap();
        assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), 1 << 20);
    });
    gate.reviewer("ann").holds("done", 1);
    assert_eq!(refunds(&upstream).len(), 1);
}

#[test]
fn j07_while_somebody_else_has_the_store_nothing_is_held() {
    let upstream = Upstream::of_tools(&[refund(), tool("echo", "{}")]);
    let gate = Gate::start(&patient(&upstream));
    ask(&gate, "waits");
    let other = rusqlite::Connection::open(gate.path("state/store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = ask(&gate, "new");
    assert_eq!(refused.code(), "store_failed", "{}", refused.text());
    assert_eq!(gate.post(&call(1, "echo", "{}")).message()["result"]["content"][0]["text"], "echo");
    let waits = gate.reviewer("ann").only("pending");
    let locked = gate.reviewer("ann").act(&waits, "approve", json!({}));
    assert_eq!((locked.status, &locked.json()["error"]["code"]), (503, &json!("store_failed")));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    ticket(&ask(&gate, "new").message());
    assert_eq!(gate.reviewer("ann").act(&waits, "approve", json!({})).status, 200);
    assert_eq!(ask(&gate, "waits").message()["result"]["content"][0]["text"], "refund");
    let sent: Vec<_> = refunds(&upstream).iter().map(|sent| sent["order"].clone()).collect();
    assert_eq!(sent, [Value::Null, json!("waits")], "the echo, and what was signed");
}

#[test]
fn a_second_gate_on_the_same_state_is_refused() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = held(&upstream, "");
    let gate = Gate::start(&setup);
    ask(&gate, "7");
    let second = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(gate.path("state"), second.path().join("state")).unwrap();
    let log = Gate::refused_to_start(&setup, second.path());
    assert!(log.contains("another process") && log.contains("state"), "{log}");
    // The first goes on, with what it has.
    let hold: Value = gate.reviewer("ann").approves();
    assert_eq!(hold["state"], "approved");
    until("it is sent", || refunds(&upstream).len() == 1);
}

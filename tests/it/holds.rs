//! Does a held call wait for people, and then do exactly what they signed?

mod binding;
mod disk;
mod ending;
mod kill;
mod mutation;
mod races;
mod shapes;

use serde_json::{Value, json};

use crate::support::{Gate, Setup, Upstream, call, tool};

/// A tool that each of these tests holds.
fn refund() -> Value {
    tool(
        "refund",
        r#"{"order":{"type":"string"},"amount":{"type":"string"},"note":{"type":"string"}}"#,
    )
}

/// A gate that holds refunds, with two reviewers, whose clients do not wait for long.
fn held(upstream: &Upstream, terms: &str) -> Setup {
    Setup::to(upstream).holds(terms).reviewers(&["ann", "ben"]).config("hold: {wait: 200ms}")
}

fn arguments(order: &str) -> String {
    json!({"order": order, "amount": "20.00"}).to_string()
}

/// The calls of `refund` that the server saw, also those that the gate made by itself.
fn refunds(upstream: &Upstream) -> Vec<Value> {
    let all = upstream.all().into_iter().filter(|seen| seen.method() == "tools/call");
    all.map(|seen| seen.json()["params"]["arguments"].clone()).collect()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("never: {what}");
}

/// The hold that an answer tells of.
fn ticket(message: &Value) -> &Value {
    let ticket = &message["result"]["_meta"]["io.countersign/hold"];
    assert!(ticket["id"].is_string(), "{message:#}");
    ticket
}

#[test]
fn a_held_call_gets_a_ticket_and_its_result_after_it_was_signed() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&held(&upstream, ""));
    let first = gate.post(&call(1, "refund", &arguments("7"))).message();
    assert_eq!(first["result"]["isError"], true, "{first:#}");
    assert_eq!(ticket(&first)["state"], "pending");
    let text = first["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("refunds need a signature"), "{text}");
    assert!(text.contains("the same call again"), "{text}");
    assert!(refunds(&upstream).is_empty());
    let ann = gate.reviewer("ann");
    ann.approves();
    // Nobody waits, so the gate sends it.
    until("it is sent", || refunds(&upstream).len() == 1);
    ann.holds("done", 1);
    let second = gate.post(&call(2, "refund", &arguments("7"))).message();
    assert_eq!(second["id"], 2);
    assert_eq!(second["result"]["content"][0]["text"], "refund", "{second:#}");
    assert_eq!(refunds(&upstream).len(), 1);
    let decisions = gate.decisions(3);
    let told: Vec<_> = decisions
        .iter()
        .map(|d| (d["effect"].as_str().unwrap(), d["code"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("hold", "needs_signature"), ("allow", "approved"), ("hold", "collected")]);
    assert!(decisions.iter().all(|decision| decision["hold"] == ticket(&first)["id"]));
    let entries = gate.entries("hold", 5);
    let changes: Vec<_> = entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(changes, ["held", "signed", "claimed", "done", "told"]);
    assert_eq!(entries[2]["note"], "signed by ann");
}

//! Who is first, of those who come at once?

use std::time::Duration;

use serde_json::{Value, json};

use super::{arguments, refund, refunds};
use crate::support::{Gate, Response, Setup, Upstream, call, rpc};

/// How often: more than usual where the environment says so.
fn rounds(usual: usize) -> usize {
    std::env::var("COUNTERSIGN_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

#[test]
fn e03_of_64_racing_retries_one_executes() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]);
    let setup = setup.config("hold: {wait: 20s, on_approval: await_retry}");
    let gate = Gate::start(&setup);
    for round in 0..rounds(8) {
        let arguments = arguments(&format!("order-{round}"));
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..64)
                .map(|id| {
                    let (gate, arguments) = (&gate, &arguments);
                    scope.spawn(move || gate.post(&call(id, "refund", arguments)).message())
                })
                .collect();
            gate.reviewer("ann").approves();
            for one in all {
                let answer = one.join().unwrap();
                assert_eq!(answer["result"]["content"][0]["text"], "refund", "{answer:#}");
            }
        });
        assert_eq!(refunds(&upstream).len(), 1, "round {round}");
        upstream.forget();
    }
}

/// Holds a call as a task of 2025-11-25, and gives its id.
fn task(gate: &Gate, order: &str) -> String {
    let arguments: Value = serde_json::from_str(&arguments(order)).unwrap();
    let params = json!({"name": "refund", "arguments": arguments, "task": {}});
    let created = about(gate, "tools/call", &params).json();
    created["result"]["task"]["taskId"].as_str().unwrap().to_owned()
}

fn about(gate: &Gate, method: &str, params: &Value) -> Response {
    gate.post_with(&[("mcp-protocol-version", "2025-11-25")], &rpc(1, method, &params.to_string()))
}

/// What all of them were answered.
struct Answers {
    approve: Response,
    deny: Response,
    cancel: Response,
}

fn race(gate: &Gate, hold: &Value) -> Answers {
    let task = json!({"taskId": hold["id"]});
    std::thread::scope(|scope| {
        let approve = scope.spawn(|| gate.reviewer("ann").act(hold, "approve", json!({})));
        let deny = scope.spawn(|| gate.reviewer("ben").act(hold, "deny", json!({"reason": "no"})));
        let cancel = scope.spawn(|| about(gate, "tasks/cancel", &task));
        let [approve, deny, cancel] = [approve, deny, cancel].map(|one| one.join().unwrap());
        Answers { approve, deny, cancel }
    })
}

#[test]
fn e05_of_approve_deny_cancel_and_expiry_one_ends_a_hold() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = Setup::to(&upstream).holds(r#""expires_in": "2s""#).reviewers(&["ann", "ben"]);
    let gate = Gate::start(&setup.config("hold: {wait: 1ms, on_approval: await_retry}"));
    let (mut ends, batches) =
        (std::collections::BTreeMap::<String, usize>::new(), rounds(150) / 30);
    for batch in 0..batches {
        let began = std::time::Instant::now();
        let ids: Vec<_> = (0..30).map(|order| task(&gate, &format!("{batch}-{order}"))).collect();
        let ann = gate.reviewer("ann");
        let holds: Vec<_> =
            ids.iter().map(|id| ann.request("GET", &format!("/holds/{id}"), None).json()).collect();
        // Some before their time is over, some after, most about then.
        std::thread::sleep(Duration::from_millis(1700).saturating_sub(began.elapsed()));
        for hold in &holds {
            let answers = race(&gate, hold);
            let id = hold["id"].as_str().unwrap();
            let mut now = ann.request("GET", &format!("/holds/{id}"), None).json();
            while matches!(now["state"].as_str(), Some("pending" | "approved")) {
                std::thread::sleep(Duration::from_millis(20));
                now = ann.request("GET", &format!("/holds/{id}"), None).json();
            }
            agree(&answers, &now);
            *ends.entry(now["state"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    eprintln!("{ends:?}");
    assert!(refunds(&upstream).is_empty());
    let mut ended = std::collections::HashMap::<String, usize>::new();
    for entry in gate.trail().iter().filter(|entry| entry["kind"] == "hold") {
        if ["denied", "expired", "cancelled"].contains(&entry["what"].as_str().unwrap()) {
            *ended.entry(entry["hold"].to_string()).or_default() += 1;
        }
    }
    assert_eq!(ended.len(), batches * 30);
    assert!(ended.values().all(|times| *times == 1), "{ended:#?}");
}

/// One of them won, and the others know who.
fn agree(answers: &Answers, hold: &Value) {
    let state = hold["state"].as_str().unwrap();
    let history = hold["history"].as_array().unwrap();
    let is_open =
        |event: &&Value| ["pending", "approved"].contains(&event["state"].as_str().unwrap());
    let ends: Vec<_> = history.iter().filter(|e| !is_open(e) && e["what"] != "told").collect();
    assert_eq!(ends.len(), 1, "{hold:#}");
    let Answers { approve, deny, cancel } = answers;
    assert_eq!(deny.status == 200, state == "denied", "{} {hold:#}", deny.text());
    let task = cancel.json()["result"]["status"].clone();
    assert_eq!(task == "cancelled", state == "cancelled", "{} {hold:#}", cancel.text());
    assert!(matches!((approve.status, deny.status), (200 | 409, 200 | 409)), "{hold:#}");
    let signed = history.iter().any(|event| event["what"] == "signed");
    assert_eq!(approve.status == 200, signed, "{} {hold:#}", approve.text());
    for (lost, own) in [(approve, "approved"), (deny, "denied")] {
        if lost.status == 409 {
            let told = lost.json()["error"]["message"].as_str().unwrap().to_owned();
            let won = match state {
                "denied" => "it is already denied by ben",
                other => &format!("it is already {other}"),
            };
            assert!(told == won || told.contains("its time was over"), "{own}: {told} {hold:#}");
        }
    }
}

//! A hold ends once, and whoever asks hears how.

use serde_json::json;

use super::{arguments, held, refund, refunds, ticket, until};
use crate::support::{Gate, Setup, Upstream, call};

#[test]
fn a_denial_reaches_the_agent_with_its_reason_and_stays() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&held(&upstream, ""));
    gate.post(&call(1, "refund", &arguments("7")));
    let hold = gate.reviewer("ann").only("pending");
    let denied = gate.reviewer("ann").act(&hold, "deny", json!({"reason": "wrong customer"}));
    assert_eq!(denied.status, 200, "{}", denied.text());
    for id in 2..4 {
        let answer = gate.post(&call(id, "refund", &arguments("7")));
        assert_eq!(answer.code(), "reviewer_denied");
        let text = answer.message()["result"]["content"][0]["text"].to_string();
        assert!(text.contains("wrong customer"), "{text}");
    }
    let late = gate.reviewer("ben").act(&hold, "approve", json!({}));
    assert_eq!(late.status, 409);
    assert_eq!(late.json()["error"]["message"], "it is already denied by ann");
    assert!(refunds(&upstream).is_empty());
}

#[test]
fn a_reviewer_can_answer_in_the_tools_place() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&held(&upstream, ""));
    gate.post(&call(1, "refund", &arguments("7")));
    let hold = gate.reviewer("ann").only("pending");
    gate.reviewer("ann").act(&hold, "answer", json!({"message": "use invoice 42 instead"}));
    let answer = gate.post(&call(2, "refund", &arguments("7")));
    assert_eq!(answer.code(), "reviewer_answered");
    assert!(answer.text().contains("use invoice 42 instead"));
    assert!(refunds(&upstream).is_empty());
}

#[test]
fn an_edited_call_is_sent_as_edited_and_the_agent_is_told() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&held(&upstream, ""));
    gate.post(&call(1, "refund", &arguments("7")));
    let hold = gate.reviewer("ann").only("pending");
    let wrong = gate.reviewer("ann").act(&hold, "edit", json!({"arguments": {"order": 7}}));
    assert_eq!(wrong.json()["error"]["code"], "edit_refused", "{}", wrong.text());
    assert_eq!(gate.reviewer("ann").only("pending")["hash"], hold["hash"]);
    let edited = json!({"arguments": {"order": "7", "amount": "12.00"}});
    let done = gate.reviewer("ann").act(&hold, "edit", edited);
    assert_eq!(done.status, 200, "{}", done.text());
    assert_ne!(done.json()["hash"], hold["hash"]);
    until("it is sent", || refunds(&upstream).len() == 1);
    assert_eq!(refunds(&upstream)[0]["amount"], "12.00");
    gate.reviewer("ann").holds("done", 1);
    let answer = gate.post(&call(2, "refund", &arguments("7"))).message();
    assert_eq!(answer["result"]["content"][0]["text"], "refund", "{answer:#}");
    let told = answer["result"]["content"][1]["text"].as_str().unwrap();
    assert!(told.contains("`/amount`"), "{told}");
    assert_eq!(ticket(&answer)["edited"]["arguments"]["amount"], "12.00");
}

#[test]
fn e05_nobody_approves_what_has_expired() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&held(&upstream, r#""expires_in": "1s""#));
    gate.post(&call(1, "refund", &arguments("7")));
    let hold = gate.reviewer("ann").only("pending");
    gate.reviewer("ann").holds("expired", 1);
    let late = gate.reviewer("ann").act(&hold, "approve", json!({}));
    assert_eq!(late.status, 409, "{}", late.text());
    let told = gate.post(&call(2, "refund", &arguments("7")));
    assert_eq!(told.code(), "hold_expired");
    // Told once; then it is asked anew.
    let anew = gate.post(&call(3, "refund", &arguments("7"))).message();
    assert_ne!(ticket(&anew)["id"], hold["id"]);
}

#[test]
fn a_hold_survives_kill_9_and_is_executed_after_the_restart() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = held(&upstream, "");
    let gate = Gate::start(&setup);
    gate.post(&call(1, "refund", &arguments("7")));
    gate.post(&call(2, "refund", &arguments("8")));
    let pending = gate.reviewer("ann").holds("pending", 2);
    let gate = Gate::start_in(&setup, gate.kill());
    let again = gate.reviewer("ann").holds("pending", 2);
    assert_eq!(pending, again);
    gate.reviewer("ann").act(&again[0], "approve", json!({}));
    until("it is sent", || refunds(&upstream).len() == 1);
    gate.reviewer("ann").holds("done", 1);
    let gate = Gate::start_in(&setup, gate.kill());
    gate.reviewer("ann").holds("done", 1);
    assert_eq!(refunds(&upstream).len(), 1);
}

#[test]
fn what_was_being_sent_when_the_gate_died_is_unknown_and_not_sent_again() {
    let upstream = Upstream::of_tools(&[refund()]);
    upstream
        .script(|seen| (seen.method() == "tools/call").then_some(crate::support::Reply::Silence));
    let setup = held(&upstream, "");
    let gate = Gate::start(&setup);
    gate.post(&call(1, "refund", &arguments("7")));
    gate.reviewer("ann").approves();
    until("it is sent", || refunds(&upstream).len() == 1);
    let gate = Gate::start_in(&setup, gate.kill());
    gate.reviewer("ann").holds("unknown", 1);
    assert_eq!(gate.post(&call(2, "refund", &arguments("7"))).code(), "outcome_unknown");
    assert_eq!(refunds(&upstream).len(), 1);
}

#[test]
fn a_signed_call_to_a_server_that_is_away_is_sent_when_it_is_back() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = held(&upstream, "");
    let gate = Gate::start(&setup);
    gate.post(&call(1, "refund", &arguments("7")));
    let address = upstream.address;
    drop(upstream);
    gate.reviewer("ann").approves();
    until("it was tried", || gate.log().contains("server cannot be reached"));
    gate.reviewer("ann").only("approved");
    let upstream = Upstream::of_tools_at(address, &[refund()]);
    until("it is sent", || refunds(&upstream).len() == 1);
    gate.reviewer("ann").holds("done", 1);
}

#[test]
fn j03_a_client_that_waits_gets_its_ticket_when_the_gate_shuts_down() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]).config("hold: {wait: 20s}");
    let mut gate = Gate::start(&setup);
    let mut connection = gate.connect();
    connection.send(&crate::support::post("/mcp/crm", &[], call(5, "refund", &arguments("7"))));
    assert_eq!(connection.head().status, 200);
    gate.reviewer("ann").only("pending");
    gate.signal("TERM");
    let mut last = String::new();
    while let Some(event) = connection.event() {
        last = event;
    }
    assert!(last.contains("io.countersign/hold"), "{last}");
    assert_eq!(gate.wait(), 0);
}

#[test]
fn e11_one_agent_cannot_fill_the_desk() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]).agents(&["ada", "bob"]);
    let gate = Gate::start(&setup.config("hold: {wait: 100ms, open: 6, open_per_agent: 3}"));
    let as_agent = |agent: &str, order: u64| {
        let bearer = format!("Bearer {}", Setup::token(agent));
        let body = call(1, "refund", &arguments(&order.to_string()));
        gate.post_with(&[("authorization", &bearer)], &body)
    };
    for order in 0..3 {
        ticket(&as_agent("ada", order).message());
    }
    assert_eq!(as_agent("ada", 3).code(), "overloaded");
    ticket(&as_agent("bob", 0).message());
}

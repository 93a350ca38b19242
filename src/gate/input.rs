//! What does the policy see?
//!
//! `schemas/policy-input.schema.json`: facts, put together once for each call.

use serde_json::json;

use super::Snapshot;
use super::policy::Verdict;
use crate::call::{Agent, Call, Door};
use crate::hold::Signature;
use crate::json::{Map, Value};
use crate::tools::{Class, Definition, Pin};

/// What is known of the tool.
pub(super) struct About<'a> {
    pub(super) class: &'a Class,
    pub(super) definition: Option<&'a Definition>,
    pub(super) pin: Pin,
}

/// What policy sees. Made once for each call, and filled in as more is known.
pub(super) struct Input(Map<String, Value>);

impl Input {
    /// The part that does not depend on the call.
    pub(super) fn of_tool(snapshot: &Snapshot, agent: &Agent, about: &About<'_>) -> Self {
        Self(tool_input(snapshot, agent, about))
    }

    /// Whether the agent may ever call the tool: asked without the call.
    pub(super) async fn visible(
        &mut self,
        snapshot: &Snapshot,
        server: &str,
        definition: &Definition,
    ) -> bool {
        let call = json!({
            "door": Door::Mcp, "server": server, "method": "tools/call",
            "tool": &*definition.name,
        });
        self.0.insert("call".to_owned(), call);
        let input = Value::Object(std::mem::take(&mut self.0));
        let seen = snapshot.policies.visible(&input).await;
        if let Value::Object(input) = input {
            self.0 = input;
        }
        seen
    }

    /// Asks the policy. The arguments are lent to the input and come back, so they are not copied.
    /// What the policy knew of the session comes back too.
    pub(super) async fn ask(
        self,
        snapshot: &Snapshot,
        call: &mut Call,
        session: Value,
    ) -> (Verdict, Value) {
        let mut input = self.of_call(snapshot, call, session);
        let verdict = snapshot.policies.decide(&input).await;
        if let Some(lent) = input.pointer_mut("/call/arguments") {
            call.arguments = lent.take();
        }
        (verdict, input.get_mut("session").map(Value::take).unwrap_or_default())
    }

    /// Who has signed it.
    pub(super) fn signed(&mut self, signatures: &[Signature]) {
        if signatures.is_empty() {
            return;
        }
        let approvals = signatures.iter().map(|signature| {
            json!({
                "reviewer": signature.reviewer.id,
                "groups": signature.reviewer.groups,
                "at": signature.at,
                "justification": signature.justification,
            })
        });
        self.0.insert("approvals".to_owned(), approvals.collect());
    }

    /// All of it; the call's arguments move into it.
    pub(super) fn of_call(self, snapshot: &Snapshot, call: &mut Call, session: Value) -> Value {
        let Self(mut input) = self;
        let arguments = std::mem::take(&mut call.arguments);
        if snapshot.policies.reads(&["tool_calls"]) {
            let listed = json!([{"tool": &*call.tool, "params": arguments.clone()}]);
            input.insert("tool_calls".to_owned(), listed);
        }
        input.insert("call".to_owned(), call_facts(call, arguments));
        input.insert("claimed".to_owned(), claims(call));
        input.insert("session".to_owned(), session);
        Value::Object(input)
    }
}

fn call_facts(call: &Call, arguments: Value) -> Value {
    let mut facts = Map::new();
    facts.insert("id".to_owned(), call.id.to_string().into());
    facts.insert("hash".to_owned(), call.hash.to_string().into());
    facts.insert("door".to_owned(), serde_json::to_value(call.door).unwrap_or_default());
    facts.insert("server".to_owned(), (*call.server).into());
    facts.insert("method".to_owned(), call.method.into());
    facts.insert("tool".to_owned(), (*call.tool).into());
    facts.insert("arguments".to_owned(), arguments);
    let at = humantime::format_rfc3339_millis(call.received_at).to_string();
    facts.insert("received_at".to_owned(), at.into());
    Value::Object(facts)
}

fn claims(call: &Call) -> Value {
    serde_json::to_value(&call.claimed).unwrap_or_default()
}

/// The part of the input that does not depend on the call.
fn tool_input(snapshot: &Snapshot, agent: &Agent, about: &About<'_>) -> Map<String, Value> {
    let annotations = about.definition.map_or(Value::Null, |d| d.annotations.clone());
    let mut input = Map::new();
    input.insert("version".to_owned(), 1.into());
    input.insert(
        "tool".to_owned(),
        json!({
            "tier": about.class.tier.name(),
            "reversible": about.class.reversible,
            "labels": about.class.labels,
            "annotations": if annotations.is_object() { annotations } else { json!({}) },
            "pin": about.pin.name(),
        }),
    );
    input.insert("agent".to_owned(), serde_json::to_value(agent).unwrap_or_default());
    input.insert("budgets".to_owned(), json!({}));
    input.insert("approvals".to_owned(), json!([]));
    input.insert("environment".to_owned(), (*snapshot.environment).into());
    input
}

//! May this call go on?
//!
//! The checks in order: definition, pin, schema, policy. Each is a file of its own and knows
//! nothing of the others. Only here is a [`Permit`] made, and only after the intent is on record.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::forward::Permit;
use super::policy::Verdict;
use super::record::Record;
use super::sessions::{self, Sessions};
use super::{Arrival, Mode, Offered, Snapshot, Target, schema};
use crate::call::{Agent, Call, Door, Effect};
use crate::json::{Map, Value};
use crate::metrics::Step;
use crate::refusal::{Reason, Refusal};
use crate::tools::{Class, Definition, Pin};

/// Decides, and puts the decision on record whatever it is.
pub(super) async fn decide(
    snapshot: &Snapshot,
    past: &Sessions,
    arrival: Arrival,
    mut record: Record,
) -> Result<Permit, Refusal> {
    match judge(snapshot, past, arrival, &mut record).await {
        Ok((call, definition)) => {
            record.intend(snapshot).await?;
            Ok(Permit::new(call, definition, record))
        }
        Err(refusal) => {
            record.refuse(&refusal);
            Err(refusal)
        }
    }
}

async fn judge(
    snapshot: &Snapshot,
    past: &Sessions,
    mut arrival: Arrival,
    record: &mut Record,
) -> Result<(Call, Option<Arc<Definition>>), Refusal> {
    let class = snapshot.classifier.classify(&arrival.server, &arrival.tool);
    record.classify(class.tier);
    let offered = match std::mem::replace(&mut arrival.target, Target::Method) {
        Target::UnknownTool => return Err(Refusal::UnknownTool),
        Target::Method => None,
        Target::Tool(offered) => Some(offered),
    };
    if let Some(offered) = &offered {
        accepted(snapshot, &arrival, offered)?;
        let schemas = offered.definition.usable()?;
        let given = std::mem::take(&mut arrival.arguments);
        arrival.arguments = record.schema_time(|| schema::arguments(schemas, Some(given)))?;
    }
    let definition = offered.as_ref().map(|offered| &*offered.definition);
    let mut call = call_of(arrival, definition);
    record.parsed(&call, definition);
    let session = past.of(&call);
    let about =
        About { class: &class, definition, pin: pin(snapshot, &call.server, offered.as_ref()) };
    let facts = sessions::facts(&session, &call, snapshot.policies.reads(&["session", "recent"]));
    let began = Instant::now();
    let verdict = ask(snapshot, &mut call, &about, facts).await;
    let seen = match &offered {
        Some(offered) => visible(snapshot, &call.agent, &call.server, offered).await,
        None => true,
    };
    record.step(Step::Policy, began.elapsed());
    let outcome = rule(snapshot, &verdict, seen, record);
    let effect = match &outcome {
        Ok(()) => Effect::Allow,
        Err(Refusal::NeedsSignature { .. }) => Effect::Hold,
        Err(_) => Effect::Deny,
    };
    sessions::note(&session, &call, effect);
    outcome.map(|()| (call, offered.map(|offered| offered.definition)))
}

/// Whether the definition is the accepted one. Where the operator keeps a lock file, it is law;
/// elsewhere policy reads `input.tool.pin`.
fn accepted(snapshot: &Snapshot, arrival: &Arrival, offered: &Offered) -> Result<(), Refusal> {
    match &snapshot.pins {
        Some(_) if pin(snapshot, &arrival.server, Some(offered)) == Pin::Changed => {
            Err(Refusal::ChangedTool { tool: arrival.tool.to_string() })
        }
        _ => Ok(()),
    }
}

fn pin(snapshot: &Snapshot, server: &str, offered: Option<&Offered>) -> Pin {
    match (offered, &snapshot.pins) {
        (None, _) => Pin::Match,
        (Some(Offered { definition, .. }), Some(pins)) => {
            pins.check(server, &definition.name, &definition.digest)
        }
        (Some(Offered { changed: true, .. }), None) => Pin::Changed,
        (Some(_), None) => Pin::New,
    }
}

fn call_of(arrival: Arrival, definition: Option<&Definition>) -> Call {
    let hash = Call::hash_of(
        &arrival.agent.id,
        &arrival.server,
        &arrival.tool,
        definition.map(|definition| &definition.digest),
        &arrival.arguments,
    );
    Call {
        id: arrival.id,
        hash,
        door: arrival.door,
        agent: arrival.agent,
        server: arrival.server,
        method: arrival.method,
        tool: arrival.tool,
        arguments: arrival.arguments,
        claimed: arrival.claimed,
        session: arrival.session,
        received_at: arrival.received_at,
    }
}

/// What is known of the tool.
struct About<'a> {
    class: &'a Class,
    definition: Option<&'a Definition>,
    pin: Pin,
}

/// Asks the policy. The arguments are lent to the input and come back, so they are not copied.
async fn ask(snapshot: &Snapshot, call: &mut Call, about: &About<'_>, session: Value) -> Verdict {
    let arguments = std::mem::take(&mut call.arguments);
    let mut input = tool_input(snapshot, &call.agent, about);
    if snapshot.policies.reads(&["tool_calls"]) {
        let listed = json!([{"tool": &*call.tool, "params": arguments.clone()}]);
        input.insert("tool_calls".to_owned(), listed);
    }
    input.insert("call".to_owned(), call_facts(call, arguments));
    input.insert("claimed".to_owned(), claims(call));
    input.insert("session".to_owned(), session);
    let mut input = Value::Object(input);
    let verdict = snapshot.policies.decide(&input).await;
    if let Some(lent) = input.pointer_mut("/call/arguments") {
        call.arguments = lent.take();
    }
    verdict
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

/// Whether an agent may ever call a tool.
pub(super) async fn visible(
    snapshot: &Snapshot,
    agent: &Agent,
    server: &str,
    offered: &Offered,
) -> bool {
    let definition = &*offered.definition;
    let class = snapshot.classifier.classify(server, &definition.name);
    let pin = pin(snapshot, server, Some(offered));
    let about = About { class: &class, definition: Some(definition), pin };
    let mut input = tool_input(snapshot, agent, &about);
    let call = json!({
        "door": Door::Mcp, "server": server, "method": "tools/call", "tool": &*definition.name,
    });
    input.insert("call".to_owned(), call);
    snapshot.policies.visible(&Value::Object(input)).await
}

/// Turns a verdict into yes or no, by mode.
fn rule(
    snapshot: &Snapshot,
    verdict: &Verdict,
    seen: bool,
    record: &mut Record,
) -> Result<(), Refusal> {
    record.judged(verdict);
    if verdict.failed {
        return Err(Refusal::PolicyFailed);
    }
    let refusal = refusal_of(verdict, seen);
    match (refusal, snapshot.mode) {
        (None, _) => Ok(()),
        (Some(refusal), Mode::Enforce) => Err(refusal),
        (Some(refusal), Mode::Warn | Mode::Dryrun) => {
            record.excepted(&refusal, snapshot.mode);
            Ok(())
        }
    }
}

fn refusal_of(verdict: &Verdict, seen: bool) -> Option<Refusal> {
    if !seen {
        return Some(Refusal::UnknownTool);
    }
    let reasons = || {
        if verdict.reasons.is_empty() {
            // Rego has three answers. Undefined is not consent.
            vec![Reason {
                code: "default_deny".to_owned(),
                message: "no rule allows this call".to_owned(),
                policy: "permission".to_owned(),
            }]
        } else {
            verdict.reasons.clone()
        }
    };
    match verdict.effect {
        Effect::Allow => None,
        Effect::Hold => Some(Refusal::NeedsSignature { reasons: reasons() }),
        Effect::Deny => Some(Refusal::Denied { reasons: reasons() }),
    }
}

//! May this call go on?
//!
//! The checks in order: definition, pin, schema, policy. Each is a file of its own and knows
//! nothing of the others. Only here is a [`Permit`] made, and only after the intent is on record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::forward::Permit;
use super::policy::Verdict;
use super::record::Record;
use super::sessions::{self, Sessions};
use super::{Arrival, Offered, Snapshot, Target, schema};
use crate::call::{Agent, Call, Door, Effect, Tier};
use crate::config::Mode;
use crate::json::{Digest, Map, Value};
use crate::metrics::Step;
use crate::refusal::{Reason, Refusal};
use crate::tools::{Class, Definition, Pin};

/// What became of a call's checks: all that there is to say of it.
pub(super) struct Judged {
    /// How much harm it can do.
    pub(super) tier: Tier,
    /// The call's hash and its definition's digest, where it got so far.
    pub(super) bound: Option<(Digest, Option<Digest>)>,
    /// What policy said, where it was asked.
    pub(super) verdict: Option<Verdict>,
    /// What would have refused it, had the operator not chosen otherwise.
    pub(super) excepted: Option<Refusal>,
    /// What each step took.
    pub(super) steps: [(Step, Duration); 2],
    /// Whether it may go on.
    pub(super) outcome: Result<(Call, Option<Arc<Definition>>), Refusal>,
}

/// Decides, and puts the decision on record whatever it is.
pub(super) async fn decide(
    snapshot: &Snapshot,
    past: &Sessions,
    arrival: Arrival,
    mut record: Record,
) -> Result<Permit, Refusal> {
    let judged = judge(snapshot, past, arrival).await;
    record.judged(&judged);
    match judged.outcome {
        Ok((call, definition)) => {
            record.intend(snapshot.sync).await?;
            Ok(Permit::new(call, definition, record))
        }
        Err(refusal) => {
            record.refuse(&refusal);
            Err(refusal)
        }
    }
}

/// Runs the checks. Nothing is recorded, sent or charged.
pub(super) async fn judge(snapshot: &Snapshot, past: &Sessions, arrival: Arrival) -> Judged {
    let class = snapshot.classifier.classify(&arrival.server, &arrival.tool);
    let mut judged = Judged {
        tier: class.tier,
        bound: None,
        verdict: None,
        excepted: None,
        steps: [(Step::Schema, Duration::ZERO), (Step::Policy, Duration::ZERO)],
        outcome: Err(Refusal::Internal),
    };
    judged.outcome = check(snapshot, past, arrival, &class, &mut judged).await;
    judged
}

async fn check(
    snapshot: &Snapshot,
    past: &Sessions,
    mut arrival: Arrival,
    class: &Class,
    judged: &mut Judged,
) -> Result<(Call, Option<Arc<Definition>>), Refusal> {
    let offered = match std::mem::replace(&mut arrival.target, Target::Method) {
        Target::UnknownTool => return Err(Refusal::UnknownTool),
        Target::Method => None,
        Target::Tool(offered) => Some(offered),
    };
    let pin = pin(snapshot, &arrival.server, offered.as_ref());
    let definition = offered.as_ref().map(|offered| &*offered.definition);
    let about = About { class, definition, pin };
    let mut input = Input::of_tool(snapshot, &arrival.agent, &about);
    let seen = match definition {
        Some(definition) => input.visible(snapshot, &arrival.server, definition).await,
        None => true,
    };
    if let Some(offered) = &offered {
        // What is wrong with a call to a hidden tool would tell that there is one.
        let hidden = !seen && snapshot.mode == Mode::Enforce;
        let told = |refusal| if hidden { Refusal::UnknownTool } else { refusal };
        if !is_accepted(snapshot, &arrival.server, offered) {
            return Err(told(Refusal::ChangedTool { tool: arrival.tool.to_string() }));
        }
        let schemas = offered.definition.usable().map_err(told)?;
        let began = Instant::now();
        let given = std::mem::take(&mut arrival.arguments);
        let completed = schema::arguments(schemas, Some(given));
        judged.steps[0].1 = began.elapsed();
        arrival.arguments = completed.map_err(told)?;
    }
    let mut call = call_of(arrival, definition);
    judged.bound = Some((call.hash, definition.map(|definition| definition.digest)));
    let session = past.of(&call);
    let facts = sessions::facts(&session, &call, snapshot.policies.reads(&["session", "recent"]));
    let began = Instant::now();
    let verdict = only_what_we_do(input.ask(snapshot, &mut call, facts).await);
    judged.steps[1].1 = began.elapsed();
    // Policy may raise what the operator's tool file says.
    judged.tier = verdict.tier.map_or(class.tier, |tier| tier.max(class.tier));
    let ruled = rule(snapshot, judged.verdict.insert(verdict), seen);
    let effect = ruled.as_ref().err().map_or(Effect::Allow, Refusal::effect);
    sessions::note(&session, &call, effect);
    judged.excepted = ruled?;
    Ok((call, offered.map(|offered| offered.definition)))
}

/// Whether the definition is the accepted one. Where the operator keeps a lock file, it is law;
/// elsewhere policy reads `input.tool.pin`.
pub(super) fn is_accepted(snapshot: &Snapshot, server: &str, offered: &Offered) -> bool {
    snapshot.pins.is_none() || pin(snapshot, server, Some(offered)) != Pin::Changed
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

/// What policy sees. Made once for each call, and filled in as more is known.
struct Input(Map<String, Value>);

impl Input {
    /// The part that does not depend on the call.
    fn of_tool(snapshot: &Snapshot, agent: &Agent, about: &About<'_>) -> Self {
        Self(tool_input(snapshot, agent, about))
    }

    /// Whether the agent may ever call the tool: asked without the call.
    async fn visible(
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
    async fn ask(self, snapshot: &Snapshot, call: &mut Call, session: Value) -> Verdict {
        let mut input = self.of_call(snapshot, call, session);
        let verdict = snapshot.policies.decide(&input).await;
        if let Some(lent) = input.pointer_mut("/call/arguments") {
            call.arguments = lent.take();
        }
        verdict
    }

    /// All of it; the call's arguments move into it.
    fn of_call(self, snapshot: &Snapshot, call: &mut Call, session: Value) -> Value {
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
    Input::of_tool(snapshot, agent, &about).visible(snapshot, server, definition).await
}

/// What policy asks for and this release does not do is not quietly left undone.
fn only_what_we_do(mut verdict: Verdict) -> Verdict {
    let redacts = !verdict.redact.arguments.is_empty() || !verdict.redact.result.is_empty();
    if !verdict.failed && (redacts || !verdict.charges.is_empty()) {
        let what = if redacts { "`redact`" } else { "`charge` on a budget that is not configured" };
        verdict.failed = true;
        verdict.failure = Some(format!("policy asks for {what}, which this release does not do"));
    }
    verdict
}

/// Turns a verdict into yes or no, by mode; a yes may come with the refusal that it would have
/// been.
fn rule(snapshot: &Snapshot, verdict: &Verdict, seen: bool) -> Result<Option<Refusal>, Refusal> {
    if verdict.failed {
        return Err(Refusal::PolicyFailed);
    }
    match (refusal_of(verdict, seen), snapshot.mode) {
        (None, _) => Ok(None),
        (Some(refusal), Mode::Enforce) => Err(refusal),
        (Some(refusal), Mode::Warn | Mode::Dryrun) => Ok(Some(refusal)),
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::Sync;
    use crate::gate::policy::{Policies, Settings, Source};
    use crate::telemetry::CallSpan;
    use crate::tools::{Catalogue, Classifier, Limits};

    fn snapshot() -> Snapshot {
        // It reads all there is, so that nothing is left out of the input.
        let text =
            "package countersign.permission\n\nallow if count(input) > 0\n\nvisible := true\n";
        let sources = [Source::new("permission.rego", text)];
        Snapshot {
            policies: Policies::load(&sources, &Settings::default()).unwrap(),
            classifier: Classifier::load(&[]).unwrap(),
            pins: None,
            environment: Arc::from("test"),
            mode: Mode::Enforce,
            sync: Sync::default(),
            digest: Digest::of(b""),
        }
    }

    fn arrival() -> Arrival {
        let raw = json!({
            "name": "refund",
            "annotations": {"destructiveHint": true},
            "inputSchema": {"type": "object", "properties": {"amount": {"type": "string"}}},
        });
        let raw = serde_json::value::to_raw_value(&raw).unwrap();
        let catalogue = Catalogue::build(&[raw], &Limits::default());
        let definition = Arc::clone(catalogue.find("refund").unwrap());
        Arrival {
            id: uuid::Uuid::now_v7(),
            door: Door::Mcp,
            agent: Arc::new(Agent {
                id: Arc::from("ada"),
                groups: vec!["support".to_owned()],
                claims: Map::new(),
            }),
            server: Arc::from("crm"),
            method: "tools/call",
            tool: Arc::from("refund"),
            target: Target::Tool(Offered { definition, changed: false }),
            arguments: json!({"amount": "12.50"}),
            claimed: serde_json::from_value(json!({"user": "bob", "confidence": 0.9})).unwrap(),
            session: Some(Arc::from("s-1")),
            trace: None,
            span: CallSpan::default(),
            received_at: SystemTime::now(),
        }
    }

    #[tokio::test]
    async fn what_policy_sees_is_what_the_schema_says() {
        let schema = include_str!("../../schemas/policy-input.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let (snapshot, past) = (snapshot(), Sessions::new(8));
        // The second call has a past.
        for _ in 0..2 {
            let judged = judge(&snapshot, &past, arrival()).await;
            assert!(judged.outcome.is_ok());
        }
        let arrival = arrival();
        let Target::Tool(offered) = &arrival.target else { panic!("a tool") };
        let class = snapshot.classifier.classify("crm", "refund");
        let definition = Arc::clone(&offered.definition);
        let about = About { class: &class, definition: Some(&definition), pin: Pin::New };
        let input = Input::of_tool(&snapshot, &arrival.agent, &about);
        let mut call = call_of(arrival, Some(&definition));
        let facts = sessions::facts(&past.of(&call), &call, true);
        let input = input.of_call(&snapshot, &mut call, facts);
        let problems: Vec<_> = schema.iter_errors(&input).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{problems:#?}\n{input:#}");
        assert_eq!(input["session"]["recent"].as_array().map(Vec::len), Some(2));
        assert_eq!(input["tool_calls"][0]["params"], json!({"amount": "12.50"}));
    }
}

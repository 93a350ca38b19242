//! May this call go on?
//!
//! The checks in order: definition, pin, schema, policy. Each is a file of its own and knows
//! nothing of the others. Only here is a [`Permit`] made, and only after the intent is on record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::forward::Permit;
use super::held::{self, Way};
use super::input::{About, Input};
use super::policy::Verdict;
use super::record::Record;
use super::sessions::{self, Sessions};
use super::{Arrival, Gate, Offered, Snapshot, Target, schema};
use crate::call::{Agent, Call, Effect, Tier};
use crate::config::Mode;
use crate::hold::{Hold, Signature};
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
    /// The call again, where it waits for signatures.
    pub(super) held: Option<Box<HeldCall>>,
    /// What each step took.
    pub(super) steps: [(Step, Duration); 2],
    /// Whether it may go on.
    pub(super) outcome: Result<(Call, Option<Offered>), Refusal>,
}

/// A call that is not let go without signatures, and what is known of it.
pub(super) struct HeldCall {
    /// The call.
    pub(super) call: Call,
    /// Its tool.
    pub(super) offered: Option<Offered>,
    /// What the operator says of the tool.
    pub(super) class: Arc<Class>,
    /// `input.session`.
    pub(super) session: Value,
}

/// By what a call is judged.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    /// The rules.
    pub(super) snapshot: &'a Snapshot,
    /// What agents have been doing.
    pub(super) past: &'a Sessions,
    /// Who has signed it.
    pub(super) signatures: &'a [Signature],
    /// Whether it was judged before, so that it counts once in its session.
    pub(super) again: bool,
}

/// What was decided, and is on record.
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; a box would cost each call"
)]
pub(super) enum Decided {
    /// It may be sent.
    Go(Permit),
    /// It waits for people; this is the call again, for when they have said something.
    Wait(Box<Hold>, Box<Arrival>),
    /// It was sent before, and this is what came of it.
    Kept(Box<Hold>, Bytes),
}

/// Decides, and puts the decision on record whatever it is.
pub(super) async fn decide(
    gate: &Gate,
    snapshot: &Snapshot,
    arrival: Arrival,
    mut record: Record,
    beside: &(dyn Fn() -> Map<String, Value> + Sync),
) -> Result<Decided, Refusal> {
    let way = match held::way(gate, snapshot, arrival, &mut record, beside).await {
        Ok(way) => way,
        Err(refusal) => {
            record.refuse(&refusal);
            return Err(refusal);
        }
    };
    match way {
        Way::Go { call, definition, claim } => {
            if let Some(claim) = &claim {
                record.signed(claim.hold().id);
            }
            match record.intend(snapshot.sync).await {
                Ok(()) => Ok(Decided::Go(Permit::new(call, definition, record, claim))),
                Err(refusal) => {
                    if let Some(claim) = claim {
                        Box::pin(claim.failed(&refusal)).await;
                    }
                    Err(refusal)
                }
            }
        }
        Way::Wait(hold, again) => {
            record.refuse(&held::waits(&hold));
            Ok(Decided::Wait(hold, again))
        }
        Way::Kept(hold, answer) => {
            record.collected(hold.id);
            Ok(Decided::Kept(hold, answer))
        }
    }
}

/// Runs the checks. Nothing is recorded, sent or charged.
pub(super) async fn judge(bench: &Bench<'_>, arrival: Arrival) -> Judged {
    let class = bench.snapshot.classifier.classify(&arrival.server, &arrival.tool);
    let mut judged = Judged {
        tier: class.tier,
        bound: None,
        verdict: None,
        excepted: None,
        held: None,
        steps: [(Step::Schema, Duration::ZERO), (Step::Policy, Duration::ZERO)],
        outcome: Err(Refusal::Internal),
    };
    judged.outcome = check(bench, arrival, &class, &mut judged).await;
    judged
}

async fn check(
    bench: &Bench<'_>,
    mut arrival: Arrival,
    class: &Arc<Class>,
    judged: &mut Judged,
) -> Result<(Call, Option<Offered>), Refusal> {
    let Bench { snapshot, past, signatures, again } = *bench;
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
    input.signed(signatures);
    let (verdict, mut session_facts) = input.ask(snapshot, &mut call, facts).await;
    let verdict = only_what_we_do(verdict);
    judged.steps[1].1 = began.elapsed();
    // Policy may raise what the operator's tool file says.
    judged.tier = verdict.tier.map_or(class.tier, |tier| tier.max(class.tier));
    let ruled = rule(snapshot, judged.verdict.insert(verdict), seen);
    if matches!(&ruled, Err(refusal) if refusal.effect() == Effect::Hold) {
        // People see the last calls whether or not policy does.
        if let Some(facts) = session_facts.as_object_mut() {
            facts.insert("recent".to_owned(), sessions::recent(&session));
        }
    }
    if !again {
        let effect = ruled.as_ref().err().map_or(Effect::Allow, Refusal::effect);
        sessions::note(&session, &call, effect);
    }
    match ruled {
        Ok(excepted) => judged.excepted = excepted,
        Err(refusal) => {
            if refusal.effect() == Effect::Hold {
                let class = Arc::clone(class);
                judged.held =
                    Some(Box::new(HeldCall { call, offered, class, session: session_facts }));
            }
            return Err(refusal);
        }
    }
    Ok((call, offered))
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
        Effect::Hold => Some(Refusal::NeedsSignature { reasons: reasons(), ticket: None }),
        Effect::Deny => Some(Refusal::Denied { reasons: reasons() }),
    }
}

#[cfg(test)]
mod tests;

//! What is kept of a call?
//!
//! One [`Record`] for each call writes its trail entries, counts it and logs it, each exactly
//! once, also when its task is cancelled or panics: what is not closed is closed on drop.

mod close;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::decide::Judged;
use super::policy::Verdict;
use super::{Arrival, Snapshot, Stray};
use crate::call::{Claimed, Door, Effect, Tier};
use crate::config::{Mode, Sync};
use crate::hold::HoldId;
use crate::json::Digest;
use crate::metrics::{Metrics, NearMiss, Step};
use crate::refusal::{Reason, Refusal};
use crate::telemetry::CallSpan;
use crate::time::At;
use crate::trail::{Body, Durability, Intent, Position, Said, Trail, V1, Would};

/// Where records go.
pub struct Ledger {
    /// The durable one.
    pub trail: Trail,
    /// The counted one.
    pub metrics: Arc<Metrics>,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing decided.
    Open,
    /// Allowed and on record, not sent.
    Intended,
    /// Sent, no outcome yet.
    Sent,
    /// All is on record.
    Closed,
}

/// What is known of the call from the start.
struct Facts {
    id: uuid::Uuid,
    at: SystemTime,
    door: Door,
    agent: Arc<str>,
    server: Arc<str>,
    method: &'static str,
    tool: Arc<str>,
    session: Option<String>,
    claimed: Claimed,
    trace: Option<String>,
    policy: Digest,
    environment: Arc<str>,
    mode: Mode,
}

/// What becomes known on the way.
#[derive(Default)]
struct Found {
    hash: Option<Digest>,
    definition: Option<Digest>,
    hold: Option<HoldId>,
    reasons: Vec<Reason>,
    warnings: Vec<Reason>,
    would: Vec<Would>,
}

/// One call's record, open until something closes it.
pub struct Record {
    ledger: Arc<Ledger>,
    stage: Stage,
    facts: Facts,
    found: Found,
    tier: Tier,
    effect: Effect,
    span: CallSpan,
    upstream: CallSpan,
    began: Instant,
    sent_at: Option<Instant>,
    gate: Duration,
}

impl Record {
    /// Opens one.
    pub(super) fn open(ledger: Arc<Ledger>, snapshot: &Snapshot, arrival: &Arrival) -> Self {
        let facts = Facts {
            id: arrival.id,
            at: arrival.received_at,
            door: arrival.door,
            agent: Arc::clone(&arrival.agent.id),
            server: Arc::clone(&arrival.server),
            method: arrival.method,
            tool: Arc::clone(&arrival.tool),
            // A session id is a key to the server: the record names it by its digest.
            session: arrival.session.as_deref().map(|id| Digest::of(id.as_bytes()).to_string()),
            claimed: arrival.claimed.clone(),
            trace: arrival.trace.clone(),
            policy: snapshot.digest,
            environment: Arc::clone(&snapshot.environment),
            mode: snapshot.mode,
        };
        Self::of(ledger, facts, arrival.span.clone())
    }

    fn of(ledger: Arc<Ledger>, facts: Facts, span: CallSpan) -> Self {
        Self {
            ledger,
            stage: Stage::Open,
            facts,
            found: Found::default(),
            tier: Tier::High,
            effect: Effect::Deny,
            span,
            upstream: CallSpan::default(),
            began: Instant::now(),
            sent_at: None,
            gate: Duration::ZERO,
        }
    }

    /// Writes the whole record of a message that never was a call.
    pub(super) fn stray(
        ledger: &Arc<Ledger>,
        snapshot: &Snapshot,
        stray: &Stray<'_>,
        refusal: &Refusal,
    ) -> uuid::Uuid {
        let id = uuid::Uuid::now_v7();
        let facts = Facts {
            id,
            at: SystemTime::now(),
            door: Door::Mcp,
            agent: Arc::from(stray.agent.unwrap_or_default()),
            server: Arc::from(stray.server.unwrap_or_default()),
            method: stray.method.unwrap_or_default(),
            tool: Arc::from(""),
            session: None,
            claimed: Claimed::default(),
            trace: None,
            policy: snapshot.digest,
            environment: Arc::clone(&snapshot.environment),
            mode: snapshot.mode,
        };
        Self::of(Arc::clone(ledger), facts, CallSpan::default()).refuse(refusal);
        id
    }

    /// The call's span.
    pub(super) const fn span(&self) -> &CallSpan {
        &self.span
    }

    /// The id of the call and its decision.
    pub const fn id(&self) -> uuid::Uuid {
        self.facts.id
    }

    /// Takes in what the checks said.
    pub(super) fn judged(&mut self, judged: &Judged) {
        self.tier = judged.tier;
        for (step, took) in judged.steps {
            self.ledger.metrics.step(step, took);
        }
        if let Some((hash, definition)) = judged.bound {
            self.found.hash = Some(hash);
            self.found.definition = definition;
        }
        if let Some(verdict) = &judged.verdict {
            self.said(verdict);
        }
        if let Some(refusal) = &judged.excepted {
            self.excepted(refusal);
        }
    }

    fn said(&mut self, verdict: &Verdict) {
        self.found.warnings.clone_from(&verdict.warnings);
        self.found.reasons.clone_from(&verdict.reasons);
        if let Some(failure) = &verdict.failure {
            tracing::error!(
                call.id = %self.facts.id,
                tool.name = &*self.facts.tool,
                error = %failure,
                "policy could not decide, so the call is refused"
            );
        }
        for (effect, reason) in &verdict.dry {
            self.would(*effect, reason);
        }
    }

    fn would(&mut self, effect: Effect, reason: &Reason) {
        self.found.would.push(Would { effect, reason: reason.clone() });
        self.near_miss(NearMiss::Unenforced);
    }

    /// The operator chose that this refusal does not stop the call.
    fn excepted(&mut self, refusal: &Refusal) {
        let mode = self.facts.mode;
        self.would(
            refusal.effect(),
            &Reason {
                code: refusal.code().to_owned(),
                message: refusal.to_string(),
                policy: mode.name().to_owned(),
            },
        );
        self.ledger.metrics.exception(mode.name());
    }

    fn near_miss(&self, kind: NearMiss) {
        if self.tier != Tier::Low {
            self.ledger.metrics.near_miss(&self.facts.server, self.tier, kind);
        }
    }

    /// The hold whose signatures let it go.
    pub(super) const fn signed(&mut self, hold: HoldId) {
        self.found.hold = Some(hold);
    }

    /// The answer is there already: nothing is sent.
    pub(super) fn collected(&mut self, hold: HoldId) {
        self.found.hold = Some(hold);
        if let Err(error) = self.write_intent(Effect::Hold, "collected", false) {
            tracing::error!(call.id = %self.facts.id, %error, "a collection could not be put on record");
        }
        self.stage = Stage::Closed;
        self.gate = self.began.elapsed();
        self.span.decided(self.tier, Effect::Hold);
        self.count(Effect::Hold, self.gate);
        self.log("collected", "");
    }

    /// Makes the intent durable. Nothing may be sent before it returns.
    pub(super) async fn intend(&mut self, sync: Sync) -> Result<(), Refusal> {
        let began = Instant::now();
        let fsync = sync.of(self.tier);
        let code = if self.found.hold.is_some() { "approved" } else { "allowed" };
        let written = self.write_intent(Effect::Allow, code, fsync);
        if written.is_ok() {
            // Before the wait: a call that is given up meanwhile has its intent.
            self.stage = Stage::Intended;
        }
        let durable = match written {
            Ok(at) if fsync => self.ledger.trail.durable(at).await.map_err(|e| e.to_string()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        self.ledger.metrics.step(Step::Record, began.elapsed());
        if let Err(error) = durable {
            tracing::error!(call.id = %self.facts.id, %error, "the record cannot be written, so the call is refused");
            self.stage = Stage::Closed;
            self.ledger.metrics.refused(&self.facts.server, Refusal::RecordFailed.code());
            self.span.decided(self.tier, Effect::Deny);
            self.span.refused(Refusal::RecordFailed.code());
            self.count(Effect::Deny, began.elapsed());
            return Err(Refusal::RecordFailed);
        }
        self.span.decided(self.tier, Effect::Allow);
        self.gate = self.began.elapsed();
        Ok(())
    }

    fn write_intent(
        &mut self,
        effect: Effect,
        code: &str,
        fsync: bool,
    ) -> Result<Position, String> {
        self.effect = effect;
        let (facts, found) = (&self.facts, &self.found);
        let intent = Intent {
            v: V1,
            id: facts.id,
            at: At(facts.at),
            door: facts.door,
            agent: Cow::Borrowed(&facts.agent),
            server: Cow::Borrowed(&facts.server),
            method: Cow::Borrowed(facts.method),
            tool: Cow::Borrowed(&facts.tool),
            tier: self.tier,
            hash: found.hash,
            definition: found.definition,
            policy: Some(facts.policy),
            environment: Cow::Borrowed(&facts.environment),
            mode: Cow::Borrowed(facts.mode.name()),
            effect,
            code: Cow::Borrowed(code),
            reasons: Cow::Borrowed(&found.reasons),
            warnings: Cow::Borrowed(&found.warnings),
            would: Cow::Borrowed(&found.would),
            session: facts.session.as_deref().map(Cow::Borrowed),
            claimed: Said::of(&facts.claimed),
            durable: if fsync { Durability::Fsync } else { Durability::Written },
            hold: found.hold.map(|id| id.to_string().into()),
            trace_id: facts.trace.as_deref().map(Cow::Borrowed),
        };
        self.ledger.append(&Body::Intent(Box::new(intent)))
    }

    /// Writes the refusal, counts it, logs it: all there is to say of this call.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        let effect = refusal.effect();
        self.found.hold = refusal.ticket().map(|ticket| ticket.id).or(self.found.hold);
        if let Refusal::Denied { reasons } | Refusal::NeedsSignature { reasons, .. } = refusal {
            self.found.reasons.clone_from(reasons);
        }
        let kind = if effect == Effect::Hold { NearMiss::Held } else { NearMiss::Denied };
        if self.found.hash.is_some() {
            self.near_miss(kind);
        }
        if let Err(error) = self.write_intent(effect, refusal.code(), false) {
            tracing::error!(call.id = %self.facts.id, %error, "a refusal could not be put on record");
        }
        self.stage = Stage::Closed;
        self.gate = self.began.elapsed();
        self.ledger.metrics.refused(&self.facts.server, refusal.code());
        self.span.decided(self.tier, effect);
        self.span.refused(refusal.code());
        self.count(effect, self.gate);
        self.log(refusal.code(), refusal.rule().unwrap_or(""));
    }
}

impl Ledger {
    /// Appends one entry; in the kernel's hands when it returns.
    pub fn append(&self, body: &Body<'_>) -> Result<Position, String> {
        let mut bytes = Vec::with_capacity(768);
        body.write(&mut bytes).map_err(|error| error.to_string())?;
        self.trail.append(&bytes).map_err(|error| error.to_string())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

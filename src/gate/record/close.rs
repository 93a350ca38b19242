//! What came of it?
//!
//! The second half of a record: sent, answered or not, and closed exactly once.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use super::{Record, Stage, micros};
use crate::call::Effect;
use crate::metrics::{Step, UNKNOWN_TOOL};
use crate::refusal::Refusal;
use crate::telemetry::CallSpan;
use crate::time::At;
use crate::trail::{Body, Ending, Outcome, V1};

impl Record {
    /// It goes to its server, within this span.
    pub(in crate::gate) fn sent(&mut self, upstream: CallSpan) {
        self.stage = Stage::Sent;
        self.upstream = upstream;
        self.sent_at = Some(Instant::now());
    }

    /// The server answered.
    pub(in crate::gate) fn answered(&mut self, is_error: bool, bytes: u64) {
        let ending = if is_error { Ending::ToolError } else { Ending::Answered };
        if is_error {
            self.failed_as("tool_error");
        }
        self.close(ending, "answered", Some(bytes));
    }

    /// The server answered with an error of the protocol, or of HTTP.
    pub(in crate::gate) fn errored(&mut self, code: Option<i64>, bytes: u64) {
        for span in [&self.span, &self.upstream] {
            match code {
                Some(code) => span.rpc_failed(code),
                None => span.failed("error_status"),
            }
        }
        self.close(Ending::ToolError, "answered", Some(bytes));
    }

    fn failed_as(&self, error_type: &'static str) {
        self.span.failed(error_type);
        self.upstream.failed(error_type);
    }

    /// Nothing was sent, or what came back is not passed on, or nobody knows.
    pub(in crate::gate) fn failed(&mut self, refusal: &Refusal) {
        let ending = match refusal {
            Refusal::OutcomeUnknown(_) => Ending::Unknown,
            Refusal::Answer { .. } => Ending::RefusedAnswer,
            _ => Ending::Failed,
        };
        self.ledger.metrics.refused(&self.facts.server, refusal.code());
        self.upstream.failed(refusal.code());
        self.span.refused(refusal.code());
        self.close(ending, refusal.code(), None);
    }

    pub(in crate::gate) fn cancelled(&mut self) {
        self.failed_as("cancelled");
        self.close(Ending::Cancelled, "cancelled", None);
    }

    fn close(&mut self, ending: Ending, code: &str, bytes: Option<u64>) {
        if self.stage == Stage::Closed {
            return;
        }
        self.stage = Stage::Closed;
        let whole = self.began.elapsed();
        let outcome = Body::Outcome(Outcome {
            v: V1,
            id: self.facts.id,
            at: At(SystemTime::now()),
            outcome: ending,
            code: Cow::Borrowed(code),
            duration_us: micros(whole),
            gate_us: micros(self.gate),
            status: None,
            result: None,
            bytes: bytes.unwrap_or(0),
        });
        if let Err(error) = self.ledger.append(&outcome) {
            tracing::error!(call.id = %self.facts.id, %error, "an outcome could not be put on record");
        }
        if let Some(sent) = self.sent_at {
            self.ledger.metrics.step(Step::Forward, sent.elapsed());
        }
        self.count(Effect::Allow, whole);
        self.log(code, "");
    }

    pub(super) fn count(&self, effect: Effect, whole: Duration) {
        // A name that no server defines is whatever an agent likes: it gets no label of its own.
        let tool = if self.found.hash.is_some() { &*self.facts.tool } else { UNKNOWN_TOOL };
        let counts = self.ledger.metrics.tool(&self.facts.server, tool);
        counts.decided(self.tier, effect);
        counts.took(whole, self.gate);
    }

    pub(super) fn log(&self, code: &str, rule: &str) {
        let facts = &self.facts;
        let tool = if self.found.hash.is_some() { &*facts.tool } else { "" };
        let duration_us = micros(self.began.elapsed());
        tracing::info!(
            call.id = %facts.id,
            agent.id = &*facts.agent,
            server.name = &*facts.server,
            method = facts.method,
            tool.name = tool,
            tier = self.tier.name(),
            decision = self.effect.name(),
            code = code,
            rule = rule,
            gate_us = micros(self.gate),
            duration_us = duration_us,
            trace_id = facts.trace.as_deref(),
            "decided one call"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        match self.stage {
            Stage::Closed => {}
            // Before anything was decided.
            Stage::Open if std::thread::panicking() => self.refuse(&Refusal::Internal),
            Stage::Open => self.refuse(&Refusal::Abandoned),
            Stage::Intended => {
                self.failed_as("not_sent");
                self.close(Ending::Cancelled, "not_sent", None);
            }
            Stage::Sent => {
                self.failed_as("outcome_unknown");
                self.close(Ending::Unknown, "outcome_unknown", None);
            }
        }
    }
}

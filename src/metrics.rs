//! What is counted, and how is it bounded?
//!
//! One [`Metrics`] for the process, no globals. Methods speak of calls, refusals and policies;
//! series and labels stay in here. Whatever the gate did not name itself is bounded before it
//! becomes a label (see `labels`), so that no agent can make the scrape grow.

mod holds;
mod labels;
mod names;
mod process;
mod register;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use crate::call::{Effect, Tier};
use register::{
    CALL_BUCKETS, Registered, STEP_BUCKETS, counter, counters, gate_histogram, gauge, gauges,
    histograms, info, int_gauge,
};

pub use holds::Holds;
pub use labels::{OTHER, SERVERS, TOOLS_PER_SERVER, UNKNOWN_TOOL};
pub use names::{Build, NearMiss, Notified, Step, UpstreamError};

/// What counts and measures; cheap to share, registered nowhere but in itself.
pub struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    labels: labels::Labels<ToolCounts>,
    refusals: IntCounterVec,
    near_misses: IntCounterVec,
    call_seconds: HistogramVec,
    gate_seconds: Histogram,
    step_seconds: [Histogram; Step::ALL.len()],
    upstream: Upstream,
    policy: Policy,
    streams_open: IntGauge,
    sessions_open: IntGauge,
    calls_in_flight: IntGauge,
    shed: IntCounter,
    exceptions: IntCounterVec,
    notifications: IntCounterVec,
    resident_bytes: Gauge,
    holds: Holds,
}

/// What servers do wrong.
struct Upstream {
    errors: IntCounterVec,
    timeouts: IntCounterVec,
}

impl Upstream {
    fn new(r: &Registry) -> Registered<Self> {
        Ok(Self {
            errors: counters(
                r,
                "upstream_errors_total",
                "Failures of servers.",
                &["server", "kind"],
            )?,
            timeouts: counters(
                r,
                "upstream_timeouts_total",
                "Servers that did not answer in time.",
                &["server"],
            )?,
        })
    }
}

/// Which policy decides, and how its changes went.
struct Policy {
    info: IntGaugeVec,
    reloads: IntCounterVec,
    failed: IntGauge,
}

impl Policy {
    fn new(r: &Registry) -> Registered<Self> {
        Ok(Self {
            info: gauges(
                r,
                "policy_info",
                "The policy revision that decides; always 1.",
                &["revision"],
            )?,
            reloads: counters(
                r,
                "policy_reloads_total",
                "Attempts to load a changed policy.",
                &["result"],
            )?,
            failed: int_gauge(
                r,
                "policy_failed",
                "1 while the last reload failed and an older policy decides.",
            )?,
        })
    }
}

/// The counters of one tool. Keep it where the tool is kept: a count is then one atomic add.
pub struct ToolCounts {
    series: IntCounterVec,
    server: Arc<str>,
    tool: Arc<str>,
    // By tier and effect; made on first use, so that what never happens has no series.
    counts: [[OnceLock<IntCounter>; 3]; 3],
    call_seconds: Histogram,
    gate_seconds: Histogram,
}

impl ToolCounts {
    /// One call of this tool was decided.
    pub fn decided(&self, tier: Tier, effect: Effect) {
        let of_tier = match tier {
            Tier::Low => &self.counts[0],
            Tier::Medium => &self.counts[1],
            Tier::High => &self.counts[2],
        };
        let count = match effect {
            Effect::Allow => &of_tier[0],
            Effect::Hold => &of_tier[1],
            Effect::Deny => &of_tier[2],
        };
        count
            .get_or_init(|| {
                self.series.with_label_values(&[
                    &*self.server,
                    &*self.tool,
                    tier.name(),
                    effect.name(),
                ])
            })
            .inc();
    }

    /// How long a whole call took, and the gate's own share of it.
    pub fn took(&self, whole: Duration, gate: Duration) {
        self.call_seconds.observe(whole.as_secs_f64());
        self.gate_seconds.observe(gate.as_secs_f64());
    }
}

/// Something that is open or running; dropping it counts it as closed.
#[must_use = "dropping it counts the thing as closed"]
pub struct Open(IntGauge);

impl Open {
    fn one_of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers every series. Fails only on a fault in this file.
    pub fn new(build: Build) -> Result<Self, prometheus::Error> {
        let r = Registry::new_custom(Some("countersign".into()), None)?;
        let step_seconds = histograms(
            &r,
            "step_duration_seconds",
            "Time one step took, in seconds.",
            &["step"],
            STEP_BUCKETS,
        )?;
        info(&r, build)?;
        let started = gauge(
            &r,
            "process_start_time_seconds",
            "When the process started, in seconds since the Unix epoch.",
        )?;
        started.set(process::start_seconds());
        let calls = counters(
            &r,
            "calls_total",
            "Calls that were decided.",
            &["server", "tool", "tier", "decision"],
        )?;
        Ok(Self {
            calls,
            holds: Holds::new(&r)?,
            labels: labels::Labels::default(),
            refusals: counters(
                &r,
                "refusals_total",
                "Requests that were refused, by stable code.",
                &["server", "code"],
            )?,
            near_misses: counters(
                &r,
                "near_misses_total",
                "Calls that were stopped before they did harm, or came close to a limit.",
                &["server", "tier", "kind"],
            )?,
            call_seconds: histograms(
                &r,
                "call_duration_seconds",
                "Time from arrival to answer, upstream included, in seconds.",
                &["server"],
                CALL_BUCKETS,
            )?,
            gate_seconds: gate_histogram(&r)?,
            step_seconds: Step::ALL.map(|step| step_seconds.with_label_values(&[step.name()])),
            upstream: Upstream::new(&r)?,
            policy: Policy::new(&r)?,
            streams_open: int_gauge(&r, "streams_open", "Event streams that are open.")?,
            sessions_open: int_gauge(&r, "sessions_open", "Sessions that are open.")?,
            calls_in_flight: int_gauge(&r, "calls_in_flight", "Calls that are being handled.")?,
            shed: counter(&r, "shed_total", "Requests turned away at once under load.")?,
            exceptions: counters(
                &r,
                "exceptions_total",
                "Times an exception to failing closed, chosen in the config, was used.",
                &["kind"],
            )?,
            notifications: counters(
                &r,
                "notifications_total",
                "Webhooks about holds, to one target each.",
                &["outcome"],
            )?,
            resident_bytes: gauge(
                &r,
                "process_resident_memory_bytes",
                "Resident memory, in bytes.",
            )?,
            registry: r,
        })
    }

    /// The counters of one tool that a server defines; [`UNKNOWN_TOOL`] for a name it does not.
    ///
    /// Past [`TOOLS_PER_SERVER`] tools, or [`SERVERS`] servers, all others share [`OTHER`].
    pub fn tool(&self, server: &str, tool: &str) -> Arc<ToolCounts> {
        self.labels.tool(server, tool, |server, tool| ToolCounts {
            series: self.calls.clone(),
            counts: Default::default(),
            call_seconds: self.call_seconds.with_label_values(&[&*server]),
            gate_seconds: self.gate_seconds.clone(),
            server,
            tool,
        })
    }

    /// One call was decided. Where the tool is at hand, keep [`Metrics::tool`] instead.
    pub fn decided(&self, server: &str, tool: &str, tier: Tier, effect: Effect) {
        self.tool(server, tool).decided(tier, effect);
    }

    /// A request was refused; `code` is [`crate::refusal::Refusal::code`].
    pub fn refused(&self, server: &str, code: &'static str) {
        let server = self.labels.server(server);
        self.refusals.with_label_values(&[&*server, code]).inc();
    }

    /// A call was stopped before it did harm, or came close to a limit.
    pub fn near_miss(&self, server: &str, tier: Tier, kind: NearMiss) {
        let server = self.labels.server(server);
        self.near_misses.with_label_values(&[&*server, tier.name(), kind.name()]).inc();
    }

    /// How long one step took.
    pub fn step(&self, step: Step, took: Duration) {
        if let Some(histogram) = self.step_seconds.get(step as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// A server failed.
    pub fn upstream_failed(&self, server: &str, kind: UpstreamError) {
        let server = self.labels.server(server);
        self.upstream.errors.with_label_values(&[&*server, kind.name()]).inc();
    }

    /// A server did not answer in time.
    pub fn upstream_timed_out(&self, server: &str) {
        let server = self.labels.server(server);
        self.upstream.timeouts.with_label_values(&[&*server]).inc();
    }

    /// This policy decides from the start.
    pub fn policy_loaded(&self, revision: &str) {
        self.policy.info.reset();
        self.policy.info.with_label_values(&[revision]).set(1);
    }

    /// A changed policy decides from now on.
    pub fn policy_reloaded(&self, revision: &str) {
        self.policy_loaded(revision);
        self.policy.reloads.with_label_values(&["ok"]).inc();
        self.policy.failed.set(0);
    }

    /// A changed policy could not be used; the one before it still decides.
    pub fn policy_rejected(&self) {
        self.policy.reloads.with_label_values(&["failed"]).inc();
        self.policy.failed.set(1);
    }

    /// An event stream opened; it is open until the guard drops.
    pub fn stream_opened(&self) -> Open {
        Open::one_of(&self.streams_open)
    }

    /// A session opened; it is open until the guard drops.
    pub fn session_opened(&self) -> Open {
        Open::one_of(&self.sessions_open)
    }

    /// A call began; it is in flight until the guard drops.
    pub fn call_began(&self) -> Open {
        Open::one_of(&self.calls_in_flight)
    }

    /// A request was turned away at once under load.
    pub fn shed(&self) {
        self.shed.inc();
    }

    /// An exception to failing closed was used; `kind` is its key in the config.
    pub fn exception(&self, kind: &'static str) {
        self.exceptions.with_label_values(&[kind]).inc();
    }

    /// The series of held calls.
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// A webhook was sent, or will not be.
    pub fn notified(&self, outcome: Notified) {
        self.notifications.with_label_values(&[outcome.name()]).inc();
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        self.holds.age();
        self.resident_bytes.set(process::resident_bytes().unwrap_or(0.0));
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests;

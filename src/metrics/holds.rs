//! How are people keeping up?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Gauge, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::labels::Labels;
use super::register::{Registered, counters, gauge, gauges, histograms};
use crate::hold::{Event, Hold, State};
use crate::time::At;

/// From a second to two days.
const WAIT_BUCKETS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0, 172_800.0];

/// The series of holds.
pub struct Holds {
    open: IntGaugeVec,
    decisions: IntCounterVec,
    seconds: HistogramVec,
    age: Gauge,
    /// Since when the oldest pending one waits, in µs since 1970; 0 if none does.
    oldest: AtomicU64,
    labels: Labels<(Arc<str>, Arc<str>)>,
}

impl Holds {
    pub(super) fn new(r: &Registry) -> Registered<Self> {
        Ok(Self {
            open: gauges(r, "holds", "Held calls that are open, by state.", &["state"])?,
            decisions: counters(
                r,
                "hold_decisions_total",
                "What became of held calls.",
                &["server", "tool", "tier", "outcome"],
            )?,
            seconds: histograms(
                r,
                "hold_decision_seconds",
                "From hold to decision, in seconds.",
                &["outcome"],
                WAIT_BUCKETS,
            )?,
            age: gauge(
                r,
                "hold_oldest_age_seconds",
                "How long the oldest pending call waits, in seconds.",
            )?,
            oldest: AtomicU64::new(0),
            labels: Labels::default(),
        })
    }

    /// A hold took a step.
    pub fn changed(&self, hold: &Hold, event: &Event) {
        let before = hold.history.iter().rev().nth(1).map(|event| event.state);
        if before == Some(event.state) {
            return;
        }
        for (state, change) in before.map(|state| (state, -1)).into_iter().chain([(event.state, 1)])
        {
            if state.is_open() {
                self.open.with_label_values(&[state.name()]).add(change);
            }
        }
        if event.state == State::Pending && before.is_none() {
            let at = hold.created_at.micros();
            // Nothing waits, so this is the oldest.
            let _ = self.oldest.compare_exchange(0, at, Ordering::AcqRel, Ordering::Acquire);
        }
        if event.state != State::Pending {
            self.decided(hold, event);
        }
    }

    fn decided(&self, hold: &Hold, event: &Event) {
        let outcome = match event.state {
            State::Denied if hold.ending.as_ref().is_some_and(|e| e.code == "answered") => {
                "answered"
            }
            State::Approved if hold.edited.is_some() => "edited",
            // What comes after an approval is the call's own outcome.
            State::Executing | State::Done | State::Failed | State::Unknown => return,
            State::Approved if event.what != "signed" => return,
            state => state.name(),
        };
        let labels =
            self.labels.tool(&hold.ask.server, &hold.ask.tool, |server, tool| (server, tool));
        let tier = hold.context.tier.name();
        self.decisions.with_label_values(&[&*labels.0, &*labels.1, tier, outcome]).inc();
        let waited = event.at.since(hold.created_at);
        self.seconds.with_label_values(&[outcome]).observe(waited.as_secs_f64());
    }

    /// How many there are, counted in the store.
    pub fn counted(&self, by_state: &[(State, u64)], oldest: Option<At>) {
        for state in State::ALL.into_iter().filter(|state| state.is_open()) {
            let count = by_state.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.open.with_label_values(&[state.name()]).set(count);
        }
        self.oldest.store(oldest.map_or(0, At::micros), Ordering::Release);
    }

    /// Before a scrape: the oldest has become older.
    pub(super) fn age(&self) {
        let oldest = self.oldest.load(Ordering::Acquire);
        let age =
            if oldest == 0 { 0.0 } else { At::now().since(At::from_micros(oldest)).as_secs_f64() };
        self.age.set(age);
    }
}

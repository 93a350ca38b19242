//! Is it ready, and what is missing?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::front::mcp::offer;
use crate::front::mcp::upstream::Server;
use crate::gate::Gate;
use crate::review::{Check, Checks, Health, Phase, Report};

/// What changes while the gate runs.
#[derive(Default)]
pub(super) struct State {
    phase: AtomicU8,
    reload: Mutex<Option<String>>,
}

impl State {
    pub(super) fn serving(&self) {
        self.phase.store(1, Ordering::Relaxed);
    }

    pub(super) fn draining(&self) {
        self.phase.store(2, Ordering::Relaxed);
    }

    /// What is wrong with the files that would have been loaded; `None` once they are.
    pub(super) fn reloaded(&self, problem: Option<String>) {
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// What the probes ask.
pub(super) fn of(state: Arc<State>, gate: Arc<Gate>, servers: Vec<Arc<Server>>) -> Arc<dyn Health> {
    Arc::new(move || Report {
        phase: match state.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        },
        checks: Checks {
            policy: policy(&state, &gate),
            trail: trail(&gate),
            tools: tools(&servers),
        },
    })
}

fn policy(state: &State, gate: &Gate) -> Check {
    let problem = state.reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let detail = match problem {
        None => "loaded".to_owned(),
        Some(problem) => format!("the last reload failed, the one before decides: {problem}"),
    };
    Check::ok(detail).at(gate.snapshot().digest.to_string())
}

fn trail(gate: &Gate) -> Check {
    match gate.ledger().trail.fault() {
        None => Check::ok(format!("{} entries", gate.ledger().trail.head().0)),
        Some(fault) => Check::failed(fault.to_string()),
    }
}

fn tools(servers: &[Arc<Server>]) -> BTreeMap<String, Check> {
    servers
        .iter()
        .map(|server| {
            let check = match server.offer.state() {
                offer::State::Known(tools, 0) => Check::ok(format!("{tools} tools")),
                offer::State::Known(tools, broken) => {
                    Check::ok(format!("{tools} tools, {broken} of them unusable"))
                }
                offer::State::Unknown => Check::failed("tools are not listed yet"),
                offer::State::Failed(reason) => {
                    Check::failed(format!("tools could not be listed: {reason}"))
                }
            };
            let check = if server.settings.required { check } else { check.excused() };
            (server.settings.name.to_string(), check)
        })
        .collect()
}

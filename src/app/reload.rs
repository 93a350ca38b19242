//! Have the policies changed, and are the new ones good?
//!
//! Watches what the config names, also where it is a Kubernetes `ConfigMap` mount, whose files
//! change by the swap of a link. All or nothing: a broken file keeps what decided before, loudly.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::compose;
use super::health::State;
use crate::config::Config;
use crate::gate::Gate;
use crate::json::Digest;
use crate::trail::{At, Body, PolicyChange, V1};

/// An editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(150);
/// Some mounts tell nothing; so it also looks by itself.
const LOOK: Duration = Duration::from_secs(30);

/// Watches until it is dropped.
pub(super) struct Watching {
    task: tokio::task::JoinHandle<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to watch.
pub(super) fn watch(config: &Config, gate: Arc<Gate>, state: Arc<State>) -> Watching {
    let (tell, told) = mpsc::channel(1);
    let watcher = watcher(config, tell);
    let config = config.clone();
    let task = tokio::spawn(run(config, gate, state, told));
    Watching { task, _watcher: watcher }
}

fn watcher(config: &Config, tell: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        // Full means that a look is due anyway; reading them is no change.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = tell.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(heard) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, every = ?LOOK, "changes of policy files are not told by the system; looking for them instead");
            return None;
        }
    };
    for directory in directories(config) {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::Recursive) {
            tracing::warn!(path = %directory.display(), %error, every = ?LOOK, "changes here are not told by the system; looking for them instead");
        }
    }
    Some(watcher)
}

fn directories(config: &Config) -> BTreeSet<PathBuf> {
    let named = config.policies.iter().chain(&config.tools).chain(&config.pins);
    named
        .map(|path| match path.is_dir() {
            true => path.clone(),
            false => path.parent().map(PathBuf::from).unwrap_or_default(),
        })
        .map(|path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path })
        .collect()
}

async fn run(config: Config, gate: Arc<Gate>, state: Arc<State>, mut told: mpsc::Receiver<()>) {
    let config = Arc::new(config);
    let mut refused: Option<String> = None;
    loop {
        let heard = tokio::time::timeout(LOOK, told.recv()).await;
        if matches!(heard, Ok(None)) {
            // Nobody will tell; look by the clock.
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(SETTLE).await;
        while told.try_recv().is_ok() {}
        let of = Arc::clone(&config);
        let loaded = tokio::task::spawn_blocking(move || compose::snapshot(&of)).await;
        let loaded = loaded.unwrap_or_else(|error| {
            Err(vec![crate::config::Problem::whole("policies", format!("{error}"))])
        });
        let old = gate.snapshot().digest;
        match loaded {
            Ok(snapshot) if snapshot.digest == old => {
                if refused.take().is_some() {
                    tracing::info!("policy files are again what decides");
                    gate.ledger().metrics.policy_reloaded(&old.to_string());
                }
                state.reloaded(None);
            }
            Ok(snapshot) => {
                let new = snapshot.digest;
                gate.replace(snapshot);
                refused = None;
                state.reloaded(None);
                gate.ledger().metrics.policy_reloaded(&new.to_string());
                tracing::info!(policy.revision = %new, "policy reloaded");
                on_record(&gate, old, Some(new), None);
            }
            Err(problems) => {
                let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let all = all.join("; ");
                if refused.as_deref() != Some(&*all) {
                    tracing::error!(problems = %all, policy.revision = %old, "policy cannot be reloaded; the one before still decides");
                    gate.ledger().metrics.policy_rejected();
                    on_record(&gate, old, None, Some(&all));
                }
                state.reloaded(Some(all.clone()));
                refused = Some(all);
            }
        }
    }
}

fn on_record(gate: &Gate, old: Digest, new: Option<Digest>, problem: Option<&str>) {
    let change = Body::Policy(PolicyChange {
        v: V1,
        at: At(SystemTime::now()),
        old: Some(old),
        new,
        problem: problem.map(Into::into),
    });
    if let Err(error) = gate.ledger().append(&change) {
        tracing::error!(%error, "a change of policy could not be put on record");
    }
}

//! Have the policies changed, and are the new ones good?
//!
//! Watches what the config names, also where it is a Kubernetes `ConfigMap` mount, whose files
//! change by the swap of a link. All or nothing: a broken file keeps what decided before, loudly.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::compose;
use super::health::State;
use crate::config::Config;
use crate::gate::Gate;
use crate::json::Digest;
use crate::time::At;
use crate::trail::{Body, PolicyChange, V1};

/// An editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(150);
/// Some mounts tell nothing; so it also looks by itself.
const LOOK: Duration = Duration::from_secs(30);

/// Watches until it is dropped.
pub(super) struct Watching {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to watch.
pub(super) fn watch(config: &Config, gate: Arc<Gate>, state: Arc<State>) -> Watching {
    let (tell, told) = mpsc::channel(1);
    let named = Named::by(config);
    let watcher = watcher(named.clone(), tell);
    let mut eyes = Eyes { watcher, named, blind: BTreeSet::new() };
    eyes.open();
    let task = tokio::spawn(run(config.clone(), gate, state, told, eyes));
    Watching { task }
}

/// What the config names, as absolute paths.
#[derive(Clone)]
struct Named(BTreeSet<PathBuf>);

impl Named {
    fn by(config: &Config) -> Self {
        let all = config.policies.iter().chain(&config.tools).chain(&config.pins);
        Self(all.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect())
    }

    /// Whether a change of this path can change what is named. Not each file beside it can: the
    /// gate's own trail and log may stand there.
    fn concerns(&self, changed: &Path) -> bool {
        let is_swap = changed.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".."));
        self.0.iter().any(|named| {
            changed.starts_with(named) || (is_swap && changed.parent() == named.parent())
        })
    }
}

/// How changes are seen.
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    named: Named,
    /// What could not be watched, and has been told.
    blind: BTreeSet<PathBuf>,
}

impl Eyes {
    /// Watches all that is named and there. Again after each change: a folder may be another one
    /// by now, under the same name.
    fn open(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        // A folder from within; and whatever it is from without, where it can be replaced.
        let within = self.named.0.iter().filter(|path| path.is_dir());
        let within = within.map(|path| (path.as_path(), RecursiveMode::Recursive));
        let without = self.named.0.iter().filter_map(|path| path.parent());
        let without: BTreeSet<&Path> = without.filter(|p| !self.named.0.contains(*p)).collect();
        let without = without.into_iter().map(|path| (path, RecursiveMode::NonRecursive));
        for (path, mode) in without.chain(within) {
            // It may not have been watched, or be gone.
            let _ = watcher.unwatch(path);
            match watcher.watch(path, mode) {
                Ok(()) => drop(self.blind.remove(path)),
                Err(error) if self.blind.insert(path.to_owned()) => {
                    tracing::warn!(path = %path.display(), %error, every = ?LOOK, "changes here are not told by the system; looking for them instead");
                }
                Err(_) => {}
            }
        }
    }
}

fn watcher(named: Named, tell: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        // Full means that a look is due anyway; reading them is no change.
        let changed = event.is_ok_and(|event| {
            let concerned = event.paths.iter().any(|path| named.concerns(path));
            !event.kind.is_access() && (concerned || event.need_rescan())
        });
        if changed {
            let _ = tell.try_send(());
        }
    };
    match notify::recommended_watcher(heard) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, every = ?LOOK, "changes of policy files are not told by the system; looking for them instead");
            None
        }
    }
}

async fn run(
    config: Config,
    gate: Arc<Gate>,
    state: Arc<State>,
    mut told: mpsc::Receiver<()>,
    mut eyes: Eyes,
) {
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
        // Before it reads: what changes after this is told again.
        eyes.open();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_looked_for() {
        let named = ["/etc/gate/policies", "/etc/gate/tools.lock"].map(PathBuf::from);
        let named = Named(named.into());
        for (changed, concerns) in [
            ("/etc/gate/policies", true),
            ("/etc/gate/policies/a.rego", true),
            ("/etc/gate/policies/deep/data.json", true),
            ("/etc/gate/./policies/..data", true),
            ("/etc/gate/tools.lock", true),
            ("/etc/gate/..data", true), // the lock's own mount
            ("/etc/gate/tools.lock.tmp", false),
            ("/etc/gate/state/trail/00000000.seg", false),
            ("/etc/gate/gate.log", false),
            ("/etc/gate/policies2/a.rego", false),
            ("/etc/..data", false),
        ] {
            assert_eq!(named.concerns(Path::new(changed)), concerns, "{changed}");
        }
    }
}

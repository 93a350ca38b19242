//! Which tools does this server offer, and are they the ones we knew?
//!
//! Learnt from the server's own `tools/list`: the gate asks by itself, and looks on when an agent
//! asks, since some servers offer more to a client that can do more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::value::RawValue;

use super::ask;
use super::upstream::Server;
use crate::gate::Offered;
use crate::json::Digest;
use crate::tools::{Catalogue, Definition, Limits};

/// A call to a tool that is not known asks the server again, but not more often than this.
const AGAIN: Duration = Duration::from_secs(5);
/// After a server says that its list has changed, it is asked for it this much later.
const SETTLED: Duration = Duration::from_millis(100);
/// A server may offer this many; beyond it the rest is not known.
const TOOLS: usize = 10_000;

type Tools = HashMap<Arc<str>, Offered>;

/// What one server offers.
#[derive(Default)]
pub struct Offer {
    tools: ArcSwap<Tools>,
    first: Mutex<HashMap<Arc<str>, Digest>>,
    asked: tokio::sync::Mutex<Option<Asked>>,
    changing: AtomicBool,
    stateless: AtomicBool,
    tasks: AtomicBool,
    state: Mutex<State>,
}

/// When the server was last asked for its list.
#[derive(Debug, Clone, Copy)]
struct Asked {
    began: Instant,
    ended: Instant,
    answered: bool,
}

/// Whether the list has been read.
#[derive(Debug, Clone, Default)]
pub enum State {
    /// Not yet.
    #[default]
    Unknown,
    /// Yes: so many tools, so many of them unusable.
    Known(usize, usize),
    /// The last try failed, and nothing is known from before.
    Failed(String),
}

impl Offer {
    /// A tool by its exact name.
    pub fn find(&self, name: &str) -> Option<Offered> {
        self.tools.load().get(name).cloned()
    }

    /// All definitions, by name.
    pub fn definitions(&self) -> Vec<Arc<Definition>> {
        let tools = self.tools.load();
        let mut all: Vec<_> = tools.values().map(|tool| Arc::clone(&tool.definition)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Whether the server speaks 2026-07-28.
    pub(super) fn is_stateless(&self) -> bool {
        self.stateless.load(Ordering::Relaxed)
    }

    pub(super) fn speaks(&self, stateless: bool) {
        self.stateless.store(stateless, Ordering::Relaxed);
    }

    /// Whether the server says that it knows the tasks extension.
    pub(super) fn has_tasks(&self) -> bool {
        self.tasks.load(Ordering::Relaxed)
    }

    /// How far the list is known.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the list has been read.
    pub fn is_known(&self) -> bool {
        matches!(self.state(), State::Known(..))
    }

    /// A tool by its exact name; asks the server where it is not known yet.
    pub async fn look_up(&self, server: &Server, name: &str) -> Option<Offered> {
        if let Some(found) = self.find(name) {
            return Some(found);
        }
        self.refresh(server, AGAIN).await;
        self.find(name)
    }

    /// Asks the server, unless somebody did within `apart`. One asks at a time; the others wait
    /// for what it learns, or for its failure.
    pub async fn refresh(&self, server: &Server, apart: Duration) {
        let wanted = Instant::now();
        let mut asked = self.asked.lock().await;
        let recent =
            |last: &Asked| last.ended >= wanted || (last.answered && last.ended.elapsed() < apart);
        if !asked.as_ref().is_some_and(recent) {
            *asked = Some(self.ask(server).await);
        }
    }

    /// The server says that its list has changed: asks it again soon, once for all that it says
    /// until then.
    pub async fn changed(&self, server: &Server) {
        if self.changing.swap(true, Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(SETTLED).await;
        self.changing.store(false, Ordering::SeqCst);
        let wanted = Instant::now();
        let mut asked = self.asked.lock().await;
        if !asked.is_some_and(|last| last.answered && last.began >= wanted) {
            *asked = Some(self.ask(server).await);
        }
    }

    async fn ask(&self, server: &Server) -> Asked {
        let began = Instant::now();
        let listed = tokio::time::timeout(server.settings.timeout, ask::tools(server)).await;
        let listed = listed.unwrap_or_else(|_| Err("the list did not end in time".to_owned()));
        let answered = listed.is_ok();
        match listed {
            Ok(tools) => {
                let declares =
                    tokio::time::timeout(server.settings.timeout, ask::has_tasks(server));
                let tasks = self.is_stateless() && declares.await.unwrap_or(false);
                self.tasks.store(tasks, Ordering::Relaxed);
                // Last: from here on there are calls.
                self.learn(&server.settings.name, &tools);
            }
            Err(reason) => {
                // A server that cannot be reached is asked again by the next call.
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if !matches!(*state, State::Known(..)) {
                    *state = State::Failed(reason.clone());
                }
                tracing::warn!(server.name = %server.settings.name, error = %reason, "tools could not be listed");
            }
        }
        Asked { began, ended: Instant::now(), answered }
    }

    /// Takes in definitions, as the server sent them.
    pub fn learn(&self, server: &Arc<str>, raw: &[Box<RawValue>]) {
        let known = self.tools.load();
        let fresh: Vec<Box<RawValue>> =
            raw.iter().filter(|raw| !is_known(&known, raw)).cloned().collect();
        if !fresh.is_empty() {
            let catalogue = Catalogue::build(&fresh, &Limits::default());
            self.take_in(server, &catalogue);
        }
        let tools = self.tools.load();
        let broken = tools.values().filter(|tool| tool.definition.schemas.is_err()).count();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::Known(tools.len(), broken);
    }

    fn take_in(&self, server: &Arc<str>, catalogue: &Catalogue) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tools = Tools::clone(&self.tools.load());
        for definition in catalogue.iter() {
            if tools.len() >= TOOLS && !tools.contains_key(&definition.name) {
                tracing::error!(server.name = %server, limit = TOOLS, "server offers too many tools; the rest cannot be called");
                break;
            }
            let known = *first.entry(Arc::clone(&definition.name)).or_insert(definition.digest);
            let changed = known != definition.digest;
            report(server, definition, changed);
            let offered = Offered { definition: Arc::clone(definition), changed };
            tools.insert(Arc::clone(&definition.name), offered);
        }
        self.tools.store(Arc::new(tools));
    }
}

fn is_known(known: &Tools, raw: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_str::<Named>(raw.get())
        .ok()
        .and_then(|named| known.get(&*named.name))
        .is_some_and(|tool| tool.definition.raw.get() == raw.get())
}

fn report(server: &str, definition: &Definition, changed: bool) {
    if changed {
        tracing::warn!(
            server.name = server,
            tool.name = &*definition.name,
            "definition of a tool has changed since it was first seen"
        );
    }
    if let Err(fault) = &definition.schemas {
        tracing::warn!(server.name = server, tool.name = &*definition.name, error = %fault, "tool cannot be used");
    }
    for warning in &definition.warnings {
        tracing::warn!(server.name = server, tool.name = &*definition.name, %warning, "schema of a tool looks wrong");
    }
}

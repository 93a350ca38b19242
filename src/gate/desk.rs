//! Where do held calls wait, and who is told what becomes of them?
//!
//! All changes of holds go through [`Desk::step`]: the state machine says what follows, the store
//! who was first, and then it is on record, counted, and told to whoever waits or watches.

mod claim;
mod hand;
mod seat;
mod settings;
mod work;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};

use crate::gate::record::Ledger;
use crate::hold::{Ask, Barred, Context, Ending, Event, Hold, HoldId, HoldTerms, State, Step};
use crate::json::Digest;
use crate::store::{Inserted, Open, Page, Query, Replaced, Store, StoreFault};
use crate::time::At;
use crate::trail::{Body, HoldChange, V1};

pub use claim::Claim;
pub use hand::{Hand, Soon};
pub use seat::Seat;
pub use settings::Settings;
use work::sendable;

/// Changes that a slow watcher may fall behind by; then it is told that it missed some.
const BEHIND: usize = 1024;

/// What is to be held.
pub struct Draft {
    /// The call.
    pub ask: Ask,
    /// By what the same call finds it.
    pub binding: Digest,
    /// What reviewers see beside it.
    pub context: Context,
    /// Who must sign.
    pub terms: HoldTerms,
}

/// Something became of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub id: HoldId,
    /// Its version now.
    pub version: u64,
    /// Its state now.
    pub state: State,
    /// What happened, as in its history.
    pub what: String,
}

/// Why a step was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepFault {
    /// The hold does not let it.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// There is no such hold.
    #[error("no such hold")]
    Unknown,
    /// So many are open already.
    #[error("too many calls wait for signatures")]
    Full,
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Who hears of each change besides those who watch: notifications.
pub type Herald = Box<dyn Fn(&Hold, &Event) + Send + Sync>;

/// Where held calls wait.
pub struct Desk {
    store: Arc<dyn Store>,
    settings: Settings,
    ledger: Arc<Ledger>,
    herald: Herald,
    changes: broadcast::Sender<Change>,
    /// The open ones, by the digest of agent and binding.
    open: Mutex<HashMap<Digest, HoldId>>,
    /// The signed ones, which somebody has to send, and from when on.
    approved: Mutex<HashMap<HoldId, At>>,
    /// The ones whose tools asked something back, and until when the client may answer.
    paused: Mutex<HashMap<HoldId, At>>,
    /// How many clients wait for each.
    seats: Mutex<HashMap<HoldId, usize>>,
    /// How many answers are on their way to the store.
    settling: AtomicUsize,
    work: Notify,
}

impl Desk {
    /// Opens the desk over a store: what was being sent when the gate ended, nobody knows the end of.
    pub async fn open(
        store: Arc<dyn Store>,
        settings: Settings,
        ledger: Arc<Ledger>,
        herald: Herald,
    ) -> Result<Arc<Self>, StoreFault> {
        let desk = Arc::new(Self {
            store,
            settings,
            ledger,
            herald,
            changes: broadcast::channel(BEHIND).0,
            open: Mutex::default(),
            approved: Mutex::default(),
            paused: Mutex::default(),
            seats: Mutex::default(),
            settling: AtomicUsize::new(0),
            work: Notify::new(),
        });
        for Open { agent, binding, id, state } in desk.store.open().await? {
            locked(&desk.open).insert(key(&agent, &binding), id);
            match state {
                State::Executing => desk.lost(id).await?,
                State::Approved => {
                    if let Some(hold) = desk.store.hold(id).await? {
                        locked(&desk.approved).insert(id, sendable(&hold));
                    }
                }
                _ => {}
            }
        }
        desk.count().await?;
        Ok(desk)
    }

    async fn lost(&self, id: HoldId) -> Result<(), StoreFault> {
        let message = "the gate ended while it was being sent; whether it took effect is unknown";
        let ending = Ending::of("outcome_unknown", message);
        let finish = Step::Finish { state: State::Unknown, ending: Some(ending), told: false };
        match self.step(id, finish).await {
            Err(StepFault::Store(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Where changes are recorded and counted.
    pub const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What the operator decided.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Holds a call whose newest hold was `after`; or finds the hold that it got since, which may
    /// be over by now.
    pub async fn submit(&self, draft: Draft, after: Option<HoldId>) -> Result<Hold, StepFault> {
        let id = HoldId::random().map_err(|error| StoreFault::Broken(error.to_string()))?;
        let now = At::now();
        let expires_in = draft.terms.expires_in.unwrap_or(self.settings.expires_in);
        let latest = now.plus(expires_in);
        let expires_at = draft.terms.not_after.map_or(latest, |end| end.min(latest));
        let reasons: Vec<_> =
            draft.context.reasons.iter().map(|reason| reason.message.as_str()).collect();
        let held = Event {
            at: now,
            what: "held".to_owned(),
            state: State::Pending,
            by: None,
            note: Some(reasons.join("; ")),
        };
        let hold = Hold {
            id,
            version: 1,
            state: State::Pending,
            binding: draft.binding,
            ask: draft.ask,
            context: draft.context,
            edited: None,
            terms: draft.terms,
            escalated: BTreeSet::new(),
            signatures: Vec::new(),
            created_at: now,
            expires_at,
            changed_at: now,
            due_at: self.due(now, now, expires_at),
            ending: None,
            told_at: None,
            history: vec![held],
        };
        match self.store.insert(hold.clone(), after, self.settings.room).await? {
            Inserted::New => {
                locked(&self.open).insert(key(&hold.ask.agent.id, &hold.binding), id);
                self.told(&hold);
                Ok(hold)
            }
            Inserted::Existing(hold) => Ok(*hold),
            Inserted::Full => Err(StepFault::Full),
        }
    }

    /// Whether an agent has an open hold for this binding. Asked for each allowed call.
    pub fn has_open(&self, agent: &str, binding: &Digest) -> Option<HoldId> {
        locked(&self.open).get(&key(agent, binding)).copied()
    }

    /// Whether anything is open at all.
    pub fn is_idle(&self) -> bool {
        locked(&self.open).is_empty()
    }

    /// The newest hold of an agent for a binding.
    pub async fn find(&self, agent: &str, binding: Digest) -> Result<Option<Hold>, StoreFault> {
        self.store.find(agent, binding).await
    }

    /// One hold.
    pub async fn hold(&self, id: HoldId) -> Result<Hold, StepFault> {
        self.store.hold(id).await?.ok_or(StepFault::Unknown)
    }

    /// The answer that is kept for it: an object with `result` or `error`.
    pub async fn result(&self, id: HoldId) -> Result<Option<Bytes>, StoreFault> {
        self.store.result(id).await
    }

    /// Some holds.
    pub async fn page(&self, query: Query) -> Result<Page, StoreFault> {
        self.store.page(query).await
    }

    /// How people decided what this agent asked of this tool before.
    pub async fn past(&self, ask: &Ask) -> Result<Vec<(State, u64)>, StoreFault> {
        self.store.past(&ask.agent.id, &ask.server, &ask.tool).await
    }

    /// Hears of each change from now on.
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Takes a step, if the hold lets it and nobody else is first.
    pub async fn step(&self, id: HoldId, step: Step) -> Result<Hold, StepFault> {
        self.step_with(id, step, None).await
    }

    async fn step_with(
        &self,
        id: HoldId,
        step: Step,
        result: Option<Bytes>,
    ) -> Result<Hold, StepFault> {
        let mut hold = self.hold(id).await?;
        loop {
            let now = At::now();
            if hold.state.is_open() && hold.state != State::Executing && now >= hold.expires_at {
                // Whatever was to be done, its time is over.
                hold = self.expire(hold, now).await?;
            }
            let next = hold.after(step.clone(), now)?;
            match self.store.replace(next.clone(), result.clone()).await? {
                Replaced::Won => {
                    self.won(&next).await;
                    return Ok(next);
                }
                Replaced::Lost(Some(other)) => hold = *other,
                Replaced::Lost(None) => return Err(StepFault::Unknown),
            }
        }
    }

    async fn expire(&self, hold: Hold, now: At) -> Result<Hold, StepFault> {
        let next = hold.after(Step::Expire, now)?;
        match self.store.replace(next.clone(), None).await? {
            Replaced::Won => {
                self.won(&next).await;
                Ok(next)
            }
            Replaced::Lost(other) => other.map(|hold| *hold).ok_or(StepFault::Unknown),
        }
    }

    /// On record, and told.
    async fn won(&self, hold: &Hold) {
        let mine = key(&hold.ask.agent.id, &hold.binding);
        if !hold.state.is_open() {
            let mut open = locked(&self.open);
            if open.get(&mine) == Some(&hold.id) {
                open.remove(&mine);
            }
        }
        match hold.state {
            State::Approved => locked(&self.approved).insert(hold.id, sendable(hold)),
            _ => locked(&self.approved).remove(&hold.id),
        };
        self.told(hold);
    }

    fn told(&self, hold: &Hold) {
        let Some(event) = hold.history.last() else { return };
        let change = Body::Hold(Box::new(HoldChange {
            v: V1,
            id: hold.ask.call,
            at: event.at,
            hold: hold.id.to_string().into(),
            what: event.what.as_str().into(),
            state: hold.state.name().into(),
            hash: hold.ask.hash,
            by: event.by.as_deref().map(Into::into),
            note: event.note.as_deref().map(Into::into),
        }));
        if let Err(error) = self.ledger.append(&change) {
            tracing::error!(hold.id = %hold.id, %error, "a change of a hold could not be put on record");
        }
        tracing::info!(
            hold.id = %hold.id,
            agent.id = &*hold.ask.agent.id,
            server.name = hold.ask.server,
            tool.name = hold.ask.tool,
            state = hold.state.name(),
            reviewer = event.by.as_deref().unwrap_or(""),
            "hold {}", event.what
        );
        self.ledger.metrics.holds().changed(hold, event);
        (self.herald)(hold, event);
        let what = event.what.clone();
        // Nobody may be watching.
        let _ = self.changes.send(Change {
            id: hold.id,
            version: hold.version,
            state: hold.state,
            what,
        });
        if hold.state == State::Approved {
            self.work.notify_one();
        }
    }

    async fn count(&self) -> Result<(), StoreFault> {
        let counts = self.store.counts().await?;
        self.ledger.metrics.holds().counted(&counts.by_state, counts.oldest);
        Ok(())
    }

    /// Waits until all answers are kept that are on their way to the store.
    pub async fn settled(&self) {
        while self.settling.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn key(agent: &str, binding: &Digest) -> Digest {
    let mut text = agent.as_bytes().to_vec();
    text.extend_from_slice(&binding.0);
    Digest::of(text)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What survives a restart?
//!
//! Holds, with what came of them. A [`Store`] keeps them durably: what it has answered is on disk.
//! Of two changes at once one wins, by version; the other is told what is there now. Adding a
//! store: one file that implements the trait and passes the tests in `store/suite.rs`.

pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::hold::{Hold, HoldId, State};
use crate::json::Digest;
use crate::time::At;

/// What a store does, in time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// Why a store cannot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// Another process has it.
    #[error("`{0}` is in use by another process; each gate needs a state directory of its own")]
    InUse(String),
    /// Written by a later release.
    #[error("`{path}` was written by a later release (schema {found}, this one knows {known})")]
    Later {
        /// The file.
        path: String,
        /// Its schema.
        found: u32,
        /// The newest that this release knows.
        known: u32,
    },
    /// Full, gone, or broken; what was to be written is not.
    #[error("the store cannot be used: {0}")]
    Broken(String),
}

/// What became of a new hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Inserted {
    /// It is kept.
    New,
    /// There is one for the same call of the same agent, which is open, or of which whoever asked
    /// has not heard.
    Existing(Box<Hold>),
    /// So many are open already, of all or of this agent.
    Full,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Replaced {
    /// It is kept.
    Won,
    /// Something else was first: this is there now; nothing, if it is gone.
    Lost(Option<Box<Hold>>),
}

/// How many may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of all agents.
    pub all: u64,
    /// Of one.
    pub each: u64,
}

/// Which holds to show, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// In one of these states; any, if empty.
    pub states: Vec<State>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this server.
    pub server: Option<String>,
    /// Of this tool.
    pub tool: Option<String>,
    /// Of this tier.
    pub tier: Option<crate::call::Tier>,
    /// With this text in agent, server, tool, id or claimed user.
    pub text: Option<String>,
    /// Newest first; else what has waited longest first.
    pub newest_first: bool,
    /// So many of them are left out.
    pub skip: u64,
    /// And so many shown at most; fewer, where they are large.
    pub limit: u64,
}

/// Some holds, and how many there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// As they were asked for.
    pub holds: Vec<Hold>,
    /// All that the query matches.
    pub total: u64,
}

/// An open hold, and by what it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Whose.
    pub agent: String,
    /// For which call.
    pub binding: Digest,
    /// Which.
    pub id: HoldId,
    /// Where it is.
    pub state: State,
}

/// Keeps holds.
pub trait Store: Send + Sync + 'static {
    /// Keeps a new one, unless there is no room, or the newest of its agent and binding is open or
    /// another than `after`: while somebody made up their mind it may have been made, signed, sent
    /// and answered.
    fn insert(&self, hold: Hold, after: Option<HoldId>, room: Room) -> Pending<'_, Inserted>;

    /// Keeps the next version of one, with the tool's answer where there is one, if the version
    /// before it is what is there.
    fn replace(&self, next: Hold, result: Option<Bytes>) -> Pending<'_, Replaced>;

    /// One, by its id.
    fn hold(&self, id: HoldId) -> Pending<'_, Option<Hold>>;

    /// The tool's answer that is kept with it.
    fn result(&self, id: HoldId) -> Pending<'_, Option<Bytes>>;

    /// The newest of an agent by its binding.
    fn find(&self, agent: &str, binding: Digest) -> Pending<'_, Option<Hold>>;

    /// Some of them.
    fn page(&self, query: Query) -> Pending<'_, Page>;

    /// How many are in each state that has any, and since when the oldest pending one waits.
    fn counts(&self) -> Pending<'_, Counts>;

    /// Pending and approved ones that are due at `now`, the longest due first.
    fn due(&self, now: At, limit: u64) -> Pending<'_, Vec<Hold>>;

    /// Each open one: read once, at the start.
    fn open(&self) -> Pending<'_, Vec<Open>>;

    /// How people decided what this agent asked of this tool: by state, final ones only.
    fn past(&self, agent: &str, server: &str, tool: &str) -> Pending<'_, Vec<(State, u64)>>;

    /// Forgets the results of what ended before `results`, and all of what ended before `holds`;
    /// says how many results and holds that were. What is open is never forgotten.
    fn forget(&self, results: At, holds: At) -> Pending<'_, u64>;
}

/// How many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By state; states without any are left out.
    pub by_state: Vec<(State, u64)>,
    /// Since when the oldest pending one waits.
    pub oldest: Option<At>,
}

//! What may an operator decide of holds?

use std::collections::BTreeSet;
use std::time::Duration;

use crate::store::Room;

/// What an operator decides of holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long one request waits for signatures.
    pub wait: Duration,
    /// How often a client is asked to come back before it gets a ticket.
    pub rounds: u32,
    /// How long people have, where policy does not say.
    pub expires_in: Duration,
    /// How long a result is kept for collection.
    pub keep_result: Duration,
    /// How long the same call is refused again with the reviewer's words.
    pub keep_denial: Duration,
    /// How long after it was collected the same call gets the same result again.
    pub repeat: Duration,
    /// How long a whole hold is kept.
    pub keep: Duration,
    /// Whether an approved call is sent though nobody waits for it.
    pub execute: bool,
    /// How many may be open.
    pub room: Room,
    /// When those who may sign are told again.
    pub remind: Option<Duration>,
    /// When others are told, and may sign as well.
    pub escalate: Option<(Duration, BTreeSet<String>)>,
}

impl Default for Settings {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            wait: Duration::from_secs(45),
            rounds: 8,
            expires_in: Duration::from_secs(30 * 60),
            keep_result: 24 * HOUR,
            keep_denial: HOUR,
            repeat: Duration::from_secs(60),
            keep: 90 * 24 * HOUR,
            execute: true,
            room: Room { all: 10_000, each: 1_000 },
            remind: None,
            escalate: None,
        }
    }
}

//! What was asked in this session, and is not answered for good?
//!
//! Up to 2025-11-25 an answer may come on another stream than its request, even a second time. It
//! is then held to the same as it would have been at first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::ExpectedCall;
use crate::gate::forward::InFlight;
use crate::json::Value;
use crate::metrics::Open;

/// How many requests a session remembers.
const REMEMBERED: usize = 256;

/// What an answer is held to.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// Nothing more than being an answer.
    Anything,
    /// A revision that is not below the minimum.
    Initialize,
    /// A list of tools, of which the agent sees its own.
    Tools,
    /// A result that fits the tool.
    Call(ExpectedCall),
}

/// One session of the revisions up to 2025-11-25.
pub struct Session {
    asked: Mutex<VecDeque<Asked>>,
    _open: Open,
}

struct Asked {
    id: String,
    /// `None` where the id was used for two different things: an answer that comes elsewhere
    /// could be to either, and would be held to the wrong one.
    expected: Option<Expected>,
    waiting: Waiting,
}

/// A call that waits for its answer, on whichever stream that comes: who sees it first has it.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<Option<InFlight>>>);

impl Waiting {
    /// This call waits.
    pub fn of(in_flight: InFlight) -> Self {
        Self(Arc::new(Mutex::new(Some(in_flight))))
    }

    /// The call, if nobody has it yet.
    pub fn take(&self) -> Option<InFlight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Session {
    /// A new one, counted as open.
    pub const fn new(open: Open) -> Self {
        Self { asked: Mutex::new(VecDeque::new()), _open: open }
    }

    /// Remembers a request, whose answer may come anywhere.
    pub fn expect(&self, id: &Value, expected: Expected) {
        let mut asked = self.lock();
        let id = id.to_string();
        if let Some(before) = asked.iter_mut().find(|asked| asked.id == id) {
            if before.expected.as_ref() != Some(&expected) {
                before.expected = None;
            }
            return;
        }
        if asked.len() >= REMEMBERED {
            // The oldest is forgotten; if its call still runs, its outcome stays unknown.
            asked.pop_front();
        }
        asked.push_back(Asked { id, expected: Some(expected), waiting: Waiting::default() });
    }

    /// A call that was sent: its answer may come on another stream, even before its own ends.
    pub fn waits(&self, id: &Value, waiting: Waiting) {
        let id = id.to_string();
        if let Some(asked) = self.lock().iter_mut().find(|asked| asked.id == id) {
            asked.waiting = waiting;
        }
    }

    /// What the answer with this id, as it is written, is held to.
    pub fn expected(&self, id: &str) -> Option<(Expected, Option<InFlight>)> {
        // The server may write a string with other escapes than we do.
        let id = serde_json::from_str::<Value>(id).ok()?.to_string();
        let mut asked = self.lock();
        let asked = asked.iter_mut().find(|asked| asked.id == id)?;
        Some((asked.expected.clone()?, asked.waiting.take()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

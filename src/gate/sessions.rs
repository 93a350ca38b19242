//! What has this agent been doing?
//!
//! The facts that policy sees as `input.session`. They live in memory, bounded; they inform rules
//! and prove nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::json;

use crate::call::{Call, Effect};
use crate::json::{Digest, Value};

/// How many calls a session remembers.
const RECENT: usize = 16;

/// What happened lately, for each session.
pub struct Sessions {
    sessions: quick_cache::sync::Cache<String, Arc<Mutex<Session>>>,
}

/// One session's past.
#[derive(Debug)]
pub struct Session {
    calls: u64,
    refusals: u64,
    confidence: f64,
    recent: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    server: Arc<str>,
    tool: Arc<str>,
    hash: Digest,
    effect: Effect,
    at: SystemTime,
}

impl Default for Session {
    fn default() -> Self {
        Self { calls: 0, refusals: 0, confidence: 1.0, recent: VecDeque::with_capacity(RECENT) }
    }
}

impl Sessions {
    /// Remembers at most `limit` sessions; the least used go first.
    pub fn new(limit: usize) -> Self {
        Self { sessions: quick_cache::sync::Cache::new(limit) }
    }

    /// The session that a call belongs to: the transport's, else the claimed workflow, else all
    /// that this agent does.
    pub fn of(&self, call: &Call) -> Arc<Mutex<Session>> {
        let within = call.session.as_deref().or(call.claimed.workflow.as_deref()).unwrap_or("");
        let key = format!("{}\n{}\n{within}", call.agent.id, call.server);
        if let Some(session) = self.sessions.get(&key) {
            return session;
        }
        let session = Arc::default();
        self.sessions.insert(key, Arc::clone(&session));
        session
    }
}

/// The facts before this call.
pub fn facts(session: &Mutex<Session>, call: &Call, with_recent: bool) -> Value {
    let session = session.lock().unwrap_or_else(PoisonError::into_inner);
    let recent = if with_recent { session.recent() } else { Value::Array(Vec::new()) };
    json!({
        "id": call.session.as_deref().unwrap_or(""),
        "calls": session.calls,
        "refusals": session.refusals,
        "confidence": session.confidence * call.claimed.confidence.unwrap_or(1.0),
        "recent": recent,
    })
}

/// The last calls before this one.
pub fn recent(session: &Mutex<Session>) -> Value {
    session.lock().unwrap_or_else(PoisonError::into_inner).recent()
}

/// Remembers what was decided.
pub fn note(session: &Mutex<Session>, call: &Call, effect: Effect) {
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    session.calls += 1;
    session.refusals += u64::from(effect != Effect::Allow);
    session.confidence *= call.claimed.confidence.unwrap_or(1.0);
    if session.recent.len() == RECENT {
        session.recent.pop_front();
    }
    session.recent.push_back(Recent {
        server: Arc::clone(&call.server),
        tool: Arc::clone(&call.tool),
        hash: call.hash,
        effect,
        at: call.received_at,
    });
}

impl Session {
    fn recent(&self) -> Value {
        self.recent.iter().map(|recent| recent.fact(&self.recent)).collect()
    }
}

impl Recent {
    fn fact(&self, all: &VecDeque<Self>) -> Value {
        json!({
            "server": &*self.server,
            "tool": &*self.tool,
            "decision": self.effect.name(),
            "at": humantime::format_rfc3339_millis(self.at).to_string(),
            "same_arguments": all.iter().filter(|other| other.hash == self.hash).count(),
        })
    }
}

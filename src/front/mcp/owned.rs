//! Whose session, stream or task is it?
//!
//! Upstream, all agents look like one client. So the gate remembers who was given which handle,
//! and to everyone else the handle does not exist. An agent that opens more than its share loses
//! the ones that it used least recently: agents forget to close, and nobody else pays for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::refusal::Refusal;

/// A handle longer than this is nobody's.
const LONGEST: usize = 1024;
/// A full table is not swept more often than this.
const SWEEP_APART: Duration = Duration::from_secs(1);

/// Handles with their owners, bounded in number and in idle time.
pub struct Owned<T> {
    what: &'static str,
    unknown: Refusal,
    limit: usize,
    idle: Duration,
    table: Mutex<Table<T>>,
}

/// A server, and a handle that it gave.
type Key = (Arc<str>, Arc<str>);

struct Table<T> {
    entries: HashMap<Key, Entry<T>>,
    /// Each agent's own, least recently used first.
    held: HashMap<Arc<str>, BTreeMap<u64, Key>>,
    /// Counts each use, so that their order is known.
    turn: u64,
    swept: Instant,
}

struct Entry<T> {
    agent: Arc<str>,
    turn: u64,
    used: Instant,
    note: T,
}

impl<T> Table<T> {
    fn insert(&mut self, key: Key, agent: &Arc<str>, note: T) {
        self.remove(&key);
        self.turn += 1;
        let (agent, turn) = (Arc::clone(agent), self.turn);
        self.held.entry(Arc::clone(&agent)).or_default().insert(turn, key.clone());
        self.entries.insert(key, Entry { agent, turn, used: Instant::now(), note });
    }

    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(held) = self.held.get_mut(&entry.agent) {
            held.remove(&entry.turn);
            if held.is_empty() {
                self.held.remove(&entry.agent);
            }
        }
    }

    fn touch(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.turn += 1;
        if let Some(held) = self.held.get_mut(&entry.agent) {
            held.remove(&entry.turn);
            held.insert(self.turn, key.clone());
        }
        (entry.turn, entry.used) = (self.turn, Instant::now());
    }

    fn held_by(&self, agent: &Arc<str>) -> usize {
        self.held.get(agent).map_or(0, BTreeMap::len)
    }

    fn least_recent_of(&self, agent: &Arc<str>) -> Option<Key> {
        self.held.get(agent)?.first_key_value().map(|(_, key)| key.clone())
    }

    fn sweep(&mut self, idle: Duration) {
        let gone: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.used.elapsed() >= idle)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.remove(key);
        }
        self.swept = Instant::now();
    }
}

impl<T: Clone> Owned<T> {
    /// At most `limit` handles, each forgotten after `idle` without use.
    /// To all but its owner, a handle is `unknown`.
    pub fn new(what: &'static str, unknown: Refusal, limit: usize, idle: Duration) -> Self {
        let table =
            Table { entries: HashMap::new(), held: HashMap::new(), turn: 0, swept: Instant::now() };
        Self { what, unknown, limit, idle, table: Mutex::new(table) }
    }

    /// Gives a handle to an agent.
    ///
    /// One agent has at most a quarter of the table, so that it cannot lock the others out. Beyond
    /// that, or where the table is full, its least recently used handle makes room: whoever comes
    /// back with that one is told that it is unknown, and begins anew.
    pub fn claim(
        &self,
        server: &Arc<str>,
        handle: &str,
        agent: &Arc<str>,
        note: T,
    ) -> Result<(), Refusal> {
        if handle.is_empty() || handle.len() > LONGEST {
            return Err(Refusal::Answer {
                server: server.to_string(),
                reason: format!("its {} id is empty or too long", self.what),
            });
        }
        let mut table = self.lock();
        let key = key(server, handle);
        if let Some(entry) = table.entries.get(&key)
            && entry.agent != *agent
            && entry.used.elapsed() < self.idle
        {
            return Err(Refusal::Answer {
                server: server.to_string(),
                reason: format!("it gave one {} id to two agents", self.what),
            });
        }
        self.sweep_now_and_then(&mut table);
        table.remove(&key);
        if self.is_crowded(&table, agent) {
            let oldest = table.least_recent_of(agent).ok_or(Refusal::Overloaded(self.what))?;
            table.remove(&oldest);
        }
        table.insert(key, agent, note);
        Ok(())
    }

    /// Whether an agent may be given one more: asked before a server makes one that nobody can use.
    pub fn room(&self, agent: &Arc<str>) -> Result<(), Refusal> {
        let mut table = self.lock();
        self.sweep_now_and_then(&mut table);
        if self.is_crowded(&table, agent) && table.held_by(agent) == 0 {
            return Err(Refusal::Overloaded(self.what));
        }
        Ok(())
    }

    fn is_crowded(&self, table: &Table<T>, agent: &Arc<str>) -> bool {
        table.entries.len() >= self.limit || table.held_by(agent) >= (self.limit / 4).max(1)
    }

    fn sweep_now_and_then(&self, table: &mut Table<T>) {
        // A full table is swept, but not by each of a flood of claims.
        let full = table.entries.len() >= self.limit;
        if table.swept.elapsed() > self.idle.min(if full { SWEEP_APART } else { self.idle }) {
            table.sweep(self.idle);
        }
    }

    /// What was noted of an agent's own handle; anybody else's does not exist.
    pub fn find(&self, server: &Arc<str>, handle: &str, agent: &Arc<str>) -> Result<T, Refusal> {
        let mut table = self.lock();
        let key = key(server, handle);
        let note = match table.entries.get(&key) {
            Some(entry) if entry.agent == *agent && entry.used.elapsed() < self.idle => {
                entry.note.clone()
            }
            _ => return Err(self.unknown.clone()),
        };
        table.touch(&key);
        Ok(note)
    }

    /// Forgets a handle.
    pub fn release(&self, server: &Arc<str>, handle: &str) {
        self.lock().remove(&key(server, handle));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(server: &Arc<str>, handle: &str) -> Key {
    (Arc::clone(server), Arc::from(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arc(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    #[test]
    fn b09_a_handle_is_its_owners_alone() {
        let owned = Owned::new("session", Refusal::Unknown("session"), 8, Duration::from_secs(60));
        owned.claim(&arc("crm"), "s1", &arc("ada"), 7).unwrap();
        for (server, handle, agent, found) in [
            ("crm", "s1", "ada", true),
            ("crm", "s1", "bob", false),
            ("erp", "s1", "ada", false),
            ("crm", "s2", "ada", false),
            ("crm", "", "ada", false),
        ] {
            let result = owned.find(&arc(server), handle, &arc(agent));
            assert_eq!(result.is_ok(), found, "{server} {handle} {agent}");
        }
        assert!(owned.claim(&arc("crm"), "s1", &arc("bob"), 0).is_err());
    }

    #[test]
    fn b11_one_agent_cannot_fill_the_table() {
        let owned = Owned::new("session", Refusal::Unknown("session"), 8, Duration::from_secs(60));
        let crm = arc("crm");
        let opened = |agent: &str, n: usize| {
            (0..n)
                .filter(|i| owned.claim(&crm, &format!("{agent}{i}"), &arc(agent), ()).is_ok())
                .count()
        };
        for (agent, all) in [("ada", 2), ("bob", 4), ("eve", 6), ("joe", 8)] {
            assert_eq!((opened(agent, 100), owned.len()), (100, all));
        }
        assert_eq!((opened("kim", 100), owned.len()), (0, 8));
        assert!(owned.room(&arc("kim")).is_err());
        assert!(owned.room(&arc("ada")).is_ok());
    }

    #[test]
    fn b11_what_an_agent_used_least_recently_makes_room_for_its_next() {
        let owned = Owned::new("session", Refusal::Unknown("session"), 12, Duration::from_secs(60));
        let (crm, ada, bob) = (arc("crm"), arc("ada"), arc("bob"));
        owned.claim(&crm, "his", &bob, ()).unwrap();
        for handle in ["a", "b", "c"] {
            owned.claim(&crm, handle, &ada, ()).unwrap();
        }
        // It talks in the first one, and tries somebody else's.
        owned.find(&crm, "a", &ada).unwrap();
        owned.find(&crm, "b", &bob).unwrap_err();
        for (opened, gone) in [("d", "b"), ("e", "c"), ("f", "a"), ("f", "none")] {
            owned.claim(&crm, opened, &ada, ()).unwrap();
            assert!(owned.find(&crm, gone, &ada).is_err(), "{gone}");
            assert_eq!(owned.len(), 4);
        }
        owned.release(&crm, "d");
        owned.claim(&crm, "g", &ada, ()).unwrap();
        for (handle, agent) in [("e", &ada), ("f", &ada), ("g", &ada), ("his", &bob)] {
            assert!(owned.find(&crm, handle, agent).is_ok(), "{handle}");
        }
    }

    #[test]
    fn what_is_idle_makes_room() {
        let owned = Owned::new("session", Refusal::Unknown("session"), 1, Duration::ZERO);
        owned.claim(&arc("crm"), "a", &arc("ada"), ()).unwrap();
        assert!(owned.find(&arc("crm"), "a", &arc("ada")).is_err());
        owned.claim(&arc("crm"), "b", &arc("bob"), ()).unwrap();
        assert_eq!(owned.len(), 1);
    }
}

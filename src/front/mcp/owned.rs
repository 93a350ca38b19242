//! Whose session, stream or task is it?
//!
//! Upstream, all agents look like one client. So the gate remembers who was given which handle,
//! and to everyone else the handle does not exist.

use std::collections::HashMap;
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

struct Table<T> {
    entries: HashMap<(Arc<str>, String), Entry<T>>,
    held: HashMap<Arc<str>, usize>,
    swept: Instant,
}

impl<T> Table<T> {
    fn sweep(&mut self, idle: Duration) {
        self.entries.retain(|_, entry| entry.used.elapsed() < idle);
        self.held.clear();
        for entry in self.entries.values() {
            *self.held.entry(Arc::clone(&entry.agent)).or_default() += 1;
        }
        self.swept = Instant::now();
    }

    fn drop_one(&mut self, agent: &Arc<str>) {
        if let Some(held) = self.held.get_mut(agent) {
            *held = held.saturating_sub(1);
        }
    }
}

struct Entry<T> {
    agent: Arc<str>,
    used: Instant,
    note: T,
}

impl<T: Clone> Owned<T> {
    /// At most `limit` handles, each forgotten after `idle` without use.
    /// To all but its owner, a handle is `unknown`.
    pub fn new(what: &'static str, unknown: Refusal, limit: usize, idle: Duration) -> Self {
        let table = Table { entries: HashMap::new(), held: HashMap::new(), swept: Instant::now() };
        Self { what, unknown, limit, idle, table: Mutex::new(table) }
    }

    /// Gives a handle to an agent.
    ///
    /// One agent gets at most a quarter of the table, so that it cannot lock the others out.
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
        let key = (Arc::clone(server), handle.to_owned());
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
        self.room_in(&table, agent)?;
        let entry = Entry { agent: Arc::clone(agent), used: Instant::now(), note };
        if let Some(old) = table.entries.insert(key, entry) {
            table.drop_one(&old.agent);
        }
        *table.held.entry(Arc::clone(agent)).or_default() += 1;
        Ok(())
    }

    /// Whether an agent may be given one more: asked before a server makes one that nobody can use.
    pub fn room(&self, agent: &Arc<str>) -> Result<(), Refusal> {
        let mut table = self.lock();
        self.sweep_now_and_then(&mut table);
        self.room_in(&table, agent)
    }

    fn room_in(&self, table: &Table<T>, agent: &Arc<str>) -> Result<(), Refusal> {
        let held = table.held.get(agent).copied().unwrap_or(0);
        if table.entries.len() >= self.limit || held >= (self.limit / 4).max(1) {
            return Err(Refusal::Overloaded(self.what));
        }
        Ok(())
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
        let key = (Arc::clone(server), handle.to_owned());
        match table.entries.get_mut(&key) {
            Some(entry) if entry.agent == *agent && entry.used.elapsed() < self.idle => {
                entry.used = Instant::now();
                Ok(entry.note.clone())
            }
            _ => Err(self.unknown.clone()),
        }
    }

    /// Forgets a handle.
    pub fn release(&self, server: &Arc<str>, handle: &str) {
        let mut table = self.lock();
        if let Some(entry) = table.entries.remove(&(Arc::clone(server), handle.to_owned())) {
            table.drop_one(&entry.agent);
        }
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
        let open = |agent: &str, n: usize| {
            (0..n)
                .filter(|i| {
                    owned.claim(&arc("crm"), &format!("{agent}{i}"), &arc(agent), ()).is_ok()
                })
                .count()
        };
        assert_eq!(open("ada", 100), 2);
        assert_eq!(open("bob", 100), 2);
        assert_eq!(open("eve", 100), 2);
        assert_eq!(open("joe", 100), 2);
        assert_eq!(open("kim", 100), 0);
        assert_eq!(owned.len(), 8);
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

//! Is this the state that this agent was given for this call?
//!
//! A server's `requestState` comes back by way of the agent. The server cannot tell agents apart,
//! so the gate binds the state to agent and call with a MAC, keyed by a file in the state
//! directory so that it outlives a restart. Each is good once, and not for long; which ones were
//! used is known only until the gate restarts.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::refusal::Refusal;

const PREFIX: &str = "cs2.";
/// So many used states are remembered; of more, the oldest and all before it are expired.
const REMEMBERED: usize = 100_000;

/// Binds states.
pub struct Seal {
    keyed: Hmac<Sha256>,
    lifetime: Duration,
    used: Mutex<Used>,
}

/// Which states were used, by their ids, which are ordered by time (UUID v7).
#[derive(Default)]
struct Used {
    ids: BTreeSet<Uuid>,
    /// This and all before are no longer good.
    expired: Uuid,
}

/// What a state is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Who was given it.
    pub agent: &'a str,
    /// By which server.
    pub server: &'a str,
    /// For which method.
    pub method: &'a str,
    /// For which tool, prompt or resource.
    pub name: &'a str,
    /// With which arguments, canonical.
    pub arguments: &'a [u8],
}

impl Seal {
    /// Seals with this key; a state is good for so long.
    pub fn new(key: &[u8; 64], lifetime: Duration) -> Self {
        Self { keyed: Hmac::new(key.into()), lifetime, used: Mutex::default() }
    }

    /// The state as the agent gets it.
    pub fn close(&self, state: &str, bound: &Bound<'_>) -> String {
        let id = Uuid::now_v7().simple().to_string();
        let tag = self.mac(&id, state, bound).finalize().into_bytes();
        format!("{PREFIX}{}.{id}.{state}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// The state as the server gave it, once.
    pub fn open<'s>(&self, sealed: &'s str, bound: &Bound<'_>) -> Result<&'s str, Refusal> {
        self.verified(sealed, bound)
            .filter(|(id, _)| self.use_up(*id))
            .map(|(_, state)| state)
            .ok_or(Refusal::Unknown("request state"))
    }

    fn verified<'s>(&self, sealed: &'s str, bound: &Bound<'_>) -> Option<(Uuid, &'s str)> {
        let (tag, rest) = sealed.strip_prefix(PREFIX)?.split_once('.')?;
        let (id, state) = rest.split_once('.')?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        self.mac(id, state, bound).verify_slice(&tag).ok()?;
        Some((Uuid::try_parse(id).ok()?, state))
    }

    /// Whether it is neither used nor too old.
    fn use_up(&self, id: Uuid) -> bool {
        if age(id).is_none_or(|age| age > self.lifetime) {
            return false;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if id <= used.expired || !used.ids.insert(id) {
            return false;
        }
        if used.ids.len() > REMEMBERED
            && let Some(oldest) = used.ids.pop_first()
        {
            used.expired = oldest;
        }
        true
    }

    fn mac(&self, id: &str, state: &str, bound: &Bound<'_>) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        for part in [bound.agent, bound.server, bound.method, bound.name, id, state] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(bound.arguments);
        mac
    }
}

/// How long ago an id was made; nothing if its time is not told.
fn age(id: Uuid) -> Option<Duration> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    let made = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    // A clock that was set back makes nothing older.
    Some(SystemTime::now().duration_since(made).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_a_state_is_for_one_agent_and_one_call() {
        let seal = Seal::new(&[7; 64], Duration::from_secs(60));
        let bound = Bound {
            agent: "ada",
            server: "crm",
            method: "tools/call",
            name: "refund",
            arguments: b"{}",
        };
        let sealed = seal.close("round.1", &bound);
        for other in [
            Bound { agent: "bob", ..bound },
            Bound { server: "erp", ..bound },
            Bound { method: "prompts/get", ..bound },
            Bound { name: "wire", ..bound },
            Bound { arguments: b"{\"a\":1}", ..bound },
        ] {
            assert!(seal.open(&sealed, &other).is_err(), "{other:?}");
        }
        let id = Uuid::now_v7().simple().to_string();
        let (_, rest) = sealed.rsplit_once("round").unwrap();
        for tampered in [
            "round.1",
            "cs2.",
            "cs2.AAAA.round.1",
            &sealed.replace("round", "rounD"),
            &format!("{}.{id}.round{rest}", &sealed[..sealed.find('.').unwrap() + 44]),
        ] {
            assert!(seal.open(tampered, &bound).is_err(), "{tampered}");
        }
        assert!(Seal::new(&[8; 64], Duration::MAX).open(&sealed, &bound).is_err());
        // Nobody else's try used it up; its owner's first does.
        assert_eq!(seal.open(&sealed, &bound), Ok("round.1"));
        assert!(seal.open(&sealed, &bound).is_err());
        // The same state given again is another round.
        assert!(seal.open(&seal.close("round.1", &bound), &bound).is_ok());
    }

    #[test]
    fn b12_what_is_no_longer_remembered_is_expired() {
        let seal = Seal::new(&[7; 64], Duration::MAX);
        let ids: Vec<_> = (0..REMEMBERED + 2).map(|_| Uuid::now_v7()).collect();
        let (unused, rest) = ids.split_first().unwrap();
        assert!(rest.iter().all(|id| seal.use_up(*id)));
        for forgotten in [unused, &rest[0]] {
            assert!(!seal.use_up(*forgotten));
        }
        assert!(!seal.use_up(rest[1]));
        assert_eq!(seal.used.lock().unwrap().ids.len(), REMEMBERED);
        assert!(!Seal::new(&[7; 64], Duration::ZERO).use_up(Uuid::from_u128(7 << 76)));
    }
}

//! Has this peer guessed too often?

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::At;

/// Wrong tokens that one address may show in each [`WHILE`].
pub(super) const TRIES: u32 = 10;
const WHILE: Duration = Duration::from_secs(60);
/// Addresses remembered at once. Past them nobody new may try until one is forgotten.
const MOST: usize = 4_096;

/// Wrong tokens, by where they came from.
#[derive(Default)]
pub(super) struct Failures {
    by_address: Mutex<HashMap<IpAddr, (u32, At)>>,
}

impl Failures {
    /// Whether this address may try.
    pub(super) fn may_try(&self, from: IpAddr, now: At) -> bool {
        let mut known = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (_, since)| now.since(*since) < WHILE);
        }
        match known.get(&from) {
            Some((tries, since)) => *tries < TRIES || now.since(*since) >= WHILE,
            None => known.len() < MOST,
        }
    }

    /// This address showed a wrong token.
    pub(super) fn failed(&self, from: IpAddr, now: At) {
        let mut known = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let (tries, since) = known.entry(from).or_insert((0, now));
        if now.since(*since) >= WHILE {
            (*tries, *since) = (0, now);
        }
        *tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_bounded_by_address_and_in_all() {
        let failures = Failures::default();
        let now = At::from_micros(1_000_000);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for _ in 0..TRIES {
            assert!(failures.may_try(address(1), now));
            failures.failed(address(1), now);
        }
        assert!(!failures.may_try(address(1), now));
        assert!(failures.may_try(address(2), now));
        assert!(failures.may_try(address(1), now.plus(WHILE)));
        for n in 2..=u32::try_from(MOST).unwrap() {
            failures.failed(address(n), now);
        }
        assert!(!failures.may_try(address(1_000_000), now));
        assert!(failures.may_try(address(1_000_000), now.plus(WHILE)));
    }
}

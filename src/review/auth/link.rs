//! How does somebody come in who has no token yet?
//!
//! By a link that is printed on the terminal of whoever started the gate. It works once, for a
//! quarter of an hour.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::hold::Reviewer;
use crate::time::At;

/// How long it can be used.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// The reviewer who comes in by it.
const LOCAL: &str = "local";

/// A link that signs one browser in.
pub struct OneTimeLink {
    reviewer: Reviewer,
    /// None once it is used up.
    secret: Mutex<Option<String>>,
    until: At,
}

impl OneTimeLink {
    /// A new one, and its address below `base_url`, such as `http://127.0.0.1:8701`.
    ///
    /// # Errors
    /// Where the system has no randomness to give.
    pub fn new(base_url: &str) -> Result<(Self, String), getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        let secret = hex::encode(bits);
        let url = format!("{}/link/{secret}", base_url.trim_end_matches('/'));
        let link = Self {
            reviewer: Reviewer { id: LOCAL.to_owned(), groups: Vec::new(), sole: true },
            secret: Mutex::new(Some(secret)),
            until: At::now().plus(LIFETIME),
        };
        Ok((link, url))
    }

    /// Whom it signs in; nobody, if it is used up, too old or another.
    pub(super) fn use_up(&self, shown: &str) -> Option<Reviewer> {
        self.use_up_at(shown, At::now())
    }

    fn use_up_at(&self, shown: &str, now: At) -> Option<Reviewer> {
        let mut kept = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let right = kept.as_ref()?.as_bytes().ct_eq(shown.as_bytes());
        if now >= self.until || !bool::from(right) {
            return None;
        }
        *kept = None;
        Some(self.reviewer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_once_and_not_for_long() {
        let (link, url) = OneTimeLink::new("http://127.0.0.1:8701/").unwrap();
        let secret = url.strip_prefix("http://127.0.0.1:8701/link/").unwrap();
        assert_eq!(secret.len(), 32);
        assert_eq!(link.use_up_at(secret, link.until), None);
        assert_eq!(link.use_up_at("", At::now()), None);
        assert_eq!(link.use_up_at(&secret[1..], At::now()), None);
        assert_eq!(link.use_up_at(secret, At::now()).unwrap().id, LOCAL);
        assert_eq!(link.use_up_at(secret, At::now()), None);
    }
}

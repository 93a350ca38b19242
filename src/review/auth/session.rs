//! Who came in, and until when do they stay?
//!
//! A session is a cookie, signed and not readable by scripts. It names the person and carries the
//! token that the session's forms have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum_extra::extract::SignedCookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Access;
use crate::hold::Reviewer;
use crate::time::At;

/// Ended sessions remembered at once; past them, the cookie is all that is taken away.
const MOST_ENDED: usize = 4_096;
const NAME: &str = "countersign";
/// Browsers keep such a cookie to this very host, and send it by https only.
const SECURE_NAME: &str = "__Host-countersign";

/// By what somebody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// A reviewer's token.
    Token,
    /// The one-time link.
    Link,
    /// An issuer of the config.
    Issuer,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    pub reviewer: Reviewer,
    /// By what they came in.
    pub how: How,
    /// Until when.
    pub until: At,
    /// Names it.
    id: String,
    /// What each of its forms carries.
    csrf: String,
}

impl Session {
    pub(super) fn begin(reviewer: Reviewer, how: How, until: At) -> Self {
        // 122 random bits each.
        let random = || uuid::Uuid::new_v4().simple().to_string();
        Self { reviewer, how, until, id: random(), csrf: random() }
    }

    /// The token for its forms.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Whether a form carries its token.
    pub(super) fn has_token(&self, shown: &str) -> bool {
        self.csrf.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    pub(super) fn is_over(&self, now: At) -> bool {
        now >= self.until
    }
}

impl Access {
    const fn cookie_name(&self) -> &'static str {
        if self.secure { SECURE_NAME } else { NAME }
    }

    /// The session that a request's cookies name, if it stands.
    pub(super) fn session(&self, headers: &http::HeaderMap) -> Option<Session> {
        let jar = SignedCookieJar::from_headers(headers, self.key.clone());
        let cookie = jar.get(self.cookie_name())?;
        let bytes = URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        self.standing(serde_json::from_slice(&bytes).ok()?)
    }

    /// The cookies that say so from now on.
    pub fn remember(&self, session: &Session) -> SignedCookieJar {
        let text = serde_json::to_vec(session).unwrap_or_default();
        let cookie = self.cookie(URL_SAFE_NO_PAD.encode(text));
        SignedCookieJar::new(self.key.clone()).add(cookie)
    }

    /// The cookies that forget it.
    pub fn forget(&self, headers: &http::HeaderMap) -> SignedCookieJar {
        SignedCookieJar::from_headers(headers, self.key.clone()).remove(self.cookie(String::new()))
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        Cookie::build((self.cookie_name(), value))
            .http_only(true)
            .same_site(SameSite::Strict)
            .path("/")
            .secure(self.secure)
            .build()
    }
}

/// Sessions that ended before their time, by id, until it is over.
#[derive(Default)]
pub(super) struct Ended(Mutex<HashMap<String, At>>);

impl Ended {
    pub(super) fn add(&self, session: &Session) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= MOST_ENDED {
            let now = At::now();
            ended.retain(|_, until| *until > now);
        }
        if ended.len() < MOST_ENDED {
            ended.insert(session.id.clone(), session.until);
        }
    }

    pub(super) fn has(&self, session: &Session) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&session.id)
    }
}

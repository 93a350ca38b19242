//! Who is at the operator's listener, and may they change anything?
//!
//! A person shows a reviewer's token, or a session that began with one, with the one-time link of
//! the terminal, or elsewhere. Whoever shows anything else, an agent's token too, is nobody here.
//! A change by session needs the session's own token in the form and a request from this very
//! page, so that no other site makes a browser change anything (E08).

mod failures;
mod link;
mod person;
mod session;
mod tokens;

use std::net::IpAddr;
use std::time::Duration;

use axum_extra::extract::cookie::Key;
use http::HeaderMap;

use crate::hold::Reviewer;
use crate::time::At;

pub use link::OneTimeLink;
pub use person::{Changing, Fields, Peer, Person, Stranger};
pub use session::{How, Session};
pub use tokens::Reviewers;

use failures::Failures;
use session::Ended;

/// Everybody who may come in, and how.
pub struct Access {
    reviewers: Reviewers,
    link: Option<OneTimeLink>,
    key: Key,
    /// Whether browsers come by https, as the public address says.
    secure: bool,
    /// How long one stays signed in.
    lasts: Duration,
    /// Where people sign in elsewhere: what the button calls it, and its path here.
    elsewhere: Option<(String, &'static str)>,
    failures: Failures,
    ended: Ended,
}

/// Why somebody could not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInFault {
    /// Nobody has this token.
    #[error("no reviewer has this token")]
    Wrong,
    /// Too many tries.
    #[error("too many tries; wait a minute")]
    TooMany,
    /// The link is used up, too old, or was never one.
    #[error("this link is used up or too old; start the gate again for another")]
    NoLink,
}

impl Access {
    /// Those who may come in; `key` is random, and outlives restarts.
    pub fn new(reviewers: Reviewers, link: Option<OneTimeLink>, key: &[u8; 64]) -> Self {
        Self {
            reviewers,
            link,
            key: Key::from(key),
            secure: false,
            lasts: Duration::from_secs(12 * 3600),
            elsewhere: None,
            failures: Failures::default(),
            ended: Ended::default(),
        }
    }

    /// The same, for browsers that come by https.
    #[must_use]
    pub fn secure(self, secure: bool) -> Self {
        Self { secure, ..self }
    }

    /// The same, for so long a time.
    #[must_use]
    pub fn lasting(self, lasts: Duration) -> Self {
        Self { lasts, ..self }
    }

    /// With a button that leads to a sign-in elsewhere.
    #[must_use]
    pub fn with_elsewhere(self, name: impl Into<String>, path: &'static str) -> Self {
        Self { elsewhere: Some((name.into(), path)), ..self }
    }

    /// What the button calls the sign-in elsewhere, and its path here.
    pub fn elsewhere(&self) -> Option<(&str, &'static str)> {
        self.elsewhere.as_ref().map(|(name, path)| (name.as_str(), *path))
    }

    /// Signs in by a token.
    pub fn by_token(&self, token: &str, from: IpAddr) -> Result<Session, SignInFault> {
        let now = At::now();
        if !self.failures.may_try(from, now) {
            return Err(SignInFault::TooMany);
        }
        match self.reviewers.by_token(token) {
            Some(reviewer) => Ok(self.begin(reviewer.clone(), How::Token)),
            None => {
                self.failures.failed(from, now);
                Err(SignInFault::Wrong)
            }
        }
    }

    /// Signs in by the one-time link, which is used up then.
    pub fn by_link(&self, secret: &str) -> Result<Session, SignInFault> {
        let reviewer = self.link.as_ref().and_then(|link| link.use_up(secret));
        let reviewer = reviewer.ok_or(SignInFault::NoLink)?;
        Ok(self.begin(reviewer, How::Link))
    }

    /// Signs in somebody whom an issuer knows.
    pub fn by_issuer(&self, reviewer: Reviewer) -> Session {
        self.begin(reviewer, How::Issuer)
    }

    fn begin(&self, reviewer: Reviewer, how: How) -> Session {
        Session::begin(reviewer, how, At::now().plus(self.lasts))
    }

    /// The reviewer behind a session, if it still stands.
    fn standing(&self, mut session: Session) -> Option<Session> {
        let now = At::now();
        if session.is_over(now) || self.ended.has(&session) {
            return None;
        }
        match session.how {
            // Whoever was taken out of the config is out, and groups are what it says now.
            How::Token => {
                session.reviewer = self.reviewers.by_id(&session.reviewer.id)?.clone();
                Some(session)
            }
            How::Link => self.link.is_some().then_some(session),
            How::Issuer => self.elsewhere.is_some().then_some(session),
        }
    }

    /// What cookies are signed with, and whether they go by https only.
    pub(super) fn cookies(&self) -> (Key, bool) {
        (self.key.clone(), self.secure)
    }

    /// Ends a session, whoever has a copy of its cookie.
    pub fn end(&self, session: &Session) {
        self.ended.add(session);
    }
}

/// Whether a browser says that the request comes from a page of another origin than ours. What is
/// no browser says nothing.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(http::header::ORIGIN) else { return false };
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let named = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (named, host) {
        (Some((_, named)), Some(host)) => !named.eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests;

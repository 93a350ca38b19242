//! What are an issuer's keys now?
//!
//! Read from a file or a URL, and read again when they grow old or a token names a key that is
//! not among them. One read at a time, never more often than the pace allows, whatever tokens
//! arrive. While a source is down the last good keys serve, for a day; after that, and before the
//! first good read, identity cannot be checked, which is not consent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Mutex;

use super::keys::Keys;
use crate::tls::Connector;

const READ_TIMEOUT: Duration = Duration::from_secs(5);
const TEXT_BYTES: usize = 256 * 1024;

/// Where an issuer publishes its keys (a JWKS, RFC 7517).
#[derive(Clone)]
pub struct KeySource(Place);

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Url { url: Uri, client: Box<Client<Connector, Empty<Bytes>>> },
}

/// A URL that keys must not come from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys come from an https URL, or from http on loopback, where nobody can swap them")]
pub struct InsecureKeys;

impl KeySource {
    /// A file, looked at again every few seconds.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// A URL, fetched with this connector: https, or http on loopback. Redirects are not followed.
    pub fn url(url: Uri, connector: Connector) -> Result<Self, InsecureKeys> {
        let host = url.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        let loopback =
            host == "localhost" || address.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        match url.scheme_str() {
            Some("https") if !host.is_empty() => {}
            Some("http") if loopback => {}
            _ => return Err(InsecureKeys),
        }
        // Read once in minutes: a kept connection would be closed by then.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self(Place::Url { url, client: Box::new(client) }))
    }

    fn pace(&self) -> Pace {
        match self.0 {
            Place::File(_) => Pace {
                fresh: Duration::from_secs(5),
                kept: Duration::from_secs(24 * 3600),
                again: Duration::from_secs(1),
                first: Duration::from_secs(1),
            },
            Place::Url { .. } => Pace {
                fresh: Duration::from_secs(300),
                kept: Duration::from_secs(24 * 3600),
                again: Duration::from_secs(30),
                first: Duration::from_secs(2),
            },
        }
    }

    async fn read(&self) -> Result<Keys, ReadError> {
        let text = match &self.0 {
            Place::File(path) => {
                use tokio::io::AsyncReadExt;
                let file = tokio::fs::File::open(path).await?;
                let mut text = Vec::new();
                file.take(TEXT_BYTES as u64 + 1).read_to_end(&mut text).await?;
                if text.len() > TEXT_BYTES {
                    return Err("longer than 256 KiB".into());
                }
                Bytes::from(text)
            }
            Place::Url { url, client } => {
                let answer = client.get(url.clone()).await?;
                if answer.status() != http::StatusCode::OK {
                    return Err(format!("answered with status {}", answer.status()).into());
                }
                Limited::new(answer.into_body(), TEXT_BYTES).collect().await?.to_bytes()
            }
        };
        Ok(Keys::parse(&text)?)
    }
}

type ReadError = Box<dyn std::error::Error + Send + Sync>;

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Url { url, .. } => write!(f, "{url}"),
        }
    }
}

/// How often a source is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Younger keys are used without another look.
    pub(super) fresh: Duration,
    /// Older keys are not used at all.
    pub(super) kept: Duration,
    /// The least time between two reads.
    pub(super) again: Duration,
    /// The same, while there are no keys to use.
    pub(super) first: Duration,
}

/// There are no keys to check with, for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable;

struct Dated {
    keys: Arc<Keys>,
    read_at: Instant,
}

struct Attempt {
    at: Instant,
    succeeded: bool,
}

/// An issuer's keys, kept current.
pub(super) struct KeySet {
    source: KeySource,
    pace: Pace,
    last_good: ArcSwapOption<Dated>,
    last_attempt: Mutex<Option<Attempt>>,
}

impl KeySet {
    pub(super) fn new(source: KeySource) -> Self {
        let pace = source.pace();
        Self::at_pace(source, pace)
    }

    pub(super) fn at_pace(source: KeySource, pace: Pace) -> Self {
        Self { source, pace, last_good: ArcSwapOption::empty(), last_attempt: Mutex::new(None) }
    }

    /// Begin with the keys of a predecessor, if it reads from the same place.
    pub(super) fn inherit(&self, predecessor: &Self) {
        if self.source.to_string() == predecessor.source.to_string() {
            self.last_good.store(predecessor.last_good.load_full());
        }
    }

    /// The keys that can be used without waiting; old ones are read again behind the scenes.
    pub(super) fn at_hand(self: &Arc<Self>) -> Option<Arc<Keys>> {
        let dated = self.last_good.load();
        let age = dated.as_ref()?.read_at.elapsed();
        if age > self.pace.kept {
            return None;
        }
        if age > self.pace.fresh && self.may_try() {
            tokio::spawn(self.clone().read_again(self.pace.again));
        }
        dated.as_ref().map(|dated| dated.keys.clone())
    }

    /// The keys to use, waiting for the first read if need be.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<Keys>, Unavailable> {
        match self.at_hand() {
            Some(keys) => Ok(keys),
            None => self.newer(self.pace.first).await,
        }
    }

    /// The keys after another look, because a token names one that was not there.
    pub(super) async fn after_another_look(self: &Arc<Self>) -> Result<Arc<Keys>, Unavailable> {
        self.newer(self.pace.again).await
    }

    /// A task of its own, so that a caller that hangs up neither stops the read nor lets the next
    /// one start early.
    async fn newer(self: &Arc<Self>, pause: Duration) -> Result<Arc<Keys>, Unavailable> {
        match tokio::spawn(self.clone().read_again(pause)).await {
            Ok(true) => self.at_hand().ok_or(Unavailable),
            Ok(false) | Err(_) => Err(Unavailable),
        }
    }

    fn may_try(&self) -> bool {
        match self.last_attempt.try_lock() {
            Ok(last) => last.as_ref().is_none_or(|last| last.at.elapsed() >= self.pace.again),
            Err(_) => false, // somebody is reading
        }
    }

    /// Read, unless that was done within `pause`; whether the last read succeeded.
    async fn read_again(self: Arc<Self>, pause: Duration) -> bool {
        let mut last = self.last_attempt.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.at.elapsed() < pause) {
            return last.succeeded;
        }
        let result = match tokio::time::timeout(READ_TIMEOUT, self.source.read()).await {
            Ok(result) => result,
            Err(late) => Err(late.into()),
        };
        let at = Instant::now();
        let succeeded = match result {
            Ok(keys) => {
                self.accept(keys, at);
                true
            }
            Err(error) => {
                let error = causes(&*error);
                tracing::warn!(source = %self.source, error, "an issuer's keys cannot be read");
                false
            }
        };
        *last = Some(Attempt { at, succeeded });
        succeeded
    }

    fn accept(&self, keys: Keys, read_at: Instant) {
        let same = self.last_good.load_full().filter(|old| old.keys.digest == keys.digest);
        if same.is_none() {
            tracing::info!(source = %self.source, keys = keys.len(), "read an issuer's keys");
        }
        let keys = same.map_or_else(|| Arc::new(keys), |old| old.keys.clone());
        self.last_good.store(Some(Arc::new(Dated { keys, read_at })));
    }
}

/// A client's errors say what happened only in their sources.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

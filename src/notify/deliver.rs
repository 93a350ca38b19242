//! Has one target got it?
//!
//! Each message is tried a few times over some minutes, several messages side by side, so that one
//! that a target does not like holds up no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Semaphore, mpsc};

use super::sign::signature;
use crate::config::Notify;
use crate::metrics::{Metrics, Notified};
use crate::time::At;
use crate::tls::Connector;

/// Messages that are under way to one target at once.
const AT_ONCE: usize = 16;
/// How long one try may take, from connecting to the answer's head.
const TRY_TIME: Duration = Duration::from_secs(15);
/// The longest that we wait because a target asked for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// How often and how long a message is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tries {
    /// Tries in all.
    pub(super) count: u32,
    /// The pause after the first; each later one is four times as long.
    pub(super) pause: Duration,
}

impl Default for Tries {
    /// 2, 8, 32 and 128 seconds: nearly three minutes.
    fn default() -> Self {
        Self { count: 5, pause: Duration::from_secs(2) }
    }
}

/// What is sent, the same at each try.
pub(super) struct Message {
    /// `webhook-id`.
    pub(super) id: String,
    /// JSON.
    pub(super) body: Bytes,
}

/// Why a try came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it wants no more (410)")]
    Gone,
    #[error("it answered {status}")]
    Status { status: StatusCode, pause: Option<Duration> },
    #[error("it did not answer within {}", humantime::format_duration(TRY_TIME))]
    Late,
    #[error("it could not be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("the request could not be made")]
    Unmade(#[from] http::Error),
}

/// Somebody who is told.
pub(super) struct Target {
    settings: Notify,
    client: Client<Connector, Full<Bytes>>,
    metrics: Arc<Metrics>,
    tries: Tries,
    gone: AtomicBool,
}

impl Target {
    pub(super) fn new(
        settings: Notify,
        connector: Connector,
        metrics: Arc<Metrics>,
        tries: Tries,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { settings, client, metrics, tries, gone: AtomicBool::new(false) }
    }

    pub(super) const fn settings(&self) -> &Notify {
        &self.settings
    }

    /// Whether it said that it wants no more, until we start anew.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Delivers what comes, until nothing more can come.
    pub(super) async fn work(self: Arc<Self>, mut waiting: mpsc::Receiver<Message>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(message) = waiting.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let target = Arc::clone(&self);
            tokio::spawn(async move {
                target.metrics.notified(target.deliver(&message).await);
                drop(place);
            });
        }
    }

    async fn deliver(&self, message: &Message) -> Notified {
        let mut pause = self.tries.pause;
        for left in (0..self.tries.count).rev() {
            if self.is_gone() {
                return Notified::Dropped;
            }
            let failure = match self.attempt(message).await {
                Ok(()) => return Notified::Sent,
                Err(failure) => failure,
            };
            if self.gives_up(&failure, left, &message.id) {
                return Notified::Failed;
            }
            let asked = match failure {
                Failure::Status { pause, .. } => pause.unwrap_or_default().min(LONGEST_PAUSE),
                _ => Duration::ZERO,
            };
            tokio::time::sleep(jittered(pause).max(asked)).await;
            pause = pause.saturating_mul(4);
        }
        Notified::Failed
    }

    /// Whether it is not tried again; where it fails for good, that is told.
    fn gives_up(&self, failure: &Failure, left: u32, id: &str) -> bool {
        let error: &(dyn std::error::Error + 'static) = failure;
        let url = &self.settings.url;
        if matches!(failure, Failure::Gone) {
            self.gone.store(true, Ordering::Relaxed);
            tracing::error!(id, "`{url}` wants no webhooks; none until a restart");
            return true;
        }
        if left == 0 {
            tracing::error!(error, id, "a webhook to `{url}` failed; it is not tried again");
            return true;
        }
        tracing::debug!(error, id, "a webhook to `{url}` failed; it is tried again");
        false
    }

    pub(super) async fn attempt(&self, message: &Message) -> Result<(), Failure> {
        let asked = self.client.request(self.request(message)?);
        let answer = tokio::time::timeout(TRY_TIME, asked).await.map_err(|_| Failure::Late)?;
        let answer = answer.map_err(Failure::Unreachable)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(Failure::Gone),
            status => Err(Failure::Status { status, pause: retry_after(answer.headers()) }),
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, http::Error> {
        let seconds = At::now().micros() / 1_000_000;
        let mut request = Request::post(self.settings.url.expose().clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "countersign")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", seconds);
        let key = self.settings.secret.as_ref();
        if let Some(v1) = key.and_then(|key| signature(key, &message.id, seconds, &message.body)) {
            request = request.header("webhook-signature", v1);
        }
        request.body(Full::new(message.body.clone()))
    }
}

/// What `Retry-After` asks for: seconds, or a time (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// Three to five quarters of it, so that many gates do not come back at one moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness there is no jitter, and nothing worse.
    let _ = getrandom::fill(&mut random);
    let [share] = random.map(|byte: u8| f64::from(byte) / f64::from(u8::MAX));
    pause.mul_f64(0.75 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_ask_for_time_in_seconds_or_by_the_clock() {
        let past = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        for (text, least, most) in [
            ("120".to_owned(), Some(120), Some(120)),
            (soon, Some(3500), Some(3600)),
            (past, None, None),
            ("soon".to_owned(), None, None),
            ("-1".to_owned(), None, None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            let asked = retry_after(&headers).map(|asked| asked.as_secs());
            assert!(least <= asked && asked <= most, "{text}: {asked:?}");
        }
    }

    #[test]
    fn jitter_keeps_its_bounds() {
        let second = Duration::from_secs(1);
        let within = |pause: Duration| (second * 3 / 4..=second * 5 / 4).contains(&pause);
        assert!((0..1000).all(|_| within(jittered(second))));
    }
}

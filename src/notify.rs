//! Who is told that a call waits for people?
//!
//! Whoever the config names, by a webhook after [Standard Webhooks]. Telling never waits: each
//! target has a bounded queue and tasks of its own, and what finds the queue full is dropped and
//! counted. A message may come twice, and late ones in any order; its id is the same each time.
//! What is still queued when the process ends is lost: the holds themselves are in the store.
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

mod deliver;
mod message;
mod sign;
mod slack;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{Notify, NotifyFormat};
use crate::hold::{Event, Hold, State};
use crate::metrics::{Metrics, Notified};
use crate::time::At;
use crate::tls::{self, TlsError};
use deliver::{Message, Target, Tries};

/// Messages that wait for one target.
const QUEUE: usize = 1000;

/// What happened to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call waits for people.
    Created,
    /// It still does, or does again.
    Reminder,
    /// It still does, and others may sign as well.
    Escalated,
    /// Nobody needs to sign any more: it is approved, or will not be.
    Decided,
    /// An approved call was sent; this is how that ended.
    Finished,
}

impl Kind {
    /// The event's type, as receivers see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "hold.created",
            Self::Reminder => "hold.reminder",
            Self::Escalated => "hold.escalated",
            Self::Decided => "hold.decided",
            Self::Finished => "hold.finished",
        }
    }

    /// What people are told of something that happened; most steps in between are nobody's news.
    pub fn of(event: &Event) -> Option<Self> {
        match (event.what.as_str(), event.state) {
            ("held", _) => Some(Self::Created),
            ("reminded" | "asked for more", _) => Some(Self::Reminder),
            ("escalated", _) => Some(Self::Escalated),
            ("signed", State::Approved) => Some(Self::Decided),
            (what, state) if what == state.name() => match state {
                State::Denied | State::Expired | State::Cancelled | State::Void => {
                    Some(Self::Decided)
                }
                State::Done | State::Failed | State::Unknown => Some(Self::Finished),
                State::Pending | State::Approved | State::Executing => None,
            },
            _ => None,
        }
    }
}

/// Tells the configured targets.
pub struct Notifier {
    targets: Vec<(mpsc::Sender<Message>, Arc<Target>)>,
    base: String,
    metrics: Arc<Metrics>,
}

impl Notifier {
    /// Begins to serve these targets, within a Tokio runtime; links begin with `base`, which has
    /// no slash at its end.
    ///
    /// # Errors
    /// When a target needs the system's authorities and they cannot be read.
    pub fn new(
        targets: Vec<Notify>,
        base: impl Into<String>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let is_https = |target: &Notify| target.url.expose().scheme_str() == Some("https");
        let client = match targets.iter().any(is_https) {
            true => tls::client(&tls::ClientFiles::default())?,
            false => tls::plain_client()?,
        };
        Ok(Self::with(targets, base.into(), metrics, tls::connector(client), Tries::default()))
    }

    fn with(
        targets: Vec<Notify>,
        base: String,
        metrics: Arc<Metrics>,
        connector: tls::Connector,
        tries: Tries,
    ) -> Self {
        let begun = targets.into_iter().map(|settings| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let target =
                Arc::new(Target::new(settings, connector.clone(), Arc::clone(&metrics), tries));
            tokio::spawn(Arc::clone(&target).work(waiting));
            (queue, target)
        });
        Self { targets: begun.collect(), base, metrics }
    }

    /// Tells everybody, or drops what they have no room for. Never waits.
    pub fn tell(&self, what: Kind, hold: &Hold) {
        let at = At::now();
        let url = format!("{}/holds/{}", self.base, hold.id);
        for (queue, target) in &self.targets {
            if target.is_gone() {
                self.metrics.notified(Notified::Dropped);
                continue;
            }
            let Notify { format, arguments, .. } = target.settings();
            let body = match format {
                NotifyFormat::Standard => message::body(what, hold, at, &url, *arguments),
                NotifyFormat::Slack => slack::body(what, hold, &url, *arguments),
            };
            let message = Message { id: id(what, hold), body: Bytes::from(body) };
            if queue.try_send(message).is_err() {
                self.metrics.notified(Notified::Dropped);
                tracing::warn!(hold = %hold.id, "webhooks to `{}` are too slow; one is dropped", target.settings().url);
            }
        }
    }
}

// The same news has the same id, also when it is told again after a restart.
fn id(what: Kind, hold: &Hold) -> String {
    let name = what.name().trim_start_matches("hold.");
    format!("msg_{}_{}_{name}", hold.id, hold.version)
}

#[cfg(test)]
mod tests;

//! What has to be done about holds, and when?
//!
//! Once a second, and when something is signed: what is due is reminded of, escalated or ended; what
//! is signed and has nobody to send it is sent; what is old is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Desk, Hand, StepFault, locked};
use crate::hold::{Hold, HoldId, Step};
use crate::store::StoreFault;
use crate::time::At;

/// Holds looked after at a time: each may be as large as a request.
const DUE_AT_ONCE: u64 = 32;
/// Signed calls that the gate sends by itself at once.
const AT_ONCE: usize = 64;
/// How soon a signed call that could not be sent is tried again.
const AGAIN: Duration = Duration::from_secs(5);

impl Desk {
    /// Looks after the holds until it is dropped: what is due, and what is signed and has nobody
    /// to send it.
    pub async fn work(self: Arc<Self>, hand: Arc<dyn Hand>) {
        let mut tidied = At::from_micros(0);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let now = At::now();
            if let Err(error) = self.look_after(now).await {
                tracing::warn!(%error, "holds that are due cannot be looked after now");
            }
            self.forget_paused(now).await;
            if self.settings.execute {
                for id in self.unattended(now, places.available_permits()) {
                    let (hand, place) = (Arc::clone(&hand), Arc::clone(&places));
                    tokio::spawn(async move {
                        // Never closed.
                        let _place = place.acquire().await;
                        hand.make(id).await;
                    });
                }
            }
            if now.since(tidied) > Duration::from_secs(60) {
                tidied = now;
                self.tidy(now).await;
            }
            let again = tokio::time::sleep(Duration::from_secs(1));
            tokio::select! {
                () = again => {}
                () = self.work.notified() => {}
            }
        }
    }

    /// Signed, and no client waits for it. Each is given out again after a while, should it still
    /// be there.
    fn unattended(&self, now: At, most: usize) -> Vec<HoldId> {
        let seats = locked(&self.seats);
        let mut approved = locked(&self.approved);
        let ready = approved.iter_mut().filter(|(id, at)| **at <= now && !seats.contains_key(id));
        ready
            .take(most)
            .map(|(id, at)| {
                *at = now.plus(AGAIN);
                *id
            })
            .collect()
    }

    async fn look_after(&self, now: At) -> Result<(), StoreFault> {
        let due = self.store.due(now, DUE_AT_ONCE).await?;
        let more = due.len() as u64 == DUE_AT_ONCE;
        for hold in due {
            let step = if now >= hold.expires_at { Step::Expire } else { self.remind(&hold, now) };
            // Where somebody was first, it is theirs.
            if let Err(StepFault::Store(fault)) = self.step(hold.id, step).await {
                return Err(fault);
            }
        }
        if more {
            self.work.notify_one();
        }
        Ok(())
    }

    fn remind(&self, hold: &Hold, now: At) -> Step {
        let escalate = match &self.settings.escalate {
            Some((after, to))
                if hold.escalated.is_empty() && now >= hold.created_at.plus(*after) =>
            {
                to.clone()
            }
            _ => BTreeSet::new(),
        };
        Step::Remind { escalate, due_at: self.due(now, hold.created_at, hold.expires_at) }
    }

    async fn tidy(&self, now: At) {
        let before = |kept| now.minus(kept);
        let forgotten =
            self.store.forget(before(self.settings.keep_result), before(self.settings.keep)).await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old holds cannot be forgotten now");
        }
        if let Err(error) = self.count().await {
            tracing::warn!(%error, "holds cannot be counted now");
        }
    }

    /// When a pending hold is looked at next.
    pub(super) fn due(&self, now: At, created: At, expires: At) -> At {
        let escalates = self.settings.escalate.as_ref().map(|(after, _)| created.plus(*after));
        let reminds = self.settings.remind.map(|every| now.plus(every));
        let next = [escalates, reminds].into_iter().flatten().filter(|at| *at > now).min();
        next.map_or(expires, |at| at.min(expires))
    }
}

/// From when on a signed call may be sent. What could not be sent is not tried again at once.
pub(super) fn sendable(hold: &Hold) -> At {
    let tried = hold.history.last().is_some_and(|event| event.what == "not sent");
    let soonest = if tried { hold.changed_at.plus(AGAIN) } else { hold.changed_at };
    hold.terms.not_before.map_or(soonest, |from| from.max(soonest))
}

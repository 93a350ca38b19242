//! Who waits here for a hold?
//!
//! As long as a client has a seat, it sends its own call once that is signed; when the last one
//! leaves, the gate does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{Desk, StepFault, locked};
use crate::hold::{Hold, HoldId, State};

/// A client that waits for one hold.
pub struct Seat {
    desk: Arc<Desk>,
    id: HoldId,
    /// Whether it sends the call itself, once that is signed.
    sends: bool,
}

impl Desk {
    /// Waits for a hold from now on, to send the call once that is signed.
    pub fn sit(self: &Arc<Self>, id: HoldId) -> Seat {
        *locked(&self.seats).entry(id).or_default() += 1;
        Seat { desk: Arc::clone(self), id, sends: true }
    }

    /// Waits for what becomes of a hold, and does nothing about it.
    pub fn stand_by(self: &Arc<Self>, id: HoldId) -> Seat {
        Seat { desk: Arc::clone(self), id, sends: false }
    }
}

impl Seat {
    /// The hold, once its state is another than `seen`, or as it is when the time is over.
    pub async fn wait(&self, seen: State, until: Instant) -> Result<Hold, StepFault> {
        // Heard from before it is read, so that nothing is missed between.
        let mut changes = self.desk.watch();
        loop {
            let hold = self.desk.hold(self.id).await?;
            if hold.state != seen || Instant::now() >= until {
                return Ok(hold);
            }
            let heard = async {
                loop {
                    match changes.recv().await {
                        Ok(change) if change.id != self.id => {}
                        // Missed some: perhaps one of ours.
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            // Either way it is read again.
            let _ = tokio::time::timeout_at(until, heard).await;
        }
    }

    /// How long a client that waits in silence may have to.
    pub fn patience(&self) -> Duration {
        self.desk.settings.wait
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.sends {
            return;
        }
        let mut seats = locked(&self.desk.seats);
        if let Some(count) = seats.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                seats.remove(&self.id);
                drop(seats);
                self.desk.work.notify_one();
            }
        }
    }
}

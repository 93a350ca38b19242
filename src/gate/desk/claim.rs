//! Who sends a signed call, and what came of it?
//!
//! Only who has the [`Claim`] may send, and there is one for each approval. What came of it is
//! kept before the agent is answered. A claim that is dropped unfinished is an unknown outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{Desk, StepFault, locked};
use crate::hold::{Ending, Hold, HoldId, State, Step};
use crate::refusal::Refusal;
use crate::time::At;

/// How long a tool's question may be with a client.
const PAUSE: Duration = Duration::from_secs(600);

/// The right to send one signed call, once.
pub struct Claim {
    desk: Arc<Desk>,
    hold: Hold,
    /// Whether a client waits, which then has the answer at once.
    attended: bool,
    finished: bool,
}

/// What came of it.
struct Outcome {
    step: Step,
    result: Option<Bytes>,
}

impl Desk {
    /// Takes an approval, if nobody else has.
    pub(in crate::gate) async fn claim(
        self: &Arc<Self>,
        hold: &Hold,
        attended: bool,
    ) -> Result<Claim, StepFault> {
        let hold = self.step(hold.id, Step::Claim).await?;
        Ok(Claim { desk: Arc::clone(self), hold, attended, finished: false })
    }
}

impl Desk {
    /// Goes on with a call that its tool asked something back about. There is one who does.
    pub(in crate::gate) fn go_on(self: &Arc<Self>, hold: Hold) -> Option<Claim> {
        locked(&self.paused).remove(&hold.id)?;
        Some(Claim { desk: Arc::clone(self), hold, attended: true, finished: false })
    }

    /// Gives up on those whose clients did not come back.
    pub(super) async fn forget_paused(&self, now: At) {
        let over: Vec<HoldId> =
            locked(&self.paused).extract_if(|_, until| *until <= now).map(|(id, _)| id).collect();
        for id in over {
            let message = "its tool asked something back, and the client did not go on";
            let ending = Ending::of("outcome_unknown", message);
            let finish = Step::Finish { state: State::Unknown, ending: Some(ending), told: false };
            if let Err(StepFault::Store(error)) = self.step(id, finish).await {
                tracing::warn!(hold.id = %id, %error, "a signed call that did not go on cannot be ended now");
                locked(&self.paused).insert(id, now.plus(PAUSE));
            }
        }
    }
}

impl Claim {
    /// The tool asks back, and the client goes on with the answer: the same call, still signed.
    /// Where no client waits, nobody can answer, so it is over.
    pub fn pause(mut self) {
        if !self.attended {
            let message = "its tool asked something back, and nobody was there to answer";
            let ending =
                Ending { by: None, code: "asked_back".to_owned(), message: message.to_owned() };
            let step =
                Step::Finish { state: State::Failed, ending: Some(ending), told: self.attended };
            drop(self.settle(Outcome { step, result: None }));
            return;
        }
        self.finished = true;
        locked(&self.desk.paused).insert(self.hold.id, At::now().plus(PAUSE));
    }

    /// The hold, as it was claimed.
    pub const fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The tool answered: the answer is kept.
    pub async fn answered(mut self, is_error: bool, answer: Bytes) {
        let state = if is_error { State::Failed } else { State::Done };
        let step = Step::Finish { state, ending: None, told: self.attended };
        self.finish(Outcome { step, result: Some(answer) }).await;
    }

    /// It was not sent, or what came back is not passed on, or nobody knows.
    pub async fn failed(mut self, refusal: &Refusal) {
        let step = Step::of(refusal, self.attended);
        self.finish(Outcome { step, result: None }).await;
    }

    /// The same, where nobody waits for it to be kept.
    pub fn fail(mut self, refusal: &Refusal) {
        let step = Step::of(refusal, self.attended);
        drop(self.settle(Outcome { step, result: None }));
    }

    async fn finish(&mut self, outcome: Outcome) {
        if let Some(settled) = self.settle(outcome) {
            // It cannot fail but by a panic, which has been told.
            let _ = settled.await;
        }
    }

    /// In a task of its own: it is kept also where the client goes away now. Without a runtime the
    /// process ends, and the next start says that nobody knows.
    fn settle(&mut self, outcome: Outcome) -> Option<JoinHandle<()>> {
        self.finished = true;
        let settle = settle(Arc::clone(&self.desk), self.hold.clone(), outcome);
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(settle))
    }
}

/// Keeps what came of it, trying again while the store cannot: it happened.
async fn settle(desk: Arc<Desk>, hold: Hold, outcome: Outcome) {
    const TRIES: u32 = 60;
    desk.settling.fetch_add(1, Ordering::AcqRel);
    for _ in 0..TRIES {
        let kept = desk.step_with(hold.id, outcome.step.clone(), outcome.result.clone()).await;
        match kept {
            Err(StepFault::Store(error)) => {
                tracing::error!(hold.id = %hold.id, %error, "what came of a signed call cannot be kept now; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                tracing::error!(hold.id = %hold.id, %error, "what came of a signed call cannot be kept");
                break;
            }
            Ok(_) => break,
        }
    }
    desk.settling.fetch_sub(1, Ordering::AcqRel);
}

impl Step {
    /// What a failure to send makes of an approval.
    fn of(refusal: &Refusal, told: bool) -> Self {
        let ending = |state| Self::Finish {
            state,
            ending: Some(Ending::of(refusal.code(), &refusal.to_string())),
            told,
        };
        match refusal {
            // Certainly not sent, so nothing is used up.
            Refusal::Unreachable(_) | Refusal::RecordFailed | Refusal::Overloaded(_) => {
                Self::Release { why: refusal.to_string() }
            }
            Refusal::Answer { .. } => ending(State::Failed),
            _ => ending(State::Unknown),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let step = Step::of(&Refusal::OutcomeUnknown(self.hold.ask.server.clone()), false);
        drop(self.settle(Outcome { step, result: None }));
    }
}

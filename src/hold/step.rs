//! What can become of a hold?
//!
//! [`Hold::after`] is the whole state machine: from a hold and one step to the hold after it, or to
//! why not. It reads no clock and writes nothing; whoever stores the result compares versions.
//!
//! `step/model.rs` exhausts it with the model checker `stateright`: one reviewer who signs under
//! two spellings of a name, one who signs, edits or denies, an expiry, a cancellation, a policy
//! that asks for more, and two retries that claim and then finish or release, in each order of
//! their reads and writes of a store that compares versions. In all of them a hold ends once and
//! stays ended, is sent by one at a time and finished once, and never without its signatures; and
//! without the comparison the same checker finds it sent twice. Not in the model: escalation,
//! justifications and groups, which `step/tests.rs` has as tables.

use std::collections::BTreeSet;

use super::{Ask, Context, Edit, Ending, Event, Hold, HoldTerms, Reviewer, Signature, State};
use crate::json::Digest;
use crate::time::At;

/// One thing that somebody does to a hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A reviewer says yes to the call that they have seen.
    Sign {
        /// Who.
        reviewer: Reviewer,
        /// Why, in their own words.
        justification: Option<String>,
        /// The hash of what they have seen.
        seen: Digest,
    },
    /// A reviewer changes the arguments, and says yes to that.
    Edit {
        /// Who.
        reviewer: Reviewer,
        /// Why, in their own words.
        justification: Option<String>,
        /// The hash of what they have changed.
        seen: Digest,
        /// What is to be sent instead: judged anew, and hashed.
        ask: Box<Ask>,
        /// What policy says of that.
        context: Box<Context>,
        /// Who must sign that.
        terms: HoldTerms,
    },
    /// A reviewer says no, or answers in the tool's place.
    Deny {
        /// Who.
        reviewer: Reviewer,
        /// What the agent is told.
        ending: Ending,
    },
    /// Its time is over.
    Expire,
    /// The agent's client takes it back.
    Cancel,
    /// Policy asks for more than was signed.
    AskMore {
        /// Who must sign now.
        terms: HoldTerms,
        /// What policy says now.
        context: Box<Context>,
    },
    /// What it was bound to is no longer so.
    Void {
        /// Why, for reviewers and the agent.
        ending: Ending,
    },
    /// Somebody takes the approval, to send the call. There is one who gets it.
    Claim,
    /// It was certainly not sent, so the approval is not used up.
    Release {
        /// Why it was not sent.
        why: String,
    },
    /// It was sent.
    Finish {
        /// `Done`, `Failed` or `Unknown`.
        state: State,
        /// What the agent is told where there is no result.
        ending: Option<Ending>,
        /// Whether the agent has it already.
        told: bool,
    },
    /// The agent has been told how it ended.
    Tell,
    /// Nobody has said anything for a while.
    Remind {
        /// Who may sign from now on.
        escalate: BTreeSet<String>,
        /// When to look at it again.
        due_at: At,
    },
}

fn winner(state: State, by: Option<&str>) -> String {
    match by {
        Some(by) if was_sent(state) => format!("; {by} approved it"),
        Some(by) => format!(" by {by}"),
        None => String::new(),
    }
}

const fn was_sent(state: State) -> bool {
    matches!(state, State::Executing | State::Done | State::Failed | State::Unknown)
}

/// Why a step is not taken. A reviewer reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// Another was first.
    #[error("it is already {}{}", .state.name(), winner(*.state, .by.as_deref()))]
    Over {
        /// What it is.
        state: State,
        /// Who made it so, or approved what was then sent, where it was a person.
        by: Option<String>,
        /// Since when.
        at: At,
    },
    /// It was edited, or replaced, since.
    #[error("it has changed since you looked at it; look again")]
    Changed,
    /// Its time is over.
    #[error("its time was over at {0}")]
    Late(At),
    /// Its time window is not open.
    #[error("it may not be sent now")]
    Closed,
    /// Not one of those who may.
    #[error("you are not among those who may decide this")]
    NotAReviewer,
    /// Nobody signs their own call.
    #[error("it was asked for in your name, so somebody else has to decide it")]
    Requester,
    /// Once is enough.
    #[error("you have signed it already; another person has to")]
    SignedAlready,
    /// Policy asks why.
    #[error("a justification is needed")]
    JustificationNeeded,
}

impl Barred {
    /// The stable code, for the API.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Over { .. } => "already_decided",
            Self::Changed => "changed",
            Self::Late(_) => "expired",
            Self::Closed => "outside_window",
            Self::NotAReviewer => "not_a_reviewer",
            Self::Requester => "requester",
            Self::SignedAlready => "already_signed",
            Self::JustificationNeeded => "justification_needed",
        }
    }
}

impl Hold {
    /// The hold after a step.
    pub fn after(&self, step: Step, at: At) -> Result<Self, Barred> {
        use State::{Approved, Executing, Pending};
        let mut next = self.clone();
        match step {
            Step::Sign { .. } | Step::Edit { .. } | Step::Deny { .. } => {
                self.decide(&mut next, step, at)?;
            }
            Step::Expire => {
                self.only_in(&[Pending, Approved])?;
                let message = match self.state {
                    Approved => "it was signed, but not sent in time",
                    _ => "not all who must have signed it in time",
                };
                next.end(State::Expired, Ending::of("expired", message), at);
            }
            Step::Cancel => {
                self.only_in(&[Pending, Approved])?;
                let ending = Ending::of("cancelled", "the caller took it back");
                next.end(State::Cancelled, ending, at);
            }
            Step::AskMore { terms, context } => {
                self.only_in(&[Approved])?;
                next.terms = terms;
                next.context = *context;
                next.enter(Pending, "asked for more", None, None, at);
            }
            Step::Void { ending } => {
                self.only_in(&[Pending, Approved])?;
                next.end(State::Void, ending, at);
            }
            Step::Claim => {
                self.only_in(&[Approved])?;
                self.in_time(at)?;
                self.in_window(at).then_some(()).ok_or(Barred::Closed)?;
                // Also on record in one piece, before the call is: killed between the last
                // signature and its entry, the record would not say who let the call go.
                next.enter(Executing, "claimed", None, Some(self.signers()), at);
            }
            Step::Release { why } => {
                self.only_in(&[Executing])?;
                next.enter(Approved, "not sent", None, Some(why), at);
            }
            Step::Finish { state, ending, told } => {
                self.only_in(&[Executing])?;
                // After it was sent, whatever else is said of it is not known.
                let state = match state {
                    State::Done | State::Failed => state,
                    _ => State::Unknown,
                };
                let note = ending.as_ref().map(|ending| ending.message.clone());
                next.ending = ending;
                next.told_at = told.then_some(at);
                next.enter(state, state.name(), None, note, at);
            }
            Step::Tell => {
                if self.state.is_open() || self.told_at.is_some() {
                    return Err(self.over());
                }
                next.told_at = Some(at);
                next.enter(self.state, "told", None, None, at);
            }
            Step::Remind { escalate, due_at } => {
                self.only_in(&[Pending, Approved])?;
                let what = if escalate.is_empty() { "reminded" } else { "escalated" };
                next.escalated.extend(escalate);
                next.due_at = due_at;
                next.enter(self.state, what, None, None, at);
            }
        }
        Ok(next)
    }

    /// What a reviewer says makes of it.
    fn decide(&self, next: &mut Self, step: Step, at: At) -> Result<(), Barred> {
        use State::{Approved, Pending};
        match step {
            Step::Sign { reviewer, justification, seen } => {
                self.only_in(&[Pending])?;
                self.may_decide(&reviewer, at)?;
                self.is_as_seen(&seen)?;
                next.sign(reviewer, justification, at)?;
            }
            Step::Edit { reviewer, justification, seen, ask, context, terms } => {
                self.only_in(&[Pending])?;
                self.may_decide(&reviewer, at)?;
                self.is_as_seen(&seen)?;
                next.edit(&reviewer, *ask, *context, terms, at);
                next.may_sign(&reviewer)?;
                next.sign(reviewer, justification, at)?;
            }
            Step::Deny { reviewer, ending } => {
                self.only_in(&[Pending, Approved])?;
                self.may_decide(&reviewer, at)?;
                next.end(State::Denied, ending, at);
            }
            // Nothing that a reviewer says.
            _ => return Err(self.over()),
        }
        Ok(())
    }

    fn only_in(&self, states: &[State]) -> Result<(), Barred> {
        if states.contains(&self.state) { Ok(()) } else { Err(self.over()) }
    }

    /// Who made it what it is: what came after that, such as a reminder, changed no state.
    fn over(&self) -> Barred {
        let entered =
            self.history.iter().rev().take_while(|event| event.state == self.state).last();
        let mut latest = self.history.iter().rev();
        let approved = latest.find(|event| event.state == State::Approved && event.by.is_some());
        let decided = if was_sent(self.state) { approved } else { entered };
        Barred::Over {
            state: self.state,
            by: decided.and_then(|event| event.by.clone()),
            at: entered.map_or(self.changed_at, |event| event.at),
        }
    }

    fn in_time(&self, at: At) -> Result<(), Barred> {
        if at < self.expires_at { Ok(()) } else { Err(Barred::Late(self.expires_at)) }
    }

    fn may_decide(&self, reviewer: &Reviewer, at: At) -> Result<(), Barred> {
        self.in_time(at)?;
        self.may_sign(reviewer)
    }

    fn is_as_seen(&self, seen: &Digest) -> Result<(), Barred> {
        if *seen == self.ask.hash { Ok(()) } else { Err(Barred::Changed) }
    }

    fn sign(
        &mut self,
        reviewer: Reviewer,
        justification: Option<String>,
        at: At,
    ) -> Result<(), Barred> {
        if self.has_signed(&reviewer) {
            return Err(Barred::SignedAlready);
        }
        let justification = justification.filter(|text| !text.trim().is_empty());
        if self.terms.justification && justification.is_none() {
            return Err(Barred::JustificationNeeded);
        }
        // One that no longer counts, since more is asked now, makes way for the new one.
        self.signatures.retain(|given| !given.reviewer.is(&reviewer.id));
        let by = reviewer.id.clone();
        self.signatures.push(Signature { reviewer, at, justification: justification.clone() });
        let enough = self.missing(&self.terms) == 0;
        let state = if enough { State::Approved } else { State::Pending };
        self.enter(state, "signed", Some(by), justification, at);
        Ok(())
    }

    /// Who let it go, in words.
    fn signers(&self) -> String {
        let counted = self.signatures.iter().filter(|given| self.counts(given, &self.terms));
        let names: Vec<_> = counted.map(|given| given.reviewer.id.as_str()).collect();
        format!("signed by {}", names.join(", "))
    }

    fn edit(&mut self, reviewer: &Reviewer, ask: Ask, context: Context, terms: HoldTerms, at: At) {
        let before = std::mem::replace(&mut self.ask, ask);
        self.edited.get_or_insert(Edit {
            by: reviewer.id.clone(),
            at,
            arguments: before.arguments,
            hash: before.hash,
        });
        self.context = context;
        self.terms = terms;
        // They signed something else.
        self.signatures.clear();
        let event = Event {
            at,
            what: "edited".into(),
            state: self.state,
            by: Some(reviewer.id.clone()),
            note: None,
        };
        self.history.push(event);
    }

    fn end(&mut self, state: State, ending: Ending, at: At) {
        let (by, note) = (ending.by.clone(), ending.message.clone());
        self.ending = Some(ending);
        self.enter(state, state.name(), by, Some(note), at);
    }

    fn enter(
        &mut self,
        state: State,
        what: &str,
        by: Option<String>,
        note: Option<String>,
        at: At,
    ) {
        self.version += 1;
        self.state = state;
        self.changed_at = at;
        self.history.push(Event { at, what: what.to_owned(), state, by, note });
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

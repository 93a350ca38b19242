//! May it be sent as a reviewer would have it?
//!
//! What a reviewer writes goes through schema and policy like any other call, and has a hash of its
//! own. What policy denies is not held.

use super::decide::{Bench, judge};
use super::desk::{Hand, StepFault};
use super::held;
use super::policy::Verdict;
use super::{Gate, Target};
use crate::hold::{Ask, Context, Hold, HoldId, HoldTerms, Reviewer, Step};
use crate::json::{Digest, Value};
use crate::refusal::Refusal;

/// Why an edit is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditFault {
    /// The edited call would be refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The hold does not let it.
    #[error(transparent)]
    Step(#[from] StepFault),
}

/// What a reviewer wants to be sent instead.
pub struct Edited {
    /// Who.
    pub reviewer: Reviewer,
    /// Why, in their own words.
    pub justification: Option<String>,
    /// The hash of what they have changed.
    pub seen: Digest,
    /// All of the arguments.
    pub arguments: Value,
}

impl Gate {
    /// Changes a held call, and signs it, if policy would hold or allow it as it is then.
    pub async fn edit(
        &self,
        hand: &dyn Hand,
        id: HoldId,
        edited: Edited,
    ) -> Result<Hold, EditFault> {
        let hold = self.desk().hold(id).await?;
        hold.may_sign(&edited.reviewer).map_err(StepFault::from)?;
        let mut arrival = hand.arrival(&hold.ask).await.map_err(EditFault::Refused)?;
        arrival.arguments = edited.arguments;
        let definition = match &arrival.target {
            Target::Tool(offered) => Some(offered.definition.digest),
            _ => None,
        };
        let snapshot = self.snapshot();
        let bench =
            Bench { snapshot: &snapshot, past: &self.sessions, signatures: &[], again: true };
        let judged = judge(&bench, arrival).await;
        let verdict = judged.verdict.unwrap_or_else(Verdict::empty);
        let (call, context) = match (judged.outcome, judged.held) {
            // What holds it is shown as it was.
            (Ok((call, _)), _) => (call, hold.context),
            (Err(_), Some(held)) => {
                let context = held::context(&snapshot, &held, &verdict);
                (held.call, context)
            }
            (Err(refusal), None) => return Err(EditFault::Refused(refusal)),
        };
        // Where policy asks for nobody now, the editor is enough.
        let terms = verdict.hold.unwrap_or(HoldTerms { approvals: 1, ..hold.terms });
        let ask = Ask { arguments: call.arguments, hash: call.hash, definition, ..hold.ask };
        let step = Step::Edit {
            reviewer: edited.reviewer,
            justification: edited.justification,
            seen: edited.seen,
            ask: Box::new(ask),
            context: Box::new(Context { tier: judged.tier, ..context }),
            terms,
        };
        Ok(self.desk().step(id, step).await?)
    }
}

//! What can a reviewer do, and why can they not?
//!
//! Sign, deny, answer in the tool's place, edit and sign. The page, the API and the command line
//! all come through here.

use std::sync::Arc;

use http::StatusCode;

use crate::call::Tier;
use crate::config::Preset;
use crate::gate::desk::{Hand, StepFault};
use crate::gate::{EditFault, Edited, Gate};
use crate::hold::{Ending, Hold, HoldId, Reviewer, State, Step};
use crate::json::{self, Digest, Value};

/// Characters of a justification, a reason or an answer.
pub const WORDS: usize = 4_000;
/// Holds that can be signed together.
pub const TOGETHER: usize = 100;

/// The presets of a gate whose config names none.
pub fn usual_presets() -> Vec<Preset> {
    [
        ("not_needed", "this is not needed"),
        ("wrong_target", "this is the wrong target; check whom or what it is meant for"),
        ("wrong_amount", "the amount is wrong; check it"),
        ("say_more", "say more about why this is needed, and ask again"),
    ]
    .map(|(code, message)| Preset { code: code.to_owned(), message: message.to_owned() })
    .into()
}

/// Where reviewers act.
pub struct Office {
    /// What holds.
    pub gate: Arc<Gate>,
    /// What makes calls for it.
    pub hand: Arc<dyn Hand>,
    /// What a denial can say at a click.
    pub presets: Vec<Preset>,
}

/// Why something is not done. A reviewer reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActFault {
    /// The hold does not let it.
    #[error(transparent)]
    Step(#[from] StepFault),
    /// The edited call would be refused.
    #[error("the edited call would be refused: {0}")]
    Refused(crate::refusal::Refusal),
    /// The edited arguments are not JSON.
    #[error("the arguments cannot be read: {0}")]
    NotJson(json::Fault),
    /// Arguments are an object.
    #[error("the arguments have to be one JSON object")]
    NotAnObject,
    /// Nothing was changed.
    #[error("nothing is changed; approve it as it is, or change something")]
    Unchanged,
    /// Why not?
    #[error("choose a reason, or write one; the agent will read it")]
    NoReason,
    /// What should the agent read?
    #[error("write an answer; the agent will read it")]
    NoAnswer,
    /// No such preset.
    #[error("no preset of this name; choose one of those on the page")]
    NoPreset,
    /// More than [`WORDS`].
    #[error("more than {WORDS} characters; say it in fewer")]
    TooLong,
    /// Nothing was chosen, or more than [`TOGETHER`].
    #[error("choose between 1 and {TOGETHER} calls")]
    HowMany,
    /// They are of different tools.
    #[error("only calls of one and the same tool can be approved together")]
    Mixed,
    /// One is of tier high.
    #[error("calls of tier `high` have to be approved one by one")]
    TooGrave,
    /// One has a value so long that it has to be read on its own page.
    #[error("one has values that have to be read on its own page")]
    TooLarge,
}

impl ActFault {
    /// The stable code, for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Step(StepFault::Barred(barred)) => barred.code(),
            Self::Step(StepFault::Unknown) => "not_found",
            Self::Step(StepFault::Full) => "too_many_holds",
            Self::Step(StepFault::Store(_)) => "store_failed",
            Self::Refused(refusal) => refusal.code(),
            Self::NotJson(fault) => fault.code(),
            Self::NotAnObject => "not_an_object",
            Self::Unchanged => "unchanged",
            Self::NoReason => "reason_needed",
            Self::NoAnswer => "answer_needed",
            Self::NoPreset => "unknown_preset",
            Self::TooLong => "too_long",
            Self::HowMany => "how_many",
            Self::Mixed => "different_tools",
            Self::TooGrave => "tier_high",
            Self::TooLarge => "read_first",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        use crate::hold::Barred;
        match self {
            Self::Step(StepFault::Barred(Barred::NotAReviewer | Barred::Requester)) => {
                StatusCode::FORBIDDEN
            }
            Self::Step(StepFault::Barred(Barred::JustificationNeeded)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Step(StepFault::Barred(_)) => StatusCode::CONFLICT,
            Self::Step(StepFault::Unknown) => StatusCode::NOT_FOUND,
            Self::Step(StepFault::Full | StepFault::Store(_)) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

impl From<EditFault> for ActFault {
    fn from(fault: EditFault) -> Self {
        match fault {
            EditFault::Refused(refusal) => Self::Refused(refusal),
            EditFault::Step(fault) => Self::Step(fault),
        }
    }
}

/// One of several calls to be signed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub id: HoldId,
    /// The hash of what was seen of it.
    pub seen: Digest,
}

/// What became of each of them.
pub type Outcomes = Vec<(HoldId, Result<Hold, ActFault>)>;

/// A no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denial {
    /// The code of a preset.
    pub preset: Option<String>,
    /// The reviewer's own words.
    pub words: Option<String>,
}

/// Other arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The hash of what is changed.
    pub seen: Digest,
    /// All of them.
    pub arguments: Value,
    /// Why.
    pub justification: Option<String>,
}

impl Office {
    /// Says yes to a call as it was seen.
    pub async fn sign(
        &self,
        who: &Reviewer,
        chosen: Chosen,
        justification: Option<String>,
    ) -> Result<Hold, ActFault> {
        let justification = bounded(justification)?;
        let Chosen { id, seen } = chosen;
        let step = Step::Sign { reviewer: who.clone(), justification, seen };
        Ok(self.gate.desk().step(id, step).await?)
    }

    /// Says yes to several calls of one tool, none of them grave. Each has its own outcome.
    pub async fn sign_together(
        &self,
        who: &Reviewer,
        chosen: &[Chosen],
        justification: Option<String>,
    ) -> Result<Outcomes, ActFault> {
        if chosen.is_empty() || chosen.len() > TOGETHER {
            return Err(ActFault::HowMany);
        }
        let mut holds = Vec::with_capacity(chosen.len());
        for Chosen { id, .. } in chosen {
            holds.push(self.gate.desk().hold(*id).await?);
        }
        fit_together(&holds)?;
        let mut outcomes = Vec::with_capacity(chosen.len());
        for chosen in chosen {
            outcomes.push((chosen.id, self.sign(who, *chosen, justification.clone()).await));
        }
        Ok(outcomes)
    }

    /// Says no, with a reason that the agent reads.
    pub async fn deny(&self, who: &Reviewer, id: HoldId, denial: Denial) -> Result<Hold, ActFault> {
        let words = bounded(denial.words)?;
        let preset = match &denial.preset {
            Some(code) => Some(self.preset(code).ok_or(ActFault::NoPreset)?),
            None => None,
        };
        let code = preset.map_or("denied", |preset| &preset.code).to_owned();
        let message = match (preset, words) {
            (Some(preset), Some(words)) => format!("{}: {words}", preset.message),
            (Some(preset), None) => preset.message.clone(),
            (None, Some(words)) => words,
            (None, None) => return Err(ActFault::NoReason),
        };
        self.refuse(who, id, code, message).await
    }

    /// Answers in the tool's place; the call is not made.
    pub async fn answer(
        &self,
        who: &Reviewer,
        id: HoldId,
        words: Option<String>,
    ) -> Result<Hold, ActFault> {
        let words = bounded(words)?.ok_or(ActFault::NoAnswer)?;
        self.refuse(who, id, Ending::ANSWERED.to_owned(), words).await
    }

    async fn refuse(
        &self,
        who: &Reviewer,
        id: HoldId,
        code: String,
        message: String,
    ) -> Result<Hold, ActFault> {
        let ending = Ending { by: Some(who.id.clone()), code, message };
        let step = Step::Deny { reviewer: who.clone(), ending };
        Ok(self.gate.desk().step(id, step).await?)
    }

    /// Changes the arguments, and says yes to that.
    pub async fn edit(&self, who: &Reviewer, id: HoldId, change: Change) -> Result<Hold, ActFault> {
        let justification = bounded(change.justification)?;
        if !change.arguments.is_object() {
            return Err(ActFault::NotAnObject);
        }
        let hold = self.gate.desk().hold(id).await?;
        if json::digest(&hold.ask.arguments) == json::digest(&change.arguments) {
            return Err(ActFault::Unchanged);
        }
        let edited = Edited {
            reviewer: who.clone(),
            justification,
            seen: change.seen,
            arguments: change.arguments,
        };
        Ok(self.gate.edit(&*self.hand, id, edited).await?)
    }

    fn preset(&self, code: &str) -> Option<&Preset> {
        self.presets.iter().find(|preset| preset.code == code)
    }
}

/// Arguments as a reviewer typed them: read as strictly as an agent's.
pub fn arguments(text: &str) -> Result<Value, ActFault> {
    json::parse(text.as_bytes(), &json::Limits::default()).map_err(ActFault::NotJson)
}

/// Whether a call can be signed without its page: not grave, and short enough for a row.
pub fn fits_a_row(hold: &Hold) -> bool {
    hold.state == State::Pending
        && hold.context.tier < Tier::High
        && !super::pages::arguments::is_long(&hold.ask.arguments)
}

fn fit_together(holds: &[Hold]) -> Result<(), ActFault> {
    let tool = |hold: &Hold| (hold.ask.server.clone(), hold.ask.tool.clone());
    if holds.windows(2).any(|pair| matches!(pair, [one, other] if tool(one) != tool(other))) {
        return Err(ActFault::Mixed);
    }
    if holds.iter().any(|hold| hold.context.tier >= Tier::High) {
        return Err(ActFault::TooGrave);
    }
    if holds.iter().any(|hold| super::pages::arguments::is_long(&hold.ask.arguments)) {
        return Err(ActFault::TooLarge);
    }
    Ok(())
}

fn bounded(words: Option<String>) -> Result<Option<String>, ActFault> {
    let words = words.map(|words| words.trim().to_owned()).filter(|words| !words.is_empty());
    match &words {
        Some(text) if text.chars().count() > WORDS => Err(ActFault::TooLong),
        _ => Ok(words),
    }
}

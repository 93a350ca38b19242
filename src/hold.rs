//! What waits for people, and what do they have to say of it?
//!
//! A [`Hold`] is one call on its way to its signatures. What can become of it is in [`step`]: one
//! state machine, pure, in which each change gives the next version. The store keeps the versions
//! apart, so that of two changes at once one wins.
//!
//! ```text
//!  pending ──sign──▶ approved ──claim──▶ executing ──finish──▶ done | failed | unknown
//!     ▲  ◀──ask more──┘   ▲  ◀──nothing was sent──┘
//!     └── edit
//!  pending | approved ──▶ denied | expired | cancelled | void
//! ```

mod id;
pub mod step;
mod ticket;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::call::{Agent, Claimed, Door, Reason, Tier};
use crate::json::{Digest, Map, Value};
use crate::time::At;

pub use id::{HoldId, NotAHoldId};
pub use step::{Barred, Step};
pub use ticket::Ticket;

/// Where a hold is in its life. The last seven are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Signatures are missing.
    Pending,
    /// Signed by all who must, and not sent yet.
    Approved,
    /// On its way to the tool.
    Executing,
    /// The tool did it.
    Done,
    /// The tool says it failed, or its answer could not be passed on.
    Failed,
    /// It was sent, and nobody knows what came of it.
    Unknown,
    /// A reviewer said no, or answered in the tool's place.
    Denied,
    /// Nobody said anything in time.
    Expired,
    /// The agent's client took it back.
    Cancelled,
    /// What it was bound to is no longer so.
    Void,
}

impl State {
    /// All of them, in the order of a hold's life.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Approved,
        Self::Executing,
        Self::Done,
        Self::Failed,
        Self::Unknown,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Void,
    ];

    /// The name in store, API, metrics and record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Executing => "executing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Void => "void",
        }
    }

    /// Whether something can still become of it.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Executing)
    }
}

/// Who must sign, and how. What a rule asks for, or what several ask for together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldTerms {
    /// Who may sign: `ann`, `group:payments`. Empty: any reviewer.
    #[serde(default)]
    pub reviewers: BTreeSet<String>,
    /// Signatures of different people that it takes; at least 1.
    pub approvals: u32,
    /// Whether each signature needs a written justification.
    #[serde(default)]
    pub justification: bool,
    /// How long people have; `None`: the configured default.
    #[serde(with = "as_text", default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Duration>,
    /// It is not sent before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<At>,
    /// Nor after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<At>,
}

mod as_text {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => to.collect_str(&humantime::format_duration(*duration)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<Cow<'_, str>>::deserialize(from)?
            .map(|text| humantime::parse_duration(&text).map_err(D::Error::custom))
            .transpose()
    }
}

/// Somebody who may sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewer {
    /// One name for one person, however they proved who they are.
    pub id: String,
    /// The groups the operator, or the issuer of their token, put them in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Nobody is configured to sign: this is whoever started the gate on this machine, and stands
    /// for each of those whom policy names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sole: bool,
}

impl Reviewer {
    /// Whether this is the person of that name. People write names in more than one way.
    pub fn is(&self, name: &str) -> bool {
        self.id.to_lowercase() == name.to_lowercase()
    }

    /// Whether one of these names them, or a group of theirs; no names name everybody.
    pub fn is_among(&self, names: &BTreeSet<String>) -> bool {
        self.sole
            || names.is_empty()
            || names.iter().any(|name| match name.strip_prefix("group:") {
                Some(group) => self.groups.iter().any(|own| own == group),
                None => self.is(name),
            })
    }
}

/// One person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Whose.
    pub reviewer: Reviewer,
    /// When.
    pub at: At,
    /// Why, in their own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
}

/// The call, as it would be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// How it came in.
    pub door: Door,
    /// Who calls.
    pub agent: Agent,
    /// The server's configured name.
    pub server: String,
    /// The method, such as `tools/call`.
    pub method: String,
    /// The tool; for other methods the method again.
    pub tool: String,
    /// What it gets.
    pub arguments: Value,
    /// What an approval is bound to.
    pub hash: Digest,
    /// The digest of the tool's definition.
    pub definition: Option<Digest>,
    /// What the agent says of it.
    pub claimed: Claimed,
    /// The call's `_meta`, without what belongs to one exchange only.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// The id of the call that was held.
    pub call: uuid::Uuid,
}

/// What reviewers see beside the call, as it was when the call was held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// How much harm it can do.
    pub tier: Tier,
    /// Whether its effect can be undone.
    pub reversible: bool,
    /// The operator's words for the tool.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The rules that hold it, in their words.
    pub reasons: Vec<Reason>,
    /// What rules say beside that.
    #[serde(default)]
    pub warnings: Vec<Reason>,
    /// What it takes from budgets: the budget and the amount.
    #[serde(default)]
    pub charges: Vec<(String, String)>,
    /// `input.session`: how the agent has been doing.
    #[serde(default)]
    pub session: Value,
    /// Which environment this gate guards.
    pub environment: String,
    /// What decided that it is held.
    pub policy: Digest,
}

/// What a reviewer changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Who.
    pub by: String,
    /// When.
    pub at: At,
    /// What the agent had asked for.
    pub arguments: Value,
    /// And its hash.
    pub hash: Digest,
}

/// How it ended, where a person or a fault ended it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The reviewer; nobody, where it was no person's doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// A stable code: `denied`, `answered`, or a preset's or refusal's code.
    pub code: String,
    /// What the agent is told.
    pub message: String,
}

impl Ending {
    /// One that is no person's doing.
    pub fn of(code: &str, message: &str) -> Self {
        Self { by: None, code: code.to_owned(), message: message.to_owned() }
    }

    /// The code of a reviewer's answer in the tool's place.
    pub const ANSWERED: &'static str = "answered";
}

/// One thing that happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: At,
    /// What: `held`, `signed`, `edited`, `denied`, …
    pub what: String,
    /// The state after it.
    pub state: State,
    /// Who, where it was a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What they said, or why it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One call on its way to its signatures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Names it; 128 random bits.
    pub id: HoldId,
    /// 1, and one more with each change.
    pub version: u64,
    /// Where it is.
    pub state: State,
    /// By what the same call finds it: the hash of the call as the agent makes it, without the
    /// fields that its tool declares advisory.
    pub binding: Digest,
    /// What would be sent.
    pub ask: Ask,
    /// What reviewers see beside it.
    pub context: Context,
    /// What the agent had asked for, if a reviewer changed it; the first, if more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edit>,
    /// Who must sign.
    pub terms: HoldTerms,
    /// Who may sign as well, since nobody did in time.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub escalated: BTreeSet<String>,
    /// Who did; of one person once.
    #[serde(default)]
    pub signatures: Vec<Signature>,
    /// Since when it waits.
    pub created_at: At,
    /// Until when it can be signed and sent.
    pub expires_at: At,
    /// When it last changed.
    pub changed_at: At,
    /// When something has to be done about it: a reminder, an escalation, the end.
    pub due_at: At,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// When the agent was first told how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<At>,
    /// All that happened to it.
    pub history: Vec<Event>,
}

impl Hold {
    /// Whether this person may sign it at all; what they may not is told as they would read it.
    pub fn may_sign(&self, reviewer: &Reviewer) -> Result<(), Barred> {
        let user = self.ask.claimed.user.as_deref();
        if reviewer.is(&self.ask.agent.id) || user.is_some_and(|user| reviewer.is(user)) {
            return Err(Barred::Requester);
        }
        self.is_for(reviewer, &self.terms).then_some(()).ok_or(Barred::NotAReviewer)
    }

    /// How many signatures `terms` asks for that are not there.
    pub fn missing(&self, terms: &HoldTerms) -> u32 {
        let given = self.signatures.iter().filter(|given| self.counts(given, terms)).count();
        terms.approvals.max(1).saturating_sub(u32::try_from(given).unwrap_or(u32::MAX))
    }

    /// Whether a signature of theirs counts.
    pub fn has_signed(&self, reviewer: &Reviewer) -> bool {
        let own = |given: &&Signature| given.reviewer.is(&reviewer.id);
        self.signatures.iter().filter(own).any(|given| self.counts(given, &self.terms))
    }

    /// Whether a signature is one that these terms ask for.
    fn counts(&self, signature: &Signature, terms: &HoldTerms) -> bool {
        self.is_for(&signature.reviewer, terms)
            && (!terms.justification || signature.justification.is_some())
    }

    /// Since when nothing more can become of it.
    pub fn ended_at(&self) -> Option<At> {
        let end = self.history.iter().find(|event| !event.state.is_open());
        // A final state without its event: then what changed last was the end.
        (!self.state.is_open()).then(|| end.map_or(self.changed_at, |event| event.at))
    }

    /// Whether it may be sent now, as far as its time window goes.
    pub fn in_window(&self, now: At) -> bool {
        self.terms.not_before.is_none_or(|from| from <= now)
            && self.terms.not_after.is_none_or(|until| now < until)
    }

    fn is_for(&self, reviewer: &Reviewer, terms: &HoldTerms) -> bool {
        reviewer.is_among(&terms.reviewers)
            || (!self.escalated.is_empty() && reviewer.is_among(&self.escalated))
    }
}

//! What do we keep of a call?
//!
//! The bodies of the trail's entries (`schemas/record.schema.json`). An allowed call leaves an
//! [`Intent`] before and an [`Outcome`] after; a refused one its intent only. No argument's value
//! is among them, and whatever an outsider can name is cut to a length that keeps any entry below
//! [`ENTRY_LIMIT`](super::ENTRY_LIMIT).

#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use uuid::Uuid;

use super::shape::{digest, id, maybe, name, problem, reason, reasons};
use crate::call::{Claimed, Door, Effect, Tier};
use crate::json::Digest;
use crate::refusal::Reason;
use crate::time::At;

/// A name is cut after so many bytes of JSON.
pub const NAME_BYTES: usize = 256;
/// A sentence is cut after so many bytes of JSON.
pub const MESSAGE_BYTES: usize = 512;
/// A list is cut after so many items.
pub const LIST_ITEMS: usize = 16;

/// One entry's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Body<'a> {
    /// What was decided of a call, before anything was sent.
    #[serde(borrow)]
    Intent(Box<Intent<'a>>),
    /// What came of an allowed call.
    #[serde(borrow)]
    Outcome(Outcome<'a>),
    /// Something became of a held call.
    #[serde(borrow)]
    Hold(Box<HoldChange<'a>>),
    /// The policy was, or could not be, changed.
    #[serde(borrow)]
    Policy(PolicyChange<'a>),
    /// The gate began.
    #[serde(borrow)]
    Start(Lifecycle<'a>),
    /// The gate ended in order.
    #[serde(borrow)]
    Stop(Lifecycle<'a>),
}

impl Body<'_> {
    /// Puts it into `buffer`, in place of what was there.
    ///
    /// # Errors
    /// None that a value of this type can cause.
    pub fn write(&self, buffer: &mut Vec<u8>) -> serde_json::Result<()> {
        buffer.clear();
        serde_json::to_writer(buffer, self)
    }
}

/// The decision on one call. There is exactly one for each call received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent<'a> {
    /// The version of this shape.
    pub v: V1,
    /// The call's id.
    #[serde(with = "id")]
    pub id: Uuid,
    /// When it was decided.
    pub at: At,
    /// How it came in.
    pub door: Door,
    /// Who called.
    #[serde(borrow, serialize_with = "name")]
    pub agent: Cow<'a, str>,
    /// The server.
    #[serde(borrow, serialize_with = "name")]
    pub server: Cow<'a, str>,
    /// The MCP method.
    #[serde(borrow, serialize_with = "name")]
    pub method: Cow<'a, str>,
    /// The tool, as the agent named it.
    #[serde(borrow, serialize_with = "name")]
    pub tool: Cow<'a, str>,
    /// How much harm it can do.
    pub tier: Tier,
    /// The call's hash, if it got as far as having one.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Digest>,
    /// The digest of the tool's definition.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Digest>,
    /// The digest of the policy, config and tools that decided.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// Where this gate runs, such as `production`.
    #[serde(borrow, serialize_with = "name")]
    pub environment: Cow<'a, str>,
    /// What a rule does here: `enforce`, `warn` or `dryrun`.
    #[serde(borrow, serialize_with = "name")]
    pub mode: Cow<'a, str>,
    /// What was decided.
    pub effect: Effect,
    /// `allowed`, or the refusal's code.
    #[serde(borrow, serialize_with = "name")]
    pub code: Cow<'a, str>,
    /// What policy said for it.
    #[serde(default, serialize_with = "reasons", skip_serializing_if = "<[_]>::is_empty")]
    pub reasons: Cow<'a, [Reason]>,
    /// What policy said beside it.
    #[serde(default, serialize_with = "reasons", skip_serializing_if = "<[_]>::is_empty")]
    pub warnings: Cow<'a, [Reason]>,
    /// What rules on trial would have done.
    #[serde(default, serialize_with = "would", skip_serializing_if = "<[_]>::is_empty")]
    pub would: Cow<'a, [Would]>,
    /// The session, by a name that opens nothing.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub session: Option<Cow<'a, str>>,
    /// What the agent said of it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Said<'a>>,
    /// The hold that it waits for, or that let it go.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub hold: Option<Cow<'a, str>>,
    /// Whether the call waited for the disk.
    pub durable: Durability,
    /// The W3C trace id.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Cow<'a, str>>,
}

/// What came of a call that was allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome<'a> {
    /// The version of this shape.
    pub v: V1,
    /// The call's id.
    #[serde(with = "id")]
    pub id: Uuid,
    /// When it was known.
    pub at: At,
    /// How it ended.
    pub outcome: Ending,
    /// `ok`, or the refusal's code.
    #[serde(borrow, serialize_with = "name")]
    pub code: Cow<'a, str>,
    /// From arrival to answer, in µs.
    pub duration_us: u64,
    /// The gate's own share of it, in µs.
    pub gate_us: u64,
    /// The HTTP status of the server, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// SHA-256 of the result.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Digest>,
    /// Bytes of the result.
    pub bytes: u64,
}

/// What became of a held call, and by whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldChange<'a> {
    /// The version of this shape.
    pub v: V1,
    /// The id of the call that was held.
    #[serde(with = "id")]
    pub id: Uuid,
    /// When.
    pub at: At,
    /// The hold.
    #[serde(borrow, serialize_with = "name")]
    pub hold: Cow<'a, str>,
    /// What happened: `held`, `signed`, `edited`, `denied`, …
    #[serde(borrow, serialize_with = "name")]
    pub what: Cow<'a, str>,
    /// The state after it.
    #[serde(borrow, serialize_with = "name")]
    pub state: Cow<'a, str>,
    /// The hash of the call that would be sent, which an edit changes.
    pub hash: Digest,
    /// Who, where it was a person.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub by: Option<Cow<'a, str>>,
    /// What they said, or why it happened.
    #[serde(borrow, default, serialize_with = "problem", skip_serializing_if = "Option::is_none")]
    pub note: Option<Cow<'a, str>>,
}

/// A change of policy, done or refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange<'a> {
    /// The version of this shape.
    pub v: V1,
    /// When.
    pub at: At,
    /// What was in force.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// What is in force now; absent if the change was refused.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Digest>,
    /// Why it was refused.
    #[serde(borrow, default, serialize_with = "problem", skip_serializing_if = "Option::is_none")]
    pub problem: Option<Cow<'a, str>>,
}

/// The gate begins or ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle<'a> {
    /// The version of this shape.
    pub v: V1,
    /// When.
    pub at: At,
    /// Of the binary.
    #[serde(borrow, serialize_with = "name")]
    pub version: Cow<'a, str>,
    /// Of the config it runs with.
    #[serde(with = "digest", default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Digest>,
}

/// What a rule on trial would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Would {
    /// To the call.
    pub effect: Effect,
    /// Why.
    #[serde(serialize_with = "reason")]
    pub reason: Reason,
}

/// Of what the agent says, the names that one would search for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said<'a> {
    /// On whose behalf.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// The workflow it is part of.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Cow<'a, str>>,
    /// The step of that workflow.
    #[serde(borrow, default, serialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub step: Option<Cow<'a, str>>,
}

impl<'a> Said<'a> {
    /// What to keep of a claim; `None` if there is nothing. Its free text is never kept.
    pub fn of(claimed: &'a Claimed) -> Option<Self> {
        let said = Self {
            user: claimed.user.as_deref().map(Cow::Borrowed),
            workflow: claimed.workflow.as_deref().map(Cow::Borrowed),
            step: claimed.step.as_deref().map(Cow::Borrowed),
        };
        (said != Self::default()).then_some(said)
    }
}

/// How an allowed call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The server answered.
    Answered,
    /// The tool says that it failed.
    ToolError,
    /// Nothing was sent, or the server refused it.
    Failed,
    /// It was sent; whether it took effect is not known.
    Unknown,
    /// The agent gave it up.
    Cancelled,
    /// The server's answer was not passed on.
    RefusedAnswer,
}

impl Ending {
    /// The name in record, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ToolError => "tool_error",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
            Self::RefusedAnswer => "refused_answer",
        }
    }
}

/// How safe an intent was before the call was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On disk.
    Fsync,
    /// With the kernel: it survives the process, not a power cut.
    Written,
}

/// The only version there is: 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct V1;

impl Serialize for V1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for V1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(serde::de::Error::custom(format_args!("version {other}, not 1"))),
        }
    }
}

fn would<S: Serializer>(list: &[Would], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().take(LIST_ITEMS))
}

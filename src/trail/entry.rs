//! What do we keep of a call?
//!
//! The bodies of the trail's entries (`schemas/record.schema.json`). An allowed call leaves an
//! [`Intent`] before and an [`Outcome`] after; a refused one its intent only. No argument's value
//! is among them, and whatever an outsider can name is cut to a length that keeps any entry below
//! [`ENTRY_LIMIT`](super::ENTRY_LIMIT).

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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::shape::cut;
    use super::*;
    use crate::trail::ENTRY_LIMIT;

    fn at() -> At {
        At(SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_000_000_000_001))
    }

    fn reason(text: &str) -> Reason {
        Reason { code: text.into(), message: text.into(), policy: text.into() }
    }

    fn would(text: &str) -> Would {
        Would { effect: Effect::Deny, reason: reason(text) }
    }

    /// An intent with all there can be, made of one text.
    fn intent(text: &str, items: usize) -> Intent<'_> {
        let some = Some(Digest([7; 32]));
        Intent {
            v: V1,
            id: Uuid::from_u128(5),
            at: at(),
            door: Door::Mcp,
            agent: text.into(),
            server: text.into(),
            method: text.into(),
            tool: text.into(),
            tier: Tier::High,
            hash: some,
            definition: some,
            policy: some,
            environment: text.into(),
            mode: "enforce".into(),
            effect: Effect::Hold,
            code: text.into(),
            reasons: vec![reason(text); items].into(),
            warnings: vec![reason(text); items].into(),
            would: vec![would(text); items].into(),
            session: Some(text.into()),
            claimed: Some(Said {
                user: Some(text.into()),
                workflow: Some(text.into()),
                step: Some(text.into()),
            }),
            hold: Some(text.into()),
            durable: Durability::Fsync,
            trace_id: Some(text.into()),
        }
    }

    fn bare<'a>() -> Intent<'a> {
        Intent {
            hash: None,
            definition: None,
            policy: None,
            session: None,
            claimed: None,
            hold: None,
            trace_id: None,
            ..intent("", 0)
        }
    }

    fn outcome<'a>(outcome: Ending, status: Option<u16>) -> Body<'a> {
        Body::Outcome(Outcome {
            v: V1,
            id: Uuid::from_u128(5),
            at: at(),
            outcome,
            code: "ok".into(),
            duration_us: 1,
            gate_us: 0,
            status,
            result: status.map(|_| Digest([1; 32])),
            bytes: u64::MAX,
        })
    }

    fn held<'a>(said: Option<&'a str>) -> Body<'a> {
        Body::Hold(Box::new(HoldChange {
            v: V1,
            id: Uuid::from_u128(5),
            at: at(),
            hold: "hold-00000000000000000000000000000001".into(),
            what: "signed".into(),
            state: "approved".into(),
            hash: Digest([3; 32]),
            by: said.map(Into::into),
            note: said.map(Into::into),
        }))
    }

    fn every_variant() -> Vec<Body<'static>> {
        let (some, none) = (Some(Digest([9; 32])), None);
        let life = |config| Lifecycle { v: V1, at: at(), version: "0.1.0".into(), config };
        let change = |old, new, problem: Option<&'static str>| {
            Body::Policy(PolicyChange {
                v: V1,
                at: at(),
                old,
                new,
                problem: problem.map(Into::into),
            })
        };
        let mut all = vec![
            Body::Intent(Box::new(bare())),
            Body::Intent(Box::new(intent("x \"\u{1b}\u{202e}", 2))),
            change(none, some, None),
            change(some, none, Some("line 3: no such rule")),
            held(Some("the amount")),
            held(None),
            Body::Start(life(some)),
            Body::Stop(life(none)),
        ];
        for ending in [
            Ending::Answered,
            Ending::ToolError,
            Ending::Failed,
            Ending::Unknown,
            Ending::Cancelled,
            Ending::RefusedAnswer,
        ] {
            all.push(outcome(ending, (ending == Ending::Answered).then_some(200)));
        }
        all
    }

    fn schema() -> jsonschema::Validator {
        let text = include_str!("../../schemas/record.schema.json");
        jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
    }

    fn written(body: &Body<'_>) -> Vec<u8> {
        let mut buffer = b"what was there".to_vec();
        body.write(&mut buffer).unwrap();
        buffer
    }

    #[test]
    fn every_variant_satisfies_the_schema_and_comes_back() {
        let schema = schema();
        for body in every_variant() {
            let bytes = written(&body);
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            let problems: Vec<_> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(problems.is_empty(), "{value}: {problems:?}");
            assert_eq!(serde_json::from_slice::<Body<'_>>(&bytes).unwrap(), body);
        }
    }

    #[test]
    fn what_the_schema_does_not_know_is_refused_by_it_and_by_us() {
        let schema = schema();
        for body in every_variant() {
            let good: Value = serde_json::from_slice(&written(&body)).unwrap();
            for (key, value) in [
                ("v", Value::from(2)),
                ("kind", "other".into()),
                ("at", "yesterday".into()),
                ("arguments", serde_json::json!({"card": "4111"})),
            ] {
                let mut bad = good.clone();
                bad[key] = value;
                assert!(!schema.is_valid(&bad), "{bad}");
                let text = bad.to_string();
                assert!(serde_json::from_str::<Body<'_>>(&text).is_err(), "{bad}");
            }
            for key in ["v", "kind", "at"] {
                let mut bad = good.clone();
                bad.as_object_mut().unwrap().shift_remove(key);
                assert!(!schema.is_valid(&bad), "{bad}");
            }
        }
    }

    #[test]
    fn the_record_of_a_call_reads_as_documented() {
        let text = String::from_utf8(written(&Body::Intent(Box::new(bare())))).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"kind":"intent","v":1,"id":"00000000-0000-0000-0000-000000000005","#,
                r#""at":"2026-11-18T11:06:40.000001Z","door":"mcp","agent":"","server":"","#,
                r#""method":"","tool":"","tier":"high","environment":"","mode":"enforce","#,
                r#""effect":"hold","code":"","durable":"fsync"}"#
            )
        );
    }

    #[test]
    fn no_entry_is_too_long_whatever_outsiders_send() {
        for text in ["\0", "\"", "é", "𝄞", "x", "\u{7f}"] {
            let long = text.repeat(5000);
            let bytes = written(&Body::Intent(Box::new(intent(&long, 5000))));
            assert!(bytes.len() <= ENTRY_LIMIT, "{text:?}: {}", bytes.len());
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            assert!(schema().is_valid(&value), "{text:?}");
        }
    }

    #[test]
    fn of_a_claim_only_names_are_kept() {
        let claimed = Claimed {
            user: Some("ann".into()),
            reason: Some("because".into()),
            evidence: vec!["https://x".into()],
            confidence: Some(0.5),
            ..Claimed::default()
        };
        let said = Said::of(&claimed).unwrap();
        assert_eq!(serde_json::to_string(&said).unwrap(), r#"{"user":"ann"}"#);
        assert_eq!(Said::of(&Claimed { user: None, ..claimed }), None);
    }

    proptest! {
        #[test]
        fn a_text_is_cut_by_its_json_and_only_if_it_is_too_long(text in "\\PC{0,80}|[\\x00-\\x7f]{0,80}") {
            let limit = 60;
            let json = serde_json::to_string(&text).unwrap().len() - 2;
            let short = cut(&text, limit);
            if json <= limit {
                prop_assert_eq!(&*short, &*text);
            } else {
                let kept = short.strip_suffix('…').unwrap();
                prop_assert!(text.starts_with(kept));
                prop_assert!(serde_json::to_string(kept).unwrap().len() - 2 <= limit);
            }
        }
    }
}

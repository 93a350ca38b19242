//! What do programs see of a hold?
//!
//! Kept stable from release to release, whatever the store keeps; `schemas/openapi.yaml` describes
//! each field. What the agent merely claims is set apart in `claimed`.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::call::{Claimed, Door, Tier};
use crate::hold::{Edit, Ending, Event, Hold, HoldId, Reviewer, Signature, State};
use crate::json::{Digest, Value};
use crate::refusal::Reason;
use crate::time::At;

/// One hold among many.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    id: HoldId,
    version: u64,
    state: State,
    /// What an approval is bound to.
    hash: Digest,
    agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_user: Option<&'a str>,
    server: &'a str,
    tool: &'a str,
    tier: Tier,
    /// Signatures that are needed in all, and that are missing.
    approvals: u32,
    missing: u32,
    created_at: At,
    expires_at: At,
    changed_at: At,
}

impl<'a> Summary<'a> {
    /// Of a hold.
    pub(super) fn of(hold: &'a Hold) -> Self {
        Self {
            id: hold.id,
            version: hold.version,
            state: hold.state,
            hash: hold.ask.hash,
            agent: &hold.ask.agent.id,
            claimed_user: hold.ask.claimed.user.as_deref(),
            server: &hold.ask.server,
            tool: &hold.ask.tool,
            tier: hold.context.tier,
            approvals: hold.terms.approvals.max(1),
            missing: hold.missing(&hold.terms),
            created_at: hold.created_at,
            expires_at: hold.expires_at,
            changed_at: hold.changed_at,
        }
    }
}

/// All that a reviewer needs to decide one.
#[derive(Debug, Serialize)]
pub(super) struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    door: Door,
    method: &'a str,
    arguments: &'a Value,
    agent_groups: &'a [String],
    claimed: &'a Claimed,
    reversible: bool,
    labels: &'a [String],
    environment: &'a str,
    reasons: &'a [Reason],
    warnings: &'a [Reason],
    charges: Vec<Charge<'a>>,
    session: &'a Value,
    terms: Terms<'a>,
    signatures: Vec<Signed<'a>>,
    /// Whether whoever asks may sign it as it is now, and if not, why.
    may_sign: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    barred: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<&'a Edit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<&'a Ending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told_at: Option<At>,
    history: &'a [Event],
}

#[derive(Debug, Serialize)]
struct Charge<'a> {
    budget: &'a str,
    amount: &'a str,
}

#[derive(Debug, Serialize)]
struct Terms<'a> {
    reviewers: &'a BTreeSet<String>,
    escalated: &'a BTreeSet<String>,
    justification: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<At>,
}

#[derive(Debug, Serialize)]
struct Signed<'a> {
    reviewer: &'a str,
    groups: &'a [String],
    at: At,
    #[serde(skip_serializing_if = "Option::is_none")]
    justification: Option<&'a str>,
}

impl<'a> Whole<'a> {
    /// Of a hold, for this reviewer.
    pub(super) fn of(hold: &'a Hold, reader: &Reviewer) -> Self {
        let barred = barred(hold, reader);
        let charge = |(budget, amount): &'a (String, String)| Charge { budget, amount };
        Self {
            summary: Summary::of(hold),
            door: hold.ask.door,
            method: &hold.ask.method,
            arguments: &hold.ask.arguments,
            agent_groups: &hold.ask.agent.groups,
            claimed: &hold.ask.claimed,
            reversible: hold.context.reversible,
            labels: &hold.context.labels,
            environment: &hold.context.environment,
            reasons: &hold.context.reasons,
            warnings: &hold.context.warnings,
            charges: hold.context.charges.iter().map(charge).collect(),
            session: &hold.context.session,
            terms: Terms {
                reviewers: &hold.terms.reviewers,
                escalated: &hold.escalated,
                justification: hold.terms.justification,
                not_before: hold.terms.not_before,
                not_after: hold.terms.not_after,
            },
            signatures: hold.signatures.iter().map(signed).collect(),
            may_sign: barred.is_none(),
            barred,
            edited: hold.edited.as_ref(),
            ending: hold.ending.as_ref(),
            told_at: hold.told_at,
            history: &hold.history,
        }
    }
}

/// Why this person cannot sign it now, as an error would say.
fn barred(hold: &Hold, reader: &Reviewer) -> Option<&'static str> {
    if hold.state != State::Pending {
        return Some("already_decided");
    }
    if hold.signatures.iter().any(|signature| signature.reviewer.is(&reader.id)) {
        return Some("already_signed");
    }
    hold.may_sign(reader).err().map(|barred| barred.code())
}

fn signed(signature: &Signature) -> Signed<'_> {
    Signed {
        reviewer: &signature.reviewer.id,
        groups: &signature.reviewer.groups,
        at: signature.at,
        justification: signature.justification.as_deref(),
    }
}

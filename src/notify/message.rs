//! What does an event say?

use std::collections::BTreeSet;

use serde::Serialize;

use super::Kind;
use crate::call::Tier;
use crate::hold::{Hold, HoldId, HoldTerms, State};
use crate::json::Value;
use crate::refusal::Reason;
use crate::time::At;

/// Longer arguments are left out, in bytes of JSON: receivers cut bodies off (Standard Webhooks,
/// "Payload size", asks for less than 20 kB), and a queue of them would fill the memory.
const MAX_ARGUMENTS: usize = 16 * 1024;

#[derive(Serialize)]
struct Told<'h> {
    #[serde(rename = "type")]
    what: &'static str,
    timestamp: At,
    data: Data<'h>,
}

#[derive(Serialize)]
struct Data<'h> {
    id: HoldId,
    state: State,
    agent: &'h str,
    server: &'h str,
    tool: &'h str,
    tier: Tier,
    reasons: &'h [Reason],
    expires_at: At,
    missing: u32,
    terms: &'h HoldTerms,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    escalated: &'h BTreeSet<String>,
    url: &'h str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'h Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    arguments_left_out: bool,
}

/// The body of an event, as JSON.
pub(super) fn body(what: Kind, hold: &Hold, at: At, url: &str, with_arguments: bool) -> Vec<u8> {
    let arguments = with_arguments.then_some(&hold.ask.arguments);
    let fits = |arguments: &&Value| arguments.to_string().len() <= MAX_ARGUMENTS;
    let short = arguments.filter(fits);
    let told = Told {
        what: what.name(),
        timestamp: at,
        data: Data {
            id: hold.id,
            state: hold.state,
            agent: &hold.ask.agent.id,
            server: &hold.ask.server,
            tool: &hold.ask.tool,
            tier: hold.context.tier,
            reasons: &hold.context.reasons,
            expires_at: hold.expires_at,
            missing: hold.missing(&hold.terms),
            terms: &hold.terms,
            escalated: &hold.escalated,
            url,
            arguments: short,
            arguments_left_out: arguments.is_some() && short.is_none(),
        },
    };
    // Text keys and finite numbers only: it cannot fail.
    serde_json::to_vec(&told).unwrap_or_default()
}

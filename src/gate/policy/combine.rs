//! What do the packages say together?
//!
//! By law, not by policy: any deny denies; else any hold holds, with all that the holds ask for;
//! else `allow` must be true. `policies/countersign.rego` says the same in Rego.

use std::collections::BTreeMap;

use super::Package;
use super::outcome::{Charge, Hold, Mode, Outcome, Redact};
use crate::call::{Effect, Tier};
use crate::hold::HoldTerms;
use crate::refusal::Reason;

/// What policy decides of one call (`schemas/decision.schema.json`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Allow, hold or deny.
    pub effect: Effect,
    /// Why; empty only for allow.
    pub reasons: Vec<Reason>,
    /// The tier that policy gives the call. It may raise what the operator's tool file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Who must sign, where the effect is hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldTerms>,
    /// What the call takes from which budget.
    pub charges: Vec<Charge>,
    /// What is not shown or passed on.
    pub redact: Redact,
    /// What is told without effect.
    pub warnings: Vec<Reason>,
    /// For the record and metrics.
    pub labels: BTreeMap<String, String>,
    /// What `dryrun` rules would have done.
    #[serde(skip)]
    pub dry: Vec<(Effect, Reason)>,
    /// Policy could not be evaluated: error, conflict, wrong shape, panic or timeout.
    #[serde(skip)]
    pub failed: bool,
    /// For the operator's log: which package and place; never a value.
    #[serde(skip)]
    pub failure: Option<String>,
}

impl Verdict {
    /// The code of the reason given where no rule allows a call.
    pub const DEFAULT: &'static str = "default";

    pub(in crate::gate) fn empty() -> Self {
        Self {
            effect: Effect::Allow,
            reasons: Vec::new(),
            tier: None,
            hold: None,
            charges: Vec::new(),
            redact: Redact::default(),
            warnings: Vec::new(),
            labels: BTreeMap::new(),
            dry: Vec::new(),
            failed: false,
            failure: None,
        }
    }
}

/// What each package said, where there is one, or why it could not.
pub(super) fn combine<'a>(
    said: impl IntoIterator<Item = (Package, Result<&'a Outcome, &'a str>)>,
) -> Verdict {
    let mut verdict = Verdict::empty();
    let mut allowed = false;
    let mut denials = Vec::new();
    let mut holds: Vec<&Hold> = Vec::new();
    for (package, outcome) in said {
        match outcome {
            Ok(outcome) => {
                allowed |= package == Package::Permission && outcome.allow;
                add(&mut verdict, outcome, &mut denials, &mut holds);
            }
            Err(failure) => fail(&mut verdict, package.name(), failure),
        }
    }
    if verdict.failed || !denials.is_empty() {
        verdict.effect = Effect::Deny;
        verdict.reasons = denials;
    } else if !holds.is_empty() {
        verdict.effect = Effect::Hold;
        verdict.reasons = holds.iter().map(|hold| hold.reason.clone()).collect();
        verdict.hold = Some(together(&holds));
    } else if !allowed {
        verdict.effect = Effect::Deny;
        // Rego has three answers. Undefined is not consent.
        verdict.reasons = vec![Reason {
            code: Verdict::DEFAULT.to_owned(),
            message: "no rule allows it".to_owned(),
            policy: Package::Permission.name().to_owned(),
        }];
    }
    verdict
}

fn add<'a>(
    verdict: &mut Verdict,
    outcome: &'a Outcome,
    denials: &mut Vec<Reason>,
    holds: &mut Vec<&'a Hold>,
) {
    for (reason, mode) in &outcome.deny {
        match mode {
            Mode::Enforce => denials.push(reason.clone()),
            Mode::Warn => verdict.warnings.push(reason.clone()),
            Mode::DryRun => verdict.dry.push((Effect::Deny, reason.clone())),
        }
    }
    for hold in &outcome.hold {
        match hold.mode {
            Mode::Enforce => {
                verdict.tier = verdict.tier.max(hold.tier);
                holds.push(hold);
            }
            Mode::Warn => verdict.warnings.push(hold.reason.clone()),
            Mode::DryRun => verdict.dry.push((Effect::Hold, hold.reason.clone())),
        }
    }
    verdict.tier = verdict.tier.max(outcome.tier);
    verdict.warnings.extend(outcome.warn.iter().cloned());
    verdict.charges.extend(outcome.charge.iter().cloned());
    verdict.redact.arguments.extend(outcome.redact.arguments.iter().cloned());
    verdict.redact.result.extend(outcome.redact.result.iter().cloned());
    let mut conflict = false;
    for (key, value) in &outcome.labels {
        let known = verdict.labels.entry(key.clone()).or_insert_with(|| value.clone());
        conflict |= known != value;
    }
    if conflict {
        fail(verdict, "labels", "two packages give one label two values");
    }
}

fn fail(verdict: &mut Verdict, place: &str, failure: &str) {
    verdict.failed = true;
    let line = format!("{place}: {failure}");
    match &mut verdict.failure {
        Some(known) => {
            known.push_str("; ");
            known.push_str(&line);
        }
        none => *none = Some(line),
    }
}

/// The union of what the holds ask for.
fn together(holds: &[&Hold]) -> HoldTerms {
    let mut all = HoldTerms { approvals: 1, ..HoldTerms::default() };
    for Hold { terms, .. } in holds {
        all.reviewers.extend(terms.reviewers.iter().cloned());
        all.approvals = all.approvals.max(terms.approvals);
        all.justification |= terms.justification;
        all.expires_in = match (all.expires_in, terms.expires_in) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        all.not_before = all.not_before.max(terms.not_before);
        all.not_after = match (all.not_after, terms.not_after) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    all
}

//! What did one package say?
//!
//! The shape is checked in full: what cannot be understood is a failure, and a failure denies.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::Package;
use crate::call::Tier;
use crate::hold::HoldTerms;
use crate::refusal::Reason;
use crate::time::At;

/// Elements that one set may have.
const MAX_ELEMENTS: usize = 256;
/// Bytes of one text.
const MAX_TEXT: usize = 4_096;

/// What a rule's `mode` makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// It counts.
    #[default]
    Enforce,
    /// It is told, and nothing else.
    Warn,
    /// It is recorded as what would have been.
    DryRun,
}

/// What a call takes from a budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Charge {
    /// The budget's name.
    pub budget: String,
    /// A decimal, not negative.
    pub amount: String,
}

/// Places that are not shown or passed on, as JSON Pointers.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Redact {
    /// In the arguments.
    pub arguments: BTreeSet<String>,
    /// In the result.
    pub result: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) reason: Reason,
    pub(super) mode: Mode,
    pub(super) terms: HoldTerms,
    pub(super) tier: Option<Tier>,
}

/// All that one package says of one input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outcome {
    pub(super) allow: bool,
    pub(super) visible: bool,
    pub(super) deny: Vec<(Reason, Mode)>,
    pub(super) hold: Vec<Hold>,
    pub(super) warn: Vec<Reason>,
    pub(super) charge: Vec<Charge>,
    pub(super) tier: Option<Tier>,
    pub(super) redact: Redact,
    pub(super) labels: BTreeMap<String, String>,
}

impl Outcome {
    /// Read what the rules of `package` came to. The error names the rule, never a value.
    pub(super) fn read(package: Package, value: &Value) -> Result<Self, String> {
        let mut outcome = Self::default();
        let Value::Object(rules) = value else {
            return match value {
                Value::Undefined => Ok(outcome),
                _ => Err("the package is not an object".into()),
            };
        };
        for (rule, value) in rules.iter() {
            let rule = text(rule).unwrap_or_default();
            outcome.rule(package, &rule, value).map_err(|wrong| format!("`{rule}` {wrong}"))?;
        }
        Ok(outcome)
    }

    fn rule(&mut self, package: Package, rule: &str, value: &Value) -> Result<(), String> {
        match rule {
            "allow" => self.allow = truth(value)?,
            "visible" => self.visible = truth(value)?,
            "tier" => self.tier = Some(tier(value)?),
            "deny" => {
                for element in set(value)? {
                    let mut fields = Fields::of(element)?;
                    let mode = fields.mode()?;
                    let reason = fields.reason(package)?;
                    fields.done()?;
                    self.deny.push((reason, mode));
                }
            }
            "warn" => {
                for element in set(value)? {
                    let mut fields = Fields::of(element)?;
                    self.warn.push(fields.reason(package)?);
                    fields.done()?;
                }
            }
            "hold" => {
                for element in set(value)? {
                    self.hold.push(hold(package, element)?);
                }
            }
            "charge" => {
                for element in set(value)? {
                    let mut fields = Fields::of(element)?;
                    let budget = fields.must("budget").and_then(name)?;
                    let amount = fields.must("amount").and_then(decimal)?;
                    if let Some(code) = fields.take("code") {
                        name(code)?;
                    }
                    fields.done()?;
                    self.charge.push(Charge { budget, amount });
                }
            }
            "redact" => {
                let mut fields = Fields::of(value)?;
                if let Some(places) = fields.take("arguments") {
                    self.redact.arguments = pointers(places)?;
                }
                if let Some(places) = fields.take("result") {
                    self.redact.result = pointers(places)?;
                }
                fields.done()?;
            }
            "labels" => {
                for (key, value) in object(value)?.iter() {
                    self.labels.insert(name(key)?, text(value)?);
                }
            }
            _ => return Err("is not a rule that the gate asks for".into()),
        }
        Ok(())
    }
}

fn hold(package: Package, element: &Value) -> Result<Hold, String> {
    let mut fields = Fields::of(element)?;
    let mode = fields.mode()?;
    let reason = fields.reason(package)?;
    let mut terms = HoldTerms { approvals: 1, ..HoldTerms::default() };
    if let Some(value) = fields.take("reviewers") {
        for reviewer in list(value)? {
            terms.reviewers.insert(name(reviewer)?);
        }
    }
    if let Some(value) = fields.take("approvals") {
        let count = value.as_u32().ok().filter(|n| (1..=100).contains(n));
        terms.approvals = count.ok_or("has `approvals` that is no number from 1 to 100")?;
    }
    if let Some(value) = fields.take("justification") {
        terms.justification = truth(value)?;
    }
    if let Some(value) = fields.take("expires_in") {
        let duration = text(value).ok().and_then(|t| humantime::parse_duration(&t).ok());
        let duration = duration.filter(|d| !d.is_zero());
        terms.expires_in =
            Some(duration.ok_or("has `expires_in` that is no duration such as `30m`")?);
    }
    terms.not_before = fields.take("not_before").map(time).transpose()?;
    terms.not_after = fields.take("not_after").map(time).transpose()?;
    let tier = fields.take("tier").map(tier).transpose()?;
    fields.done()?;
    Ok(Hold { reason, mode, terms, tier })
}

/// An object whose every member must be known.
struct Fields<'a>(BTreeMap<String, &'a Value>);

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Result<Self, String> {
        let members = object(value)?.iter();
        Ok(Self(members.map(|(k, v)| Ok((text(k)?, v))).collect::<Result<_, String>>()?))
    }

    fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.0.remove(key)
    }

    fn must(&mut self, key: &str) -> Result<&'a Value, String> {
        self.take(key).ok_or_else(|| format!("has an element without `{key}`"))
    }

    fn reason(&mut self, package: Package) -> Result<Reason, String> {
        Ok(Reason {
            code: self.must("code").and_then(name)?,
            message: self.must("message").and_then(text)?,
            policy: package.name().to_owned(),
        })
    }

    fn mode(&mut self) -> Result<Mode, String> {
        Ok(match self.take("mode").map(text).transpose()?.as_deref() {
            None | Some("enforce") => Mode::Enforce,
            Some("warn") => Mode::Warn,
            Some("dryrun") => Mode::DryRun,
            Some(_) => return Err("has a `mode` that is not enforce, warn or dryrun".into()),
        })
    }

    fn done(self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        // The key may be made of an argument, so it is not told.
        Err("has an element with a member that the gate does not know".into())
    }
}

fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().copied().map_err(|_| "is neither true nor false".into())
}

fn object(value: &Value) -> Result<&regorus::value::Object, String> {
    value.as_object().map_err(|_| "has something else where an object is due".into())
}

fn set(value: &Value) -> Result<impl Iterator<Item = &Value>, String> {
    let set = value.as_set().map_err(|_| "is not a set (write `contains`)")?;
    if set.len() > MAX_ELEMENTS {
        return Err(format!("has more than {MAX_ELEMENTS} elements"));
    }
    Ok(set.iter())
}

fn list(value: &Value) -> Result<Vec<&Value>, String> {
    let items: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Set(items) => items.iter().collect(),
        _ => return Err("has something else where a list is due".into()),
    };
    if items.len() > MAX_ELEMENTS {
        return Err(format!("has more than {MAX_ELEMENTS} elements"));
    }
    Ok(items)
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.len() <= MAX_TEXT => Ok(text.to_string()),
        Value::String(_) => Err(format!("has a text of more than {MAX_TEXT} bytes")),
        _ => Err("has something else where a text is due".into()),
    }
}

fn name(value: &Value) -> Result<String, String> {
    text(value).and_then(|name| {
        let fine = !name.is_empty() && name.len() <= 128 && !name.chars().any(char::is_control);
        if fine { Ok(name) } else { Err("has a name that is empty or too long".into()) }
    })
}

fn tier(value: &Value) -> Result<Tier, String> {
    match text(value)?.as_str() {
        "low" => Ok(Tier::Low),
        "medium" => Ok(Tier::Medium),
        "high" => Ok(Tier::High),
        _ => Err("has a tier that is not low, medium or high".into()),
    }
}

fn time(value: &Value) -> Result<At, String> {
    let wrong = || "has a time that is not RFC 3339, such as `2026-11-21T09:00:00Z`".to_owned();
    text(value).and_then(|text| humantime::parse_rfc3339_weak(&text).map(At).map_err(|_| wrong()))
}

fn decimal(value: &Value) -> Result<String, String> {
    let amount = text(value)?;
    let (whole, fraction) = amount.split_once('.').unwrap_or((&amount, "0"));
    let digits =
        |part: &str| (1..=28).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        Ok(amount)
    } else {
        Err("has an `amount` that is no decimal such as \"12.50\"".into())
    }
}

fn pointers(value: &Value) -> Result<BTreeSet<String>, String> {
    list(value)?
        .into_iter()
        .map(|place| {
            let place = text(place)?;
            if place.is_empty() || place.starts_with('/') {
                Ok(place)
            } else {
                Err("has a place that is no JSON Pointer such as `/card/number`".into())
            }
        })
        .collect()
}

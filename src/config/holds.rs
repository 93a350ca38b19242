//! How long does a call wait for people, and what is kept of it?

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::reviewers::name_or_group;
use super::scalar::{count, duration, one_of, text, within};
use super::section::{Reading, Section};
use super::yaml::Node;

pub(super) const HOLD: &[&str] = &[
    "wait",
    "rounds",
    "expires_in",
    "keep_result",
    "keep_denial",
    "repeat",
    "keep",
    "on_approval",
    "open",
    "open_per_agent",
    "remind",
    "escalate",
    "denials",
];
pub(super) const ESCALATE: &[&str] = &["after", "to"];
pub(super) const PRESET: &[&str] = &["code", "message"];

/// The most presets that a page offers.
const MAX_PRESETS: usize = 50;
/// The longest sentence of a preset, in bytes.
const MAX_SENTENCE: usize = 1024;
/// The most names that are told.
const MAX_NAMES: usize = 100;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest that a request waits: ten seconds less than clients do.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// How long a call waits for people, and what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// How long one request waits for signatures.
    pub wait: Duration,
    /// How often a client of 2026-07-28 is asked to come back before it gets a ticket.
    pub rounds: usize,
    /// How long people have, where policy does not say.
    pub expires_in: Duration,
    /// How long a result is kept for collection.
    pub keep_result: Duration,
    /// How long the same call is refused again with the reviewer's words.
    pub keep_denial: Duration,
    /// How long the same call gets the same result again, after that was collected.
    pub repeat: Duration,
    /// How long whole holds are kept, for people to look at.
    pub keep: Duration,
    /// What becomes of an approved call that nobody waits for.
    pub on_approval: OnApproval,
    /// Open holds at once.
    pub open: usize,
    /// Open holds of one agent at once.
    pub open_per_agent: usize,
    /// People are told again after so long; once only if `None`.
    pub remind: Option<Duration>,
    /// Whom else to ask when nobody answers.
    pub escalate: Option<Escalate>,
    /// Reasons that reviewers can choose from.
    pub denials: Vec<Preset>,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            wait: SECOND * 45,
            rounds: 8,
            expires_in: MINUTE * 30,
            keep_result: DAY,
            keep_denial: HOUR,
            repeat: MINUTE,
            keep: DAY * 90,
            on_approval: OnApproval::default(),
            open: 10_000,
            open_per_agent: 1000,
            remind: None,
            escalate: None,
            denials: Vec::new(),
        }
    }
}

/// What becomes of an approved call that nobody waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnApproval {
    /// It is sent at once, and its result kept.
    #[default]
    Execute,
    /// It is sent when the agent makes the same call again.
    AwaitRetry,
}

/// Whom else to ask when nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalate {
    /// How long nobody has answered by then.
    pub after: Duration,
    /// Who may sign then as well: `ann`, `group:oncall`; never empty.
    pub to: BTreeSet<String>,
}

/// A reason to say no that reviewers can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// Stable, for machines: `wrong_amount`.
    pub code: String,
    /// What the agent is told.
    pub message: String,
}

pub(super) fn hold(
    root: &Section<'_>,
    is_known: impl Fn(&str) -> bool,
    reading: &mut Reading<'_>,
) -> Hold {
    const ON_APPROVAL: &[(&str, OnApproval)] =
        &[("execute", OnApproval::Execute), ("await_retry", OnApproval::AwaitRetry)];
    let mut hold = Hold::default();
    let Some(section) = root.open_at("hold", HOLD, reading) else { return hold };
    hold.wait = section.read("wait", reading, wait).unwrap_or(hold.wait);
    // The SDKs come back by themselves ten times at most (measured), the first call among them.
    hold.rounds = section.read("rounds", reading, count(1..=9)).unwrap_or(hold.rounds);
    let mut time = |key, range, field: &mut Duration| {
        *field = section.read(key, reading, within(range)).unwrap_or(*field);
    };
    time("expires_in", SECOND..=DAY * 30, &mut hold.expires_in);
    time("keep_result", MINUTE..=DAY * 30, &mut hold.keep_result);
    time("keep_denial", SECOND..=DAY * 30, &mut hold.keep_denial);
    time("repeat", SECOND..=HOUR, &mut hold.repeat);
    time("keep", MINUTE..=DAY * 366, &mut hold.keep);
    let on_approval = section.read("on_approval", reading, one_of(ON_APPROVAL));
    hold.on_approval = on_approval.unwrap_or_default();
    let mut number = |key, field: &mut usize| {
        *field = section.read(key, reading, count(1..=1_000_000)).unwrap_or(*field);
    };
    number("open", &mut hold.open);
    number("open_per_agent", &mut hold.open_per_agent);
    hold.remind = section.read("remind", reading, within(SECOND * 10..=DAY * 30));
    hold.escalate = section.find("escalate").and_then(|node| escalate(node, is_known, reading));
    hold.denials = denials(&section, reading);
    if hold.keep < hold.keep_result.max(hold.keep_denial) {
        let at = section.place("keep");
        reading.fault(at, "a hold goes with its result; `keep` has to be the longest of all");
    }
    hold
}

fn wait(node: &Node) -> Result<Duration, String> {
    let wait = duration(node)?;
    if wait <= LONGEST_WAIT {
        return Ok(wait);
    }
    Err("wait at most 50s: clients give up at 60s, and the answer has to get there first".into())
}

fn escalate(
    node: &Node,
    is_known: impl Fn(&str) -> bool,
    reading: &mut Reading<'_>,
) -> Option<Escalate> {
    let section = Section::open(node, ESCALATE, reading);
    let after = section.require("after", reading, within(SECOND * 10..=DAY * 30));
    let to = section.must("to", reading)?;
    let names = reading.list(Some(to), |reading, node| {
        let name = reading.take(node, name_or_group)?;
        if !is_known(&name) {
            reading.fault(node.at, "no reviewer is or belongs to this, so nobody would be asked");
        }
        Some(name)
    });
    if to.value.is_empty_list() || names.len() > MAX_NAMES {
        reading.fault(to.at, format!("name 1 to {MAX_NAMES} reviewers or groups"));
        return None;
    }
    Some(Escalate { after: after?, to: names.into_iter().collect() })
}

fn denials(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<Preset> {
    let node = section.find("denials");
    let mut places: HashMap<String, u32> = HashMap::new();
    let presets = reading.list(node, |reading, node| {
        let section = Section::open(node, PRESET, reading);
        let code = section.require("code", reading, code);
        let message = section.require("message", reading, sentence);
        let preset = Preset { code: code?, message: message? };
        if let Some(first) = places.insert(preset.code.clone(), node.at.line) {
            reading.fault(node.at, format!("the same code as on line {first}"));
        }
        Some(preset)
    });
    if presets.len() > MAX_PRESETS {
        let at = section.place("denials");
        reading.fault(at, format!("a page offers at most {MAX_PRESETS} reasons"));
    }
    presets
}

fn code(node: &Node) -> Result<String, String> {
    let code = text(node)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if code.len() > 64
        || !code.bytes().all(plain)
        || !code.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return Err("a code has up to 64 of `a-z`, `0-9` and `_`, and begins with a letter".into());
    }
    if ["denied", "answered"].contains(&code.as_str()) {
        return Err("this code stands for an answer in a reviewer's own words; take another".into());
    }
    Ok(code)
}

fn sentence(node: &Node) -> Result<String, String> {
    let sentence = text(node)?;
    if sentence.len() > MAX_SENTENCE {
        return Err(format!("a sentence for agents has up to {MAX_SENTENCE} bytes"));
    }
    Ok(sentence)
}

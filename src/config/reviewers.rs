//! Who may sign?

use std::collections::HashMap;

use super::agents::{Agent, Proof};
use super::operator::Operator;
use super::scalar::text;
use super::secret::{TokenDigest, token};
use super::section::{Reading, Section};
use super::yaml::Node;

pub(super) const REVIEWER: &[&str] = &["id", "groups", "token"];

/// What a name begins with that stands for many people.
const GROUP: &str = "group:";

/// Somebody who may sign, by a token: a machine, a script, or a person at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewer {
    /// One name for one person, however they prove who they are; no agent has it.
    pub id: String,
    /// The groups the operator put them in.
    pub groups: Vec<String>,
    /// What they prove it with; no agent has it.
    pub token: TokenDigest,
}

pub(super) fn reviewers(
    root: &Section<'_>,
    agents: &[Agent],
    reading: &mut Reading<'_>,
) -> Vec<Reviewer> {
    let mut ids: HashMap<String, u32> = HashMap::new();
    let mut tokens: HashMap<TokenDigest, u32> = HashMap::new();
    reading.list(root.find("reviewers"), |reading, node| {
        let reviewer = reviewer(node, reading)?;
        // People write names in more than one way, so that case does not tell two apart.
        let same_id = ids.insert(reviewer.id.to_lowercase(), node.at.line);
        let same_token = tokens.insert(reviewer.token, node.at.line);
        for (first, what) in [(same_id, "id, but for its case"), (same_token, "token")] {
            if let Some(first) = first {
                reading.fault(node.at, format!("the same {what} as the reviewer on line {first}"));
            }
        }
        for agent in agents {
            if agent.id.eq_ignore_ascii_case(&reviewer.id) {
                reading.fault(node.at, "an agent has this id; nobody signs for their own calls");
            }
            if agent.proof == Proof::Token(reviewer.token) {
                reading.fault(node.at, "an agent has this token, and could sign for itself");
            }
        }
        Some(reviewer)
    })
}

fn reviewer(node: &Node, reading: &mut Reading<'_>) -> Option<Reviewer> {
    let section = Section::open(node, REVIEWER, reading);
    let id = section.require("id", reading, name);
    let groups = reading.list(section.find("groups"), |reading, node| reading.take(node, text));
    let token = section.must("token", reading).and_then(|node| token(node, reading));
    Some(Reviewer { id: id?, groups, token: token? })
}

/// A person's name, which may be an address: it reads the same in page, record and terminal.
fn name(node: &Node) -> Result<String, String> {
    let name = text(node)?;
    let usable = |b: u8| b.is_ascii_alphanumeric() || b"._@+:/-".contains(&b);
    if name.len() > 128 || !name.bytes().all(usable) {
        return Err("a reviewer's id has up to 128 letters, digits and `._@+:/-`".into());
    }
    if name.starts_with(GROUP) {
        return Err("a name that begins with `group:` stands for a group".into());
    }
    Ok(name)
}

/// Whom policies and escalation name: `ann`, or `group:oncall`.
pub(super) fn name_or_group(node: &Node) -> Result<String, String> {
    match text(node)?.strip_prefix(GROUP) {
        Some(group) if !group.trim().is_empty() => text(node),
        Some(_) => Err("name the group, such as `group:oncall`".into()),
        None => name(node),
    }
}

/// Whether somebody may be meant by this; with sign-in nobody knows beforehand who there is.
pub(super) fn is_known(name: &str, reviewers: &[Reviewer], operator: &Operator) -> bool {
    operator.oidc.is_some()
        || reviewers.iter().any(|reviewer| match name.strip_prefix(GROUP) {
            Some(group) => reviewer.groups.iter().any(|own| own == group),
            None => reviewer.id.eq_ignore_ascii_case(name),
        })
}

//! What is being asked, and by whom?
//!
//! The nouns of the domain. A [`Call`] is immutable once parsed.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::json::{self, Digest, Map, Value};

/// How much harm a call can do. Never lowered by what a server says of itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Reversible and limited.
    Low,
    /// Visible to customers, or moderate spend.
    Medium,
    /// Irreversible, large or regulated; also what nobody classified.
    #[default]
    High,
}

impl Tier {
    /// The name in config, policy, metrics and record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One thing that policy had to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, for machines: `refund_over_limit`.
    pub code: String,
    /// For people and models: `refunds over 100 USD need a signature`.
    pub message: String,
    /// The package that said it: `permission`, `budget` or `reversibility`.
    pub policy: String,
}

/// What was decided of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Forward it.
    Allow,
    /// Wait until people sign it.
    Hold,
    /// Refuse it.
    Deny,
}

impl Effect {
    /// The name in policy, metrics and record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

/// The front end that a call came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// MCP over streamable HTTP.
    Mcp,
}

/// The authenticated identity that calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name in policy, record and metrics.
    pub id: Arc<str>,
    /// Groups the operator, or the token's issuer, put it in.
    pub groups: Vec<String>,
    /// What the issuer of its token says of it; empty for static tokens.
    pub claims: Map<String, Value>,
}

/// What the agent merely says of a call. Never proof of anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Claimed {
    /// On whose behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The workflow it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The step of that workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How sure the agent says it is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Why, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Links it offers as evidence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// One call, complete and immutable.
#[derive(Debug, Clone)]
pub struct Call {
    /// Unique for each arrival (UUID v7).
    pub id: uuid::Uuid,
    /// SHA-256 over RFC 8785 canonical JSON of (agent, server, tool, definition digest, arguments).
    pub hash: Digest,
    /// How it came in.
    pub door: Door,
    /// Who calls.
    pub agent: Arc<Agent>,
    /// The configured name of the server.
    pub server: Arc<str>,
    /// The MCP method, such as `tools/call` or `resources/read`.
    pub method: &'static str,
    /// The tool's name; for a method that is not `tools/call`, the method itself.
    pub tool: Arc<str>,
    /// What the tool gets: `params.arguments`, or all of `params` (without `_meta`) for other methods.
    pub arguments: Value,
    /// What the agent says of it.
    pub claimed: Claimed,
    /// The transport session, where there is one.
    pub session: Option<Arc<str>>,
    /// When the gate had read it.
    pub received_at: SystemTime,
}

impl Call {
    /// What an approval is bound to: SHA-256 over RFC 8785 canonical JSON of all that says what
    /// would be done, by whom, to what.
    pub fn hash_of(
        agent: &str,
        server: &str,
        tool: &str,
        definition: Option<&Digest>,
        arguments: &Value,
    ) -> Digest {
        // The canonical object, its keys in their canonical order, without building it.
        let mut text = Vec::with_capacity(512);
        text.extend_from_slice(b"{\"agent\":");
        json::write_canonical(&agent.into(), &mut text);
        text.extend_from_slice(b",\"arguments\":");
        json::write_canonical(arguments, &mut text);
        text.extend_from_slice(b",\"definition\":");
        let definition = definition.map_or(Value::Null, |digest| digest.to_string().into());
        json::write_canonical(&definition, &mut text);
        text.extend_from_slice(b",\"server\":");
        json::write_canonical(&server.into(), &mut text);
        text.extend_from_slice(b",\"tool\":");
        json::write_canonical(&tool.into(), &mut text);
        text.push(b'}');
        Digest::of(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_canonical_object() {
        let arguments = serde_json::json!({"b": 1, "a": "é\n"});
        let definition = Digest::of(b"definition");
        let whole = serde_json::json!({
            "tool": "refund", "server": "crm", "agent": "ada",
            "definition": definition.to_string(), "arguments": arguments,
        });
        let hash = Call::hash_of("ada", "crm", "refund", Some(&definition), &arguments);
        assert_eq!(hash, json::digest(&whole));
    }
}

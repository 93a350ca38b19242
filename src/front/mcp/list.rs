//! Which tools may this agent see?
//!
//! What is left of a `tools/list` result is the server's own bytes, so that nothing is lost of a
//! definition that the gate does not understand.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};

use super::upstream::Server;
use crate::call::Agent;
use crate::gate::Gate;

type Members = BTreeMap<String, Box<RawValue>>;

/// The message with only the tools that the agent may ever call, and that can be used.
pub(super) async fn filter(
    gate: &Gate,
    server: &Server,
    agent: &Agent,
    message: &[u8],
) -> Result<Vec<u8>, serde_json::Error> {
    let mut members: Members = serde_json::from_slice(message)?;
    let Some(result) = members.get("result") else { return Ok(message.to_vec()) };
    let mut result: Members = serde_json::from_str(result.get())?;
    let Some(tools) = result.get("tools") else { return Ok(message.to_vec()) };
    let tools: Vec<Box<RawValue>> = serde_json::from_str(tools.get())?;
    server.offer.learn(&server.settings.name, &tools);
    let mut seen = Vec::with_capacity(tools.len());
    for tool in tools {
        if may_see(gate, server, agent, &tool).await {
            seen.push(tool);
        }
    }
    result.insert("tools".to_owned(), to_raw_value(&seen)?);
    // What one agent sees is not for a cache that others share.
    if result.contains_key("cacheScope") {
        result.insert("cacheScope".to_owned(), to_raw_value("private")?);
    }
    members.insert("result".to_owned(), to_raw_value(&result)?);
    serde_json::to_vec(&members)
}

async fn may_see(gate: &Gate, server: &Server, agent: &Agent, tool: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let Ok(named) = serde_json::from_str::<Named>(tool.get()) else { return false };
    match server.offer.find(&named.name) {
        Some(offered) => gate.visible(agent, &server.settings.name, &offered).await,
        None => false,
    }
}

//! What would happen to this call, and why?

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::run::runtime;
use super::{ConfigFile, Exit, Failure, say};
use crate::app::compose;
use crate::call::{Agent, Claimed, Door};
use crate::config::Config;
use crate::gate::{self, Arrival, Offered, Target, Waits};
use crate::json::{self, Limits, Map, Value};
use crate::telemetry::CallSpan;
use crate::tools::Catalogue;

/// Say what the gate would do with one call, and which rule decides
///
/// FILE holds the call as JSON: `agent`, `server`, `tool` and `arguments`; also, as wanted,
/// `method`, `groups`, `claims`, `claimed`, and the tool's `definition`, against whose schema the
/// arguments are then checked. `-` reads standard input. Nothing is forwarded, charged or recorded.
/// Exits 0 if allowed, 3 if refused or held.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The call, as JSON; `-` is standard input
    #[arg(value_name = "FILE")]
    pub call: PathBuf,
    /// Print the decision as JSON
    #[arg(long)]
    pub json: bool,
    /// Which config to decide by.
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    agent: String,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    claims: Map<String, Value>,
    server: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    tool: Option<String>,
    #[serde(default)]
    arguments: Map<String, Value>,
    #[serde(default)]
    claimed: Claimed,
    #[serde(default)]
    definition: Option<Box<RawValue>>,
}

/// Decides one call and says why.
///
/// # Errors
/// If the config, its policies or the call cannot be read.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let config = Config::load_without_secrets(&arguments.config.path)?;
    let arrival = arrival(&config, &read(&arguments.call)?)?;
    let snapshot = compose::snapshot(&config)?;
    let decided = runtime()?.block_on(gate::rehearse(&snapshot, arrival));
    let text = match arguments.json {
        true => format!("{:#}\n", decided.json()),
        false => words(&decided),
    };
    say(&text)?;
    Ok(if decided.refusal.is_none() { Exit::Done } else { Exit::Refused })
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let limit = Limits::default().bytes as u64 + 1;
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().take(limit).read_to_end(&mut bytes)?;
    } else {
        let file = File::open(path)
            .map_err(|error| Failure::Message(format!("`{}`: {error}", path.display())))?;
        file.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn arrival(config: &Config, bytes: &[u8]) -> Result<Arrival, Failure> {
    let wrong = |reason: String| Failure::Message(format!("the call cannot be read: {reason}"));
    // Strictly, as the gate reads it; then by shape.
    json::parse(bytes, &Limits::default()).map_err(|fault| wrong(fault.to_string()))?;
    let asked: Asked = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let known = config.agents.iter().find(|agent| *agent.id == *asked.agent);
    let groups = asked.groups.or(known.map(|agent| agent.groups.clone())).unwrap_or_default();
    let method = asked.method.as_deref().unwrap_or("tools/call");
    let row = crate::front::mcp::methods::request(method)
        .ok_or_else(|| wrong(format!("no method `{method}`")))?;
    let tool = match (row.name, asked.tool) {
        ("tools/call", Some(tool)) => tool,
        ("tools/call", None) => return Err(wrong("`tool` is missing".to_owned())),
        (method, _) => method.to_owned(),
    };
    let target = match asked.definition {
        None => Target::Method,
        Some(raw) => {
            let catalogue = Catalogue::build(&[raw], &crate::tools::Limits::default());
            let definition = catalogue
                .find(&tool)
                .ok_or_else(|| wrong("`definition` is not that of `tool`".to_owned()))?;
            Target::Tool(Offered { definition: Arc::clone(definition), changed: false })
        }
    };
    Ok(Arrival {
        id: uuid::Uuid::now_v7(),
        door: Door::Mcp,
        agent: Arc::new(Agent { id: Arc::from(asked.agent), groups, claims: asked.claims }),
        server: Arc::from(asked.server),
        method: row.name,
        tool: Arc::from(tool),
        target,
        arguments: Value::Object(asked.arguments),
        claimed: asked.claimed,
        session: None,
        trace: None,
        span: CallSpan::default(),
        received_at: SystemTime::now(),
        hold: None,
        waits: Waits::Never,
    })
}

fn words(decided: &gate::Rehearsal) -> String {
    let mut text = format!("{}, tier {}\n", decided.effect.name(), decided.tier.name());
    let mut line = |said: String| {
        let _ = writeln!(text, "{said}");
    };
    if let Some(refusal) = &decided.refusal {
        line(format!("  {}: {refusal}", refusal.code()));
    }
    for reason in &decided.reasons {
        line(format!("  {} ({}): {}", reason.code, reason.policy, reason.message));
    }
    for warning in &decided.warnings {
        line(format!("  warning {} ({}): {}", warning.code, warning.policy, warning.message));
    }
    for (effect, reason) in &decided.would {
        line(format!("  on trial: would {} by {} ({})", effect.name(), reason.code, reason.policy));
    }
    if let Some(failure) = &decided.failure {
        line(format!("  the policy failed: {failure}"));
    }
    text
}

//! What may an operator write, and what does it come to?
//!
//! A config is read once, as YAML whose places are known, into the types that the gate uses;
//! afterwards nobody checks again. Every fault is told, not only the first. Secrets stand in it by
//! reference only ([`secret`]), and relative paths are relative to the file.
//!
//! Adding a key: a line in its section's list of keys, a field, a line that reads it, and the same
//! in `schemas/config.schema.json`; a test holds the four together.

mod address;
mod agents;
pub mod files;
mod holds;
mod limits;
mod listeners;
mod operator;
mod output;
pub mod problem;
mod reviewers;
mod scalar;
pub mod secret;
mod section;
mod servers;
mod url;
mod webhooks;
pub mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub use address::forbidden_address;
pub use agents::{Agent, Issuer, Jwks, Proof};
pub use holds::{Escalate, Hold, OnApproval, Preset};
pub use limits::Limits;
pub use listeners::Tls;
pub use operator::{Oidc, Operator};
pub use output::{Log, LogFormat, Otlp, OtlpProtocol, Sync};
pub use problem::{Problem, nearest};
pub use reviewers::Reviewer;
pub use secret::{Secret, TokenDigest};
pub use servers::{Credential, Identity, REVISIONS, Server, ServerTls, is_server_name};
pub use webhooks::{Notify, NotifyFormat, SigningKey, WebhookUrl};

use crate::json::Digest;
use scalar::{count, duration, listener, one_of};
use section::{Reading, Section};

const ROOT: &[&str] = &[
    "listen",
    "tls",
    "hosts",
    "origins",
    "operator",
    "state",
    "environment",
    "mode",
    "policies",
    "policy",
    "tools",
    "pins",
    "agents",
    "jwt",
    "reviewers",
    "servers",
    "hold",
    "notify",
    "limits",
    "record",
    "log",
    "otlp",
    "drain",
];
const POLICY: &[&str] = &["deadline", "workers", "remembered"];

/// All that an operator decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where agents connect.
    pub listen: SocketAddr,
    /// TLS toward agents; plain if `None`.
    pub tls: Option<Tls>,
    /// Names that a `Host` header may have besides the listeners' own, in lower case, no port.
    pub hosts: Vec<String>,
    /// Values that an `Origin` header may have, in lower case.
    pub origins: Vec<String>,
    /// Where operators and reviewers connect, and how people sign in there.
    pub operator: Operator,
    /// Where store, trail and keys are.
    pub state: PathBuf,
    /// Which environment this gate guards, for policy and record.
    pub environment: String,
    /// What a refusal by policy comes to.
    pub mode: Mode,
    /// Files and directories of policies and their data.
    pub policies: Vec<PathBuf>,
    /// How policies are evaluated.
    pub policy: PolicySettings,
    /// Tool files, and directories of them.
    pub tools: Vec<PathBuf>,
    /// Which tool definitions somebody accepted.
    pub pins: Option<PathBuf>,
    /// Agents that the operator names.
    pub agents: Vec<Agent>,
    /// Who else may name agents, by signed tokens.
    pub issuers: Vec<Issuer>,
    /// Who may sign, by a token.
    pub reviewers: Vec<Reviewer>,
    /// How calls wait for people.
    pub hold: Hold,
    /// Who is told of that.
    pub notify: Vec<Notify>,
    /// The servers behind the gate, by name; never empty.
    pub servers: BTreeMap<Arc<str>, Arc<Server>>,
    /// What the gate holds at most.
    pub limits: Limits,
    /// Which intents wait for the disk.
    pub sync: Sync,
    /// Log lines.
    pub log: Log,
    /// Spans; none if `None`.
    pub otlp: Option<Otlp>,
    /// How long a shutdown waits for what runs.
    pub drain: Duration,
    /// SHA-256 of the config's text, for the record.
    pub digest: Digest,
}

/// What a refusal by policy comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The call is refused.
    #[default]
    Enforce,
    /// The call goes on, and the agent is warned.
    Warn,
    /// The call goes on, and the record says what would have been.
    Dryrun,
}

impl Mode {
    /// The name in config, policy and record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Dryrun => "dryrun",
        }
    }
}

/// How policies are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicySettings {
    /// How long one evaluation may take; then the call is refused.
    pub deadline: Duration,
    /// Threads that evaluate; one for each processor if `None`.
    pub workers: Option<usize>,
    /// Outcomes that are remembered for each package; 0 remembers none.
    pub remembered: usize,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(50), workers: None, remembered: 10_000 }
    }
}

impl Config {
    /// Reads a config file, and sees that the files it names are there.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        match inspect(path) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }

    /// Reads a config file to decide by and not to serve from: secrets are not read, and whoever
    /// has one is known by where it would be. Keys and certificates need not be there.
    ///
    /// # Errors
    /// Everything else that is wrong, in the order of the file.
    pub fn load_without_secrets(path: &Path) -> Result<Self, Vec<Problem>> {
        let shown = path.display().to_string();
        let text = files::read_text(path)
            .map_err(|error| vec![Problem::whole(&shown, format!("cannot be read: {error}"))])?;
        let mut reading = Reading::new(&shown, path.parent().unwrap_or(Path::new("")));
        reading.with_secrets = false;
        match (read(&text, &mut reading), in_order(reading.problems)) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }
}

/// Reads a config file as far as it can be read, and tells everything that is wrong, in the order
/// of the file. For those who look further into a broken config; nothing may be served from one,
/// since defaults stand in for what could not be read.
pub fn inspect(path: &Path) -> (Option<Config>, Vec<Problem>) {
    let shown = path.display().to_string();
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(error) => {
            return (None, vec![Problem::whole(&shown, format!("cannot be read: {error}"))]);
        }
    };
    let mut reading = Reading::new(&shown, path.parent().unwrap_or(Path::new("")));
    let config = read(&text, &mut reading);
    for (needed, at) in std::mem::take(&mut reading.needed) {
        if let Err(error) = std::fs::metadata(&needed) {
            reading.fault(at, format!("cannot read `{}`: {error}", needed.display()));
        }
    }
    (config, in_order(reading.problems))
}

/// Reads a config from its text. Relative paths are relative to `base`; of all files it names only
/// those with secrets are opened.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn parse(text: &str, base: &Path) -> Result<Config, Vec<Problem>> {
    let mut reading = Reading::new("countersign.yaml", base);
    let config = read(text, &mut reading);
    match (config, in_order(reading.problems)) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => Err(problems),
    }
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

fn read(text: &str, reading: &mut Reading<'_>) -> Option<Config> {
    let node = match yaml::read(text, reading.path) {
        Ok(node) => node,
        Err(problem) => {
            reading.problems.push(problem);
            return None;
        }
    };
    let root = Section::open(&node, ROOT, reading);
    let listen = root.read("listen", reading, listener).unwrap_or(listeners::AGENTS_LISTEN);
    let operator = operator::operator(&root, reading);
    let tls = listeners::tls(&root, reading);
    let agents = agents::agents(&root, reading);
    let issuers = agents::issuers(&root, reading);
    listeners::guard(&root, [listen, operator.listen], tls.as_ref(), &agents, &issuers, reading);
    let reviewers = reviewers::reviewers(&root, &agents, reading);
    let is_known = |name: &str| reviewers::is_known(name, &reviewers, &operator);
    let hold = holds::hold(&root, is_known, reading);
    Some(Config {
        listen,
        tls,
        hosts: reading.list(root.find("hosts"), |r, node| r.take(node, listeners::host)),
        origins: reading.list(root.find("origins"), |r, node| r.take(node, listeners::origin)),
        state: root
            .find("state")
            .and_then(|node| reading.path_of(node))
            .unwrap_or_else(|| reading.base.join("state")),
        environment: root
            .read("environment", reading, output::environment)
            .unwrap_or_else(|| "production".into()),
        mode: root.read("mode", reading, one_of(MODES)).unwrap_or_default(),
        policies: policies(&root, reading),
        policy: policy(&root, reading),
        tools: reading.list(root.find("tools"), |r, node| r.file(node)),
        pins: root.find("pins").and_then(|node| reading.path_of(node)),
        agents,
        issuers,
        notify: webhooks::webhooks(&root, &operator, reading),
        operator,
        reviewers,
        hold,
        servers: servers::servers(&root, reading),
        limits: root
            .open_at("limits", limits::LIMITS, reading)
            .map(|section| limits::limits(&section, reading))
            .unwrap_or_default(),
        sync: output::sync(&root, reading),
        log: output::log(&root, reading),
        otlp: output::otlp(&root, reading),
        drain: root.read("drain", reading, duration).unwrap_or(Duration::from_secs(25)),
        digest: Digest(Sha256::digest(text.as_bytes()).into()),
    })
}

const MODES: &[(&str, Mode)] =
    &[("enforce", Mode::Enforce), ("warn", Mode::Warn), ("dryrun", Mode::Dryrun)];

fn policies(root: &Section<'_>, reading: &mut Reading<'_>) -> Vec<PathBuf> {
    let node = root.must("policies", reading);
    let policies = reading.list(node, |reading, node| reading.file(node));
    if let Some(node) = node
        && node.value.is_empty_list()
    {
        reading.fault(node.at, "without a policy nothing is allowed; name a directory of them");
    }
    policies
}

fn policy(root: &Section<'_>, reading: &mut Reading<'_>) -> PolicySettings {
    let default = PolicySettings::default();
    let Some(section) = root.open_at("policy", POLICY, reading) else { return default };
    PolicySettings {
        deadline: section.read("deadline", reading, duration).unwrap_or(default.deadline),
        workers: section.read("workers", reading, count(1..=256)),
        remembered: section
            .read("remembered", reading, count(0..=10_000_000))
            .unwrap_or(default.remembered),
    }
}

#[cfg(test)]
mod tests;

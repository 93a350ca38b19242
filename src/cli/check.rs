//! Would it start?

use clap::Args;

use std::sync::Arc;

use super::{ConfigFile, Exit, Failure, say};
use crate::app::compose;
use crate::config::{self, Config, Problem};
use crate::metrics::{Build, Metrics};

/// Check config, policies and tool files, and tell all that is wrong
///
/// Prints each problem as `file:line:column: what is wrong`. Connects to nothing. Exits 0 if there
/// is none, 1 otherwise.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which config to check.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Checks everything that an operator wrote.
///
/// # Errors
/// All problems.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (config, mut problems) = config::inspect(&arguments.config.path);
    // A fault in the config is no reason to keep quiet about one in a policy.
    if let Some(config) = &config {
        problems.extend(named_by(config));
    }
    match config {
        Some(config) if problems.is_empty() => {
            say(&summary(&arguments.config, &config))?;
            Ok(Exit::Done)
        }
        _ => Err(problems.into()),
    }
}

/// What is wrong in the files that a config names.
fn named_by(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    // A path that is not there has been told with its place in the config.
    let tools: Vec<_> = config.tools.iter().filter(|path| path.exists()).cloned().collect();
    let there = Config { tools, ..config.clone() };
    problems.extend(compose::classifier(&there).err().unwrap_or_default());
    // That none are named has been told too.
    if !config.policies.is_empty() {
        problems.extend(compose::policies(config).err().unwrap_or_default());
    }
    problems.extend(compose::pins(config).err().unwrap_or_default());
    problems.extend(tls_problems(config));
    problems
}

// Files with certificates and keys are read here, so that a wrong one is told now and not at start.
fn tls_problems(config: &Config) -> Vec<Problem> {
    let metrics = Metrics::new(Build { version: "", commit: "" });
    let servers = metrics
        .map_err(|error| error.to_string())
        .and_then(|metrics| compose::servers(config, &Arc::new(metrics)).map(drop));
    let told = [servers, compose::listener_tls(config).map(drop)];
    told.into_iter().filter_map(Result::err).map(|fault| Problem::whole("tls", fault)).collect()
}

fn summary(file: &ConfigFile, config: &Config) -> String {
    let counted = |count: usize, one: &str| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {one}{s}")
    };
    format!(
        "{}: ok: {}, {}, {}; listening on {} and {}\n",
        file.path.display(),
        counted(config.servers.len(), "server"),
        counted(config.agents.len(), "agent"),
        counted(config.issuers.len(), "issuer"),
        config.listen,
        config.operator.listen,
    )
}

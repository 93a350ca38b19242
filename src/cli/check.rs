//! Would it start?

use clap::Args;

use super::{ConfigFile, Exit, Failure, say};
use crate::config::{self, Config, Problem, files};

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
    match files::read_tool_files(&tools) {
        Ok(texts) => problems.extend(tool_problems(&texts)),
        Err(unread) => problems.extend(unread),
    }
    problems.extend(policy_problems(config));
    problems
}

// PLUG IN HERE, on merge: `tools::Classifier::load(texts)`, its problems.
fn tool_problems(_texts: &[(String, String)]) -> Vec<Problem> {
    Vec::new()
}

// PLUG IN HERE, on merge: `gate::policy::read_directory(&config.policies)`, then `Policies::load`.
fn policy_problems(_config: &Config) -> Vec<Problem> {
    Vec::new()
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
        config.operator,
    )
}

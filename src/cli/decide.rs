//! What would happen to this call, and why?

use std::path::PathBuf;

use clap::Args;

use super::{ConfigFile, Exit, Failure};

/// Say what the gate would do with one call, and which rule decides
///
/// FILE holds the call as JSON: agent, server, tool and arguments; `-` reads standard input.
/// Nothing is forwarded, charged or recorded. Exits 0 if allowed, 3 if refused or held.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The call, as JSON; `-` is standard input
    #[arg(value_name = "FILE")]
    pub call: PathBuf,
    /// Which config to decide by.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Decides one call and says why.
///
/// # Errors
/// If the config, its policies or the call cannot be read.
pub fn run(_arguments: &Arguments) -> Result<Exit, Failure> {
    Err(Failure::Message("`decide` is not built yet".into()))
}

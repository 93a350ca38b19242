//! Which tool definitions do we accept?

use clap::Args;

use super::{ConfigFile, Exit, Failure};

/// Accept the tool definitions that the servers offer now
///
/// Writes the digest of each definition to the file that `pins` names in the config. From then on a
/// definition that changes is told to policy, and by the shipped policies refused, until it is
/// pinned again.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Servers whose definitions to accept; all if none is named
    #[arg(value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Which config names the servers.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Fetches tool lists and writes their digests.
///
/// # Errors
/// If the config is wrong, names no `pins`, or a server cannot be asked.
pub fn run(_arguments: &Arguments) -> Result<Exit, Failure> {
    Err(Failure::Message("`pin` is not built yet".into()))
}

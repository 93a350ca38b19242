//! Stand guard until told to stop.

use clap::Args;

use super::{ConfigFile, Exit, Failure};

/// Stand guard: serve agents by a config until told to stop
///
/// Binds all listeners before it serves any. Policies are loaded again as their files change; a
/// broken one keeps the last good one. SIGTERM finishes what runs, for at most `drain`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which config to serve.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Serves until a signal ends it.
///
/// # Errors
/// If the config is wrong, a listener cannot be bound, or policies cannot be loaded.
pub fn run(_arguments: &Arguments) -> Result<Exit, Failure> {
    Err(Failure::Message("`run` is not built yet".into()))
}

//! What happened?

use clap::{Args, Subcommand};

use super::{ConfigFile, Exit, Failure};

/// Read the record of calls
///
/// The record is append-only, and each entry is chained to the one before it; reading it checks
/// the chain, and a break is told with its place.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to read.
    #[command(subcommand)]
    pub command: Command,
}

/// What to read of the record.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the last entries, one to a line
    Tail {
        /// How many entries
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        lines: usize,
        /// Go on as entries are written
        #[arg(short, long)]
        follow: bool,
        /// Print each entry as JSON
        #[arg(long)]
        json: bool,
        /// Whose record to read.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show everything on record of one call
    ///
    /// Exits 1 if no call of that id is on record.
    Show {
        /// The call's id, as refusals, logs and `audit tail` give it
        #[arg(value_name = "CALL")]
        call: uuid::Uuid,
        /// Whose record to read.
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Reads the record.
///
/// # Errors
/// If the record cannot be read, or its chain is broken.
pub fn run(_arguments: &Arguments) -> Result<Exit, Failure> {
    Err(Failure::Message("`audit` is not built yet".into()))
}

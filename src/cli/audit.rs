//! What happened?

mod read;
mod shown;

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ConfigFile, Exit, Failure};
use crate::config::Config;
use read::AuditFault;

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
        place: Place,
    },
    /// Show everything on record of one call
    ///
    /// Exits 1 if no call of that id is on record.
    Show {
        /// The call's id, or how it begins, as refusals, logs and `audit tail` give it
        #[arg(value_name = "CALL")]
        call: String,
        /// Print each entry as JSON
        #[arg(long)]
        json: bool,
        /// Whose record to read.
        #[command(flatten)]
        place: Place,
    },
}

/// Where a record is.
#[derive(Debug, Args)]
pub struct Place {
    /// The state directory, where no config is at hand
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Which config names it.
    #[command(flatten)]
    pub config: ConfigFile,
}

impl Place {
    fn directory(&self) -> Result<PathBuf, Failure> {
        match &self.state {
            Some(directory) => Ok(directory.clone()),
            None => Ok(Config::load(&self.config.path)?.state),
        }
    }
}

/// Reads the record.
///
/// # Errors
/// If the record cannot be read, or its chain is broken.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    let read = match &arguments.command {
        Command::Tail { lines, follow, json, place } => {
            read::tail(&place.directory()?, *follow, *lines, *json, &mut out)
        }
        Command::Show { call, json, place } => {
            read::show(&place.directory()?, call, *json, &mut out)
        }
    };
    match read {
        Ok(()) => Ok(Exit::Done),
        // A reader that has seen enough (`| head`) is no failure.
        Err(AuditFault::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Exit::Done)
        }
        Err(fault) => Err(Failure::Message(fault.to_string())),
    }
}

//! Which command was meant?
//!
//! Raw flags become one `Command`, one `match` runs it, and what came of it becomes an exit code:
//! 0 done or allowed, 1 failed, 2 usage, 3 refused.

pub mod audit;
pub mod check;
pub mod completions;
pub mod decide;
pub mod demo;
pub mod holds;
pub mod init;
pub mod pin;
pub mod run;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Problem;

/// The version and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("COUNTERSIGN_COMMIT"), ")");

/// The commit that it was built from; `unknown` if the build could not tell.
pub const COMMIT: &str = env!("COUNTERSIGN_COMMIT");

/// Stand between an AI agent and its tools: forward, refuse, or hold until people sign
///
/// Each tool call is parsed once, checked against the tool's schema, decided by Rego policy and put
/// on record before the tool is touched. Begin with `countersign demo`, or `countersign init` in an
/// empty directory.
///
/// Exit codes: 0 done or allowed, 1 failed, 2 usage, 3 refused.
#[derive(Debug, Parser)]
#[command(name = "countersign", version = VERSION, max_term_width = 100, propagate_version = false)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Demo(demo::Arguments),
    Check(check::Arguments),
    Decide(decide::Arguments),
    Init(init::Arguments),
    Holds(holds::Arguments),
    Audit(audit::Arguments),
    Pin(pin::Arguments),
    Completions(completions::Arguments),
}

/// Which config a command reads.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// The config file
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "countersign.yaml",
        env = "COUNTERSIGN_CONFIG",
        hide_env_values = true
    )]
    pub path: PathBuf,
}

/// A command that ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the call would be allowed.
    Done,
    /// The call would be refused or held.
    Refused,
}

/// A command that could not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// What an operator wrote is wrong, in these places.
    Problems(Vec<Problem>),
    /// It was asked in a way that cannot be understood; what would work.
    Usage(String),
    /// Anything else, as a sentence.
    Message(String),
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Message(error.to_string())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(message) | Self::Usage(message) => write!(f, "error: {message}"),
            Self::Problems(problems) => {
                for problem in problems {
                    writeln!(f, "{problem}")?;
                }
                let s = if problems.len() == 1 { "" } else { "s" };
                write!(f, "error: {} problem{s}", problems.len())
            }
        }
    }
}

/// Runs the command that the arguments name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version come this way too, with code 0.
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match run(arguments.command) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Refused) => ExitCode::from(3),
        Err(failure) => {
            complain(&failure.to_string());
            match failure {
                Failure::Usage(_) => ExitCode::from(2),
                Failure::Problems(_) | Failure::Message(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Decide(arguments) => decide::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Holds(arguments) => holds::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// If standard output cannot be written for another reason.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, as far as that can be written.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests;

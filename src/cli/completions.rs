//! Finish what I type.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Exit, Failure, say};

/// Print a completion script for a shell
///
/// For bash: `source <(countersign completions bash)`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "countersign", &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

//! What waits for signatures, and what do I say to it?

mod client;
mod decide;
mod editor;
mod show;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Exit, Failure, say};
use client::{Gate, Said};

/// See the calls that wait for signatures, and decide them
///
/// Talks to a running gate as the review page does, with a reviewer's token: from `--token-file`, or
/// from the environment variable COUNTERSIGN_TOKEN. What agents wrote is shown with its invisible
/// and control characters spelt out.
///
/// Exits 0 if done, 1 if the gate cannot be asked, 3 if it says no.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// What to do about holds.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List holds, what has waited longest first
    List {
        /// In these states, with commas between; `open` for all that may still change
        #[arg(long, value_name = "STATES", default_value = "pending")]
        state: String,
        /// Of this agent
        #[arg(long)]
        agent: Option<String>,
        /// Of this server
        #[arg(long)]
        server: Option<String>,
        /// Of this tool
        #[arg(long)]
        tool: Option<String>,
        /// Of this tier: low, medium or high
        #[arg(long)]
        tier: Option<String>,
        /// With this text in agent, server, tool, id or claimed user
        #[arg(short, long, value_name = "TEXT")]
        query: Option<String>,
        /// How many at most
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        limit: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one hold: what would be done, why it is held, and who has said what
    Show {
        /// The hold's id, as `list` gives it
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign a call, exactly as it is shown
    ///
    /// Shows what will be done, and asks. The signature is for that and nothing else: should the
    /// call change before it arrives, it is refused.
    Approve {
        /// The hold's id
        id: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        justification: Option<String>,
        /// Sign only if this is the hold's hash still, as `show` gave it
        #[arg(long, value_name = "HASH")]
        hash: Option<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Say no, and why; the agent is told
    Deny {
        /// The hold's id
        id: String,
        /// Why, in your own words
        #[arg(long, value_name = "TEXT", required_unless_present = "preset")]
        reason: Option<String>,
        /// Why, by the code of one of the configured reasons
        #[arg(long, value_name = "CODE")]
        preset: Option<String>,
    },
    /// Answer the agent in the tool's place, without making the call
    Answer {
        /// The hold's id
        id: String,
        /// What the agent gets to read
        #[arg(long, value_name = "TEXT")]
        message: String,
    },
    /// Change what the tool would get, and sign that
    ///
    /// Without `--arguments` the editor of VISUAL or EDITOR opens. The edited call goes through
    /// schema and policy like any other, and the agent is told what was changed.
    Edit {
        /// The hold's id
        id: String,
        /// A file with all of the new arguments as JSON; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        arguments: Option<PathBuf>,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        justification: Option<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Follow what becomes of holds, one change to a line, until told to stop
    Watch {
        /// Print each change as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which gate to talk to, and as whom.
#[derive(Debug, Args)]
pub struct Place {
    /// The gate's listener for operators: https, or http on this machine
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8701",
        env = "COUNTERSIGN_OPERATOR",
        hide_env_values = true,
        global = true
    )]
    pub operator: String,
    /// A file with a reviewer's token, and nothing else
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// The authorities to trust for https, as PEM, instead of the system's
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
}

/// Asks the gate.
///
/// # Errors
/// If it cannot be asked, or does not know what is asked for.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gate = Gate::at(&arguments.place)?;
    match runtime.block_on(obey(&gate, &arguments.command)) {
        Ok(()) => Ok(Exit::Done),
        Err(Said::No(message)) => {
            super::complain(&format!("refused: {message}"));
            Ok(Exit::Refused)
        }
        Err(Said::Failed(failure)) => Err(failure),
    }
}

async fn obey(gate: &Gate, command: &Command) -> Result<(), Said> {
    match command {
        Command::List { state, agent, server, tool, tier, query, limit, json } => {
            let limit = limit.to_string();
            let filters = [
                ("state", Some(state)),
                ("agent", agent.as_ref()),
                ("server", server.as_ref()),
                ("tool", tool.as_ref()),
                ("tier", tier.as_ref()),
                ("q", query.as_ref()),
                ("limit", Some(&limit)),
            ];
            let listed = gate.list(&filters).await?;
            Ok(say(&if *json { show::json(&listed) } else { show::table(&listed) })?)
        }
        Command::Show { id, json } => {
            let hold = gate.hold(id).await?;
            Ok(say(&if *json { show::json(&hold) } else { show::hold(&hold) })?)
        }
        Command::Approve { id, justification, hash, yes } => {
            let how = decide::How { justification: justification.as_deref(), yes: *yes };
            decide::approve(gate, id, hash.as_deref(), how).await
        }
        Command::Deny { id, reason, preset } => {
            decide::deny(gate, id, reason.as_deref(), preset.as_deref()).await
        }
        Command::Answer { id, message } => decide::answer(gate, id, message).await,
        Command::Edit { id, arguments, justification, yes } => {
            let how = decide::How { justification: justification.as_deref(), yes: *yes };
            decide::edit(gate, id, arguments.as_deref(), how).await
        }
        Command::Watch { json } => watch::watch(gate, *json).await,
    }
}

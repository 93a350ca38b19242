//! See it work, without a server of your own.

pub mod server;
mod tools;
mod world;

use std::net::SocketAddr;

use clap::Args;

use super::{Exit, Failure};

/// Show it at work: a small MCP server with the gate in front of it
///
/// Starts a server of payments, a customer record, e-mail and files inside this process, the gate
/// before it with the shipped policies, and prints three commands to paste: an allowed, a refused
/// and a held call. Keeps its state in a temporary directory, which it removes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where agents connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8700")]
    pub listen: SocketAddr,
    /// Where operators connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8701")]
    pub operator: SocketAddr,
}

/// Serves the demo until a signal ends it.
///
/// # Errors
/// If a listener cannot be bound.
pub fn run(_arguments: &Arguments) -> Result<Exit, Failure> {
    Err(Failure::Message("`demo` is not built yet".into()))
}

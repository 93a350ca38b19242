//! Which tool definitions do we accept?

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::run::runtime;
use super::{ConfigFile, Exit, Failure, say};
use crate::app::compose;
use crate::config::Config;
use crate::front::mcp::offer::State;
use crate::front::mcp::upstream::Server;
use crate::metrics::{Build, Metrics};
use crate::tools::Pins;

/// Accept the tool definitions that the servers offer now
///
/// Writes the digest of each definition to the file that `pins` names in the config. From then on a
/// tool whose definition changes is refused until it is pinned again.
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
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let config = Config::load(&arguments.config.path)?;
    let Some(path) = &config.pins else {
        return Err(Failure::Message(
            "the config names no `pins`; add `pins: ./tools.lock`".into(),
        ));
    };
    for name in &arguments.servers {
        if !config.servers.contains_key(name.as_str()) {
            return Err(Failure::Message(format!("no server named `{name}` in the config")));
        }
    }
    let (pins, _) = compose::pins(&config)?;
    let mut pins = pins.unwrap_or_default();
    let metrics = Metrics::new(Build { version: "", commit: "" })
        .map_err(|error| Failure::Message(error.to_string()))?;
    let servers = compose::servers(&config, &Arc::new(metrics)).map_err(Failure::Message)?;
    let wanted = |server: &&Arc<Server>| {
        let all = arguments.servers.is_empty();
        all || arguments.servers.iter().any(|name| **name == *server.settings.name)
    };
    let mut told = String::new();
    for server in servers.iter().filter(wanted) {
        told += &runtime()?.block_on(accept(server, &mut pins))?;
    }
    pins.write(path)?;
    say(&told)?;
    Ok(Exit::Done)
}

async fn accept(server: &Server, pins: &mut Pins) -> Result<String, Failure> {
    let name = &*server.settings.name;
    server.offer.refresh(server, Duration::ZERO).await;
    if let State::Failed(reason) = server.offer.state() {
        return Err(Failure::Message(format!("server `{name}`: {reason}")));
    }
    let mut told = String::new();
    pins.forget(name);
    for definition in server.offer.definitions() {
        pins.accept(name, &definition.name, definition.digest);
        let _ = writeln!(told, "{name}/{} {}", definition.name.escape_debug(), definition.digest);
    }
    Ok(told)
}

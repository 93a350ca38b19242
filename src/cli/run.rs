//! Stand guard until told to stop.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::{COMMIT, ConfigFile, Exit, Failure, say};
use crate::app::{App, Fault, Version};
use crate::config::{Config, LogFormat, OtlpProtocol};
use crate::front::descriptors;
use crate::front::workers;
use crate::telemetry;

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
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let config = Config::load(&arguments.config.path)?;
    let _telemetry = telemetry::init(&telemetry_settings(&config))
        .map_err(|fault| Failure::Message(fault.to_string()))?;
    descriptors::secure(&config.limits);
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let app = App::bind(config, VERSION).await.map_err(failure)?;
        let stop = told_to_stop()?;
        if let Some(link) = app.sign_in_link() {
            say(&format!(
                "Nobody is configured to sign; this link signs in one browser: {link}\n"
            ))?;
        }
        app.serve(stop).await;
        Ok(Exit::Done)
    });
    // A thread may be stuck where nobody can reach it, such as in the system's resolver.
    runtime.shutdown_timeout(LAST_WAIT);
    done
}

/// How long threads may take to end, once all else has.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What this binary is.
pub(super) const VERSION: Version = Version { release: env!("CARGO_PKG_VERSION"), commit: COMMIT };

/// The runtime that everything runs on.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(workers::STACK)
        .build()?)
}

/// Why the gate did not start, for a terminal.
pub(super) fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Problems(problems) => Failure::Problems(problems),
        other => Failure::Message(other.to_string()),
    }
}

/// Done when SIGTERM or SIGINT comes.
pub(super) fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn telemetry_settings(config: &Config) -> telemetry::Settings {
    let otlp = config.otlp.as_ref().map(|otlp| {
        let protocol = match otlp.protocol {
            OtlpProtocol::Http => telemetry::Protocol::Http,
            OtlpProtocol::Grpc => telemetry::Protocol::Grpc,
        };
        let mut to = telemetry::Otlp::to(otlp.endpoint.to_string(), protocol);
        to.sample_ratio = otlp.sample;
        to.headers = otlp
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.expose().to_owned()))
            .collect();
        to
    });
    telemetry::Settings {
        format: match config.log.format {
            LogFormat::Json => telemetry::Format::Json,
            LogFormat::Text => telemetry::Format::Text,
        },
        level: config.log.level.to_string(),
        otlp,
    }
}

//! Where do log lines and spans go?
//!
//! Lines go to stderr, as JSON or text. Spans go to an OpenTelemetry collector where one is
//! configured; where none is, a span costs one check of a flag. Neither ever holds an argument's
//! value: see [`CallSpan`] for all that a span says.

mod context;
mod export;
mod line;
mod span;

use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, FilterFn, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

pub use context::TraceContext;
pub use export::{Otlp, Protocol};
pub use span::{CallSpan, Subject};

/// The target of spans that are exported. Never a log line's.
pub const SPANS: &str = "countersign::span";

/// How long the last spans may take to leave at shutdown.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// What an operator may choose about logs and spans.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How a log line looks.
    pub format: Format,
    /// What is logged: a level, or directives such as `info,countersign::gate=debug`.
    pub level: String,
    /// Where spans go; `None`: nowhere.
    pub otlp: Option<Otlp>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Why logs and spans cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The level is not one.
    #[error("log level is not valid: {0}; try `info`, or `info,countersign=debug`")]
    Level(#[from] ParseError),
    /// Spans cannot be sent there.
    #[error("spans cannot be sent to `{endpoint}`: {reason}")]
    Endpoint {
        /// Where to, as configured.
        endpoint: String,
        /// Why not.
        reason: String,
    },
    /// No threads to send spans from.
    #[error("the sender of spans cannot start: {0}")]
    Sender(#[from] std::io::Error),
    /// Somebody else logs already.
    #[error("logs were set up twice in one process")]
    Twice,
}

/// Keeps spans flowing. Drop it last: it sends what is left, for at most three seconds.
#[must_use = "spans stop when it drops"]
pub struct Guard(Option<export::Sender>);

impl Guard {
    /// Sends what has ended so far; for tests and for before a risky step.
    pub fn flush(&self) {
        if let Some(sender) = &self.0 {
            sender.flush();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.stop(FLUSH_TIME);
        }
    }
}

/// Begins logging and tracing, once for the process.
pub fn init(settings: &Settings) -> Result<Guard, Fault> {
    let (subscriber, guard) = assemble(settings, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Fault::Twice)?;
    // A panic's message may quote the value that caused it: the place is told, and no more.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%place, "a thread panicked; the fault is ours");
    }));
    Ok(guard)
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

fn assemble<W>(
    settings: &Settings,
    lines: W,
) -> Result<(impl Subscriber + Send + Sync, Guard), Fault>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let mut level = EnvFilter::try_new(&settings.level)?;
    // Spans of calls are for the collector; in a log they would only repeat the record's line.
    level = level.add_directive(format!("{SPANS}=off").parse()?);
    let mut layers: Layers = vec![match settings.format {
        Format::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(lines)
            .with_filter(level)
            .boxed(),
        Format::Text => fmt::layer()
            .with_ansi(false)
            .with_writer(line::OneLine(lines))
            .with_filter(level)
            .boxed(),
    }];
    let sender = settings.otlp.as_ref().map(export::Sender::start).transpose()?;
    if let Some(sender) = &sender {
        let exported = FilterFn::new(|metadata| metadata.target() == SPANS);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(sender.tracer())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false);
        layers.push(layer.with_filter(exported).boxed());
    }
    Ok((Registry::default().with(layers), Guard(sender)))
}

#[cfg(test)]
mod tests;

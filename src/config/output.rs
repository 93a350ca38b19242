//! Where do records, log lines and spans go?

use http::{HeaderName, Uri};

use super::scalar::{boolean, one_of, ratio, text};
use super::secret::{Secret, secret};
use super::section::{Reading, Section};
use super::url::endpoint;
use super::yaml::{Node, Value};
use crate::call::Tier;

pub(super) const RECORD: &[&str] = &["sync"];
pub(super) const SYNC: &[&str] = &["low", "medium", "high"];
pub(super) const LOG: &[&str] = &["format", "level"];
pub(super) const OTLP: &[&str] = &["endpoint", "protocol", "headers", "sample"];

/// For which tiers an intent is on the disk, not only with the kernel, before the call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// Reversible and limited calls.
    pub low: bool,
    /// Calls that customers see.
    pub medium: bool,
    /// Irreversible calls.
    pub high: bool,
}

impl Default for Sync {
    fn default() -> Self {
        Self { low: false, medium: true, high: true }
    }
}

impl Sync {
    /// Whether a call of this tier waits for the disk.
    pub const fn of(self, tier: Tier) -> bool {
        match tier {
            Tier::Low => self.low,
            Tier::Medium => self.medium,
            Tier::High => self.high,
        }
    }
}

/// Log lines, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Their form.
    pub format: LogFormat,
    /// The least of them that is written.
    pub level: tracing::Level,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: tracing::Level::INFO }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object to a line.
    Json,
    /// For people.
    Text,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// The collector.
    pub endpoint: Uri,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// What is sent along, such as a key.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The share of traces begun here that is kept, 0 to 1.
    pub sample: f64,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    Http,
    /// gRPC.
    Grpc,
}

pub(super) fn sync(root: &Section<'_>, reading: &mut Reading<'_>) -> Sync {
    let default = Sync::default();
    let Some(record) = root.open_at("record", RECORD, reading) else { return default };
    let Some(section) = record.open_at("sync", SYNC, reading) else { return default };
    Sync {
        low: section.read("low", reading, boolean).unwrap_or(default.low),
        medium: section.read("medium", reading, boolean).unwrap_or(default.medium),
        high: section.read("high", reading, boolean).unwrap_or(default.high),
    }
}

pub(super) fn log(root: &Section<'_>, reading: &mut Reading<'_>) -> Log {
    const FORMATS: &[(&str, LogFormat)] = &[("json", LogFormat::Json), ("text", LogFormat::Text)];
    const LEVELS: &[(&str, tracing::Level)] = &[
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let default = Log::default();
    let Some(section) = root.open_at("log", LOG, reading) else { return default };
    Log {
        format: section.read("format", reading, one_of(FORMATS)).unwrap_or(default.format),
        level: section.read("level", reading, one_of(LEVELS)).unwrap_or(default.level),
    }
}

pub(super) fn otlp(root: &Section<'_>, reading: &mut Reading<'_>) -> Option<Otlp> {
    const PROTOCOLS: &[(&str, OtlpProtocol)] =
        &[("http", OtlpProtocol::Http), ("grpc", OtlpProtocol::Grpc)];
    let section = root.open_at("otlp", OTLP, reading)?;
    let endpoint = section.require("endpoint", reading, endpoint);
    let protocol = section.read("protocol", reading, one_of(PROTOCOLS));
    let headers = section.find("headers").map(|node| headers(node, reading)).unwrap_or_default();
    let sample = section.read("sample", reading, ratio).unwrap_or(1.0);
    let protocol = protocol.unwrap_or(OtlpProtocol::Http);
    Some(Otlp { endpoint: endpoint?, protocol, headers, sample })
}

fn headers(node: &Node, reading: &mut Reading<'_>) -> Vec<(HeaderName, Secret)> {
    let Value::Map(entries) = &node.value else {
        reading.fault(node.at, format!("expected headers by name, found {}", node.value.kind()));
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (key, node) in entries {
        let name = HeaderName::from_bytes(key.name.as_bytes());
        if name.is_err() {
            reading.fault(key.at, "this is not a header's name");
        }
        if let (Ok(name), Some(value)) = (name, secret(node, reading)) {
            headers.push((name, value));
        }
    }
    headers
}

/// A name for people and policy: which environment this gate guards.
pub(super) fn environment(node: &Node) -> Result<String, String> {
    let name = text(node)?;
    if name.len() > 64 {
        return Err("an environment's name has up to 64 bytes".into());
    }
    Ok(name)
}

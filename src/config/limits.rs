//! How much, how many, how long?

use std::time::Duration;

use super::scalar::{count, duration, size};
use super::section::{Reading, Section};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

pub(super) const LIMITS: &[&str] = &[
    "body",
    "header_bytes",
    "headers",
    "depth",
    "result",
    "event",
    "calls",
    "streams",
    "sessions",
    "session_idle",
    "connections",
    "header_timeout",
    "body_timeout",
    "connection_idle",
];

/// What the gate holds at most. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of all headers of one message.
    pub header_bytes: usize,
    /// Headers of one message.
    pub headers: usize,
    /// Levels of nesting in JSON.
    pub depth: usize,
    /// Bytes of one result.
    pub result: usize,
    /// Bytes of one server-sent event.
    pub event: usize,
    /// Calls at the same time.
    pub calls: usize,
    /// Open streams.
    pub streams: usize,
    /// Sessions remembered.
    pub sessions: usize,
    /// How long a session is remembered without a message.
    pub session_idle: Duration,
    /// Connections from agents.
    pub connections: usize,
    /// How long headers may take to arrive.
    pub header_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a connection may be idle.
    pub connection_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 * MIB,
            header_bytes: 64 * KIB,
            headers: 100,
            depth: 64,
            result: 16 * MIB,
            event: 4 * MIB,
            calls: 1024,
            streams: 2000,
            sessions: 10_000,
            session_idle: Duration::from_secs(60 * 60),
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connection_idle: Duration::from_secs(75),
        }
    }
}

pub(super) fn limits(section: &Section<'_>, reading: &mut Reading<'_>) -> Limits {
    let mut limits = Limits::default();
    let mut bytes = |key, max, field: &mut usize| {
        *field = section.read(key, reading, size(KIB..=max)).unwrap_or(*field);
    };
    bytes("body", GIB, &mut limits.body);
    bytes("header_bytes", MIB, &mut limits.header_bytes);
    bytes("result", GIB, &mut limits.result);
    bytes("event", GIB, &mut limits.event);
    let mut number = |key, max, field: &mut usize| {
        *field = section.read(key, reading, count(1..=max)).unwrap_or(*field);
    };
    number("headers", 1000, &mut limits.headers);
    number("depth", 128, &mut limits.depth);
    number("calls", 1_000_000, &mut limits.calls);
    number("streams", 1_000_000, &mut limits.streams);
    number("sessions", 10_000_000, &mut limits.sessions);
    number("connections", 1_000_000, &mut limits.connections);
    let mut wait = |key, field: &mut Duration| {
        *field = section.read(key, reading, duration).unwrap_or(*field);
    };
    wait("session_idle", &mut limits.session_idle);
    wait("header_timeout", &mut limits.header_timeout);
    wait("body_timeout", &mut limits.body_timeout);
    wait("connection_idle", &mut limits.connection_idle);
    limits
}

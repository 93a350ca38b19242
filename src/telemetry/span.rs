//! What does a trace say of a call?
//!
//! OpenTelemetry's semantic conventions for MCP and for GenAI tool execution, and a few of our own
//! under `countersign.`. Never arguments, results, resource URIs or messages.

use opentelemetry::trace::TraceContextExt as _;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{SPANS, TraceContext};
use crate::call::{Effect, Tier};
use crate::json::{Digest, Value};

/// Bytes of a name or an id that go into a span; the rest is cut off.
const TEXT_BYTES: usize = 128;

/// What is known of a call when its span opens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The MCP method, such as `tools/call`; from the closed table of methods.
    pub method: &'a str,
    /// The tool, for `tools/call`.
    pub tool: Option<&'a str>,
    /// The configured name of the server.
    pub server: &'a str,
    /// The agent's id.
    pub agent: &'a str,
    /// The request's JSON-RPC id.
    pub request_id: Option<&'a Value>,
    /// The MCP session, in the revisions that have one; a span names it by its digest, as the
    /// record does, since the id itself is a key to the server.
    pub session: Option<&'a str>,
    /// The MCP revision in use.
    pub protocol_version: Option<&'a str>,
}

/// A span about a subject: what both kinds have, and then their own. A macro, since a span's
/// fields have to stand in one place.
macro_rules! span_of {
    ($subject:expr, $name:literal, parent: $parent:expr, kind: $kind:literal, $($own:tt)*) => {
        tracing::info_span!(
            target: SPANS,
            parent: $parent,
            $name,
            otel.name = %Name($subject),
            otel.kind = $kind,
            otel.status_code = field::Empty,
            mcp.method.name = $subject.method,
            mcp.session.id = $subject.session.map(digest),
            mcp.protocol.version = $subject.protocol_version.map(cut),
            gen_ai.operation.name = $subject.tool.map(|_| "execute_tool"),
            gen_ai.tool.name = $subject.tool.map(cut),
            jsonrpc.request.id = request_id($subject.request_id),
            network.transport = "tcp",
            network.protocol.name = "http",
            "rpc.response.status_code" = field::Empty,
            "error.type" = field::Empty,
            countersign.server = $subject.server,
            $($own)*
        )
    };
}

/// The span of one call, or of sending it. All methods do nothing, at no cost, where spans go
/// nowhere; so does the default.
#[derive(Debug, Clone)]
pub struct CallSpan(Span);

impl Default for CallSpan {
    fn default() -> Self {
        Self(Span::none())
    }
}

impl CallSpan {
    /// Opens the span of a call that came in, as a child of the caller's span.
    pub fn open(subject: &Subject<'_>, caller: &TraceContext) -> Self {
        let span = span_of!(
            subject,
            "call",
            parent: None,
            kind: "server",
            countersign.agent = cut(subject.agent),
            countersign.tier = field::Empty,
            countersign.decision = field::Empty,
            countersign.refusal = field::Empty,
        );
        if let (false, Some(parent)) = (span.is_disabled(), caller.remote()) {
            // Fails only where no exporter listens, which `is_disabled` has just excluded.
            let _ = span.set_parent(parent);
        }
        Self(span)
    }

    /// Opens the span of sending it to its server.
    #[must_use]
    pub fn upstream(&self, subject: &Subject<'_>, address: &str, port: u16) -> Self {
        Self(span_of!(
            subject,
            "upstream",
            parent: &self.0,
            kind: "client",
            server.address = address,
            server.port = i64::from(port),
        ))
    }

    /// What was decided.
    pub fn decided(&self, tier: Tier, effect: Effect) {
        self.0.record("countersign.tier", tier.name());
        self.0.record("countersign.decision", effect.name());
    }

    /// It was refused; `code` is [`crate::refusal::Refusal::code`].
    pub fn refused(&self, code: &'static str) {
        self.0.record("countersign.refusal", code);
        self.failed(code);
    }

    /// It ended in an error of a kind from a closed set: `tool_error` where a result has
    /// `isError`, `timeout`, or a code of ours.
    pub fn failed(&self, error_type: &'static str) {
        self.0.record("error.type", error_type);
        self.0.record("otel.status_code", "ERROR");
    }

    /// It ended in a JSON-RPC error.
    pub fn rpc_failed(&self, code: i64) {
        if self.0.is_disabled() {
            return;
        }
        let code = code.to_string();
        self.0.record("rpc.response.status_code", code.as_str());
        self.0.record("error.type", code.as_str());
        self.0.record("otel.status_code", "ERROR");
    }

    /// What to send on with the call: this span's place in the trace where it is traced,
    /// otherwise what came.
    #[must_use]
    pub fn onward(&self, caller: &TraceContext) -> TraceContext {
        if self.0.is_disabled() {
            return caller.clone();
        }
        caller.within(self.0.context().span().span_context())
    }

    /// The id of the trace it is in, for the record and the log: its own where it is traced,
    /// otherwise the caller's.
    pub fn trace_id(&self, caller: &TraceContext) -> Option<String> {
        if self.0.is_disabled() { caller.trace_id() } else { self.onward(caller).trace_id() }
    }

    /// Whether spans go anywhere.
    pub fn is_traced(&self) -> bool {
        !self.0.is_disabled()
    }

    /// The span itself, to instrument a future with.
    pub const fn span(&self) -> &Span {
        &self.0
    }
}

/// `tools/call refund`, or only the method where there is no tool.
struct Name<'a, 's>(&'a Subject<'s>);

impl std::fmt::Display for Name<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.method)?;
        self.0.tool.map_or(Ok(()), |tool| write!(f, " {}", cut(tool)))
    }
}

fn request_id(id: Option<&Value>) -> Option<String> {
    match id? {
        Value::String(text) => Some(cut(text).to_owned()),
        Value::Number(number) => Some(cut(&number.to_string()).to_owned()),
        _ => None,
    }
}

fn digest(session: &str) -> String {
    Digest::of(session.as_bytes()).to_string()
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (text, length) in [
            ("refund".to_owned(), 6),
            ("x".repeat(TEXT_BYTES), TEXT_BYTES),
            ("x".repeat(TEXT_BYTES + 1), TEXT_BYTES),
            (format!("{}\u{e9}", "x".repeat(TEXT_BYTES - 1)), TEXT_BYTES - 1),
        ] {
            assert_eq!(cut(&text).len(), length);
        }
    }

    #[test]
    fn ids_keep_their_digits_and_only_texts_and_numbers_are_ids() {
        for (id, said) in [
            ("7", Some("7")),
            ("\"7\"", Some("7")),
            ("\"req-1\"", Some("req-1")),
            ("null", None),
            ("{}", None),
        ] {
            let id: Value = serde_json::from_str(id).unwrap();
            assert_eq!(request_id(Some(&id)).as_deref(), said, "{id}");
        }
        assert_eq!(request_id(None), None);
    }
}

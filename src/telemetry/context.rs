//! Which trace is a call part of?
//!
//! W3C Trace Context (level 1, section 3) and Baggage, from HTTP headers or from MCP's
//! `params._meta`, where SEP-414 gives them unprefixed keys. What is not well-formed is dropped,
//! as both standards ask; what is goes on upstream, even where the gate itself traces nothing.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};

use crate::json::{Map, Value};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
/// Bytes of `tracestate` that are passed on (at least 512 by the standard).
const STATE_BYTES: usize = 1024;
/// Bytes of `baggage` that are passed on (8192 by the standard).
const BAGGAGE_BYTES: usize = 8192;

/// A position in a trace, and what travels with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    parent: Option<Parent>,
    state: Option<Box<str>>,
    baggage: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl TraceContext {
    /// What the HTTP request says.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all(PARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(one), None) => one.to_str().ok(),
            // None, or two that contradict each other.
            _ => None,
        };
        let (state, baggage) = (joined(headers, STATE), joined(headers, BAGGAGE));
        Self::from_texts(parent, state.as_deref(), baggage.as_deref())
    }

    /// What the MCP request says in `params._meta`; more telling than its HTTP request, which may
    /// be one of several that carry it.
    pub fn from_meta(meta: &Map<String, Value>) -> Self {
        let text = |key| meta.get(key).and_then(Value::as_str);
        Self::from_texts(text(PARENT), text(STATE), text(BAGGAGE))
    }

    fn from_texts(parent: Option<&str>, state: Option<&str>, baggage: Option<&str>) -> Self {
        let parent = parent.and_then(Parent::parse);
        // A state without a valid parent means nothing (3.3.1.3).
        let state = state.filter(|_| parent.is_some()).and_then(|s| plain(s, STATE_BYTES));
        Self { parent, state, baggage: baggage.and_then(|b| plain(b, BAGGAGE_BYTES)) }
    }

    /// This, or `other` where this is no trace; baggage likewise, by itself.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let baggage = self.baggage.or(other.baggage);
        let (parent, state) = match self.parent {
            Some(_) => (self.parent, self.state),
            None => (other.parent, other.state),
        };
        Self { parent, state, baggage }
    }

    /// The trace's id in hexadecimal, for a log line; `None` outside of any trace.
    pub fn trace_id(&self) -> Option<String> {
        self.parent.map(|parent| parent.trace.to_string())
    }

    /// Says it in headers, in place of whatever they said before.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let parent = self.parent.map(|parent| parent.to_string());
        for (name, value) in [
            (PARENT, parent.as_deref()),
            (STATE, self.state.as_deref()),
            (BAGGAGE, self.baggage.as_deref()),
        ] {
            let name = HeaderName::from_static(name);
            match value.and_then(|value| HeaderValue::from_str(value).ok()) {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
    }

    /// Says it in `_meta`, but only where that named a trace already: the upstream then finds our
    /// span as its parent, and a caller that spoke of no trace sees nothing added.
    pub fn apply_meta(&self, meta: &mut Map<String, Value>) {
        let (Some(parent), true) = (self.parent, meta.contains_key(PARENT)) else { return };
        meta.insert(PARENT.into(), parent.to_string().into());
        match &self.state {
            Some(state) => drop(meta.insert(STATE.into(), (**state).into())),
            None => drop(meta.shift_remove(STATE)),
        }
    }

    /// The remote parent, as OpenTelemetry has it.
    pub(super) fn remote(&self) -> Option<opentelemetry::Context> {
        let Parent { trace, span, flags } = self.parent?;
        let state = self.state.as_deref().and_then(|s| s.parse::<TraceState>().ok());
        let remote = SpanContext::new(trace, span, flags, true, state.unwrap_or_default());
        Some(opentelemetry::Context::new().with_remote_span_context(remote))
    }

    /// The same trace, one span further in; unchanged where that span is not traced.
    pub(super) fn within(&self, span: &SpanContext) -> Self {
        if !span.is_valid() {
            return self.clone();
        }
        let parent =
            Parent { trace: span.trace_id(), span: span.span_id(), flags: span.trace_flags() };
        let state = span.trace_state().header();
        Self {
            parent: Some(parent),
            state: (!state.is_empty()).then(|| state.into()),
            baggage: self.baggage.clone(),
        }
    }
}

impl Parent {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A version to come may have more parts; version 00 has not.
        if hex(version, 2)? == 0xff || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = TraceId::from(hex(trace, 32)?);
        let span = SpanId::from(u64::try_from(hex(span, 16)?).ok()?);
        // Of the flags, version 00 knows one: sampled.
        let sampled = hex(flags, 2)? & 1 == 1;
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        valid.then_some(Self { trace, span, flags })
    }
}

impl std::fmt::Display for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// A number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != digits || !text.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The values of a header that may be spread over several lines.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Option<Vec<&str>> =
        headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    values.filter(|values| !values.is_empty()).map(|values| values.join(","))
}

/// Printable ASCII that is no longer than `most`: nothing that could end a header line.
fn plain(text: &str, most: usize) -> Option<Box<str>> {
    let printable = text.bytes().all(|b| (0x20..=0x7e).contains(&b));
    (printable && (1..=most).contains(&text.len())).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARENT_TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn meta(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_parent_is_taken_when_well_formed_and_else_dropped() {
        let future = PARENT_TEXT.replacen("00", "cc", 1);
        let more = format!("{future}-what-comes-later");
        for (text, goes_on_as) in [
            (PARENT_TEXT, Some(PARENT_TEXT)),
            (&PARENT_TEXT.replace("-01", "-00"), Some(&*PARENT_TEXT.replace("-01", "-00"))),
            (&PARENT_TEXT.replace("-01", "-ff"), Some(PARENT_TEXT)),
            (&future, Some(PARENT_TEXT)),
            (&more, Some(PARENT_TEXT)),
            (&format!("{PARENT_TEXT}-x"), None),
            (&PARENT_TEXT.replacen("00", "ff", 1), None),
            (&PARENT_TEXT.to_uppercase(), None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", None),
            ("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("", None),
            ("00", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PARENT, text.parse().unwrap());
            headers.insert(STATE, "vendor=1".parse().unwrap());
            let context = TraceContext::from_headers(&headers);
            context.apply(&mut headers);
            let sent = headers.get(PARENT).map(|value| value.to_str().unwrap());
            assert_eq!(sent, goes_on_as, "{text}");
            assert_eq!(headers.contains_key(STATE), goes_on_as.is_some(), "{text}");
        }
    }

    #[test]
    fn repeated_headers_are_joined_but_two_parents_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(PARENT, PARENT_TEXT.parse().unwrap());
        headers.append(STATE, "a=1".parse().unwrap());
        headers.append(STATE, "b=2".parse().unwrap());
        let context = TraceContext::from_headers(&headers);
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        headers.append(PARENT, PARENT_TEXT.parse().unwrap());
        assert_eq!(TraceContext::from_headers(&headers), TraceContext::default());
    }

    #[test]
    fn meta_speaks_before_headers() {
        let said = meta(json!({PARENT: PARENT_TEXT, STATE: "a=1", BAGGAGE: "user=1"}));
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, PARENT_TEXT.replace("4bf9", "aaaa").parse().unwrap());
        let (inner, outer) = (TraceContext::from_meta(&said), TraceContext::from_headers(&headers));
        assert_eq!(inner.clone().or(outer.clone()), inner);
        let silent = TraceContext::from_meta(&meta(json!({BAGGAGE: "user=1"})));
        let both = silent.or(outer.clone());
        assert_eq!((both.trace_id(), both.baggage.as_deref()), (outer.trace_id(), Some("user=1")));
        headers.insert(BAGGAGE, "user=2".parse().unwrap());
        let without = TraceContext::from_meta(&meta(json!({PARENT: PARENT_TEXT})));
        let both = without.or(TraceContext::from_headers(&headers));
        assert_eq!((both.trace_id(), both.baggage.as_deref()), (inner.trace_id(), Some("user=2")));
    }

    #[test]
    fn nothing_that_could_break_a_header_goes_on() {
        for (value, kept) in [
            ("user=1".to_owned(), true),
            ("a\r\nX-Evil: 1".to_owned(), false),
            ("caf\u{e9}".to_owned(), false),
            (String::new(), false),
            ("b".repeat(BAGGAGE_BYTES), true),
            ("b".repeat(BAGGAGE_BYTES + 1), false),
        ] {
            let context = TraceContext::from_meta(&meta(json!({BAGGAGE: value})));
            let mut headers = HeaderMap::new();
            context.apply(&mut headers);
            assert_eq!(headers.contains_key(BAGGAGE), kept, "{value:.20?}");
            assert_eq!(headers.len(), usize::from(kept));
        }
        for wrong in [json!(1), json!(null), json!(["x"]), json!({"x": 1})] {
            let context = TraceContext::from_meta(&meta(json!({PARENT: wrong, BAGGAGE: wrong})));
            assert_eq!(context, TraceContext::default(), "{wrong}");
        }
    }

    #[test]
    fn meta_is_rewritten_only_where_it_named_a_trace() {
        let context = TraceContext::from_meta(&meta(json!({PARENT: PARENT_TEXT, STATE: "a=1"})));
        for (before, after) in [
            (json!({"x": 1}), json!({"x": 1})),
            (json!({PARENT: "00-old", "x": 1}), json!({PARENT: PARENT_TEXT, "x": 1, STATE: "a=1"})),
        ] {
            let mut said = meta(before);
            context.apply_meta(&mut said);
            assert_eq!(Value::Object(said), after);
        }
        let mut said = meta(json!({PARENT: "kept as it is"}));
        TraceContext::default().apply_meta(&mut said);
        assert_eq!(said[PARENT], "kept as it is");
    }
}

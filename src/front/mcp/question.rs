//! May a server ask the agent's client this?
//!
//! Sampling, elicitation and roots go the other way: a hostile server asks the agent's model, or
//! its user. They are calls like any other, to a tool named as the method.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::ACCEPT;
use http::{HeaderValue, Method};
use serde_json::json;
use serde_json::value::RawValue;

use super::answer::{Inspector, Passage};
use super::message::FromServer;
use super::methods::{self, Fate};
use super::mirror;
use crate::call::{Call, Claimed, Door};
use crate::gate::forward::{Carrier, ResultShape};
use crate::gate::{Arrival, Handled, Target, Waits};
use crate::json::{self, Value};
use crate::refusal::Refusal;
use crate::telemetry::{CallSpan, Subject, TraceContext};

/// The client is asked by passing the question on, which the caller does.
struct Delivered;

impl Carrier for Delivered {
    type Answer = ();

    async fn carry(self, _: Call, _: &CallSpan) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Decides a request that a server makes on a stream.
pub(super) async fn asked(
    inspector: &Inspector,
    method: &str,
    message: &FromServer<'_>,
) -> Passage {
    let decided = match methods::from_server(method) {
        None => Err(Refusal::UnknownMethod),
        Some(row) if row.fate == Fate::Pass => Ok(()),
        Some(row) => {
            let params = message.params.map_or("{}", |params| params.get());
            match json::parse(params.as_bytes(), &inspector.front.answer_limits) {
                Ok(params) => decide(inspector, row.name, params).await,
                Err(fault) => Err(fault.into()),
            }
        }
    };
    match decided {
        Ok(()) => Passage::AsIs,
        Err(refusal) => {
            tell_server(inspector, message, &refusal);
            Passage::Dropped
        }
    }
}

/// Decides each question of an input-required result; all or none.
pub(super) async fn all_may_be_asked(
    inspector: &Inspector,
    questions: &RawValue,
) -> Result<(), Refusal> {
    let unreadable = || inspector.server.bad_answer("its `inputRequests` cannot be read");
    // Strictly: what policy sees has to be what the client sees.
    let questions = json::parse(questions.get().as_bytes(), &inspector.front.answer_limits)
        .map_err(|_| unreadable())?;
    for question in questions.as_object().ok_or_else(unreadable)?.values() {
        let method = question.get("method").and_then(Value::as_str).unwrap_or_default();
        let params = question.get("params").cloned().unwrap_or_else(|| json!({}));
        let row = methods::from_server(method).ok_or_else(|| {
            inspector.server.bad_answer("it asks the client for something unknown")
        })?;
        if row.fate == Fate::Decide {
            decide(inspector, row.name, params).await?;
        }
    }
    Ok(())
}

async fn decide(
    inspector: &Inspector,
    method: &'static str,
    arguments: Value,
) -> Result<(), Refusal> {
    let server = Arc::clone(&inspector.server.settings.name);
    let subject =
        Subject { method, server: &server, agent: &inspector.agent.id, ..Subject::default() };
    let caller = TraceContext::default();
    let span = CallSpan::open(&subject, &caller);
    let arrival = Arrival {
        id: uuid::Uuid::now_v7(),
        door: Door::Mcp,
        agent: Arc::clone(&inspector.agent),
        server: Arc::clone(&server),
        method,
        tool: Arc::from(method),
        target: Target::Method,
        arguments,
        claimed: Claimed::default(),
        session: None,
        trace: span.trace_id(&caller),
        span,
        received_at: SystemTime::now(),
        hold: None,
        waits: Waits::Never,
    };
    match inspector.front.gate.handle(arrival, Delivered).await? {
        Handled::Sent((), mut in_flight) => in_flight.complete(&server, &ResultShape::default()),
        // A question cannot wait; the gate has refused it.
        Handled::Held(_) | Handled::Kept(..) => Err(Refusal::Internal),
    }
}

/// Answers the server in the client's place.
fn tell_server(inspector: &Inspector, message: &FromServer<'_>, refusal: &Refusal) {
    let Some(id) = message.id else { return };
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{}}}",
        id.get(),
        json!({"code": refusal.rpc_code(), "message": refusal.to_string()}),
    );
    let mut headers = inspector.server.headers(&inspector.session_headers);
    headers.remove(mirror::METHOD);
    headers.remove(mirror::NAME);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let server = Arc::clone(&inspector.server);
    tokio::spawn(async move {
        if let Err(refusal) = server.send(Method::POST, headers, body.into()).await {
            tracing::warn!(server.name = %server.settings.name, error = %refusal, "a refusal could not be told to the server");
        }
    });
}

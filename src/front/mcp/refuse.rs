//! How does a client hear no?
//!
//! A refusal about a tool is a tool result with `isError`, which reaches the model everywhere and
//! which it can act on. All else is a JSON-RPC error, with the HTTP status that its revision asks
//! for.

use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::ticket::HOLD;
use crate::front::body::Body;
use crate::json::Value;
use crate::refusal::Refusal;

/// What was asked, as far as it is known: an answer is shaped by it.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The request's id.
    pub id: Option<Value>,
    /// Whether it was `tools/call`.
    pub tool: bool,
    /// Whether it was said in 2026-07-28 or later.
    pub stateless: bool,
    /// The decision on record.
    pub decision: Option<uuid::Uuid>,
}

/// The JSON-RPC message that says no.
pub fn message(refusal: &Refusal, asked: &Asked) -> Value {
    if asked.tool && asked.id.is_some() && refusal.is_about_the_tool() {
        return tool_result(refusal, asked);
    }
    let mut data = meta(refusal, asked);
    if let (Refusal::Version { supported, requested }, Value::Object(data)) = (refusal, &mut data) {
        data.insert("supported".to_owned(), json!(supported));
        data.insert("requested".to_owned(), json!(requested));
    }
    if let (Refusal::MissingCapability(name), Value::Object(data)) = (refusal, &mut data) {
        let needed = json!({"extensions": {*name: {}}});
        data.insert("requiredCapabilities".to_owned(), needed);
    }
    let mut message = json!({
        "jsonrpc": "2.0",
        "id": asked.id,
        "error": {"code": refusal.rpc_code(), "message": refusal.to_string(), "data": data},
    });
    if asked.id.is_none()
        && asked.stateless
        && let Value::Object(message) = &mut message
    {
        message.remove("id");
    }
    message
}

fn tool_result(refusal: &Refusal, asked: &Asked) -> Value {
    let mut text = format!("Refused: {refusal}.");
    if let Some(decision) = asked.decision {
        text.push_str(&format!(" [{}, decision {decision}]", refusal.code()));
    }
    let mut result = json!({
        "content": [{"type": "text", "text": text}],
        "isError": true,
        "_meta": {"io.countersign/refusal": meta(refusal, asked)},
    });
    if asked.stateless
        && let Value::Object(result) = &mut result
    {
        result.insert("resultType".to_owned(), "complete".into());
    }
    if let (Some(ticket), Some(Value::Object(meta))) = (refusal.ticket(), result.get_mut("_meta")) {
        meta.insert(HOLD.to_owned(), serde_json::to_value(ticket).unwrap_or_default());
    }
    json!({"jsonrpc": "2.0", "id": asked.id, "result": result})
}

fn meta(refusal: &Refusal, asked: &Asked) -> Value {
    let mut meta = json!({"code": refusal.code(), "hint": refusal.hint()});
    if let Value::Object(meta) = &mut meta {
        if let Some(decision) = asked.decision {
            meta.insert("decision".to_owned(), decision.to_string().into());
        }
        if let Some(rule) = refusal.rule() {
            meta.insert("rule".to_owned(), rule.into());
        }
        if let Some(ticket) = refusal.ticket() {
            meta.insert("hold".to_owned(), serde_json::to_value(ticket).unwrap_or_default());
        }
    }
    meta
}

/// The HTTP status of an answer that is nothing but this refusal.
fn status(refusal: &Refusal, asked: &Asked) -> StatusCode {
    match refusal {
        _ if asked.tool && asked.id.is_some() && refusal.is_about_the_tool() => StatusCode::OK,
        // Before 2026-07-28 a 404 means that the session is gone, so the client would start anew.
        Refusal::UnknownMethod if !asked.stateless && asked.id.is_some() => StatusCode::OK,
        // A notification has no answer: only the status says that it was not taken.
        Refusal::UnknownMethod if !asked.stateless => StatusCode::BAD_REQUEST,
        Refusal::Unreachable(_) | Refusal::OutcomeUnknown(_) | Refusal::Answer { .. }
            if asked.id.is_some() =>
        {
            StatusCode::OK
        }
        _ => refusal.status(),
    }
}

/// The whole response.
pub fn response(refusal: &Refusal, asked: &Asked) -> Response<Body> {
    let body = serde_json::to_vec(&message(refusal, asked)).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(refusal, asked);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match refusal {
        Refusal::Unauthenticated(_) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Refusal::MethodNotAllowed { allowed } => {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Refusal::Overloaded(_) | Refusal::Draining | Refusal::IdentityUnavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What follows on this connection may be the rest of what was wrong, or hidden behind it.
        Refusal::Json(_) | Refusal::Batch | Refusal::Envelope(_) | Refusal::Media => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Reason;

    fn denied() -> Refusal {
        let reason = Reason {
            code: "refund_over_limit".to_owned(),
            message: "refunds over 100 USD are not allowed".to_owned(),
            policy: "permission".to_owned(),
        };
        Refusal::Denied { reasons: vec![reason] }
    }

    fn asked(tool: bool, stateless: bool) -> Asked {
        Asked { id: Some(json!(0)), tool, stateless, decision: Some(uuid::Uuid::nil()) }
    }

    #[test]
    fn a_model_sees_a_failed_tool_call() {
        let message = message(&denied(), &asked(true, true));
        assert_eq!(message["id"], json!(0));
        assert_eq!(message["result"]["isError"], json!(true));
        assert_eq!(message["result"]["resultType"], json!("complete"));
        let meta = &message["result"]["_meta"]["io.countersign/refusal"];
        assert_eq!(meta["code"], json!("denied"));
        assert_eq!(meta["rule"], json!("refund_over_limit"));
        let text = message["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("refunds over 100 USD"), "{text}");
        assert!(message["result"].get("structuredContent").is_none());
    }

    #[test]
    fn statuses_follow_the_revision() {
        for (refusal, tool, stateless, expected) in [
            (denied(), true, false, 200),
            (denied(), false, false, 200),
            (Refusal::UnknownMethod, false, true, 404),
            (Refusal::UnknownMethod, false, false, 200),
            (Refusal::Unknown("session"), false, false, 404),
            (Refusal::HeaderMismatch { header: "mcp-name".into() }, true, true, 400),
            (Refusal::Batch, false, false, 400),
            (Refusal::Overloaded("calls"), true, false, 503),
            (Refusal::Unreachable("crm".into()), true, false, 200),
        ] {
            let response = response(&refusal, &asked(tool, stateless));
            assert_eq!(response.status().as_u16(), expected, "{refusal:?} {stateless}");
        }
    }
}

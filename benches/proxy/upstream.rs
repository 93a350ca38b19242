//! What is the fastest MCP server that still answers properly?
//!
//! The benchmark's upstream: JSON-RPC over HTTP, no sessions, no streams. It
//! answers `initialize`, `tools/list` and `tools/call`, and does nothing else,
//! so that what is measured is what stands before it.
//!
//! `bench-upstream ADDRESS`

#![allow(clippy::indexing_slicing, reason = "a benchmark's part: a panic stops the benchmark")]

use std::{convert::Infallible, io::Error, net::SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json, value::RawValue};
use tokio::net::TcpListener;

/// The largest body that is read, in bytes.
const BODY_BYTES: usize = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address: SocketAddr =
        std::env::args().nth(1).unwrap_or_default().parse().map_err(Error::other)?;
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A load generator hangs up when its time is over.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

/// The part of a JSON-RPC message that matters here.
#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::POST {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES).collect().await else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let body = body.to_bytes();
    let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else {
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
    let Some(id) = message.id else {
        return Ok(empty(StatusCode::ACCEPTED));
    };
    let answer = match message.method {
        "tools/call" => return Ok(called(id)),
        "initialize" => json!({"result": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench-upstream", "version": "1.0.0"},
        }}),
        "tools/list" => json!({"result": {"tools": [tool()]}}),
        "ping" => json!({"result": {}}),
        _ => json!({"error": {"code": -32601, "message": "Method not found"}}),
    };
    Ok(reply(id, &answer))
}

/// The one tool: about 1 KB of arguments, as a payment has them.
fn tool() -> Value {
    let text = |longest: u32| json!({"type": "string", "maxLength": longest});
    json!({
        "name": "lookup_order",
        "description": "Finds an order",
        "inputSchema": {
            "type": "object",
            "properties": {
                "order": {"type": "string", "pattern": "^o-[0-9]{10}$"},
                "customer": text(40),
                "limit": {"type": "integer", "minimum": 1, "maximum": 1_000_000_000},
                "currency": {"type": "string", "enum": ["EUR", "USD", "CHF"]},
                "tags": {"type": "array", "items": text(20), "maxItems": 8},
                "address": {
                    "type": "object",
                    "properties": {"street": text(80), "city": text(80), "zip": text(12)},
                    "required": ["street", "city"],
                    "additionalProperties": false,
                },
                "note": text(2000),
            },
            "required": ["order", "customer", "limit"],
            "additionalProperties": false,
        },
    })
}

/// The answer to every call, without parsing or building a tree.
fn called(id: &RawValue) -> Response<Full<Bytes>> {
    const RESULT: &str = r#","result":{"content":[{"type":"text","text":"order found: 3 items, shipped"}],"isError":false}}"#;
    let id = id.get();
    let mut body = Vec::with_capacity(32 + id.len() + RESULT.len());
    body.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(RESULT.as_bytes());
    json_response(body.into())
}

fn reply(id: &RawValue, answer: &Value) -> Response<Full<Bytes>> {
    let mut answer = answer.clone();
    answer["jsonrpc"] = "2.0".into();
    answer["id"] = serde_json::from_str(id.get()).unwrap_or_default();
    json_response(answer.to_string().into())
}

fn json_response(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

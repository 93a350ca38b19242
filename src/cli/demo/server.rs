//! How does the sample server speak MCP?
//!
//! Streamable HTTP at `/mcp`, each answer plain JSON, no sessions: revisions 2025-03-26 to
//! 2025-11-25 by `initialize`, 2026-07-28 by `server/discover` and `_meta`. It is an upstream like
//! any other: it trusts its caller, and the gate in front of it must not trust it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::tools;
use super::world::World;

/// The newest revision, which needs no `initialize`.
const STATELESS: &str = "2026-07-28";
/// The revisions that begin with `initialize`, newest first.
const STATEFUL: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// The largest request body.
const BODY_BYTES: usize = 1024 * 1024;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// A pause after a failed accept, lest it become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const INSTRUCTIONS: &str = "A sample shop. Everything in it is made up and kept in memory.";

/// Serves the sample tools on `listener` until the future is dropped.
pub async fn serve(listener: TcpListener) {
    let world = Arc::new(World::default());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a peer that left at once: neither ends the demo.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let world = Arc::clone(&world);
                async move { Ok::<_, Infallible>(answer(&world, request).await) }
            });
            let mut http = auto::Builder::new(TokioExecutor::new());
            http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection to the sample server ended early");
            }
        });
    }
}

/// A JSON-RPC error, and the HTTP status that carries it.
struct Fault {
    status: StatusCode,
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Fault {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: None }
    }
}

async fn answer(world: &World, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/mcp" {
        return empty(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        let mut refused = empty(StatusCode::METHOD_NOT_ALLOWED);
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let message: Value = match serde_json::from_slice(&body.to_bytes()) {
        Ok(message @ Value::Object(_)) => message,
        _ => {
            let fault = Fault::new(StatusCode::BAD_REQUEST, -32700, "send one JSON-RPC message");
            return faulty(&Value::Null, fault);
        }
    };
    let Some(id) = message.get("id") else { return empty(StatusCode::ACCEPTED) };
    match respond(world, &head.headers, &message) {
        Ok(result) => reply(StatusCode::OK, &json!({"jsonrpc": "2.0", "id": id, "result": result})),
        Err(fault) => faulty(id, fault),
    }
}

fn respond(world: &World, headers: &HeaderMap, message: &Value) -> Result<Value, Fault> {
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let params = message.get("params").unwrap_or(&Value::Null);
    let stateless = is_stateless(headers, params)?;
    if stateless {
        check_mirror(headers, method, params)?;
    }
    let result = match method {
        "initialize" if !stateless => initialize(params),
        "ping" if !stateless => json!({}),
        "server/discover" => discover(),
        "tools/list" => json!({"tools": tools::definitions()}),
        "tools/call" => call(world, params)?,
        _ => {
            let status = if stateless { StatusCode::NOT_FOUND } else { StatusCode::OK };
            return Err(Fault::new(status, -32601, "no such method"));
        }
    };
    Ok(if stateless { in_newest_shape(method, result) } else { result })
}

/// Which of the two protocols the request speaks, by its body and then by its header.
fn is_stateless(headers: &HeaderMap, params: &Value) -> Result<bool, Fault> {
    let header = text(headers, "mcp-protocol-version");
    let meta = params.get("_meta").and_then(|meta| meta.get(VERSION_KEY)).and_then(Value::as_str);
    for version in [header, meta].into_iter().flatten() {
        if version != STATELESS && !STATEFUL.contains(&version) {
            return Err(unsupported(version));
        }
    }
    if header != Some(STATELESS) && meta != Some(STATELESS) {
        return Ok(false);
    }
    if header != meta {
        return Err(mismatch("MCP-Protocol-Version"));
    }
    let capable = params
        .get("_meta")
        .and_then(|meta| meta.get(CAPABILITIES_KEY))
        .is_some_and(Value::is_object);
    if capable {
        Ok(true)
    } else {
        let message = format!("`_meta` lacks `{CAPABILITIES_KEY}`");
        Err(Fault::new(StatusCode::BAD_REQUEST, -32602, message))
    }
}

fn unsupported(version: &str) -> Fault {
    let mut supported = vec![STATELESS];
    supported.extend(STATEFUL);
    Fault {
        data: Some(json!({"supported": supported, "requested": version})),
        ..Fault::new(StatusCode::BAD_REQUEST, -32022, "unsupported protocol version")
    }
}

fn mismatch(header: &str) -> Fault {
    let message = format!("header `{header}` does not agree with the body");
    Fault::new(StatusCode::BAD_REQUEST, -32020, message)
}

/// `Mcp-Method` and `Mcp-Name` say what the body says.
fn check_mirror(headers: &HeaderMap, method: &str, params: &Value) -> Result<(), Fault> {
    if text(headers, "mcp-method") != Some(method) {
        return Err(mismatch("Mcp-Method"));
    }
    let name = params.get("name").and_then(Value::as_str);
    if method == "tools/call" && text(headers, "mcp-name") != name {
        return Err(mismatch("Mcp-Name"));
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn initialize(params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let [newest, ..] = STATEFUL;
    let version = asked.filter(|asked| STATEFUL.contains(asked)).unwrap_or(newest);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": about(),
        "instructions": INSTRUCTIONS,
    })
}

fn discover() -> Value {
    json!({
        "supportedVersions": [STATELESS],
        "capabilities": {"tools": {}},
        "instructions": INSTRUCTIONS,
    })
}

fn about() -> Value {
    json!({
        "name": "countersign-demo",
        "title": "Countersign sample shop",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn call(world: &World, params: &Value) -> Result<Value, Fault> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let arguments = params.get("arguments").unwrap_or(&Value::Null);
    match world.run(name, arguments) {
        None => Err(Fault::new(StatusCode::OK, -32602, "no such tool")),
        Some(Ok(done)) => Ok(json!({
            "content": [{"type": "text", "text": done.to_string()}],
            "structuredContent": done,
        })),
        Some(Err(why)) => Ok(json!({"content": [{"type": "text", "text": why}], "isError": true})),
    }
}

/// What 2026-07-28 wants of each result besides what it carries.
fn in_newest_shape(method: &str, mut result: Value) -> Value {
    if let Some(members) = result.as_object_mut() {
        members.insert("resultType".into(), json!("complete"));
        members.insert("_meta".into(), json!({"io.modelcontextprotocol/serverInfo": about()}));
        if method != "tools/call" {
            members.insert("ttlMs".into(), json!(60_000));
            members.insert("cacheScope".into(), json!("public"));
        }
    }
    result
}

fn faulty(id: &Value, fault: Fault) -> Response<Full<Bytes>> {
    let mut error = json!({"code": fault.code, "message": fault.message});
    if let (Some(members), Some(data)) = (error.as_object_mut(), fault.data) {
        members.insert("data".into(), data);
    }
    reply(fault.status, &json!({"jsonrpc": "2.0", "id": id, "error": error}))
}

fn reply(status: StatusCode, message: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(message.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;

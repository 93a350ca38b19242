//! What does a server answer when the gate itself asks?
//!
//! The gate as a client, for `tools/list` and for calls that nobody waits for any more: stateless
//! first, and with `initialize` where the server does not know that.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::message::FromServer;
use super::sse::Framer;
use super::ticket::TASKS;
use super::upstream::Server;
use super::{mirror, whole};
use crate::json::{Map, Value};

/// Pages of a list that are read.
const PAGES: usize = 100;
/// The revision that the gate offers in `initialize`.
const STATEFUL: &str = "2025-11-25";

/// All definitions that a server lists, page by page.
pub(super) async fn tools(server: &Server) -> Result<Vec<Box<RawValue>>, String> {
    match pages(server, &Dialect::Stateless).await {
        Ok(tools) => {
            server.offer.speaks(true);
            Ok(tools)
        }
        Err(stateless) => {
            let dialect = initialize(server).await.map_err(|stateful| {
                if stateful == stateless {
                    stateful
                } else {
                    format!("{stateful} (and without a session: {stateless})")
                }
            })?;
            server.offer.speaks(false);
            let tools = pages(server, &dialect).await;
            dialect.end(server).await;
            tools
        }
    }
}

/// Whether a server of 2026-07-28 declares the tasks extension. One that does not say so has not.
pub(super) async fn has_tasks(server: &Server) -> bool {
    let dialect = Dialect::Stateless;
    let (headers, params) = (dialect.headers("server/discover"), json!({"_meta": dialect.meta()}));
    let Ok((_, result)) = request(server, headers, "server/discover", params).await else {
        return false;
    };
    let declared = serde_json::from_str::<Value>(result.get()).unwrap_or_default();
    let extensions = declared.get("capabilities").and_then(|all| all.get("extensions"));
    extensions.and_then(|all| all.get(TASKS)).is_some_and(Value::is_object)
}

/// How a server is spoken to.
pub(super) enum Dialect {
    /// 2026-07-28 on.
    Stateless,
    /// Before; with a session, where the server gave one.
    Session(Option<HeaderValue>, String),
}

impl Dialect {
    /// The headers of a request by the gate itself.
    pub(super) fn headers(&self, method: &'static str) -> HeaderMap {
        match self {
            Self::Stateless => {
                let mut headers = base_headers(mirror::STATELESS);
                headers.insert(mirror::METHOD, HeaderValue::from_static(method));
                headers
            }
            Self::Session(session, version) => {
                let mut headers = base_headers(version);
                if let Some(session) = session {
                    headers.insert(mirror::SESSION, session.clone());
                }
                headers
            }
        }
    }

    /// What `_meta` has to say for it.
    pub(super) fn meta(&self) -> Map<String, Value> {
        match self {
            Self::Session(..) => Map::new(),
            Self::Stateless => [
                ("io.modelcontextprotocol/protocolVersion", mirror::STATELESS.into()),
                ("io.modelcontextprotocol/clientInfo", client_info()),
                ("io.modelcontextprotocol/clientCapabilities", json!({})),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        }
    }

    /// Ends what was begun. A courtesy; a server need not support it.
    pub(super) async fn end(self, server: &Server) {
        if let Self::Session(Some(_), _) = &self {
            let _ = server.send(Method::DELETE, self.headers("DELETE"), Bytes::new()).await;
        }
    }
}

/// How the gate speaks to a server, for one request of its own. What comes before that request is
/// said already.
pub(super) async fn dialect(server: &Server) -> Result<Dialect, String> {
    if server.offer.is_stateless() { Ok(Dialect::Stateless) } else { initialize(server).await }
}

fn base_headers(version: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    if let Ok(version) = HeaderValue::from_str(version) {
        headers.insert(mirror::VERSION, version);
    }
    headers
}

fn client_info() -> Value {
    json!({"name": "countersign", "version": env!("CARGO_PKG_VERSION")})
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tools: Vec<Box<RawValue>>,
    #[serde(rename = "nextCursor", default)]
    next: Option<String>,
}

async fn pages(server: &Server, dialect: &Dialect) -> Result<Vec<Box<RawValue>>, String> {
    let mut tools = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let mut params = json!({});
        if let Value::Object(params) = &mut params {
            if let Some(cursor) = cursor.take() {
                params.insert("cursor".to_owned(), cursor.into());
            }
            if matches!(dialect, Dialect::Stateless) {
                params.insert("_meta".to_owned(), dialect.meta().into());
            }
        }
        let headers = dialect.headers("tools/list");
        let (_, result) = match request(server, headers, "tools/list", params).await {
            Ok(answer) => answer,
            // A server of prompts or resources only.
            Err(Fault::Rpc(-32601, _)) if matches!(dialect, Dialect::Session(..)) => {
                return Ok(tools);
            }
            Err(fault) => return Err(fault.to_string()),
        };
        let page: Page = serde_json::from_str(result.get()).map_err(|error| error.to_string())?;
        tools.extend(page.tools);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(tools),
        }
    }
    Err(format!("the list has more than {PAGES} pages"))
}

async fn initialize(server: &Server) -> Result<Dialect, String> {
    let params = json!({
        "protocolVersion": STATEFUL,
        "capabilities": {},
        "clientInfo": client_info(),
    });
    let mut headers = base_headers(STATEFUL);
    headers.remove(mirror::VERSION);
    let (headers, result) =
        request(server, headers, "initialize", params).await.map_err(|fault| fault.to_string())?;
    let result: Value = serde_json::from_str(result.get()).map_err(|error| error.to_string())?;
    let version = result.get("protocolVersion").and_then(Value::as_str).unwrap_or(STATEFUL);
    let session = headers.get(mirror::SESSION).cloned();
    let mut headers = base_headers(version);
    if let Some(session) = &session {
        headers.insert(mirror::SESSION, session.clone());
    }
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    server
        .send(Method::POST, headers, ready.to_string().into())
        .await
        .map_err(|refusal| refusal.to_string())?;
    Ok(Dialect::Session(session, version.to_owned()))
}

/// Why a server gave no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the server answers with error {0}: {1}")]
    Rpc(i64, String),
    #[error("{0}")]
    Other(String),
}

/// One request of the gate's own, and the headers and the result that come back.
pub(super) async fn request(
    server: &Server,
    headers: HeaderMap,
    method: &str,
    params: Value,
) -> Result<(HeaderMap, Box<RawValue>), Fault> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let sent = server.send(Method::POST, headers, body.to_string().into()).await;
    let response = sent.map_err(|refusal| Fault::Other(refusal.to_string()))?;
    let (head, body) = response.into_parts();
    let read = tokio::time::timeout(server.settings.timeout, read(server, &head.headers, body));
    let bytes = read.await.map_err(|_| Fault::Other("no answer in time".to_owned()))??;
    let message = FromServer::read(&bytes).map_err(|_| {
        Fault::Other(format!("the answer (HTTP {}) is not JSON-RPC", head.status.as_u16()))
    })?;
    if let Some(error) = message.error {
        let error: Value = serde_json::from_str(error.get()).unwrap_or_default();
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
        return Err(Fault::Rpc(code, text.chars().take(200).collect()));
    }
    let result = message.result.ok_or_else(|| Fault::Other("the answer has no result".into()))?;
    Ok((head.headers, result.to_owned()))
}

/// The message that answers, from a JSON body or a stream.
async fn read(server: &Server, headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, Fault> {
    let other = |text: &str| Fault::Other(text.to_owned());
    if whole::is_encoded(headers) {
        return Err(other("the answer has a content encoding, which was not asked for"));
    }
    if !whole::is_event_stream(headers) {
        return whole::collect(body, server.settings.result_bytes)
            .await
            .map_err(|fault| Fault::Other(fault.to_string()));
    }
    let mut framer = Framer::new(server.settings.event_bytes);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| other("the stream broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        framer.push(&data);
        while let Some(event) = framer.next().map_err(|_| other("an event is too long"))? {
            let Some(data) = event.data else { continue };
            if FromServer::read(&data).is_ok_and(|message| message.answers(&Value::from(1))) {
                return Ok(data);
            }
        }
    }
    Err(other("the stream ended without an answer"))
}

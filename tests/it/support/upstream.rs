//! A server of tools that records what it is sent, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc as channel;

const PATIENCE: Duration = Duration::from_secs(20);

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The method of HTTP.
    pub(crate) http: http::Method,
    /// The path and query.
    pub(crate) path: String,
    /// The headers.
    pub(crate) headers: http::HeaderMap,
    /// The body, byte for byte.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The method of JSON-RPC; empty if there is none.
    pub(crate) fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether the gate itself asked, to learn the tools.
    pub(crate) fn is_the_gates_own(&self) -> bool {
        self.json()["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"]
            == "countersign"
            || self.json()["params"]["clientInfo"]["name"] == "countersign"
    }
}

/// What is answered.
pub(crate) enum Reply {
    /// A result, as JSON, to the id that was asked.
    Result(Value),
    /// A JSON-RPC error, as JSON, to the id that was asked.
    Error(Value),
    /// Exactly this.
    Raw(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A stream of events, or of what its `content-type` says, with more headers, whose sender
    /// the test has.
    Stream(Vec<(&'static str, String)>, Events),
    /// The connection is closed without an answer.
    Reset,
    /// Nothing, ever.
    Silence,
}

type Script = Box<dyn FnMut(&Seen) -> Option<Reply> + Send>;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    tools: Mutex<Vec<Value>>,
    scripts: Mutex<Vec<Script>>,
}

/// A running server.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

/// A tool with these properties, as JSON text, none of them required.
pub(crate) fn tool(name: &str, properties: &str) -> Value {
    let properties: Value = serde_json::from_str(properties).unwrap();
    json!({"name": name, "inputSchema": {"type": "object", "properties": properties}})
}

impl Upstream {
    /// Offers these tools, and answers each call with the tool's name as text.
    pub(crate) fn of_tools(tools: &[Value]) -> Self {
        Self::of_tools_at(SocketAddr::from(([127, 0, 0, 1], 0)), tools)
    }

    /// The same, at this address.
    pub(crate) fn of_tools_at(address: SocketAddr, tools: &[Value]) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            tools: Mutex::new(tools.to_vec()),
            scripts: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, _runtime: runtime }
    }

    /// Answers by this before anything else; the first script that answers wins, newest first.
    pub(crate) fn script(&self, script: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) {
        self.shared.scripts.lock().unwrap().insert(0, Box::new(script));
    }

    /// Answers a method of JSON-RPC, asked by a client of the gate, with this result.
    pub(crate) fn answer(&self, method: &'static str, result: Value) {
        self.script(move |seen| {
            let asked = seen.method() == method && !seen.is_the_gates_own();
            asked.then(|| Reply::Result(result.clone()))
        });
    }

    /// Answers a method of JSON-RPC (or, named `GET`, a request of that kind) with streams.
    pub(crate) fn stream_on(&self, method: &'static str) -> Streams {
        self.stream_as(method, &[])
    }

    /// As [`Upstream::stream_on`], with these headers.
    pub(crate) fn stream_as(
        &self,
        method: &'static str,
        headers: &[(&'static str, &str)],
    ) -> Streams {
        let headers: Vec<_> = headers.iter().map(|(n, value)| (*n, (*value).to_owned())).collect();
        let (sender, senders) = mpsc::channel();
        self.script(move |seen| {
            let asked = seen.method() == method || seen.http.as_str() == method;
            (asked && !seen.is_the_gates_own()).then(|| {
                let events = Events::new();
                sender.send(events.sender.clone().unwrap()).unwrap();
                Reply::Stream(headers.clone(), events)
            })
        });
        Streams(senders)
    }

    /// Offers these tools from now on.
    pub(crate) fn offer(&self, tools: &[Value]) {
        *self.shared.tools.lock().unwrap() = tools.to_vec();
    }

    /// Everything it was sent, also by the gate itself.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// What clients of the gate made it be sent (O1): all but the gate's own questions.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        let mut all = self.all();
        all.retain(|seen| !seen.is_the_gates_own());
        all
    }

    /// The only request that a client of the gate made it be sent.
    pub(crate) fn only_call(&self) -> Seen {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:#?}");
        calls.remove(0)
    }

    /// Waits until some request fits.
    pub(crate) fn wait_for(&self, fits: impl Fn(&Seen) -> bool) -> Seen {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = self.all().into_iter().find(&fits) {
                return seen;
            }
            assert!(std::time::Instant::now() < until, "it never came: {:#?}", self.all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what it was sent.
    pub(crate) fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }
}

/// The streams that answered, one for each request.
pub(crate) struct Streams(mpsc::Receiver<channel::UnboundedSender<Bytes>>);

impl Streams {
    /// Waits for the next one.
    pub(crate) fn next(&self) -> Sender {
        Sender(self.0.recv_timeout(PATIENCE).expect("a request that is answered by a stream"))
    }
}

/// Where a test writes the events of one stream; dropped, the stream ends.
pub(crate) struct Sender(channel::UnboundedSender<Bytes>);

impl Sender {
    /// Sends an event with this data.
    pub(crate) fn data(&self, data: &str) {
        self.raw(&format!("data: {data}\n\n"));
    }

    /// Sends these bytes.
    pub(crate) fn raw(&self, bytes: &str) {
        // The gate may have hung up; what the client sees tells.
        let _ = self.0.send(Bytes::copy_from_slice(bytes.as_bytes()));
    }

    /// Whether the gate still reads.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A stream of events, before it is sent.
pub(crate) struct Events {
    sender: Option<channel::UnboundedSender<Bytes>>,
    receiver: channel::UnboundedReceiver<Bytes>,
}

impl Events {
    fn new() -> Self {
        let (sender, receiver) = channel::unbounded_channel();
        Self { sender: Some(sender), receiver }
    }

    /// A stream that says this, and ends.
    pub(crate) fn saying(text: &str) -> Self {
        let mut events = Self::new();
        Sender(events.sender.take().unwrap()).raw(text);
        events
    }

    fn body(self) -> BoxBody<Bytes, std::convert::Infallible> {
        let Self { sender, receiver } = self;
        drop(sender);
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            let bytes = receiver.recv().await?;
            Some((Ok(Frame::data(bytes)), receiver))
        });
        BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames))))
    }
}

/// A body has to be `Sync`, and is only ever polled by one.
struct SyncStream<S>(std::pin::Pin<Box<S>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

type Answer = http::Response<BoxBody<Bytes, std::convert::Infallible>>;

async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: http::Request<Incoming>,
) -> Result<Answer, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the request broke off")?.to_bytes().to_vec();
    let path = head.uri.to_string();
    let seen = Seen { http: head.method, path, headers: head.headers, body };
    shared.seen.lock().unwrap().push(seen.clone());
    let scripted = shared.scripts.lock().unwrap().iter_mut().find_map(|script| script(&seen));
    let reply = scripted.unwrap_or_else(|| usual(&shared, &seen));
    let id = seen.json()["id"].clone();
    Ok(match reply {
        Reply::Result(result) => {
            json_answer(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
        }
        Reply::Error(error) => json_answer(&json!({"jsonrpc": "2.0", "id": id, "error": error})),
        Reply::Raw(status, headers, bytes) => plain_answer(status, headers, bytes),
        Reply::Stream(mut headers, events) => {
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                headers.push(("content-type", "text/event-stream".to_owned()));
            }
            plain_answer(200, headers, Vec::new()).map(|_| events.body())
        }
        Reply::Reset => return Err("reset"),
        Reply::Silence => std::future::pending().await,
    })
}

fn json_answer(message: &Value) -> Answer {
    let headers = vec![("content-type", "application/json".to_owned())];
    plain_answer(200, headers, message.to_string().into_bytes())
}

fn plain_answer(status: u16, headers: Vec<(&'static str, String)>, bytes: Vec<u8>) -> Answer {
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(BodyExt::boxed(Full::new(Bytes::from(bytes)))).unwrap()
}

/// What a plain server says.
fn usual(shared: &Shared, seen: &Seen) -> Reply {
    let message = seen.json();
    if seen.http != http::Method::POST {
        return Reply::Raw(405, Vec::new(), Vec::new());
    }
    if message["id"].is_null() || message["method"].is_null() {
        return Reply::Raw(202, Vec::new(), Vec::new());
    }
    match seen.method().as_str() {
        "tools/list" => Reply::Result(json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "public",
            "tools": *shared.tools.lock().unwrap(),
        })),
        "tools/call" => Reply::Result(json!({
            "resultType": "complete",
            "content": [{"type": "text", "text": message["params"]["name"]}],
        })),
        "initialize" => Reply::Result(json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "upstream", "version": "1"},
        })),
        "server/discover" => Reply::Result(json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "public",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}},
            "serverInfo": {"name": "upstream", "version": "1"},
        })),
        _ => Reply::Result(json!({"resultType": "complete"})),
    }
}

//! How do we reach a server?
//!
//! One client for each server, with its credential. What goes up is made anew: the body is a
//! serialisation of what was decided, and the headers are a list, not whatever came in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::mirror;
use super::offer::Offer;
use crate::front::workers;
use crate::metrics::{Metrics, UpstreamError};
use crate::refusal::Refusal;
use crate::tls::Connector;

/// Where a client resumes an event stream.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");
const TRACE: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// What is configured of a server.
pub struct Settings {
    /// Its name here.
    pub name: Arc<str>,
    /// Its MCP endpoint.
    pub uri: Uri,
    /// What it knows us by.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// How long it may take until an answer begins, and again until one that is no stream ends.
    pub timeout: Duration,
    /// How long a stream of it may be silent.
    pub idle: Option<Duration>,
    /// The oldest revision that a client may speak to it.
    pub minimum: Arc<str>,
    /// Headers of the client that go up beside the protocol's own.
    pub forward: Vec<HeaderName>,
    /// Whether the gate is not ready without its tools.
    pub required: bool,
    /// Bytes of an answer that is not a stream.
    pub result_bytes: usize,
    /// Bytes of one event of a stream.
    pub event_bytes: usize,
}

/// A server, reachable.
pub struct Server {
    /// What is configured.
    pub settings: Settings,
    /// What it offers.
    pub offer: Offer,
    /// One for each worker, and one for all other threads: a connection stays where it is used.
    clients: Vec<Client<Connector, Full<Bytes>>>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Makes the client; connects when first needed.
    pub fn new(settings: Settings, connector: Connector, metrics: Arc<Metrics>) -> Self {
        let client = |_| {
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(256)
                .pool_timer(TokioTimer::new())
                .http1_max_buf_size(64 * 1024)
                .build(connector.clone())
        };
        let clients = (0..=workers::count()).map(client).collect();
        Self { settings, offer: Offer::default(), clients, metrics }
    }

    /// Sends one request. Nothing is ever sent twice.
    pub async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Refusal> {
        let name = &self.settings.name;
        if let Some((header, value)) = &self.settings.credential {
            headers.insert(header, value.clone());
        }
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.settings.uri.clone();
        *request.headers_mut() = headers;
        let Some(client) = self.clients.get(workers::number()) else {
            return Err(Refusal::Internal);
        };
        let sent = tokio::time::timeout(self.settings.timeout, client.request(request)).await;
        match sent {
            Ok(Ok(response)) if response.status().is_redirection() => {
                self.metrics.upstream_failed(name, UpstreamError::Protocol);
                Err(self.bad_answer("it redirects, and a redirect is not followed"))
            }
            Ok(Ok(response)) => {
                if response.status().is_server_error() {
                    self.metrics.upstream_failed(name, UpstreamError::Status);
                }
                Ok(response)
            }
            Ok(Err(error)) if error.is_connect() => {
                tracing::warn!(server.name = %name, error = %chain(&error), "server cannot be reached");
                self.metrics.upstream_failed(name, UpstreamError::Connect);
                Err(Refusal::Unreachable(name.to_string()))
            }
            Ok(Err(error)) => {
                tracing::warn!(server.name = %name, error = %chain(&error), "server broke off");
                self.broke_off();
                Err(Refusal::OutcomeUnknown(name.to_string()))
            }
            Err(_) => {
                self.late();
                Err(Refusal::OutcomeUnknown(name.to_string()))
            }
        }
    }

    /// Counts and tells an answer that did not come, or did not end, in time.
    pub fn late(&self) {
        let name = &self.settings.name;
        tracing::warn!(server.name = %name, "server did not answer in time");
        self.metrics.upstream_timed_out(name);
    }

    /// Counts a connection that ended before its answer did.
    pub fn broke_off(&self) {
        self.metrics.upstream_failed(&self.settings.name, UpstreamError::Reset);
    }

    /// Counts an answer that is not passed on.
    pub fn rejected(&self, kind: UpstreamError) {
        self.metrics.upstream_failed(&self.settings.name, kind);
    }

    /// An answer of this server that is not passed on.
    pub fn bad_answer(&self, reason: &str) -> Refusal {
        Refusal::Answer { server: self.settings.name.to_string(), reason: reason.to_owned() }
    }

    /// The client's headers that go up.
    pub fn headers(&self, from: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        for (name, value) in from {
            if goes_up(name) || self.settings.forward.contains(name) {
                headers.append(name, value.clone());
            }
        }
        headers
    }
}

fn goes_up(name: &HeaderName) -> bool {
    *name == ACCEPT
        || *name == USER_AGENT
        || *name == mirror::VERSION
        || *name == mirror::SESSION
        || *name == mirror::METHOD
        || *name == mirror::NAME
        || *name == LAST_EVENT_ID
        || TRACE.contains(name)
        || name.as_str().starts_with(mirror::PARAM_PREFIX)
}

/// The server's headers that come down.
pub fn headers_down(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    for (name, value) in from {
        let passes = *name == CONTENT_TYPE
            || *name == CACHE_CONTROL
            || *name == RETRY_AFTER
            || *name == ACCEL
            || *name == http::header::ALLOW
            || *name == mirror::VERSION
            || *name == mirror::SESSION;
        if passes {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// An error with its causes, for the operator.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

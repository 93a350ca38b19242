//! The listener for operators: is the gate well, and what has it counted?
//!
//! `/metrics`, `/healthz` and `/readyz`, and nothing else. None of them holds a secret or changes
//! anything, so none asks who is there; it binds loopback unless the config says otherwise.

pub mod api;
pub mod auth;
pub mod oidc;
pub mod visible;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::host;
use crate::metrics::Metrics;

/// Header lines of one request.
const HEADERS: usize = 64;
/// Bytes of one request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// How long running answers get once we stop.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// A pause after a failed accept, lest a full descriptor table become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What peers may take of this listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are open at once; one more waits in the kernel's queue.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may idle.
    pub head_time: Duration,
    /// How long a connection may last, so that a peer that never reads gives its place back.
    pub connection_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_time: Duration::from_secs(10),
            connection_time: Duration::from_secs(300),
        }
    }
}

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Listeners are bound, calls are not taken yet.
    Starting,
    /// Calls are taken.
    Serving,
    /// What runs is finished, nothing new is taken.
    Draining,
}

/// One thing that has to be in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it is.
    pub ok: bool,
    /// What is in place, or what is missing and what would mend it; no secrets.
    pub detail: String,
    /// The operator chose to run without it; it does not hold readiness back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub excused: bool,
    /// The revision in use, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl Check {
    /// In place.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self { ok: true, detail: detail.into(), excused: false, revision: None }
    }

    /// Missing or broken.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self { ok: false, ..Self::ok(detail) }
    }

    /// The same, at a revision.
    #[must_use]
    pub fn at(self, revision: impl Into<String>) -> Self {
        Self { revision: Some(revision.into()), ..self }
    }

    /// The same, but not needed to be ready (a stated degraded start).
    #[must_use]
    pub fn excused(self) -> Self {
        Self { excused: true, ..self }
    }

    const fn passes(&self) -> bool {
        self.ok || self.excused
    }
}

/// The state of everything that readiness depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// A policy decides. A failed reload leaves it ok: the last good one decides; the detail says so.
    pub policy: Check,
    /// Intents can be made durable.
    pub trail: Check,
    /// The tool definitions of each server.
    pub tools: BTreeMap<String, Check>,
}

/// What `/healthz` and `/readyz` answer from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the process is in its life.
    pub phase: Phase,
    /// What is in place.
    pub checks: Checks,
}

impl Report {
    /// Whether calls are taken, and would be decided.
    pub fn ready(&self) -> bool {
        let Checks { policy, trail, tools } = &self.checks;
        self.phase == Phase::Serving
            && policy.passes()
            && trail.passes()
            && tools.values().all(Check::passes)
    }
}

/// Who knows how the gate is. Asked for each probe, so it should be cheap and never wait.
pub trait Health: Send + Sync {
    /// How it is now.
    fn report(&self) -> Report;
}

impl<F: Fn() -> Report + Send + Sync> Health for F {
    fn report(&self) -> Report {
        self()
    }
}

/// The operator's listener, before it has a socket.
pub struct Review {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What the probes ask.
    pub health: Arc<dyn Health>,
    /// Host names that it may be reached by, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// What peers may take of it.
    pub limits: Limits,
    /// All else: what people and programs sign by.
    pub router: axum::Router,
}

impl Review {
    /// Serves until `stop` turns true (or its sender is gone), then ends what runs, bounded.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&listener, &places) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let Some((stream, peer, place)) = accepted else { break };
            let (review, stop) = (Arc::clone(&self), stop.clone());
            connections.spawn(async move {
                review.converse(stream, peer, stop).await;
                drop(place);
            });
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
            tracing::debug!("operator connections were cut off at shutdown");
        }
    }

    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        mut stop: watch::Receiver<bool>,
    ) {
        let limits = self.limits;
        let service = service_fn(move |request: Request<Incoming>| {
            let review = Arc::clone(&self);
            async move { Ok::<_, Infallible>(review.answer(request, peer).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::time::timeout(limits.connection_time, async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                _ = stop.wait_for(|stop| *stop) => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        });
        if let Ok(Err(error)) = ended.await {
            tracing::debug!(%error, "an operator connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let ours = matches!(head.uri.path(), "/metrics" | "/healthz" | "/readyz");
        let mut response = if ours || !host::is_ours(&head, &self.hosts) {
            self.page(&head).map(Body::new)
        } else {
            head.extensions.insert(auth::Peer(peer));
            let request = Request::from_parts(head, Body::new(body));
            tower_service::Service::call(&mut self.router.clone(), request)
                .await
                .unwrap_or_else(|never| match never {})
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn page(&self, head: &Parts) -> Response<Full<Bytes>> {
        if !host::is_ours(head, &self.hosts) {
            return text(StatusCode::FORBIDDEN, "this host name is not served here\n");
        }
        let path = head.uri.path();
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n");
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/metrics" => body(StatusCode::OK, METRICS_TYPE, self.metrics.render()),
            "/healthz" => healthz(self.health.report().phase),
            _ => readyz(&self.health.report()),
        }
    }
}

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The next connection, once there is a place for it; `None` if there never will be.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer.ip(), place)),
            Err(error) => {
                tracing::warn!(%error, "an operator connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn healthz(phase: Phase) -> Response<Full<Bytes>> {
    match phase {
        Phase::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving => text(StatusCode::OK, "serving\n"),
        Phase::Draining => text(StatusCode::OK, "draining\n"),
    }
}

fn readyz(report: &Report) -> Response<Full<Bytes>> {
    let ready = report.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let detail =
        serde_json::json!({"ready": ready, "phase": report.phase, "checks": report.checks});
    body(status, "application/json", detail.to_string())
}

fn text(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", sentence)
}

fn body(
    status: StatusCode,
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;

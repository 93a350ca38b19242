//! The listener for operators: what waits for people, is the gate well, what has it counted?
//!
//! `/metrics`, `/healthz` and `/readyz` hold no secret and change nothing, so they do not ask who is
//! there. All else is for reviewers, who sign in: see [`auth`] for how, [`act`] for what they can do,
//! and [`pages`] for what they see.

pub mod act;
pub mod api;
mod assets;
pub mod auth;
mod events;
pub mod oidc;
pub mod pages;
mod probes;
pub mod visible;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use axum::{Extension, Router};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::host;
use crate::metrics::Metrics;
use act::Office;
use api::Api;
use auth::{Access, Peer};
use oidc::Oidc;
use pages::Pages;

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
            connections: 256,
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
    /// What reviewers work with; without it there are only the probes.
    pub people: Option<People>,
}

/// What reviewers work with.
pub struct People {
    /// Where they act.
    pub office: Arc<Office>,
    /// Who they are.
    pub access: Arc<Access>,
    /// Whom they sign in with, besides tokens.
    pub oidc: Option<Arc<Oidc>>,
}

impl Review {
    /// Serves until `stop` turns true (or its sender is gone), then ends what runs, bounded.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let router = self.router(stop.clone());
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&listener, &places) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let Some((stream, from, place)) = accepted else { break };
            let router = router.clone().layer(Extension(Peer(from)));
            let (review, stop) = (Arc::clone(&self), stop.clone());
            connections.spawn(async move {
                review.converse(stream, router, stop).await;
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
        router: Router,
        mut stop: watch::Receiver<bool>,
    ) {
        let limits = self.limits;
        let service = service_fn(move |request: Request<Incoming>| {
            let (review, router) = (Arc::clone(&self), router.clone());
            async move { Ok::<_, Infallible>(answer(router, &review.hosts, request).await) }
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

    /// What is served: the probes, and what reviewers work with.
    fn router(&self, stop: watch::Receiver<bool>) -> Router {
        let router = probes::router(Arc::clone(&self.metrics), Arc::clone(&self.health));
        let Some(People { office, access, oidc }) = &self.people else { return router };
        let streams = Arc::new(Semaphore::new(self.limits.connections / 2));
        let (office, access) = (Arc::clone(office), Arc::clone(access));
        let api =
            Api { office: Arc::clone(&office), stop: stop.clone(), streams: Arc::clone(&streams) };
        let router = router.merge(api::routes(Arc::new(api), Arc::clone(&access)));
        let router = match oidc {
            Some(oidc) => router.merge(oidc::routes(Arc::clone(oidc), Arc::clone(&access))),
            None => router,
        };
        router.merge(pages::router(Pages { office, access, stop, streams }))
    }
}

/// Answers one request, if it calls us by a name of ours.
async fn answer(
    mut router: Router,
    hosts: &[String],
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = if host::is_ours(&head, hosts) {
        match router.call(Request::from_parts(head, body)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    } else {
        (StatusCode::FORBIDDEN, "this host name is not served here\n").into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS_OF_ALL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What each answer says to browsers. The referrer goes to this origin only; were it withheld from
/// it too, a browser would send `Origin: null` with our own forms (Fetch, 3.2).
const HEADERS_OF_ALL: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// The next connection, once there is a place for it; `None` if there never will be.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return Some((stream, from.ip(), place)),
            Err(error) => {
                tracing::warn!(%error, "an operator connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;

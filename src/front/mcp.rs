//! MCP over streamable HTTP, at `/mcp/{server}`.
//!
//! Revisions 2025-03-26 to 2026-07-28. Here a request is taken in: where it is for, who sends it,
//! and which of POST, GET and DELETE it is. `post` reads messages and brings calls to the gate;
//! `relay` brings the answers back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};

use crate::call::Agent;
use crate::front::body::Body;
use crate::gate::identify::Identities;
use crate::gate::{Gate, Stray};
use crate::host;
use crate::json;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::tls::PeerCertificate;
use crate::tools::Definition;

pub mod answer;
mod arrival;
mod ask;
mod by_task;
mod edited;
pub mod hand;
mod held;
mod list;
pub mod message;
pub mod methods;
pub mod mirror;
pub mod offer;
pub mod owned;
mod post;
mod question;
pub mod refuse;
mod relay;
pub mod seal;
pub mod session;
pub mod sse;
mod stream;
mod task;
mod ticket;
pub mod upstream;
mod whole;

use owned::Owned;
use refuse::Asked;
use seal::Seal;
use session::Session;
use upstream::Server;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The client certificate, where TLS asked for one.
    pub certificate: Option<PeerCertificate>,
    /// Whether it is on this machine.
    pub loopback: bool,
}

/// What bounds this front end.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A request's body, and how deep it may nest.
    pub message: json::Limits,
    /// Calls that run at once.
    pub calls: usize,
    /// Streams that only listen, open at once.
    pub streams: usize,
    /// Sessions open at once.
    pub sessions: usize,
    /// A session or task that nobody uses for so long is forgotten.
    pub session_idle: Duration,
    /// A request's body has to be there within this.
    pub body_timeout: Duration,
}

/// Which hosts and origins a request may name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Origins of browsers, such as `https://inspector.example`.
    pub origins: Vec<String>,
    /// Whether browsers on this machine may ask: only where nobody else can connect.
    pub local_origins: bool,
}

/// The front end.
pub struct Front {
    /// What decides.
    pub gate: Arc<Gate>,
    /// What it counts with.
    pub metrics: Arc<Metrics>,
    pub(crate) servers: HashMap<Arc<str>, Arc<Server>>,
    identities: Identities,
    pub(crate) sessions: Owned<Arc<Session>>,
    pub(crate) tasks: Owned<Option<Arc<Definition>>>,
    pub(crate) seal: Seal,
    pub(crate) answer_limits: json::Limits,
    pub(crate) draining: watch::Receiver<bool>,
    limits: Limits,
    names: Names,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waiting: held::Waiters,
}

/// What [`Front::new`] needs.
pub struct Needs {
    /// What decides.
    pub gate: Arc<Gate>,
    /// What counts.
    pub metrics: Arc<Metrics>,
    /// The servers, by their configured names.
    pub servers: Vec<Arc<Server>>,
    /// Who may call.
    pub identities: Identities,
    /// What bounds it.
    pub limits: Limits,
    /// Which names it answers to.
    pub names: Names,
    /// Binds states to agents.
    pub seal: Seal,
    /// Turns true when the gate shuts down.
    pub draining: watch::Receiver<bool>,
}

impl Front {
    /// Puts it together.
    pub fn new(parts: Needs) -> Self {
        let Needs { gate, metrics, servers, identities, limits, names, seal, draining } = parts;
        let result_bytes =
            servers.iter().map(|server| server.settings.result_bytes).max().unwrap_or(0);
        Self {
            gate,
            metrics,
            servers: servers.into_iter().map(|s| (Arc::clone(&s.settings.name), s)).collect(),
            identities,
            sessions: Owned::new(
                "session",
                Refusal::Unknown("session"),
                limits.sessions,
                limits.session_idle,
            ),
            tasks: Owned::new("task", Refusal::UnknownTask, limits.sessions, limits.session_idle),
            seal,
            answer_limits: json::Limits { bytes: result_bytes, depth: 128, values: 1_000_000 },
            draining,
            calls: Arc::new(Semaphore::new(limits.calls)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            limits,
            names,
            waiting: held::Waiters::default(),
        }
    }

    /// Waits until no message is on its way, also for clients that have hung up.
    pub async fn finished(&self) {
        let all = u32::try_from(self.limits.calls).unwrap_or(u32::MAX);
        // Never closed; and if it were, nothing would be on its way.
        let _ = self.calls.acquire_many(all).await;
    }

    /// Answers one request, whatever it is.
    pub async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut context = Context::default();
        match self.route(&head, body, peer, &mut context).await {
            Ok(response) => response,
            Err(refusal) => {
                if head.method == Method::POST && context.asked.decision.is_none() {
                    let stray = Stray {
                        agent: context.agent.as_ref().map(|agent| &*agent.id),
                        server: context.server.as_ref().map(|server| &*server.settings.name),
                        method: context.method,
                    };
                    context.asked.decision = Some(self.gate.stray(&stray, &refusal));
                }
                let mut response = refuse::response(&refusal, &context.asked);
                if head.version == Version::HTTP_2 {
                    // It has no such header (RFC 9113, 8.2.2), and its streams have clear ends.
                    response.headers_mut().remove(CONNECTION);
                } else if head.method == Method::CONNECT {
                    // What follows was meant for the other end of the tunnel.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        }
    }

    async fn route(
        self: &Arc<Self>,
        head: &Parts,
        body: Incoming,
        peer: &Peer,
        context: &mut Context,
    ) -> Result<Response<Body>, Refusal> {
        framed_plainly(&head.headers)?;
        if !host::is_ours(head, &self.names.hosts) {
            return Err(Refusal::Host);
        }
        self.check_origin(head)?;
        let name = head.uri.path().strip_prefix("/mcp/").ok_or(Refusal::NotFound)?;
        let server = self.servers.get(name).ok_or(Refusal::NotFound)?;
        context.server = Some(Arc::clone(server));
        if *self.draining.borrow() {
            return Err(Refusal::Draining);
        }
        let authorization = head.headers.get_all(http::header::AUTHORIZATION);
        let identified =
            self.identities.identify(authorization, peer.certificate.as_ref(), peer.loopback);
        let agent = identified.await?;
        context.agent = Some(Arc::clone(&agent));
        match head.method {
            Method::POST => self.post(head, body, agent, Arc::clone(server), context).await,
            Method::GET => self.listen(head, agent, Arc::clone(server)).await,
            Method::DELETE => self.end_session(head, agent, Arc::clone(server)).await,
            _ => Err(Refusal::MethodNotAllowed { allowed: "POST, GET, DELETE" }),
        }
    }

    fn check_origin(&self, head: &Parts) -> Result<(), Refusal> {
        for origin in head.headers.get_all(http::header::ORIGIN) {
            let origin = origin.to_str().map_err(|_| Refusal::Origin)?;
            let known = self.names.origins.iter().any(|ours| ours.eq_ignore_ascii_case(origin));
            let local = self.names.local_origins && host::is_local_origin(origin);
            if !(known || local) {
                return Err(Refusal::Origin);
            }
        }
        Ok(())
    }

    /// The client's session, which has to be its own.
    pub(crate) fn session_of(
        &self,
        head: &Parts,
        server: &Server,
        agent: &Agent,
    ) -> Result<Option<OwnSession>, Refusal> {
        let Some(id) = mirror::only(&head.headers, &mirror::SESSION)? else { return Ok(None) };
        let session = self.sessions.find(&server.settings.name, id, &agent.id)?;
        Ok(Some((Arc::from(id), session)))
    }
}

/// Whoever stands before us may know only one transfer coding, and see another end of the request.
fn framed_plainly(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    if plain { Ok(()) } else { Err(Refusal::Envelope("the only transfer coding is `chunked`")) }
}

/// A session's id, and what is remembered of it.
pub(crate) type OwnSession = (Arc<str>, Arc<Session>);

/// What becomes known of a request while it is read; a refusal is shaped and recorded by it.
#[derive(Default)]
pub(crate) struct Context {
    asked: Asked,
    agent: Option<Arc<Agent>>,
    server: Option<Arc<Server>>,
    method: Option<&'static str>,
}

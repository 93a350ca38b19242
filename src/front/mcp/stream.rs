//! GET and DELETE: listening to a session, and ending it.
//!
//! Only up to 2025-11-25; from 2026-07-28 on there is only POST.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};

use super::answer::Exchange;
use super::refuse::Asked;
use super::session::{Expected, Waiting};
use super::upstream::Server;
use super::{Front, mirror, relay};
use crate::call::Agent;
use crate::front::body::Body;
use crate::refusal::Refusal;

impl Front {
    /// Opens the server's stream to a session, or resumes one.
    pub(super) async fn listen(
        self: &Arc<Self>,
        head: &Parts,
        agent: Arc<Agent>,
        server: Arc<Server>,
    ) -> Result<Response<Body>, Refusal> {
        stateful_only(head, &server)?;
        let session = self.session_of(head, &server, &agent)?;
        let slot = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            self.metrics.shed();
            Refusal::Overloaded("streams")
        })?;
        let headers = server.headers(&head.headers);
        let response = server.send(Method::GET, headers, Bytes::new()).await?;
        let exchange = Exchange {
            front: Arc::clone(self),
            server,
            agent,
            session: session.map(|(_, session)| session),
            headers: head.headers.clone(),
            asked: Asked::default(),
        };
        let inspector = exchange.inspector(Expected::Anything, Waiting::default());
        relay::relay(inspector, response, Some(slot)).await
    }

    /// Ends a session.
    pub(super) async fn end_session(
        self: &Arc<Self>,
        head: &Parts,
        agent: Arc<Agent>,
        server: Arc<Server>,
    ) -> Result<Response<Body>, Refusal> {
        stateful_only(head, &server)?;
        let Some((id, session)) = self.session_of(head, &server, &agent)? else {
            return Err(Refusal::Unknown("session"));
        };
        let headers = server.headers(&head.headers);
        let response = server.send(Method::DELETE, headers, Bytes::new()).await?;
        if response.status().is_success() || response.status() == http::StatusCode::NOT_FOUND {
            self.sessions.release(&server.settings.name, &id);
        }
        let exchange = Exchange {
            front: Arc::clone(self),
            server,
            agent,
            session: Some(session),
            headers: head.headers.clone(),
            asked: Asked::default(),
        };
        let inspector = exchange.inspector(Expected::Anything, Waiting::default());
        relay::relay(inspector, response, None).await
    }
}

fn stateful_only(head: &Parts, server: &Server) -> Result<(), Refusal> {
    let version = mirror::only(&head.headers, &mirror::VERSION)?.unwrap_or(mirror::OLDEST);
    if version == mirror::STATELESS {
        return Err(Refusal::MethodNotAllowed { allowed: "POST" });
    }
    let minimum = &*server.settings.minimum;
    if version < minimum || !mirror::REVISIONS.contains(&version) {
        return Err(mirror::unsupported(version, minimum));
    }
    Ok(())
}

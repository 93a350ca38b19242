//! How does an answer get from the server to the client?
//!
//! JSON stays JSON, read whole and looked at; a stream stays a stream, looked at event by event
//! and never held back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::answer::{Inspector, Passage};
use super::message::FromServer;
use super::session::{Expected, Session};
use super::sse::{Event, Framer, TooLong};
use super::{mirror, upstream, whole};
use crate::front::body::{Body, Cut};
use crate::metrics::UpstreamError;
use crate::refusal::Refusal;

/// Events that may wait for a slow reader; then the server waits.
const AHEAD: usize = 8;
/// Bytes of an error page that is passed on.
const ERROR_PAGE: usize = 64 * 1024;

/// Turns a server's response into the client's.
pub(super) async fn relay(
    mut inspector: Inspector,
    response: Response<Incoming>,
    slot: Option<OwnedSemaphorePermit>,
) -> Result<Response<Body>, Refusal> {
    let (mut head, body) = response.into_parts();
    let asked_for_it = inspector.asked.id.is_some();
    if whole::is_encoded(&head.headers) {
        // Nobody asked for it, and what cannot be read is not passed on.
        return Err(rejected(&mut inspector, "it has a content encoding, which was not asked for"));
    }
    if head.status == StatusCode::OK && whole::is_event_stream(&head.headers) {
        open_session(&mut inspector, &mut head)?;
        return Ok(stream(inspector, &head, body, slot));
    }
    let limit = match head.status.is_success() {
        true => inspector.server.settings.result_bytes,
        false => ERROR_PAGE.min(inspector.server.settings.result_bytes),
    };
    let collected = whole::collect(body, limit);
    let collected = tokio::time::timeout(inspector.server.settings.timeout, collected).await;
    let bytes = match collected.unwrap_or(Err(whole::CollectFault::Late)) {
        Ok(bytes) => bytes,
        Err(fault) => return Err(unread(&mut inspector, fault)),
    };
    if !head.status.is_success() {
        return Ok(error_page(&mut inspector, &head, bytes).await);
    }
    if !asked_for_it {
        // Nothing was asked, so nothing may be said: what nobody checked goes nowhere.
        head.headers.remove(CONTENT_TYPE);
        head.headers.remove(mirror::SESSION);
        return Ok(respond(&head, Bytes::new()));
    }
    if !whole::is_json(&head.headers) {
        return Err(rejected(&mut inspector, "it is neither JSON nor an event stream"));
    }
    open_session(&mut inspector, &mut head)?;
    match inspector.inspect(&bytes).await {
        Passage::AsIs if inspector.answered => Ok(respond(&head, bytes)),
        Passage::Instead(bytes) => Ok(respond(&head, bytes.into())),
        // Something else than an answer, where only the answer can stand.
        _ => Err(rejected(&mut inspector, "it does not answer what was asked")),
    }
}

/// An answer that is not the protocol's: it is not passed on, and the record says so.
fn rejected(inspector: &mut Inspector, reason: &str) -> Refusal {
    let refusal = inspector.server.bad_answer(reason);
    inspector.server.rejected(UpstreamError::Protocol);
    if let Some(mut in_flight) = inspector.in_flight.take() {
        in_flight.refused(&refusal);
    }
    refusal
}

fn unread(inspector: &mut Inspector, fault: whole::CollectFault) -> Refusal {
    let refusal = match fault {
        whole::CollectFault::TooLong => {
            inspector.server.rejected(UpstreamError::TooLarge);
            inspector.server.bad_answer("it is longer than the limit")
        }
        whole::CollectFault::Late => {
            inspector.server.late();
            Refusal::OutcomeUnknown(inspector.server.settings.name.to_string())
        }
        whole::CollectFault::BrokeOff => {
            inspector.server.broke_off();
            Refusal::OutcomeUnknown(inspector.server.settings.name.to_string())
        }
    };
    if let Some(mut in_flight) = inspector.in_flight.take() {
        in_flight.refused(&refusal);
    }
    refusal
}

/// What comes with an error status passes as it is: a client may need to read it.
async fn error_page(inspector: &mut Inspector, head: &Parts, bytes: Bytes) -> Response<Body> {
    let id = inspector.asked.id.clone();
    let answers = id.is_some_and(|id| FromServer::read(&bytes).is_ok_and(|m| m.answers(&id)));
    if answers && let Passage::Instead(instead) = inspector.inspect(&bytes).await {
        return respond(head, instead.into());
    }
    if let Some(mut in_flight) = inspector.in_flight.take() {
        in_flight.errored(None, bytes.len() as u64);
    }
    respond(head, bytes)
}

fn respond(head: &Parts, bytes: Bytes) -> Response<Body> {
    let body = if bytes.is_empty() { Body::empty() } else { Body::from(bytes) };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = upstream::headers_down(&head.headers);
    response
}

/// An answer to `initialize` may open a session, which is then this agent's. On any other answer
/// the header can only repeat what the client sent.
fn open_session(inspector: &mut Inspector, head: &mut Parts) -> Result<(), Refusal> {
    let opened = mirror::only(&head.headers, &mirror::SESSION)
        .map_err(|_| inspector.server.bad_answer("it opens more than one session"))?;
    let Some(id) = opened.map(str::to_owned) else { return Ok(()) };
    if !matches!(inspector.expected, Expected::Initialize) {
        head.headers.remove(mirror::SESSION);
        return Ok(());
    }
    let session = Arc::new(Session::new(inspector.front.metrics.session_opened()));
    if let Some(request) = &inspector.asked.id {
        session.expect(request, Expected::Initialize);
    }
    let (name, agent) = (&inspector.server.settings.name, &inspector.agent.id);
    inspector.front.sessions.claim(name, &id, agent, Arc::clone(&session))?;
    inspector.session = Some(session);
    Ok(())
}

fn stream(
    mut inspector: Inspector,
    head: &Parts,
    body: Incoming,
    slot: Option<OwnedSemaphorePermit>,
) -> Response<Body> {
    let (sender, out) = Body::stream(AHEAD);
    inspector.session_headers = kept(&inspector.session_headers);
    let open = inspector.front.metrics.stream_opened();
    let draining = inspector.front.draining.clone();
    let idle = inspector.server.settings.idle;
    let framer = Framer::new(inspector.server.settings.event_bytes);
    let stream = Stream { inspector, body, framer, sender, idle, reader: true, resumable: false };
    tokio::spawn(async move {
        stream.run(draining).await;
        drop((open, slot));
    });
    let mut response = Response::new(out);
    *response.headers_mut() = upstream::headers_down(&head.headers);
    response
}

/// What a long stream needs of its request's headers, copied: as they came they are parts of the
/// buffer that they were read into, and would keep all of it.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in [mirror::SESSION, mirror::VERSION] {
        let value =
            headers.get(&name).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let Some(value) = value {
            kept.insert(name, value);
        }
    }
    kept
}

/// One event stream on its way.
struct Stream {
    inspector: Inspector,
    body: Incoming,
    framer: Framer,
    sender: mpsc::Sender<Result<Bytes, Cut>>,
    idle: Option<Duration>,
    reader: bool,
    resumable: bool,
}

/// Why a stream ended.
enum End {
    /// The server closed it.
    Closed,
    /// The server's connection broke, or it was silent for too long.
    Broken,
    /// The server sent an event that is not passed on.
    Refused,
    /// The client went away, which in its revision means that it gives up.
    Abandoned,
    /// The gate shuts down.
    Draining,
}

impl Stream {
    async fn run(mut self, draining: watch::Receiver<bool>) {
        let end = self.pump(draining).await;
        match end {
            End::Abandoned => {
                if let Some(mut in_flight) = self.inspector.in_flight.take() {
                    in_flight.cancelled();
                }
                return;
            }
            End::Refused => self.inspector.server.rejected(UpstreamError::TooLarge),
            End::Broken => self.inspector.server.broke_off(),
            End::Closed | End::Draining => {}
        }
        self.last_word(matches!(end, End::Refused)).await;
        // A cut can overtake what was sent just before. So it is only for who still waits.
        let waits = self.reader && !self.inspector.answered;
        if !matches!(end, End::Closed | End::Draining) && waits {
            // Nobody is waiting who would mind.
            let _ = self.sender.send(Err(Cut)).await;
        }
    }

    /// Where the answer has not come: it may come on another stream, or never.
    async fn last_word(&mut self, refused: bool) {
        if self.inspector.answered {
            return;
        }
        let elsewhere = self.inspector.session.is_some() && self.inspector.asked.id.is_some();
        if self.resumable && !refused && elsewhere {
            return; // the session has the call that waits
        }
        let server = &self.inspector.server;
        let refusal = match refused {
            true => server.bad_answer("an event of it is longer than the limit"),
            false => Refusal::OutcomeUnknown(server.settings.name.to_string()),
        };
        if let Some(message) = self.inspector.broken_off(&refusal) {
            let mut event = b"event: message\ndata: ".to_vec();
            event.extend_from_slice(&message);
            event.extend_from_slice(b"\n\n");
            self.send(event.into()).await;
        }
    }

    async fn pump(&mut self, mut draining: watch::Receiver<bool>) -> End {
        let listens = self.inspector.asked.id.is_none();
        loop {
            let silence = self.patience();
            let frame = tokio::select! {
                biased;
                () = self.sender.closed(), if self.reader => {
                    if self.gives_up() {
                        return End::Abandoned;
                    }
                    self.reader = false;
                    continue;
                }
                _ = draining.wait_for(|draining| *draining), if listens => return End::Draining,
                frame = tokio::time::timeout(silence, self.body.frame()) => frame,
            };
            let data = match frame {
                Ok(None) => return self.rest().await,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
                Ok(Some(Err(_))) | Err(_) => return End::Broken,
            };
            self.framer.push(&data);
            loop {
                match self.framer.next() {
                    Ok(Some(event)) => self.pass(event).await,
                    Ok(None) => break,
                    Err(TooLong(_)) => return End::Refused,
                }
            }
        }
    }

    /// How long the server may be silent. Where nobody reads any more, nobody else would end it.
    fn patience(&self) -> Duration {
        match self.reader {
            true => self.idle.unwrap_or(Duration::MAX),
            false => self.idle.unwrap_or(self.inspector.server.settings.timeout),
        }
    }

    /// Whether a client that goes away means it. Up to 2025-11-25 it may come back; but who only
    /// listens is not owed anything.
    fn gives_up(&self) -> bool {
        self.inspector.asked.stateless || self.inspector.asked.id.is_none()
    }

    async fn rest(&mut self) -> End {
        let framer = std::mem::replace(&mut self.framer, Framer::new(0));
        // What stands behind the last blank line is no event (WHATWG HTML, 9.2.6).
        match framer.finish() {
            Ok((Some(event), _)) => {
                self.pass(event).await;
                End::Closed
            }
            Ok((None, _)) => End::Closed,
            Err(TooLong(_)) => End::Refused,
        }
    }

    async fn pass(&mut self, event: Event) {
        self.resumable |= event.id.is_some();
        // A comment, or a priming event with nothing in it, is for the transport.
        let Some(data) = event.data.as_ref().filter(|data| !data.is_empty()) else {
            return self.send(event.raw).await;
        };
        // Boxed, so that a silent stream does not keep room for a decision.
        match Box::pin(self.inspector.inspect(data)).await {
            Passage::AsIs => self.send(event.raw).await,
            Passage::Instead(data) => self.send(event.with_data(&data).raw).await,
            Passage::Dropped => {}
        }
    }

    async fn send(&mut self, bytes: Bytes) {
        if self.reader && self.sender.send(Ok(bytes)).await.is_err() {
            self.reader = false;
        }
    }
}

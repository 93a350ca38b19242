//! How does a client wait for people?
//!
//! As it can: by a task, by coming back with the gate's state, on an open stream, or with a ticket.
//! The hold itself does not depend on it. A client that goes away cancels nothing: the hold stays,
//! and whoever makes the same call finds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answer::Exchange;
use super::message::Message;
use super::post::{Post, Taken};
use super::seal::{Bound, Seal};
use super::session::{Expected, Session};
use super::{Front, OwnSession, mirror, refuse, ticket};
use crate::call::Agent;
use crate::front::body::{Body, Cut};
use crate::gate::desk::Seat;
use crate::gate::forward::InFlight;
use crate::gate::{Gate, Handled, Waiting, Waits, waits};
use crate::hold::{Hold, HoldId, State, Step};
use crate::json::Value;
use crate::refusal::{Refusal, Ticket};

/// How often an open stream says that it still waits.
const BEAT: Duration = Duration::from_secs(5);
/// Pieces of an answer that may wait for a slow reader.
const AHEAD: usize = 8;
/// What the gate's own states are bound to besides the call.
const STATE: &str = "countersign/hold";
const QUESTION: &str = "countersign/question";

/// In which way a client can wait.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// It knows tasks: of which revision.
    Task(ticket::Tasks),
    /// It comes back by itself with the state it is given; it did so often already.
    Rounds(u32),
    /// It listens as long as the stream is open; with this token it can be told of progress.
    Stream(Option<Value>),
    /// It waits for an answer, in silence.
    Silence,
}

impl Shape {
    /// What the client said of itself, and its server.
    pub(super) fn of(incoming: &Taken, method: &str, rounds: u32) -> Self {
        let meta = incoming.message.meta();
        if incoming.asked.stateless {
            let extensions = meta
                .and_then(|meta| meta.get(mirror::META_CAPABILITIES))
                .and_then(|capabilities| capabilities.get("extensions"));
            // The extension is in use where both declare it. What a server says of itself is not
            // ours to rewrite, so where it does not, its clients wait without.
            let tasks = incoming.server.offer.has_tasks()
                && extensions.is_some_and(|all| all.get(ticket::TASKS).is_some());
            return match method {
                "tools/call" if tasks => Self::Task(ticket::Tasks::Extension),
                "tools/call" | "prompts/get" | "resources/read" => Self::Rounds(rounds),
                _ => Self::Silence,
            };
        }
        if method == "tools/call"
            && incoming.message.params().is_some_and(|p| p.contains_key("task"))
        {
            return Self::Task(ticket::Tasks::Experimental);
        }
        let reads = |value: &HeaderValue| {
            value.to_str().is_ok_and(|accept| accept.contains("text/event-stream"))
        };
        if incoming.headers.get_all(ACCEPT).iter().any(reads) {
            return Self::Stream(meta.and_then(|meta| meta.get("progressToken")).cloned());
        }
        Self::Silence
    }
}

/// Answers a call that waits for people, in the way that its client can wait.
pub(super) async fn wait(
    exchange: Exchange,
    expected: Expected,
    waiting: Waiting<Post>,
    shape: Shape,
) -> Result<Response<Body>, Refusal> {
    if let Shape::Task(tasks) = shape {
        return Ok(ticket::response(&exchange.asked, ticket::task_created(tasks, &waiting.hold)));
    }
    let Ok(place) = exchange.front.streams.clone().try_acquire_owned() else {
        return Err(waits(&waiting.hold));
    };
    let seat = exchange.front.gate.desk().sit(waiting.hold.id);
    let waiter = exchange.front.waiting.add(&exchange, waiting.hold.id);
    let until = Instant::now() + seat.patience();
    let wait = Wait { exchange, expected, seat, until, _waiter: waiter };
    match shape {
        Shape::Stream(token) => {
            let (sender, out) = Body::stream(AHEAD);
            tokio::spawn(async move {
                wait.aloud(waiting, token, sender).await;
                drop(place);
            });
            Ok(events(out))
        }
        Shape::Rounds(rounds) => {
            let bound = wait.bound();
            match wait.quietly(waiting).await {
                Came::Answer(answer) => answer,
                Came::Nothing(hold, exchange) => {
                    let limit = exchange.front.gate.desk().settings().rounds;
                    if rounds + 1 >= limit {
                        return Err(waits(&hold));
                    }
                    let state = bound.seal(&exchange.front.seal, hold.id, rounds + 1);
                    let result = ticket::come_back(&hold, &state);
                    Ok(ticket::response(&exchange.asked, result))
                }
            }
        }
        Shape::Silence | Shape::Task(_) => match wait.quietly(waiting).await {
            Came::Answer(answer) => answer,
            Came::Nothing(hold, _) => Err(waits(&hold)),
        },
    }
}

/// What the gate's own state is bound to.
struct Round {
    agent: Arc<str>,
    server: Arc<str>,
    name: Arc<str>,
    arguments: Arc<[u8]>,
}

impl Round {
    fn seal(&self, seal: &Seal, hold: HoldId, round: u32) -> String {
        let bound = Bound {
            agent: &self.agent,
            server: &self.server,
            method: STATE,
            name: &self.name,
            arguments: &self.arguments,
        };
        seal.close(&format!("{hold}.{round}"), &bound)
    }
}

/// A client that comes back with a state that names a hold.
pub(super) struct Back {
    pub(super) hold: HoldId,
    pub(super) waits: Waits,
    /// How often it came.
    pub(super) rounds: u32,
}

/// What the gate's own state says; nothing, if it is another.
pub(super) fn round(seal: &Seal, state: &str, call: &Bound<'_>) -> Option<Back> {
    let opened = seal.open(state, &Bound { method: STATE, ..*call }).ok()?;
    let (hold, rounds) = opened.split_once('.')?;
    Some(Back { hold: hold.parse().ok()?, waits: Waits::Client, rounds: rounds.parse().ok()? })
}

/// The state of a tool that asks back about a signed call.
pub(super) fn seal_question(seal: &Seal, hold: HoldId, state: &str, call: &Bound<'_>) -> String {
    seal.close(&format!("{hold}.{state}"), &Bound { method: QUESTION, ..*call })
}

/// Such a state again, and the tool's own; nothing, if it is another.
pub(super) fn goes_on(seal: &Seal, state: &str, call: &Bound<'_>) -> Option<(Back, String)> {
    let opened = seal.open(state, &Bound { method: QUESTION, ..*call }).ok()?;
    let (hold, own) = opened.split_once('.')?;
    Some((Back { hold: hold.parse().ok()?, waits: Waits::GoesOn, rounds: 0 }, own.to_owned()))
}

/// Which requests wait for which holds, so that a client can take one back.
#[derive(Default, Clone)]
pub(super) struct Waiters(Arc<Mutex<HashMap<Request, HoldId>>>);

/// A request, by the agent, its session, and the id that it gave it.
type Request = (Arc<str>, Option<usize>, String);

/// One request that waits.
struct Waiter {
    all: Waiters,
    request: Request,
}

impl Waiters {
    fn add(&self, exchange: &Exchange, hold: HoldId) -> Option<Waiter> {
        let id = exchange.asked.id.as_ref()?;
        let request = request(&exchange.agent, exchange.session.as_ref(), id);
        self.lock().insert(request.clone(), hold);
        Some(Waiter { all: self.clone(), request })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Request, HoldId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.all.lock().remove(&self.request);
    }
}

fn request(agent: &Agent, session: Option<&Arc<Session>>, id: &Value) -> Request {
    // Sessions live as long as their waiting requests, so that no two have one address.
    let session = session.map(|session| Arc::as_ptr(session).addr());
    (Arc::clone(&agent.id), session, id.to_string())
}

impl Front {
    /// Takes a held call back, if that is what the client cancels and nothing runs yet.
    pub(super) async fn cancel_hold(
        &self,
        agent: &Agent,
        session: Option<&OwnSession>,
        message: &Message,
    ) -> bool {
        let Some(id) = message.params().and_then(|params| params.get("requestId")) else {
            return false;
        };
        let request = request(agent, session.map(|(_, session)| session), id);
        let Some(hold) = self.waiting.lock().get(&request).copied() else { return false };
        self.gate.desk().step(hold, Step::Cancel).await.is_ok()
    }
}

/// What came while a client waited.
enum Came {
    /// The call's answer, or why there is none.
    Answer(Result<Response<Body>, Refusal>),
    /// Nothing yet.
    Nothing(Box<Hold>, Box<Exchange>),
}

/// What the hold came to.
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; a box would cost each call"
)]
enum Next {
    Sent(Response<Incoming>, InFlight),
    Kept(Box<Hold>, Bytes),
    Refused(Refusal),
    /// Still nothing: the time is over, or the gate shuts down.
    Late(Box<Hold>),
}

/// One client that waits for one hold.
struct Wait {
    exchange: Exchange,
    expected: Expected,
    seat: Seat,
    until: Instant,
    _waiter: Option<Waiter>,
}

impl Wait {
    fn bound(&self) -> Round {
        let (name, arguments) = match &self.expected {
            Expected::Call(call) => (call.name.clone(), call.arguments.clone()),
            _ => ("".into(), [].into()),
        };
        Round {
            agent: self.exchange.agent.id.clone(),
            server: self.exchange.server.settings.name.clone(),
            name,
            arguments,
        }
    }

    /// Says nothing until there is something to say.
    async fn quietly(self, waiting: Waiting<Post>) -> Came {
        let next = Box::pin(self.next(waiting)).await;
        let Self { exchange, expected, seat, .. } = self;
        let answer = match next {
            Next::Late(hold) => return Came::Nothing(hold, Box::new(exchange)),
            Next::Sent(response, in_flight) => {
                Box::pin(exchange.answer(expected, response, in_flight, None)).await
            }
            Next::Kept(hold, answer) => Ok(ticket::kept(&exchange.asked, &hold, &answer)),
            Next::Refused(refusal) => Err(refusal),
        };
        drop(seat);
        Came::Answer(answer)
    }

    /// Waits for the hold, and makes the call again when that has an answer.
    async fn next(&self, mut waiting: Waiting<Post>) -> Next {
        let gate = &self.exchange.front.gate;
        let mut draining = self.exchange.front.draining.clone();
        loop {
            let seen = waiting.hold.state;
            let hold = tokio::select! {
                hold = self.seat.wait(seen, self.until) => hold,
                _ = draining.wait_for(|draining| *draining) => {
                    return Next::Late(Box::new(waiting.hold));
                }
            };
            let Ok(hold) = hold else { return Next::Late(Box::new(waiting.hold)) };
            if hold.state == seen {
                return Next::Late(Box::new(hold));
            }
            if matches!(hold.state, State::Pending | State::Executing) {
                waiting.hold = hold;
                continue;
            }
            match Box::pin(self.again(gate, waiting)).await {
                Ok(Handled::Sent(response, in_flight)) => return Next::Sent(response, in_flight),
                Ok(Handled::Kept(hold, answer)) => return Next::Kept(hold, answer),
                Ok(Handled::Held(still)) => waiting = *still,
                Err(refusal) => return Next::Refused(refusal),
            }
        }
    }

    async fn again(&self, gate: &Gate, waiting: Waiting<Post>) -> Result<Handled<Post>, Refusal> {
        // It may be sent now, so it takes a call's place, as soon as there is one.
        let places = Arc::clone(&self.exchange.front.calls);
        let place = tokio::time::timeout_at(self.until, places.acquire_owned()).await;
        let handled = gate.handle(waiting.again, waiting.carrier).await;
        drop(place);
        handled
    }

    /// Says now and then that it still waits, and then the answer.
    async fn aloud(
        self,
        waiting: Waiting<Post>,
        token: Option<Value>,
        sender: mpsc::Sender<Result<Bytes, Cut>>,
    ) {
        let first = waiting.hold.clone();
        let next = {
            let mut next = Box::pin(self.next(waiting));
            let mut beats = 0_u32;
            loop {
                if sender.send(Ok(beat(&first, token.as_ref(), beats))).await.is_err() {
                    return;
                }
                beats += 1;
                tokio::select! {
                    next = &mut next => break next,
                    // Nobody hears it any more; the hold stays.
                    () = sender.closed() => return,
                    () = tokio::time::sleep(BEAT) => {}
                }
            }
        };
        let Self { exchange, expected, seat, .. } = self;
        let asked = exchange.asked.clone();
        let answered = match next {
            Next::Sent(response, in_flight) => {
                Box::pin(exchange.answer(expected, response, in_flight, None)).await
            }
            Next::Kept(hold, answer) => Ok(ticket::kept(&asked, &hold, &answer)),
            // What the client took back has no answer.
            Next::Refused(Refusal::HoldOver { ticket, .. }) if ticket.state == State::Cancelled => {
                return;
            }
            Next::Refused(refusal) => Err(refusal),
            Next::Late(hold) => Err(waits(&hold)),
        };
        let response = answered.unwrap_or_else(|refusal| refuse::response(&refusal, &asked));
        pour(response, &sender).await;
        drop(seat);
    }
}

/// Puts a response into a stream that is open already.
async fn pour(response: Response<Body>, sender: &mpsc::Sender<Result<Bytes, Cut>>) {
    let is_stream = super::whole::is_event_stream(response.headers());
    let mut body = response.into_body();
    if is_stream {
        while let Some(frame) = body.frame().await {
            let piece = frame.map(|frame| frame.into_data().unwrap_or_default());
            if sender.send(piece).await.is_err() {
                // Read on: what comes is still to be looked at and put on record.
                while body.frame().await.is_some() {}
                return;
            }
        }
        return;
    }
    let Ok(whole) = body.collect().await else { return };
    let _ = sender.send(Ok(event(&whole.to_bytes()))).await;
}

fn event(message: &[u8]) -> Bytes {
    let mut event = b"event: message\ndata: ".to_vec();
    // JSON may hold line ends, which end a field here.
    event.extend(
        message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
    );
    event.extend_from_slice(b"\n\n");
    event.into()
}

fn beat(hold: &Hold, token: Option<&Value>, beats: u32) -> Bytes {
    let Some(token) = token else { return Bytes::from_static(b": waiting for a signature\n\n") };
    let progress = json!({
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {
            "progressToken": token,
            "progress": beats,
            "message": format!("held as {}: {}", hold.id, Ticket::of(hold).who()),
        },
    });
    event(progress.to_string().as_bytes())
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

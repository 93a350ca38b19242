//! One message comes in: what is it, and what becomes of it?

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Exchange, ExpectedCall};
use super::arrival::Sending;
use super::held::{self, Shape};
use super::message::{Kind, Message};
use super::methods::{self, Fate, Method as Row, Spoken};
use super::refuse::Asked;
use super::session::{Expected, Session, Waiting};
use super::upstream::Server;
use super::{Context, Front, mirror, relay, ticket, whole};
use crate::call::{Agent, Call};
use crate::front::body::Body;
use crate::front::outlive::Outliving;
use crate::gate::forward::{Carrier, InFlight};
use crate::gate::{Arrival, Handled};
use crate::json::{Fault, FaultKind, Map, Value};
use crate::metrics::Step;
use crate::refusal::Refusal;
use crate::telemetry::{CallSpan, Subject, TraceContext};

/// A message that is read, with all that its way needs.
pub(super) struct Taken {
    pub(super) message: Message,
    pub(super) headers: HeaderMap,
    pub(super) agent: Arc<Agent>,
    pub(super) server: Arc<Server>,
    pub(super) session: Option<(Arc<str>, Arc<Session>)>,
    pub(super) asked: Asked,
    pub(super) trace: TraceContext,
}

impl Front {
    /// Takes one message in.
    pub(super) async fn post(
        self: &Arc<Self>,
        head: &Parts,
        body: Incoming,
        agent: Arc<Agent>,
        server: Arc<Server>,
        context: &mut Context,
    ) -> Result<Response<Body>, Refusal> {
        check_media(&head.headers)?;
        let body = self.read(body).await?;
        let began = std::time::Instant::now();
        let message = Message::parse(&body, &self.limits.message)?;
        drop(body);
        self.metrics.step(Step::Parse, began.elapsed());
        let row = self.introduce(head, &message, &server, context)?;
        let session = self.session_of(head, &server, &agent)?;
        if let Some(row) = row
            && let Some(id) = ticket::named(row.name, &message)
        {
            let asker = ticket::Asker { agent: &agent, server: &server, asked: &context.asked };
            return self.task_of_hold(row.name, id, asker).await;
        }
        if message.method() == "notifications/cancelled"
            && self.cancel_hold(&agent, session.as_ref(), &message).await
        {
            return Ok(ticket::accepted());
        }
        let outer = TraceContext::from_headers(&head.headers);
        let inner = message.meta().map(TraceContext::from_meta).unwrap_or_default();
        let mut headers = server.headers(&head.headers);
        if session.is_none() {
            headers.remove(mirror::SESSION);
        }
        outer.clone().or(inner.clone()).apply(&mut headers);
        let trace = inner.or(outer);
        let asked = context.asked.clone();
        let incoming = Taken { message, headers, agent, server, session, asked, trace };
        // A subscription only listens, for as long as it likes: it must not take a call's place.
        let (places, what) = match row {
            Some(Row { name: "subscriptions/listen", .. }) => (&self.streams, "streams"),
            _ => (&self.calls, "calls"),
        };
        let Ok(slot) = Arc::clone(places).try_acquire_owned() else {
            self.metrics.shed();
            return Err(Refusal::Overloaded(what));
        };
        match row {
            Some(row) if row.fate == Fate::Decide => {
                let id = uuid::Uuid::now_v7();
                let arrival = self.arrival(id, row, incoming, &head.headers).await?;
                context.asked.decision = Some(id);
                let front = Arc::clone(self);
                let stateless = context.asked.stateless;
                done(stateless, front.call(arrival, id, slot)).await
            }
            _ => {
                let front = Arc::clone(self);
                let stateless = context.asked.stateless;
                done(stateless, front.pass(incoming, slot)).await
            }
        }
    }

    async fn read(&self, mut body: Incoming) -> Result<Bytes, Refusal> {
        let limit = self.limits.message.bytes;
        let too_long = || Refusal::Json(Fault { kind: FaultKind::Size, at: limit });
        if body.size_hint().lower() > limit as u64 {
            return Err(too_long());
        }
        let read = async {
            let mut whole = bytes::BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Refusal::Envelope("the body broke off"))?;
                let Ok(data) = frame.into_data() else { continue };
                if whole.len() + data.len() > limit {
                    return Err(too_long());
                }
                if whole.is_empty() && body.is_end_stream() {
                    return Ok(data);
                }
                whole.extend_from_slice(&data);
            }
            Ok(whole.freeze())
        };
        tokio::time::timeout(self.limits.body_timeout, read).await.map_err(|_| Refusal::Slow)?
    }

    /// Finds the method's row, and holds headers and body together.
    fn introduce(
        &self,
        head: &Parts,
        message: &Message,
        server: &Server,
        context: &mut Context,
    ) -> Result<Option<&'static Row>, Refusal> {
        let asked = &mut context.asked;
        asked.id = message.id().filter(|_| message.kind() == Kind::Request).cloned();
        asked.tool = message.method() == "tools/call";
        // Before anything is refused: how a refusal looks depends on it.
        asked.stateless = head
            .headers
            .get(mirror::VERSION)
            .and_then(|version| version.to_str().ok())
            .is_some_and(|version| (mirror::STATELESS.."3").contains(&version));
        let row = match message.kind() {
            Kind::Request => Some(methods::request(message.method())),
            Kind::Notification => Some(methods::notification(message.method())),
            Kind::Response => None,
        };
        context.method = row.flatten().map(|row| row.name);
        // Clients find out by it what to speak: it is the server's alone to answer.
        if message.method() == "server/discover" {
            let row = row.flatten().ok_or(Refusal::UnknownMethod)?;
            // But whoever routes by header must not take it for something else.
            mirror::standard(&head.headers, message, Some(row), false)?;
            return Ok(Some(row));
        }
        let revision = mirror::revision(&head.headers, message, &server.settings.minimum)?;
        context.asked.stateless = revision.is_some_and(|revision| revision >= mirror::STATELESS);
        let row = match row {
            None if context.asked.stateless => {
                return Err(Refusal::Envelope("this revision has no answers from clients"));
            }
            None => {
                mirror::standard(&head.headers, message, None, false)?;
                return Ok(None);
            }
            Some(row) => row.ok_or(Refusal::UnknownMethod)?,
        };
        if context.asked.stateless {
            spoken(row, message)?;
        }
        mirror::standard(&head.headers, message, Some(row), context.asked.stateless)?;
        Ok(Some(row))
    }

    /// Lets a message through that is not a call.
    async fn pass(
        self: Arc<Self>,
        incoming: Taken,
        slot: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Refusal> {
        let Taken { message, headers, agent, server, session, asked, .. } = incoming;
        let expected = match message.method() {
            "initialize" => Expected::Initialize,
            "tools/list" => Expected::Tools,
            _ => Expected::Anything,
        };
        if expected == Expected::Initialize {
            self.sessions.room(&agent.id)?;
        }
        if let (Some((_, session)), Some(id)) = (&session, &asked.id) {
            session.expect(id, expected.clone());
        }
        let exchange = Exchange {
            front: Arc::clone(&self),
            server: Arc::clone(&server),
            agent,
            session: session.map(|(_, session)| session),
            headers: headers.clone(),
            asked,
        };
        let response = server.send(Method::POST, headers, message.to_bytes().into()).await?;
        let inspector = exchange.inspector(expected, Waiting::default());
        relay::relay(inspector, response, Some(slot)).await
    }

    /// Brings a call to the gate, and its answer back.
    async fn call(
        self: Arc<Self>,
        (arrival, sending): (Arrival, Sending),
        id: uuid::Uuid,
        slot: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Refusal> {
        let running = self.metrics.call_began();
        let Sending { incoming, expected, rounds } = sending;
        let shape = Shape::of(&incoming, arrival.method, rounds);
        let Taken { message, headers, agent, server, session, mut asked, trace } = incoming;
        asked.decision = Some(id);
        let expected = Expected::Call(expected);
        if let (Some((_, session)), Some(id)) = (&session, &asked.id) {
            session.expect(id, expected.clone());
        }
        let exchange = Exchange {
            front: Arc::clone(&self),
            server: Arc::clone(&server),
            agent,
            session: session.map(|(_, session)| session),
            headers: headers.clone(),
            asked,
        };
        let carrier = Post { server, message, headers, trace, expected: expected.clone() };
        let answered = match self.gate.handle(arrival, carrier).await? {
            Handled::Sent(response, in_flight) => {
                exchange.answer(expected, response, in_flight, Some(slot)).await
            }
            Handled::Kept(hold, answer) => Ok(ticket::kept(&exchange.asked, &hold, &answer)),
            Handled::Held(waiting) => {
                // Who waits for people takes no place of those who do not.
                drop((slot, running));
                // Boxed, so that calls which do not wait have no room for it.
                return Box::pin(held::wait(exchange, expected, *waiting, shape)).await;
            }
        };
        drop(running);
        answered
    }
}

impl Exchange {
    /// Brings a call's answer back.
    pub(super) async fn answer(
        self,
        expected: Expected,
        response: Response<Incoming>,
        in_flight: InFlight,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<Body>, Refusal> {
        let in_flight = Waiting::of(in_flight);
        if let (Some(session), Some(id)) = (&self.session, &self.asked.id) {
            session.waits(id, in_flight.clone());
        }
        relay::relay(self.inspector(expected, in_flight), response, slot).await
    }
}

/// Sends a call as one POST.
pub(super) struct Post {
    pub(super) server: Arc<Server>,
    pub(super) message: Message,
    pub(super) headers: HeaderMap,
    pub(super) trace: TraceContext,
    pub(super) expected: Expected,
}

/// What spans say of a message, whichever way it goes.
pub(super) fn subject<'a>(
    method: &'a str,
    tool: Option<&'a str>,
    message: &'a Message,
    headers: &'a HeaderMap,
) -> Subject<'a> {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Subject {
        method,
        tool,
        request_id: message.id(),
        session: said(&mirror::SESSION),
        protocol_version: said(&mirror::VERSION),
        ..Subject::default()
    }
}

impl Carrier for Post {
    type Answer = Response<Incoming>;

    fn beside(&self) -> Map<String, Value> {
        let mut meta = self.message.meta().cloned().unwrap_or_default();
        // The progress token and the protocol's own words belong to this exchange.
        meta.retain(|key, _| {
            key != "progressToken" && !key.starts_with("io.modelcontextprotocol/")
        });
        meta
    }

    fn span(&self, call: &CallSpan) -> CallSpan {
        let Expected::Call(ExpectedCall { method, name, definition, .. }) = &self.expected else {
            return CallSpan::default();
        };
        let tool = (*method == "tools/call" && definition.is_some()).then_some(&**name);
        let settings = &self.server.settings;
        let subject = Subject {
            server: &settings.name,
            ..subject(method, tool, &self.message, &self.headers)
        };
        let uri = &settings.uri;
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual);
        call.upstream(&subject, uri.host().unwrap_or_default(), port)
    }

    async fn carry(mut self, call: Call, span: &CallSpan) -> Result<Response<Incoming>, Refusal> {
        if span.is_traced() {
            let onward = span.onward(&self.trace);
            onward.apply(&mut self.headers);
            let meta = self.message.params_mut().and_then(|params| params.get_mut("_meta"));
            if let Some(Value::Object(meta)) = meta {
                onward.apply_meta(meta);
            }
        }
        if let Expected::Call(ExpectedCall { definition: Some(definition), .. }) = &self.expected
            && call.method == "tools/call"
            && self.headers.contains_key(mirror::METHOD)
        {
            // Defaults may have been filled in: the headers say what the body says now.
            for (name, value) in mirror::mirrored(&definition.header_params, &call.arguments)? {
                self.headers.insert(name, value);
            }
        }
        if call.method == "tools/call"
            && let Some(params) = self.message.params_mut()
        {
            params.insert("arguments".to_owned(), call.arguments);
        }
        self.server.send(Method::POST, self.headers, self.message.to_bytes().into()).await
    }
}

/// Does the work to its end, also when the client hangs up. In the stateless revisions a hang-up
/// is a cancel, which ends the work wherever it is.
async fn done<F>(stateless: bool, work: F) -> Result<Response<Body>, Refusal>
where
    F: Future<Output = Result<Response<Body>, Refusal>> + Send + 'static,
{
    Outliving::new(work, stateless).await.unwrap_or(Err(Refusal::Internal))
}

/// Whether the stateless revisions have the method, for this client.
fn spoken(row: &Row, message: &Message) -> Result<(), Refusal> {
    const TASKS: &str = "io.modelcontextprotocol/tasks";
    match row.spoken {
        Spoken::Ever => Ok(()),
        Spoken::WithSessions => Err(Refusal::UnknownMethod),
        Spoken::WithTasks => {
            let declared = message.meta().and_then(|meta| {
                meta.get(mirror::META_CAPABILITIES)?.get("extensions")?.get(TASKS)
            });
            declared.map(|_| ()).ok_or(Refusal::MissingCapability(TASKS))
        }
    }
}

fn check_media(headers: &HeaderMap) -> Result<(), Refusal> {
    let one = headers.get_all(CONTENT_TYPE).iter().count() == 1;
    if !one || !whole::is_json(headers) {
        return Err(Refusal::Media);
    }
    if whole::is_encoded(headers) { Err(Refusal::Media) } else { Ok(()) }
}

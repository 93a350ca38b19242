//! Who makes a call that nobody waits for?
//!
//! The gate, as a client of its own: a signed call whose agent has gone, and what reviewers want to
//! see beforehand. Each passes the gate like any other; the answer of a signed one is kept.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use super::answer::{Exchange, ExpectedCall};
use super::message::FromServer;
use super::refuse::Asked;
use super::session::Expected;
use super::sse::Framer;
use super::upstream::Server;
use super::{Front, ask, by_task, methods, mirror, whole};
use crate::call::{Agent, Call, Claimed, Door, Tier};
use crate::front::body::Body;
use crate::gate::desk::{Hand, Soon};
use crate::gate::forward::Carrier;
use crate::gate::{Arrival, Handled, Offered, Target, Waits};
use crate::hold::{Ask, HoldId, State};
use crate::json::{self, Map, Value};
use crate::refusal::Refusal;
use crate::telemetry::{CallSpan, Subject, TraceContext};

/// What the gate calls itself where it reads for reviewers.
const SELF: &str = "countersign";
/// The id of the only request of an exchange.
const ID: u64 = 1;

/// Sends a call without its client.
struct Alone {
    server: Arc<Server>,
    meta: Map<String, Value>,
    expected: ExpectedCall,
}

/// What came back, and how it was said.
struct Said {
    response: Response<Incoming>,
    stateless: bool,
    dialect: ask::Dialect,
}

impl Carrier for Alone {
    type Answer = Said;

    async fn carry(self, call: Call, _: &CallSpan) -> Result<Said, Refusal> {
        let name = self.server.settings.name.to_string();
        // Nothing of the call is said before this.
        let dialect = ask::dialect(&self.server).await.map_err(|error| {
            tracing::warn!(server.name = name, error, "a signed call cannot be sent now");
            Refusal::Unreachable(name)
        })?;
        let mut headers = dialect.headers(call.method);
        let stateless = matches!(dialect, ask::Dialect::Stateless);
        if stateless {
            if let Ok(name) = HeaderValue::from_str(&mirror::encode(&self.expected.name)) {
                headers.insert(mirror::NAME, name);
            }
            if let Some(definition) = &self.expected.definition {
                for (name, value) in mirror::mirrored(&definition.header_params, &call.arguments)? {
                    headers.insert(name, value);
                }
            }
        }
        let mut meta = self.meta;
        meta.extend(dialect.meta());
        let params = if call.method == "tools/call" {
            json!({"name": &*call.tool, "arguments": call.arguments, "_meta": meta})
        } else {
            let mut params = call.arguments;
            if let Value::Object(params) = &mut params {
                params.insert("_meta".to_owned(), meta.into());
            }
            params
        };
        let as_task =
            !stateless && self.expected.definition.as_deref().is_some_and(by_task::is_required);
        let response = if as_task {
            by_task::call(&self.server, &dialect, params, ID).await?
        } else {
            let message =
                json!({"jsonrpc": "2.0", "id": ID, "method": call.method, "params": params});
            self.server.send(http::Method::POST, headers, message.to_string().into()).await?
        };
        Ok(Said { response, stateless, dialect })
    }
}

/// A call to make.
struct Errand {
    agent: Arc<Agent>,
    method: &'static str,
    tool: Arc<str>,
    arguments: Value,
    claimed: Claimed,
    meta: Map<String, Value>,
    hold: Option<HoldId>,
    waits: Waits,
}

impl Errand {
    fn of(ask: &Ask, hold: Option<HoldId>) -> Option<Self> {
        Some(Self {
            agent: Arc::new(ask.agent.clone()),
            method: methods::request(&ask.method)?.name,
            tool: Arc::from(ask.tool.as_str()),
            arguments: ask.arguments.clone(),
            claimed: ask.claimed.clone(),
            meta: ask.meta.clone(),
            hold,
            waits: Waits::Gate,
        })
    }
}

impl Front {
    /// Makes a call, and brings its answer's message; nothing, where it waits or was made before.
    async fn run(self: &Arc<Self>, server: &str, errand: Errand) -> Result<Option<Value>, Refusal> {
        let server = Arc::clone(self.servers.get(server).ok_or(Refusal::NotFound)?);
        let offered = offered(&server, &errand).await;
        let name = named(errand.method, &errand);
        let expected = ExpectedCall {
            method: errand.method,
            name,
            definition: offered.as_ref().map(|offered| Arc::clone(&offered.definition)),
            arguments: json::canonical(&errand.arguments).into(),
        };
        let agent = Arc::clone(&errand.agent);
        let carrier = Alone {
            server: Arc::clone(&server),
            meta: errand.meta.clone(),
            expected: expected.clone(),
        };
        let arrival = arrival(errand, &server, offered);
        let Handled::Sent(said, in_flight) = Box::pin(self.gate.handle(arrival, carrier)).await?
        else {
            return Ok(None);
        };
        let Said { response, stateless, dialect } = said;
        let exchange = Exchange {
            front: Arc::clone(self),
            server: Arc::clone(&server),
            agent,
            session: None,
            headers: dialect.headers("tools/call"),
            asked: Asked {
                id: Some(ID.into()),
                tool: expected.method == "tools/call",
                stateless,
                decision: in_flight.id(),
            },
        };
        let answered =
            Box::pin(exchange.answer(Expected::Call(expected), response, in_flight, None)).await;
        let answer = match answered {
            Ok(response) => self.read_answer(response).await,
            Err(refusal) => Err(refusal),
        };
        dialect.end(&server).await;
        answer.map(Some)
    }

    /// Reads to the end, so that all is looked at; the answer is what has our id.
    async fn read_answer(&self, response: Response<Body>) -> Result<Value, Refusal> {
        let mut framer = whole::is_event_stream(response.headers())
            .then(|| Framer::new(self.answer_limits.bytes));
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        let mut answer = None;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let Some(framer) = &mut framer else {
                bytes.extend_from_slice(&data);
                continue;
            };
            framer.push(&data);
            while let Ok(Some(event)) = framer.next() {
                let ours = |data: &bytes::Bytes| {
                    FromServer::read(data).is_ok_and(|message| message.answers(&ID.into()))
                };
                answer = event.data.filter(ours).map(|data| data.to_vec()).or(answer);
            }
        }
        let text = answer.unwrap_or(bytes);
        json::parse(&text, &self.answer_limits).map_err(Refusal::from)
    }
}

async fn offered(server: &Arc<Server>, errand: &Errand) -> Option<Offered> {
    match errand.method {
        "tools/call" => server.offer.look_up(server, &errand.tool).await,
        _ => None,
    }
}

fn arrival(errand: Errand, server: &Arc<Server>, offered: Option<Offered>) -> Arrival {
    let server = Arc::clone(&server.settings.name);
    let caller = TraceContext::default();
    let subject = Subject {
        method: errand.method,
        tool: (errand.method == "tools/call").then_some(&*errand.tool),
        agent: &errand.agent.id,
        server: &server,
        ..Subject::default()
    };
    let span = CallSpan::open(&subject, &caller);
    let target = match (errand.method, offered) {
        ("tools/call", Some(offered)) => Target::Tool(offered),
        ("tools/call", None) => Target::UnknownTool,
        _ => Target::Method,
    };
    Arrival {
        id: uuid::Uuid::now_v7(),
        door: Door::Mcp,
        agent: errand.agent,
        server: Arc::clone(&server),
        method: errand.method,
        tool: errand.tool,
        target,
        arguments: errand.arguments,
        claimed: errand.claimed,
        session: None,
        trace: span.trace_id(&caller),
        span,
        received_at: SystemTime::now(),
        hold: errand.hold,
        waits: errand.waits,
    }
}

/// What `Mcp-Name` says of it.
fn named(method: &str, errand: &Errand) -> Arc<str> {
    let field = methods::request(method).and_then(|row| row.named_by);
    match (method, field) {
        ("tools/call", _) | (_, None) => Arc::clone(&errand.tool),
        (_, Some(field)) => {
            Arc::from(errand.arguments.get(field).and_then(Value::as_str).unwrap_or_default())
        }
    }
}

/// The front end, as the gate's own hand.
pub struct Own(pub Arc<Front>);

impl Hand for Own {
    fn arrival<'a>(&'a self, ask: &'a Ask) -> Soon<'a, Result<Arrival, Refusal>> {
        Box::pin(async move {
            let server = Arc::clone(self.0.servers.get(&*ask.server).ok_or(Refusal::NotFound)?);
            let errand = Errand::of(ask, None).ok_or(Refusal::UnknownMethod)?;
            let offered = offered(&server, &errand).await;
            Ok(arrival(errand, &server, offered))
        })
    }

    fn make(&self, id: HoldId) -> Soon<'_, ()> {
        Box::pin(async move {
            let Ok(hold) = self.0.gate.desk().hold(id).await else { return };
            if hold.state != State::Approved || !hold.in_window(crate::time::At::now()) {
                return;
            }
            let Some(errand) = Errand::of(&hold.ask, Some(id)) else { return };
            if let Err(refusal) = self.0.run(&hold.ask.server, errand).await {
                tracing::info!(hold.id = %id, code = refusal.code(), "a signed call came to nothing: {refusal}");
            }
        })
    }

    fn read<'a>(
        &'a self,
        server: &'a str,
        tool: &'a str,
        arguments: Value,
    ) -> Soon<'a, Result<Value, Refusal>> {
        Box::pin(async move {
            let class = self.0.gate.snapshot().classifier.classify(server, tool);
            if class.tier != Tier::Low {
                return Err(Refusal::Parameters {
                    method: "tools/call",
                    reason: "only a tool of tier `low` is read for reviewers".to_owned(),
                });
            }
            let agent = Agent { id: Arc::from(SELF), groups: Vec::new(), claims: Map::new() };
            let errand = Errand {
                agent: Arc::new(agent),
                method: "tools/call",
                tool: Arc::from(tool),
                arguments,
                claimed: Claimed::default(),
                meta: Map::new(),
                hold: None,
                waits: Waits::Never,
            };
            let message = self.0.run(server, errand).await?.ok_or(Refusal::Internal)?;
            message.get("result").cloned().ok_or(Refusal::Internal)
        })
    }
}

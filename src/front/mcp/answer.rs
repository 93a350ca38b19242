//! What may pass of what a server says?
//!
//! Each message of a server is looked at before the client sees it: answers by what was asked,
//! questions by policy, notifications for what they tell the gate. What passes untouched is the
//! server's own bytes.

mod result;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::message::FromServer;
use super::refuse::{self, Asked};
use super::seal::Bound;
use super::session::{Expected, Session, Waiting};
use super::task::Task;
use super::upstream::Server;
use super::{Front, question};
use super::{edited, held, list};
use crate::call::Agent;
use crate::gate::forward::{InFlight, ResultShape, check};
use crate::hold::HoldId;
use crate::metrics::UpstreamError;
use crate::refusal::Refusal;

pub use result::ExpectedCall;
pub(super) use result::{CallResult, Members};
use result::{kept, replace};

/// What becomes of one message.
#[derive(Debug)]
pub enum Passage {
    /// It goes on as it is.
    AsIs,
    /// This goes on in its place.
    Instead(Vec<u8>),
    /// The client does not see it.
    Dropped,
}

/// Looks at the messages of one exchange, or of one GET stream.
pub struct Inspector {
    /// Where it happens.
    pub front: Arc<Front>,
    /// Who speaks.
    pub server: Arc<Server>,
    /// Who hears.
    pub agent: Arc<Agent>,
    /// Their session, where there is one.
    pub session: Option<Arc<Session>>,
    /// The client's headers, which name session and revision.
    pub session_headers: HeaderMap,
    /// What was asked; no id on a GET stream.
    pub asked: Asked,
    /// What the answer is held to.
    pub expected: Expected,
    /// The call that is answered.
    pub in_flight: Waiting,
    /// Whether the answer has been seen.
    pub answered: bool,
}

/// One exchange of a client with a server: who, where, and what was asked.
#[derive(Clone)]
pub struct Exchange {
    /// Where it happens.
    pub front: Arc<Front>,
    /// Who speaks.
    pub server: Arc<Server>,
    /// Who hears.
    pub agent: Arc<Agent>,
    /// Their session, where there is one.
    pub session: Option<Arc<Session>>,
    /// The client's headers, which name session and revision.
    pub headers: HeaderMap,
    /// What was asked; no id on a GET stream.
    pub asked: Asked,
}

impl Exchange {
    /// Looks at what the server says in it.
    pub fn inspector(self, expected: Expected, in_flight: Waiting) -> Inspector {
        let Self { front, server, agent, session, headers, asked } = self;
        Inspector {
            front,
            server,
            agent,
            session,
            session_headers: headers,
            asked,
            expected,
            in_flight,
            answered: false,
        }
    }
}

impl Inspector {
    /// What becomes of a message.
    pub async fn inspect(&mut self, bytes: &Bytes) -> Passage {
        let Ok(message) = FromServer::read(bytes) else {
            self.server.rejected(UpstreamError::Protocol);
            return self.refuse_answer("a message of it is not JSON-RPC");
        };
        match (&message.method, message.id) {
            (Some(method), Some(_)) => question::asked(self, method, &message).await,
            (Some(method), None) => self.notified(method, &message),
            (None, _) => self.answer(&message, bytes).await,
        }
    }

    fn notified(&self, method: &str, message: &FromServer<'_>) -> Passage {
        if method == "notifications/tools/list_changed" {
            let server = Arc::clone(&self.server);
            tokio::spawn(async move { server.offer.changed(&server).await });
        }
        let told = match method {
            "notifications/tasks" | "notifications/tasks/status" => self.may_hear_of(message),
            _ => method.starts_with("notifications/"),
        };
        if told { Passage::AsIs } else { Passage::Dropped }
    }

    pub(super) fn structured(
        &self,
        result: &CallResult<'_>,
        wanted: bool,
    ) -> Result<Option<crate::json::Value>, Refusal> {
        let (true, Some(raw)) = (wanted, result.structured) else { return Ok(None) };
        crate::json::parse(raw.get().as_bytes(), &self.front.answer_limits)
            .map(Some)
            .map_err(|fault| self.server.bad_answer(&format!("`structuredContent`: {fault}")))
    }

    async fn answer(&mut self, message: &FromServer<'_>, bytes: &Bytes) -> Passage {
        let ours = self.asked.id.as_ref().is_some_and(|id| message.answers(id));
        // A server that could not read the request answers without an id.
        let ours = ours || (self.asked.id.is_some() && message.id.is_none());
        if ours {
            self.answered = true;
            let expected = self.expected.clone();
            let in_flight = self.in_flight.take();
            return self.hold_to(&expected, in_flight, message, bytes).await;
        }
        let Some(session) = self.session.clone() else { return Passage::Dropped };
        let Some(id) = message.id.map(|id| id.get().to_owned()) else { return Passage::Dropped };
        match session.expected(&id) {
            Some((expected, in_flight)) => self.hold_to(&expected, in_flight, message, bytes).await,
            None => {
                tracing::warn!(server.name = %self.server.settings.name, "an answer to nothing that was asked is dropped");
                Passage::Dropped
            }
        }
    }

    /// Holds an answer to what was asked.
    async fn hold_to(
        &self,
        expected: &Expected,
        in_flight: Option<InFlight>,
        message: &FromServer<'_>,
        bytes: &Bytes,
    ) -> Passage {
        let held = match expected {
            Expected::Anything => Ok(Passage::AsIs),
            Expected::Initialize => self.initialized(message).map(|()| Passage::AsIs),
            Expected::Tools if message.result.is_some() => {
                list::filter(&self.front.gate, &self.server, &self.agent, bytes)
                    .await
                    .map(Passage::Instead)
                    .map_err(|_| self.server.bad_answer("its list of tools cannot be read"))
            }
            Expected::Tools => Ok(Passage::AsIs),
            Expected::Call(call) => self.call_result(call, in_flight, message, bytes).await,
        };
        match held {
            Ok(passage) => passage,
            Err(refusal) => {
                self.server.rejected(UpstreamError::Schema);
                let mut asked = self.asked.clone();
                // On a GET stream the answer belongs to a request made elsewhere.
                asked.id = message.id.and_then(|id| serde_json::from_str(id.get()).ok());
                asked.tool =
                    matches!(expected, Expected::Call(call) if call.method == "tools/call");
                Passage::Instead(
                    serde_json::to_vec(&refuse::message(&refusal, &asked)).unwrap_or_default(),
                )
            }
        }
    }

    fn initialized(&self, message: &FromServer<'_>) -> Result<(), Refusal> {
        #[derive(Deserialize)]
        struct Initialized<'a> {
            #[serde(borrow, rename = "protocolVersion", default)]
            version: Cow<'a, str>,
        }
        let Some(result) = message.result else { return Ok(()) };
        let result: Initialized<'_> = serde_json::from_str(result.get())
            .map_err(|_| self.server.bad_answer("its `initialize` result cannot be read"))?;
        if *result.version < *self.server.settings.minimum {
            return Err(self
                .server
                .bad_answer("it speaks a revision below the configured minimum"));
        }
        Ok(())
    }

    async fn call_result(
        &self,
        call: &ExpectedCall,
        in_flight: Option<InFlight>,
        message: &FromServer<'_>,
        bytes: &Bytes,
    ) -> Result<Passage, Refusal> {
        let mut in_flight = in_flight;
        let outcome = self.weigh(call, &mut in_flight, message, bytes).await;
        if let (Err(refusal), Some(in_flight)) = (&outcome, &mut in_flight) {
            in_flight.refused(refusal);
        }
        outcome
    }

    async fn weigh(
        &self,
        call: &ExpectedCall,
        in_flight: &mut Option<InFlight>,
        message: &FromServer<'_>,
        bytes: &Bytes,
    ) -> Result<Passage, Refusal> {
        let length = bytes.len() as u64;
        let Some(raw) = message.result else {
            if let Some(in_flight) = in_flight {
                in_flight.errored(message.error_code(), length);
                in_flight.keep(true, || kept("error", message.error)).await;
            }
            return Ok(Passage::AsIs);
        };
        let result: CallResult<'_> = serde_json::from_str(raw.get())
            .map_err(|_| self.server.bad_answer("its result cannot be read"))?;
        let hold = in_flight.as_ref().and_then(InFlight::hold).map(|hold| hold.id);
        let mut instead = self.handles(call, hold, raw, &result).await?;
        let shape = self.shape(call, &result, length)?;
        match in_flight {
            Some(in_flight) => {
                in_flight.complete(&self.server.settings.name, &shape)?;
                self.keep(in_flight, &result, raw, &mut instead).await?;
            }
            // Replayed on another stream: the record is closed, the check is not waived.
            None => {
                if let (Some(definition), true) = (&call.definition, shape.is_final) {
                    check(&self.server.settings.name, definition, &shape)?;
                }
            }
        }
        match instead {
            None => Ok(Passage::AsIs),
            Some(members) => replace(bytes, &members)
                .map(Passage::Instead)
                .map_err(|_| self.server.bad_answer("its result cannot be read")),
        }
    }

    /// Keeps the result of a signed call, for whoever collects it.
    async fn keep(
        &self,
        in_flight: &mut InFlight,
        result: &CallResult<'_>,
        raw: &RawValue,
        instead: &mut Option<Members>,
    ) -> Result<(), Refusal> {
        let Some(hold) = in_flight.hold() else { return Ok(()) };
        let unreadable = |_| self.server.bad_answer("its result cannot be read");
        if let Some(edit) = &hold.edited {
            let mut members = match instead.take() {
                Some(members) => members,
                None => serde_json::from_str(raw.get()).map_err(unreadable)?,
            };
            edited::tell(&mut members, hold, edit).map_err(unreadable)?;
            *instead = Some(members);
        }
        if result.asks_back() {
            // It is not over: the client goes on with it.
            in_flight.pause();
            return Ok(());
        }
        let replaced = instead.as_ref().map(to_raw_value).transpose().map_err(unreadable)?;
        let is_error = result.is_error.unwrap_or(false);
        in_flight.keep(is_error, || kept("result", Some(replaced.as_deref().unwrap_or(raw)))).await;
        Ok(())
    }

    fn shape(
        &self,
        call: &ExpectedCall,
        result: &CallResult<'_>,
        bytes: u64,
    ) -> Result<ResultShape, Refusal> {
        // A client of an older revision reads past these words, and takes what it promises for it.
        let later = matches!(result.result_type.as_deref(), Some("task" | "input_required"))
            || result.task.as_ref().is_some_and(|task| task.id.is_some());
        let is_final = matches!(call.method, "tools/call" | "tasks/result")
            && (!later || result.structured.is_some());
        let wants = is_final && call.definition.as_ref().is_some_and(|d| d.promises_structure());
        let structured = self.structured(result, wants)?;
        let is_error = result.is_error.unwrap_or(false);
        Ok(ResultShape { is_error, is_final, structured, bytes })
    }

    /// Ties what the result hands out to this agent: tasks, states, and questions to the client.
    async fn handles(
        &self,
        call: &ExpectedCall,
        hold: Option<HoldId>,
        raw: &RawValue,
        result: &CallResult<'_>,
    ) -> Result<Option<Members>, Refusal> {
        let unreadable = || self.server.bad_answer("its result cannot be read");
        for task in [result.task_id.as_deref(), result.task.as_ref().and_then(|t| t.id.as_deref())]
        {
            if let (Some(task), "tools/call") = (task, call.method) {
                let name = &self.server.settings.name;
                self.front.tasks.claim(name, task, &self.agent.id, call.definition.clone())?;
            }
        }
        let mut instead: Option<Members> = None;
        // Of a signed call a question has to be known again, whether the tool needs a state or not.
        let asks_back = hold.is_some() && result.asks_back();
        let state = result.request_state.as_deref().or(asks_back.then_some(""));
        if let Some(state) = state {
            let bound = Bound {
                agent: &self.agent.id,
                server: &self.server.settings.name,
                method: call.method,
                name: &call.name,
                arguments: &call.arguments,
            };
            let seal = &self.front.seal;
            let sealed = match hold {
                Some(hold) => held::seal_question(seal, hold, state, &bound),
                None => seal.close(state, &bound),
            };
            let members: Members = serde_json::from_str(raw.get()).map_err(|_| unreadable())?;
            let members = instead.insert(members);
            members.insert("requestState".into(), to_raw_value(&sealed).map_err(|_| unreadable())?);
        }
        if let Some(questions) = result.input_requests {
            question::all_may_be_asked(self, questions).await?;
        }
        if call.method == "tasks/get"
            && let Some(task) = Task::read(raw)
        {
            self.inner_result(&task, call.definition.as_deref())?;
        }
        if call.method == "tasks/list"
            && let Some(tasks) = &result.tasks
        {
            let mine: Vec<&RawValue> = tasks.iter().copied().filter(|t| self.is_mine(t)).collect();
            let members: Members = serde_json::from_str(raw.get()).map_err(|_| unreadable())?;
            let members = instead.insert(members);
            members.insert("tasks".into(), to_raw_value(&mine).map_err(|_| unreadable())?);
        }
        Ok(instead)
    }

    fn refuse_answer(&mut self, reason: &str) -> Passage {
        let refusal = self.server.bad_answer(reason);
        let Some(id) = &self.asked.id else { return Passage::Dropped };
        tracing::warn!(server.name = %self.server.settings.name, error = reason, "answer is not passed on");
        if let Some(mut in_flight) = self.in_flight.take() {
            in_flight.refused(&refusal);
        }
        self.answered = true;
        let asked = Asked { id: Some(id.clone()), ..self.asked.clone() };
        Passage::Instead(serde_json::to_vec(&refuse::message(&refusal, &asked)).unwrap_or_default())
    }

    /// The last word where the server said none, if the client waits for one.
    pub fn broken_off(&mut self, refusal: &Refusal) -> Option<Vec<u8>> {
        if self.answered || self.asked.id.is_none() {
            return None;
        }
        self.answered = true;
        if let Some(mut in_flight) = self.in_flight.take() {
            in_flight.refused(refusal);
        }
        serde_json::to_vec(&refuse::message(refusal, &self.asked)).ok()
    }
}

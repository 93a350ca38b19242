//! What does a client read of its hold?
//!
//! The answer that was kept, a state to come back with, or a task: each in the words of the
//! client's own revision.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;

use super::Front;
use super::hand::Own;
use super::message::Message;
use super::refuse::{self, Asked};
use super::upstream::Server;
use crate::call::Agent;
use crate::front::body::Body;
use crate::gate::desk::Hand;
use crate::gate::over;
use crate::hold::{Hold, HoldId, State, Step};
use crate::json::{Map, Value};
use crate::refusal::{Refusal, Ticket};

/// The extension of 2026-07-28.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";
/// Where a hold stands in `_meta`.
pub(super) const HOLD: &str = "io.countersign/hold";
/// What says to which task a result belongs (2025-11-25).
const RELATED: &str = "io.modelcontextprotocol/related-task";
/// How often a client may ask for its task.
const POLL_MS: u64 = 2_000;

/// Which tasks a client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tasks {
    /// Those of 2026-07-28.
    Extension,
    /// Those of 2025-11-25.
    Experimental,
}

/// A response with this result.
pub(super) fn response(asked: &Asked, result: Value) -> Response<Body> {
    whole(json!({"jsonrpc": "2.0", "id": asked.id, "result": result}).to_string().into())
}

fn whole(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The answer that was kept, to this request.
pub(super) fn kept(asked: &Asked, hold: &Hold, answer: &[u8]) -> Response<Body> {
    // The gate wrote it: an object with `result` or `error`.
    let Ok(mut message) = serde_json::from_slice::<Map<String, Value>>(answer) else {
        tracing::error!(hold.id = %hold.id, "a kept answer cannot be read");
        return whole(Bytes::new());
    };
    translate(asked, &mut message);
    message.insert("jsonrpc".to_owned(), "2.0".into());
    message.insert("id".to_owned(), asked.id.clone().unwrap_or_default());
    whole(Value::Object(message).to_string().into())
}

/// Puts a kept answer into the words of the client's revision. It may have come in another: by the
/// gate's own request, or by that of another client of the same agent.
fn translate(asked: &Asked, answer: &mut Map<String, Value>) {
    let Some(Value::Object(result)) = answer.get_mut("result") else { return };
    if asked.stateless {
        // Clients refuse a result without it.
        result.entry("resultType").or_insert_with(|| "complete".into());
    } else {
        result.remove("resultType");
    }
}

/// No answer yet: the client comes back with this state by itself.
pub(super) fn come_back(hold: &Hold, state: &str) -> Value {
    json!({
        "resultType": "input_required",
        "requestState": state,
        "_meta": {HOLD: Ticket::of(hold)},
    })
}

/// A task has been made of the call.
pub(super) fn task_created(tasks: Tasks, hold: &Hold) -> Value {
    let mut task = task(tasks, hold);
    match tasks {
        Tasks::Experimental => json!({"task": task, "_meta": {HOLD: Ticket::of(hold)}}),
        Tasks::Extension => {
            task.insert("resultType".to_owned(), "task".into());
            task.insert("_meta".to_owned(), json!({HOLD: Ticket::of(hold)}));
            Value::Object(task)
        }
    }
}

/// The hold that a request about a task names, if it names one.
pub(super) fn named(method: &str, message: &Message) -> Option<HoldId> {
    method.starts_with("tasks/").then(|| message.param("taskId"))??.parse().ok()
}

/// Who asks about a task.
pub(super) struct Asker<'a> {
    pub(super) agent: &'a Agent,
    pub(super) server: &'a Server,
    pub(super) asked: &'a Asked,
}

impl Front {
    /// Answers for a task that is a hold. To all but its agent there is none.
    pub(super) async fn task_of_hold(
        self: &Arc<Self>,
        method: &str,
        id: HoldId,
        asker: Asker<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let Asker { agent, server, asked } = asker;
        let desk = self.gate.desk();
        let mut hold = desk.hold(id).await.map_err(|_| Refusal::UnknownTask)?;
        if hold.ask.agent.id != agent.id || *hold.ask.server != *server.settings.name {
            return Err(Refusal::UnknownTask);
        }
        let tasks = if asked.stateless { Tasks::Extension } else { Tasks::Experimental };
        match method {
            "tasks/cancel" => {
                hold = match desk.step(id, Step::Cancel).await {
                    Ok(hold) => hold,
                    // It runs, or is over: as it stands.
                    Err(_) => hold,
                };
            }
            "tasks/result" => {
                let seat = desk.stand_by(id);
                while hold.state.is_open() {
                    let until = tokio::time::Instant::now() + seat.patience();
                    hold = seat.wait(hold.state, until).await.map_err(|_| Refusal::UnknownTask)?;
                }
            }
            _ => {}
        }
        if hold.state == State::Approved && !desk.settings().execute {
            // Asking for a task is coming back for it.
            Own(Arc::clone(self)).make(id).await;
        }
        let answer = if hold.state.is_open() || hold.state == State::Cancelled {
            None
        } else {
            Some(self.end_of(&hold, asked).await)
        };
        if method == "tasks/result" {
            return Ok(related(asked, &hold, answer.unwrap_or_default()));
        }
        let mut result = match (method, tasks) {
            ("tasks/update" | "tasks/cancel", Tasks::Extension) => Map::new(),
            _ => with_end(task(tasks, &hold), tasks, answer),
        };
        if tasks == Tasks::Extension {
            result.insert("resultType".to_owned(), "complete".into());
        }
        Ok(response(asked, Value::Object(result)))
    }

    /// How it ended: an object with `result` or `error`.
    async fn end_of(&self, hold: &Hold, asked: &Asked) -> Map<String, Value> {
        let desk = self.gate.desk();
        let kept = desk.result(hold.id).await.ok().flatten();
        if hold.told_at.is_none() {
            // Should that not be kept, it is told once more.
            let _ = desk.step(hold.id, Step::Tell).await;
        }
        if let Some(mut kept) = kept.and_then(|kept| serde_json::from_slice(&kept).ok()) {
            translate(asked, &mut kept);
            return kept;
        }
        let asked = Asked { tool: true, id: Some(Value::Null), ..asked.clone() };
        match refuse::message(&over(hold), &asked) {
            Value::Object(message) => message,
            _ => Map::new(),
        }
    }
}

/// The task as `tasks/get` has it: from 2026-07-28 on it carries how it ended.
fn with_end(
    mut task: Map<String, Value>,
    tasks: Tasks,
    answer: Option<Map<String, Value>>,
) -> Map<String, Value> {
    let Some(mut answer) = answer else { return task };
    if let Some(error) = answer.remove("error") {
        task.insert("status".to_owned(), "failed".into());
        if tasks == Tasks::Extension {
            task.insert("error".to_owned(), error);
        }
    } else if tasks == Tasks::Extension {
        task.insert("result".to_owned(), answer.remove("result").unwrap_or_default());
    }
    task
}

/// What `tasks/result` answers: the call's own answer, which says what task it belongs to.
fn related(asked: &Asked, hold: &Hold, mut answer: Map<String, Value>) -> Response<Body> {
    if let Some(Value::Object(result)) = answer.get_mut("result") {
        let meta = result.entry("_meta").or_insert_with(|| json!({}));
        if let Value::Object(meta) = meta {
            meta.insert(RELATED.to_owned(), json!({"taskId": hold.id}));
        }
    }
    if answer.is_empty() {
        // Cancelled: there is nothing.
        answer.insert(
            "error".to_owned(),
            json!({"code": -32602, "message": "the task was cancelled"}),
        );
    }
    answer.insert("jsonrpc".to_owned(), "2.0".into());
    answer.insert("id".to_owned(), asked.id.clone().unwrap_or_default());
    whole(Value::Object(answer).to_string().into())
}

/// A notification was taken.
pub(super) fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::ACCEPTED;
    response
}

/// How the hold stands, as a task.
pub(super) fn task(tasks: Tasks, hold: &Hold) -> Map<String, Value> {
    let status = match hold.state {
        State::Pending | State::Approved | State::Executing => "working",
        State::Cancelled => "cancelled",
        // A refusal is a result that a model can act on.
        _ => "completed",
    };
    let (ttl, poll) = match tasks {
        Tasks::Extension => ("ttlMs", "pollIntervalMs"),
        Tasks::Experimental => ("ttl", "pollInterval"),
    };
    let lifetime = hold.expires_at.since(hold.created_at);
    let mut task = Map::new();
    task.insert("taskId".to_owned(), hold.id.to_string().into());
    task.insert("status".to_owned(), status.into());
    task.insert("statusMessage".to_owned(), status_message(hold).into());
    task.insert("createdAt".to_owned(), hold.created_at.to_string().into());
    task.insert("lastUpdatedAt".to_owned(), hold.changed_at.to_string().into());
    task.insert(ttl.to_owned(), u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).into());
    task.insert(poll.to_owned(), POLL_MS.into());
    task
}

fn status_message(hold: &Hold) -> String {
    match hold.state {
        State::Pending => format!("waits for a signature: {}", Ticket::of(hold).who()),
        State::Approved => "signed, and about to run".to_owned(),
        State::Executing => "signed, and running".to_owned(),
        state => match &hold.ending {
            Some(ending) => format!("{}: {}", state.name(), ending.message),
            None => state.name().to_owned(),
        },
    }
}

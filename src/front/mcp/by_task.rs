//! How does the gate call a tool that only runs as a task?
//!
//! Up to 2025-11-25 a tool may say that it does. The gate then does as its client would have done:
//! it makes the task, waits until that is over, and asks for the result.

use std::time::Duration;

use http::{Method, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::ask::{self, Dialect};
use super::upstream::Server;
use crate::json::Value;
use crate::refusal::Refusal;
use crate::tools::Definition;

/// How often a task is looked at where its server says nothing of it, in milliseconds.
const POLL_MS: u64 = 1_000;
/// How often at most and at least, whatever the server says.
const POLL_BOUNDS_MS: (u64, u64) = (100, 30_000);

/// A task that works for longer has an unknown end: its server could keep a place for good.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Whether the tool refuses a call that is no task.
pub(super) fn is_required(definition: &Definition) -> bool {
    let said = serde_json::from_str::<Value>(definition.raw.get()).unwrap_or_default();
    said.pointer("/execution/taskSupport").is_some_and(|support| support == "required")
}

/// Calls the tool, and brings the answer that tells the task's result; it has the id `id`.
pub(super) async fn call(
    server: &Server,
    dialect: &Dialect,
    mut params: Value,
    id: u64,
) -> Result<Response<Incoming>, Refusal> {
    if let Value::Object(params) = &mut params {
        params.insert("task".to_owned(), json!({}));
    }
    let created = ask(server, dialect, "tools/call", params).await?;
    let Some(task) = created.pointer("/task/taskId").and_then(Value::as_str) else {
        return Err(server.bad_answer("a tool that only runs as a task made none"));
    };
    let params = json!({"taskId": task});
    let over = tokio::time::timeout(LONGEST, over(server, dialect, &params)).await;
    over.map_err(|_| Refusal::OutcomeUnknown(server.settings.name.to_string()))??;
    let message = json!({"jsonrpc": "2.0", "id": id, "method": "tasks/result", "params": params});
    server.send(Method::POST, dialect.headers("tasks/result"), message.to_string().into()).await
}

/// Waits until the task does not work any more.
async fn over(server: &Server, dialect: &Dialect, params: &Value) -> Result<(), Refusal> {
    loop {
        let task = ask(server, dialect, "tasks/get", params.clone()).await?;
        if task.get("status").is_none_or(|status| status != "working") {
            return Ok(());
        }
        let (least, most) = POLL_BOUNDS_MS;
        let poll_ms = task.get("pollInterval").and_then(Value::as_u64).unwrap_or(POLL_MS);
        tokio::time::sleep(Duration::from_millis(poll_ms.clamp(least, most))).await;
    }
}

async fn ask(
    server: &Server,
    dialect: &Dialect,
    method: &'static str,
    params: Value,
) -> Result<Value, Refusal> {
    let name = &*server.settings.name;
    let (_, result) = ask::request(server, dialect.headers(method), method, params).await.map_err(
        |fault| {
            tracing::warn!(server.name = name, error = %fault, "a signed call that runs as a task broke off");
            // It may have begun.
            Refusal::OutcomeUnknown(name.to_owned())
        },
    )?;
    serde_json::from_str(result.get())
        .map_err(|_| server.bad_answer("what it says of a task cannot be read"))
}

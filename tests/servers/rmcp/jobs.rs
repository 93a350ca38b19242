//! Which calls become tasks?
//!
//! The tools of the tasks extension (SEP-2663). The server decides: a client
//! that declared the extension gets a task, another waits for the result, or
//! is refused where only a task will do.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::*,
    service::RequestContext,
    task_manager::{TaskContext, TaskExit, TaskFuture, TaskOptions},
};
use serde_json::Value;

use crate::{Server, input};

/// How often a client should ask for a task's state, in milliseconds.
const POLL_MS: u64 = 50;

/// Answers a tool that can be a task; `None` if `request` is for another.
pub(crate) async fn call(
    server: &Server,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CallToolResponse>, ErrorData> {
    let has_tasks =
        context.client_capabilities().is_some_and(|capabilities| capabilities.supports_tasks());
    let arguments = request.arguments.clone().unwrap_or_default();
    let seconds = arguments.get("seconds").and_then(Value::as_f64).unwrap_or(0.0);
    let time = Duration::try_from_secs_f64(seconds.clamp(0.0, 600.0)).unwrap_or_default();
    Ok(Some(match request.name.as_ref() {
        "slow_compute" if has_tasks => task(server, move |task| Box::pin(compute(task, time))),
        "slow_compute" => {
            tokio::time::sleep(time).await;
            said(&format!("computed for {seconds} s")).into()
        }
        "failing_job" if has_tasks => task(server, |_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(CallToolResult::error(vec![ContentBlock::text("the job failed")]))
            })
        }),
        "protocol_error_job" if has_tasks => task(server, |_| {
            Box::pin(async { Err(ErrorData::internal_error("the job broke", None).into()) })
        }),
        "confirm_delete" if has_tasks => task(server, |task| Box::pin(confirm(task))),
        "multi_input" if has_tasks => task(server, |task| Box::pin(two_questions(task))),
        "test_tool_with_task" if has_tasks => escalate(server, request)?,
        "failing_job"
        | "protocol_error_job"
        | "confirm_delete"
        | "multi_input"
        | "test_tool_with_task" => {
            return Err(ErrorData::missing_required_client_capability(
                ClientCapabilities::builder().enable_tasks().build(),
            ));
        }
        _ => return Ok(None),
    }))
}

fn task(server: &Server, work: impl FnOnce(TaskContext) -> TaskFuture) -> CallToolResponse {
    let options = TaskOptions::new().with_poll_interval_ms(POLL_MS);
    CreateTaskResult::new(server.tasks.spawn(options, work)).into()
}

async fn compute(task: TaskContext, time: Duration) -> Result<CallToolResult, TaskExit> {
    tokio::select! {
        () = task.cancelled() => Err(TaskExit::Cancelled),
        () = tokio::time::sleep(time) => Ok(said(&format!("computed for {} s", time.as_secs_f64()))),
    }
}

async fn confirm(task: TaskContext) -> Result<CallToolResult, TaskExit> {
    let question = Server::read(input::form("Delete it?", "confirm", "boolean"))?;
    let answer = task.request_input("confirm", question).await?;
    Ok(said(&format!("confirmed: {}", answer["content"]["confirm"])))
}

async fn two_questions(task: TaskContext) -> Result<CallToolResult, TaskExit> {
    let first = Server::read(input::name_form("What is your name?"))?;
    let second = Server::read(input::form("What is your favorite color?", "color", "string"))?;
    let (name, color) =
        tokio::try_join!(task.request_input("name", first), task.request_input("color", second),)?;
    let (name, color) = (&name["content"]["name"], &color["content"]["color"]);
    Ok(said(&format!("{name} likes {color}")))
}

/// Asks back first (SEP-2322), and becomes a task with the answer.
fn escalate(
    server: &Server,
    request: &CallToolRequestParams,
) -> Result<CallToolResponse, ErrorData> {
    let responses = request.input_responses.as_ref();
    let name = responses
        .and_then(|responses| responses.get("user_name"))
        .and_then(|answer| answer["content"]["name"].as_str());
    let Some(name) = name else {
        let question = input::name_form("What is your name?");
        return input::required([("user_name", question)], None).map(Into::into);
    };
    let greeting = format!("Hello, {name}!");
    Ok(task(server, move |_| Box::pin(async move { Ok(said(&greeting)) })))
}

fn said(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

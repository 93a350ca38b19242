//! Which tools are there, and what do they do?
//!
//! First those that the conformance suite names, then our own: `echo`,
//! `seen`, `wait` and `send_file` tell a gate's tests what arrived here.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rmcp::{ErrorData, RoleServer, model::*, service::RequestContext};
use serde_json::{Value, json};

use crate::{
    Change, Server,
    content::{PIXEL, SILENCE},
    forms, is_stateless,
};

/// The pause between two notifications of one call.
const PAUSE: Duration = Duration::from_millis(50);

/// How often each tool was called, and what was cancelled.
#[derive(Default)]
pub(crate) struct Seen {
    calls: Mutex<BTreeMap<String, u64>>,
    cancels: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    /// Counts one call of `tool`.
    pub(crate) fn called(&self, tool: &str) {
        count(&self.calls, tool);
    }

    /// Counts one cancel, by the way it came.
    pub(crate) fn cancelled(&self, way: &str) {
        count(&self.cancels, way);
    }

    fn report(&self) -> Value {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        json!({"calls": *calls, "cancels": *cancels})
    }
}

fn count(counts: &Mutex<BTreeMap<String, u64>>, name: &str) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(name.to_owned()).or_default() += 1;
}

/// The answer to `tools/list`.
pub(crate) fn list() -> Value {
    let mut tools: Vec<Value> =
        PLAIN.iter().map(|(name, description)| tool(name, description, json!({}), &[])).collect();
    let text = |description: &str| json!({"type": "string", "description": description});
    tools.extend([
        tool("test_sampling", "Asks the client's model", json!({"prompt": text("what to ask")}), &["prompt"]),
        tool("test_elicitation", "Asks the user", json!({"message": text("what to ask")}), &["message"]),
        tool("confirm_delete", "A task that asks", json!({"filename": text("which")}), &[]),
        tool("greet", "Greets", json!({"name": text("whom")}), &[]),
        tool(
            "slow_compute",
            "Takes its time",
            json!({"seconds": {"type": "number"}, "label": text("a label")}),
            &[],
        ),
        tool(
            "test_headers",
            "Has an argument that is mirrored in a header",
            json!({
                "region": {"type": "string", "x-mcp-header": "Region"},
                "count": {"type": "integer"},
            }),
            &["region"],
        ),
        json!({"name": "json_schema_2020_12_tool", "description": "Tool with JSON Schema 2020-12 features",
               "inputSchema": forms::contact_schema()}),
        wide("echo", "Answers with the arguments and `_meta` that arrived", json!({
            "type": "object", "additionalProperties": true,
        })),
        tool("seen", "Says what was called and what was cancelled", json!({}), &[]),
        tool("wait", "Waits, unless cancelled", json!({"ms": {"type": "integer", "minimum": 0}}), &["ms"]),
        json!({
            "name": "send_file",
            "title": "Send a file",
            "description": "Pretends to send a file; irreversible",
            "annotations": {"destructiveHint": true, "idempotentHint": false},
            "inputSchema": {
                "type": "object",
                "properties": {
                    "to": {"type": "string", "format": "email"},
                    "path": {"type": "string", "pattern": "^/[a-z0-9/._-]+$"},
                    "copies": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
                },
                "required": ["to", "path"],
                "additionalProperties": false,
            },
            "outputSchema": {
                "type": "object",
                "properties": {"sent": {"type": "boolean"}, "copies": {"type": "integer"}},
                "required": ["sent", "copies"],
            },
        }),
    ]);
    json!({"tools": tools})
}

/// Tools without arguments, by name and description.
const PLAIN: [(&str, &str); 29] = [
    ("test_simple_text", "Answers with a text"),
    ("test_image_content", "Answers with an image"),
    ("test_audio_content", "Answers with a sound"),
    ("test_embedded_resource", "Answers with a resource"),
    ("test_multiple_content_types", "Answers with a text, an image and a resource"),
    ("test_tool_with_logging", "Logs three times"),
    ("test_logging_tool", "Logs once"),
    ("test_error_handling", "Always fails"),
    ("test_tool_with_progress", "Reports progress three times"),
    ("test_elicitation_sep1034_defaults", "Asks the user, with defaults"),
    ("test_elicitation_sep1330_enums", "Asks the user to choose"),
    ("test_reconnection", "Takes long enough to reconnect"),
    ("test_missing_capability", "Needs a client that can sample"),
    ("test_streaming_elicitation", "Asks the user in a stream"),
    ("test_trigger_tool_change", "Says that the tools changed"),
    ("test_trigger_prompt_change", "Says that the prompts changed"),
    ("test_trigger_resource_change", "Says that the watched resource changed"),
    ("test_input_required_result_elicitation", "Asks the user"),
    ("test_input_required_result_sampling", "Asks the model"),
    ("test_input_required_result_list_roots", "Asks for the roots"),
    ("test_input_required_result_request_state", "Asks, with a state"),
    ("test_input_required_result_tampered_state", "Asks, with a sealed state"),
    ("test_input_required_result_multiple_inputs", "Asks three things"),
    ("test_input_required_result_multi_round", "Asks twice"),
    ("test_input_required_result_capabilities", "Asks what the client can answer"),
    ("failing_job", "A task that fails"),
    ("protocol_error_job", "A task that breaks"),
    ("multi_input", "A task that asks two things"),
    ("test_tool_with_task", "Asks, and becomes a task"),
];

fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    wide(name, description, schema)
}

fn wide(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "description": description, "inputSchema": schema})
}

/// Answers `tools/call`.
pub(crate) async fn call(
    server: &Server,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let arguments = request.arguments.unwrap_or_default();
    let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or("");
    let mixed = json!({"test": "data", "value": 123}).to_string();
    let content = match request.name.as_ref() {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => json!([{"type": "image", "data": PIXEL, "mimeType": "image/png"}]),
        "test_audio_content" => {
            json!([{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}])
        }
        "test_embedded_resource" => resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        ),
        "test_multiple_content_types" => json!([
            {"type": "text", "text": "Multiple content types test:"},
            {"type": "image", "data": PIXEL, "mimeType": "image/png"},
            resource("test://mixed-content-resource", "application/json", &mixed)[0],
        ]),
        "test_tool_with_logging" => {
            log(
                &context,
                &["Tool execution started", "Tool processing data", "Tool execution completed"],
            )
            .await;
            text("Logged three times.")
        }
        "test_logging_tool" => {
            log(&context, &["Logged once"]).await;
            text("Logged once.")
        }
        "test_error_handling" => {
            return Server::result(json!({
                "content": text("This tool intentionally returns an error for testing"),
                "isError": true,
            }));
        }
        "test_tool_with_progress" => {
            progress(&context).await;
            text("Reported three times.")
        }
        "test_sampling" => text(&sample(&context, argument("prompt")).await?),
        "test_elicitation" => {
            text(&elicit(&context, argument("message"), forms::user_form(), "User response").await?)
        }
        "test_elicitation_sep1034_defaults" => text(
            &elicit(&context, "Please review", forms::defaults_form(), "Elicitation completed")
                .await?,
        ),
        "test_elicitation_sep1330_enums" => text(
            &elicit(&context, "Please choose", forms::choices_form(), "Elicitation completed")
                .await?,
        ),
        "test_reconnection" => {
            tokio::time::sleep(PAUSE * 2).await;
            text("Reconnection test completed")
        }
        "test_missing_capability" => {
            if context.client_capabilities().unwrap_or_default().sampling.is_none() {
                let needed = ClientCapabilities::builder().enable_sampling().build();
                return Err(ErrorData::missing_required_client_capability(needed));
            }
            text("The client can sample.")
        }
        "test_trigger_tool_change" => changed(server, &context, Change::Tools).await,
        "test_trigger_prompt_change" => changed(server, &context, Change::Prompts).await,
        "test_trigger_resource_change" => {
            changed(server, &context, Change::Resource("test://watched-resource".into())).await
        }
        "json_schema_2020_12_tool" | "greet" => text(&format!("Hello, {}!", argument("name"))),
        "test_headers" => text(&format!("Region: {}", argument("region"))),
        "echo" => {
            let meta = serde_json::to_value(&context.meta).unwrap_or_default();
            let got = json!({"arguments": arguments, "meta": meta, "id": context.id});
            return Server::result(
                json!({"content": text(&got.to_string()), "structuredContent": got}),
            );
        }
        "seen" => {
            let seen = server.seen.report();
            return Server::result(
                json!({"content": text(&seen.to_string()), "structuredContent": seen}),
            );
        }
        "wait" => wait(server, &context, arguments.get("ms").and_then(Value::as_u64)).await,
        "send_file" => {
            let copies = arguments.get("copies").and_then(Value::as_u64).unwrap_or(1);
            let sent = json!({"sent": true, "copies": copies});
            return Server::result(
                json!({"content": text(&sent.to_string()), "structuredContent": sent}),
            );
        }
        other => return Err(ErrorData::invalid_params(format!("unknown tool: {other}"), None)),
    };
    Server::result(json!({"content": content}))
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

fn resource(uri: &str, kind: &str, text: &str) -> Value {
    json!([{"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}}])
}

async fn log(context: &RequestContext<RoleServer>, lines: &[&str]) {
    // In the stateless revision a server logs only where the request asks.
    let is_wanted = !is_stateless(context) || context.meta.log_level().is_some();
    for line in lines {
        if is_wanted {
            let entry = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
            let _ = context.peer.notify_logging_message(entry.with_logger("rmcp-server")).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn progress(context: &RequestContext<RoleServer>) {
    for (index, done) in [0.0, 50.0, 100.0].into_iter().enumerate() {
        if index > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(token) = context.meta.get_progress_token() {
            let report = ProgressNotificationParam::new(token, done).with_total(100.0);
            let _ = context.peer.notify_progress(report).await;
        }
    }
}

async fn sample(context: &RequestContext<RoleServer>, prompt: &str) -> Result<String, ErrorData> {
    let request = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    let answer = context.peer.create_message(request).await;
    let answer = answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let said = answer.message.content.first().and_then(|block| block.as_text());
    Ok(format!("LLM response: {}", said.map_or("", |block| &block.text)))
}

async fn elicit(
    context: &RequestContext<RoleServer>,
    message: &str,
    form: Value,
    answer: &str,
) -> Result<String, ErrorData> {
    let request =
        Server::read(json!({"mode": "form", "message": message, "requestedSchema": form}))?;
    let result = context.peer.create_elicitation(request).await;
    let result = result.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let result = serde_json::to_value(result).unwrap_or_default();
    let action = result["action"].as_str().unwrap_or("unknown").to_owned();
    Ok(format!("{answer}: action={action}, content={}", result["content"]))
}

async fn changed(server: &Server, context: &RequestContext<RoleServer>, change: Change) -> Value {
    if !is_stateless(context) {
        let _ = match &change {
            Change::Tools => context.peer.notify_tool_list_changed().await,
            Change::Prompts => context.peer.notify_prompt_list_changed().await,
            Change::Resource(uri) => {
                let update = ResourceUpdatedNotificationParam::new(uri);
                context.peer.notify_resource_updated(update).await
            }
        };
    }
    // Nobody listens: then there is nobody to tell.
    let _ = server.changes.send(change);
    text("Told all listeners.")
}

/// Waits, reporting progress if asked to, until the time is up or somebody
/// cancels.
async fn wait(server: &Server, context: &RequestContext<RoleServer>, ms: Option<u64>) -> Value {
    let end = tokio::time::sleep(Duration::from_millis(ms.unwrap_or(0).min(600_000)));
    tokio::pin!(end);
    let mut beat = tokio::time::interval(PAUSE * 2);
    let mut beats = 0_u32;
    loop {
        tokio::select! {
            () = context.ct.cancelled() => {
                server.seen.cancelled("wait");
                return text("Cancelled.");
            }
            () = &mut end => return text("Waited."),
            _ = beat.tick() => {
                if let Some(token) = context.meta.get_progress_token() {
                    let report = ProgressNotificationParam::new(token, f64::from(beats));
                    let _ = context.peer.notify_progress(report).await;
                }
                beats += 1;
            }
        }
    }
}

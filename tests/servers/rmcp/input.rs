//! What must the client be asked before there is an answer?
//!
//! The tools and the prompt of revision 2026-07-28 that answer with
//! `input_required` (SEP-2322): the client asks its user, and calls again.

use rmcp::{ErrorData, RoleServer, model::*, service::RequestContext};
use serde_json::{Value, json};

use crate::Server;

/// Answers a tool that asks back; `None` if `request` is for another tool.
pub(crate) fn call(
    server: &Server,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CallToolResponse>, ErrorData> {
    let given = Given {
        responses: request.input_responses.as_ref(),
        state: request.request_state.as_deref(),
    };
    let answer = match request.name.as_ref() {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => {
            match given.text("user_name", "name") {
                Some(name) => done(format!("Hello, {name}!")),
                None => ask([("user_name", name_form("What is your name?"))], None)?,
            }
        }
        "test_input_required_result_sampling" => match given.sampled("capital_question") {
            Some(answer) => done(answer),
            None => {
                ask([("capital_question", sampling("What is the capital of France?", 100))], None)?
            }
        },
        "test_input_required_result_list_roots" => match given.roots("client_roots") {
            Some(roots) => done(format!("Roots: {roots}")),
            None => ask([("client_roots", roots())], None)?,
        },
        "test_input_required_result_request_state" => {
            stateful(server, &given, "confirm", "ok", "state-ok", || {
                ("confirm", form("Please confirm", "ok", "boolean"))
            })?
        }
        "test_input_required_result_tampered_state" => {
            stateful(server, &given, "confirm", "ok", "state-ok", || {
                ("confirm", form("Please confirm", "ok", "boolean"))
            })?
        }
        "test_input_required_result_multiple_inputs" => several(server, &given)?,
        "test_input_required_result_multi_round" => rounds(server, &given)?,
        "test_input_required_result_capabilities" => capable(context)?,
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

/// Answers the prompt that asks back; `None` if `request` is for another.
pub(crate) fn prompt(
    request: &GetPromptRequestParams,
) -> Result<Option<GetPromptResponse>, ErrorData> {
    if request.name != "test_input_required_result_prompt" {
        return Ok(None);
    }
    let given = Given { responses: request.input_responses.as_ref(), state: None };
    let Some(context) = given.text("user_context", "context") else {
        let question = form("What context should the prompt use?", "context", "string");
        return Ok(Some(required([("user_context", question)], None)?.into()));
    };
    let text = format!("Prompt with context: {context}");
    let result: GetPromptResult = Server::result(json!({
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
    }))?;
    Ok(Some(result.into()))
}

/// What the client brought with its second call.
struct Given<'a> {
    responses: Option<&'a InputResponses>,
    state: Option<&'a str>,
}

impl Given<'_> {
    fn answer(&self, key: &str) -> Option<&Value> {
        self.responses?.get(key)
    }

    /// A field of an accepted form.
    fn field(&self, key: &str, field: &str) -> Option<&Value> {
        self.answer(key)?.get("content")?.get(field)
    }

    fn text(&self, key: &str, field: &str) -> Option<String> {
        Some(self.field(key, field)?.as_str()?.to_owned())
    }

    fn sampled(&self, key: &str) -> Option<String> {
        let content = self.answer(key)?.get("content")?;
        let block = content.get(0).unwrap_or(content);
        Some(block.get("text")?.as_str()?.to_owned())
    }

    fn roots(&self, key: &str) -> Option<String> {
        self.answer(key)?.get("roots")?.as_array().map(|roots| {
            let addresses: Vec<_> = roots.iter().filter_map(|root| root["uri"].as_str()).collect();
            addresses.join(", ")
        })
    }

    /// What this server sealed into the state, if there is one and it is ours.
    fn opened(&self, server: &Server) -> Result<Option<Value>, ErrorData> {
        let Some(state) = self.state else { return Ok(None) };
        let opened = server.states.open_json(state);
        opened
            .map(Some)
            .map_err(|_| ErrorData::invalid_params("requestState is not this server's", None))
    }
}

fn stateful<'a>(
    server: &Server,
    given: &Given<'_>,
    key: &str,
    field: &str,
    answer: &str,
    question: impl FnOnce() -> (&'a str, Value),
) -> Result<CallToolResponse, ErrorData> {
    let state = given.opened(server)?;
    match (given.field(key, field), state) {
        (Some(_), Some(_)) => Ok(done(answer.to_owned())),
        _ => ask([question()], Some(sealed(server, &json!({"round": 1}))?)),
    }
}

fn several(server: &Server, given: &Given<'_>) -> Result<CallToolResponse, ErrorData> {
    let state = given.opened(server)?;
    if let (Some(name), Some(greeting), Some(roots), Some(_)) = (
        given.text("user_name", "name"),
        given.sampled("greeting"),
        given.roots("client_roots"),
        state,
    ) {
        return Ok(done(format!("{greeting} {name}; roots: {roots}")));
    }
    ask(
        [
            ("user_name", name_form("What is your name?")),
            ("greeting", sampling("Generate a greeting", 50)),
            ("client_roots", roots()),
        ],
        Some(sealed(server, &json!({"round": 1}))?),
    )
}

fn rounds(server: &Server, given: &Given<'_>) -> Result<CallToolResponse, ErrorData> {
    let state = given.opened(server)?.unwrap_or_default();
    if let (Some(color), Some(name)) = (given.text("step2", "color"), state["name"].as_str()) {
        return Ok(done(format!("{name} likes {color}")));
    }
    if let (Some(name), Some(1)) = (given.text("step1", "name"), state["round"].as_u64()) {
        let question = form("Step 2: What is your favorite color?", "color", "string");
        let state = sealed(server, &json!({"round": 2, "name": name}))?;
        return ask([("step2", question)], Some(state));
    }
    let question = name_form("Step 1: What is your name?");
    ask([("step1", question)], Some(sealed(server, &json!({"round": 1}))?))
}

fn capable(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    let has = context.client_capabilities().unwrap_or_default();
    let mut questions = Vec::new();
    if has.elicitation.is_some() {
        questions.push(("user_name", name_form("What is your name?")));
    }
    if has.sampling.is_some() {
        questions.push(("greeting", sampling("Generate a greeting", 50)));
    }
    if has.roots.is_some() {
        questions.push(("client_roots", roots()));
    }
    if questions.is_empty() {
        return Ok(done("The client can be asked nothing.".into()));
    }
    ask(questions, None)
}

/// A form of one field, as `elicitation/create`.
pub(crate) fn form(message: &str, field: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "mode": "form",
        "message": message,
        "requestedSchema": {"type": "object", "properties": {field: {"type": kind}}, "required": [field]},
    }})
}

/// A form that asks for a name.
pub(crate) fn name_form(message: &str) -> Value {
    form(message, "name", "string")
}

fn sampling(prompt: &str, tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": prompt}}],
        "maxTokens": tokens,
    }})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn done(text: String) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

fn sealed(server: &Server, state: &Value) -> Result<String, ErrorData> {
    let sealed = server.states.seal_json(state);
    sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn ask<'a>(
    questions: impl IntoIterator<Item = (&'a str, Value)>,
    state: Option<String>,
) -> Result<CallToolResponse, ErrorData> {
    required(questions, state).map(Into::into)
}

/// An `input_required` result that asks `questions`.
pub(crate) fn required<'a>(
    questions: impl IntoIterator<Item = (&'a str, Value)>,
    state: Option<String>,
) -> Result<InputRequiredResult, ErrorData> {
    let mut requests = InputRequests::new();
    for (key, question) in questions {
        requests.insert(key.to_owned(), Server::read(question)?);
    }
    Ok(InputRequiredResult::new(Some(requests), state))
}

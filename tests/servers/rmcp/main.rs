//! What does an ordinary MCP server say?
//!
//! A server on the official Rust SDK (`rmcp`) that offers what the official
//! conformance suite asks for, in every revision in use, and a few tools of
//! its own that a gate's tests need: what arrived (`echo`), how often
//! (`seen`), and whether a cancel got through (`wait`).
//!
//! ```text
//! rmcp-server --listen 127.0.0.1:9000     serves http://127.0.0.1:9000/mcp
//!             --token SECRET              refuses all who do not bring it
//!             --any-host                  accepts every Host header
//!             --no-tasks                  does not declare the tasks extension
//! ```
//!
//! It prints `ready URL` once it listens; with port 0 the system picks one.
#![allow(clippy::indexing_slicing, reason = "a test program: a panic is a failed test")]
#![allow(deprecated, reason = "sampling, roots and logging: old revisions still have them")]

mod content;
mod forms;
mod input;
mod jobs;
mod tools;

use std::{
    convert::Infallible,
    io::{Error, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::*,
    service::{NotificationContext, RequestContext, SubscriptionContext},
    task_manager::TaskManager,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use tokio::{net::TcpListener, sync::broadcast};

/// What of the server's own changed, so that listeners can be told.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// One resource, by its address.
    Resource(String),
}

/// One server, shared by all its connections.
#[derive(Clone)]
pub(crate) struct Server {
    changes: broadcast::Sender<Change>,
    tasks: TaskManager,
    seen: Arc<tools::Seen>,
    states: Arc<RequestStateCodec>,
    declares_tasks: bool,
}

impl Server {
    fn new(declares_tasks: bool) -> Self {
        Self {
            declares_tasks,
            changes: broadcast::channel(64).0,
            tasks: TaskManager::new(),
            seen: Arc::default(),
            // A test server may have a known key; the tests only need that a
            // changed state is noticed.
            states: Arc::new(RequestStateCodec::new_unchecked(
                *b"countersign-conformance-test-key",
            )),
        }
    }

    /// Reads a result that is written in this program as JSON.
    ///
    /// The SDK drops `resultType` again where a revision does not know it.
    fn result<T: serde::de::DeserializeOwned>(mut json: serde_json::Value) -> Result<T, ErrorData> {
        json["resultType"] = "complete".into();
        Self::read(json)
    }

    /// Reads JSON that is written in this program into an SDK type.
    fn read<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> Result<T, ErrorData> {
        serde_json::from_value(json)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        if !self.declares_tasks {
            capabilities.extensions = None;
        }
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("countersign-rmcp-server", "1.0.0"))
            .with_instructions("A server for tests; every tool is harmless.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Self::result(tools::list())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        // The SDK asks, to check the headers that mirror arguments.
        let tools = tools::list()["tools"].take();
        let tools: Vec<Tool> = serde_json::from_value(tools).ok()?;
        tools.into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.seen.called(&request.name);
        if let Some(answer) = input::call(self, &request, &context)? {
            return Ok(answer);
        }
        if let Some(answer) = jobs::call(self, &request, &context).await? {
            return Ok(answer);
        }
        tools::call(self, request, context).await.map(Into::into)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Self::result(content::resources())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Self::result(content::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let Some(found) = content::read(&request.uri) else {
            let uri = serde_json::json!({"uri": request.uri});
            return Err(ErrorData::resource_not_found("resource not found", Some(uri)));
        };
        Self::result::<ReadResourceResult>(found).map(Into::into)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        // Old revisions: one update at once, so that a test sees one arrive.
        let peer = context.peer.clone();
        tokio::spawn(async move {
            let update = ResourceUpdatedNotificationParam::new(request.uri);
            let _ = peer.notify_resource_updated(update).await;
        });
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Self::result(content::prompts())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if let Some(answer) = input::prompt(&request)? {
            return Ok(answer);
        }
        let Some(found) = content::prompt(&request) else {
            return Err(ErrorData::invalid_params("unknown prompt", None));
        };
        Self::result::<GetPromptResult>(found).map(Into::into)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let values = ["paris", "park", "party"]
            .into_iter()
            .filter(|word| word.starts_with(&request.argument.value))
            .map(String::from)
            .collect();
        let completion =
            CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(completion))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        loop {
            let change = tokio::select! {
                () = context.cancelled() => {
                    self.seen.cancelled("subscriptions/listen");
                    return Ok(());
                }
                change = changes.recv() => change,
            };
            let sink = context.sink();
            // What the client's filter leaves out, the sink refuses to send.
            let _ = match change {
                Ok(Change::Tools) => sink.notify_tool_list_changed().await,
                Ok(Change::Prompts) => sink.notify_prompt_list_changed().await,
                Ok(Change::Resource(uri)) => sink.notify_resource_updated(uri).await,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            };
        }
    }

    async fn on_cancelled(
        &self,
        _notification: CancelledNotificationParam,
        _context: NotificationContext<RoleServer>,
    ) {
        self.seen.cancelled("notifications/cancelled");
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}

/// Whether a request is of the stateless revision, 2026-07-28 or later.
fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version.as_str() >= "2026-07-28")
}

/// What the command line asked for.
struct Flags {
    listen: SocketAddr,
    token: Option<String>,
    any_host: bool,
    no_tasks: bool,
}

impl Flags {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Error> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut flags = Self { listen, token: None, any_host: false, no_tasks: false };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--listen" => {
                    let address = words.next().unwrap_or_default();
                    flags.listen = address.parse().map_err(Error::other)?;
                }
                "--token" => flags.token = words.next(),
                "--any-host" => flags.any_host = true,
                "--no-tasks" => flags.no_tasks = true,
                other => return Err(Error::other(format!("no flag `{other}`"))),
            }
        }
        Ok(flags)
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let flags = Flags::read(std::env::args().skip(1))?;
    let mut config = StreamableHttpServerConfig::default().with_allowed_origins([
        "http://localhost:*",
        "http://127.0.0.1:*",
        "http://[::1]:*",
    ]);
    if flags.any_host {
        config = config.disable_allowed_hosts();
    }
    let server = Server::new(!flags.no_tasks);
    // A short retry, so that a test of resumption need not wait long.
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.sse_retry = Some(Duration::from_millis(200));
    let service =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::new(sessions), config);
    let listener = TcpListener::bind(flags.listen).await?;
    writeln!(std::io::stdout(), "ready http://{}/mcp", listener.local_addr()?)?;
    let expected: Option<Arc<str>> = flags.token.map(|token| format!("Bearer {token}").into());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (service, expected) = (service.clone(), expected.clone());
        tokio::spawn(async move {
            let answer =
                service_fn(move |request| answer(service.clone(), expected.clone(), request));
            // A client that hangs up is no concern of a test server.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

type Body = http_body_util::combinators::BoxBody<bytes::Bytes, Infallible>;

async fn answer(
    service: StreamableHttpService<Server, LocalSessionManager>,
    expected: Option<Arc<str>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let refusal = if request.uri().path() != "/mcp" {
        Some(StatusCode::NOT_FOUND)
    } else if expected.is_some_and(|expected| {
        request.headers().get(AUTHORIZATION).map(|value| value.as_bytes())
            != Some(expected.as_bytes())
    }) {
        Some(StatusCode::UNAUTHORIZED)
    } else {
        None
    };
    match refusal {
        None => Ok(service.handle(request).await),
        Some(status) => {
            let mut response = Response::new(Body::default());
            *response.status_mut() = status;
            Ok(response)
        }
    }
}

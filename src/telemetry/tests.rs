use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::*;
use crate::call::{Effect, Tier};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector on a real socket: OTLP over HTTP/1.1, and gRPC over HTTP/2.
struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
    _runtime: Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::clone(&received);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let take = service_fn(move |request| take(request, Arc::clone(&kept)));
                    let http = auto::Builder::new(TokioExecutor::new());
                    http.serve_connection(TokioIo::new(stream), take).await.ok();
                });
            }
        });
        Self { endpoint, received, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .flat_map(|(_, request)| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect()
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

async fn take(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await.unwrap().to_bytes();
    let grpc = head.headers["content-type"] == "application/grpc";
    if grpc {
        assert_eq!(head.uri.path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        assert_eq!(body.get_u8(), 0, "not compressed");
        assert_eq!(body.get_u32() as usize, body.remaining());
    } else {
        assert_eq!(head.uri.path(), "/v1/traces");
    }
    let decoded = ExportTraceServiceRequest::decode(body).unwrap();
    kept.lock().unwrap().push((head.headers, decoded));
    let response = Response::builder();
    Ok(if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok));
        let body = http_body_util::StreamBody::new(frames).boxed();
        response.header("content-type", "application/grpc").body(body).unwrap()
    } else {
        let body = Full::default().boxed();
        response.header("content-type", "application/x-protobuf").body(body).unwrap()
    })
}

fn settings(otlp: Option<Otlp>) -> Settings {
    Settings { format: Format::Json, level: "info".into(), otlp }
}

fn attributes(span: &Span) -> Map<String, Value> {
    let plain = |value: &any_value::Value| match value {
        any_value::Value::StringValue(text) => json!(text),
        any_value::Value::IntValue(number) => json!(number),
        other => panic!("an attribute of another type: {other:?}"),
    };
    span.attributes
        .iter()
        .map(|kv| (kv.key.clone(), plain(kv.value.as_ref().unwrap().value.as_ref().unwrap())))
        .collect()
}

fn caller() -> TraceContext {
    let meta = json!({"traceparent": CALLER, "tracestate": "rojo=1", "baggage": "user=7"});
    TraceContext::from_meta(meta.as_object().unwrap())
}

fn sent(context: &TraceContext) -> HeaderMap {
    let mut headers = HeaderMap::new();
    context.apply(&mut headers);
    headers
}

#[test]
fn a_collector_sees_a_call_as_the_conventions_name_it() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let collector = Collector::start();
        let mut otlp = Otlp::to(&*collector.endpoint, protocol);
        otlp.headers.push(("x-tenant".into(), "acme".into()));
        let (subscriber, guard) = assemble(&settings(Some(otlp)), io::sink).unwrap();
        let id = json!(7);
        let subject = Subject {
            method: "tools/call",
            tool: Some("refund"),
            server: "billing",
            agent: "support-bot",
            request_id: Some(&id),
            session: Some("s-1"),
            protocol_version: Some("2025-11-25"),
        };
        let onward = tracing::subscriber::with_default(subscriber, || {
            let call = CallSpan::open(&subject, &caller());
            call.decided(Tier::High, Effect::Allow);
            let upstream = call.upstream(&subject, "10.0.0.9", 9000);
            upstream.rpc_failed(-32602);
            call.refused("outcome_unknown");
            upstream.onward(&caller())
        });
        drop(guard);

        let spans = collector.spans();
        let by_kind = |kind: i32| spans.iter().find(|span| span.kind == kind).unwrap();
        let (server, client) = (by_kind(2), by_kind(3));
        assert_eq!(spans.len(), 2, "{protocol:?}");
        assert_eq!((&*server.name, &*client.name), ("tools/call refund", "tools/call refund"));
        assert_eq!(hex::encode(&server.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex::encode(&server.parent_span_id), "00f067aa0ba902b7");
        assert_eq!(client.parent_span_id, server.span_id);
        assert_eq!(server.status.as_ref().unwrap().code, 2);
        assert_eq!(
            Value::Object(attributes(server)),
            json!({
                "mcp.method.name": "tools/call",
                "mcp.session.id": crate::json::Digest::of(b"s-1").to_string(),
                "mcp.protocol.version": "2025-11-25", "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "refund", "jsonrpc.request.id": "7",
                "network.transport": "tcp", "network.protocol.name": "http",
                "countersign.server": "billing", "countersign.agent": "support-bot",
                "countersign.tier": "high", "countersign.decision": "allow",
                "countersign.refusal": "outcome_unknown", "error.type": "outcome_unknown",
            })
        );
        let client_says = attributes(client);
        assert_eq!(client_says["server.address"], "10.0.0.9");
        assert_eq!(client_says["server.port"], 9000);
        assert_eq!(client_says["rpc.response.status_code"], "-32602");
        assert_eq!(client_says["error.type"], "-32602");

        let headers = sent(&onward);
        let parent = headers["traceparent"].to_str().unwrap();
        let expected =
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", hex::encode(&client.span_id));
        assert_eq!(parent, expected);
        assert_eq!(headers["tracestate"], "rojo=1");
        assert_eq!(headers["baggage"], "user=7");

        let received = collector.received.lock().unwrap();
        let (carried, request) = &received[0];
        assert_eq!(carried["x-tenant"], "acme");
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        let name = resource.attributes.iter().find(|kv| kv.key == "service.name").unwrap();
        assert!(format!("{name:?}").contains("countersign"), "{name:?}");
    }
}

#[test]
fn a_method_without_a_tool_has_no_tool_attributes() {
    let collector = Collector::start();
    let otlp = Otlp::to(&*collector.endpoint, Protocol::Http);
    let (subscriber, guard) = assemble(&settings(Some(otlp)), io::sink).unwrap();
    let subject =
        Subject { method: "resources/read", server: "crm", agent: "a", ..Subject::default() };
    tracing::subscriber::with_default(subscriber, || {
        drop(CallSpan::open(&subject, &TraceContext::default()));
    });
    guard.flush();
    let spans = collector.spans();
    assert_eq!((spans.len(), &*spans[0].name), (1, "resources/read"));
    assert!(spans[0].parent_span_id.is_empty());
    let said = attributes(&spans[0]);
    assert!(said.keys().all(|key| !key.starts_with("gen_ai.")), "{said:?}");
    assert!(!said.contains_key("error.type"), "{said:?}");
    drop(guard);
}

#[test]
fn without_a_collector_no_span_is_made_and_what_came_goes_on() {
    let (subscriber, _guard) = assemble(&settings(None), io::sink).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let subject = Subject { method: "tools/call", ..Subject::default() };
        let call = CallSpan::open(&subject, &caller());
        assert!(call.span().is_disabled());
        assert_eq!(call.onward(&caller()), caller());
        assert_eq!(sent(&call.onward(&caller()))["traceparent"], CALLER);
    });
}

#[test]
fn a_caller_that_is_not_sampled_stays_so_and_keeps_its_trace() {
    let collector = Collector::start();
    let otlp = Otlp::to(&*collector.endpoint, Protocol::Http);
    let (subscriber, guard) = assemble(&settings(Some(otlp)), io::sink).unwrap();
    let meta = json!({"traceparent": CALLER.replace("-01", "-00")});
    let caller = TraceContext::from_meta(meta.as_object().unwrap());
    let onward = tracing::subscriber::with_default(subscriber, || {
        let subject = Subject { method: "tools/call", ..Subject::default() };
        CallSpan::open(&subject, &caller).onward(&caller)
    });
    drop(guard);
    assert_eq!(collector.spans().len(), 0);
    assert_eq!(onward.trace_id(), caller.trace_id());
    assert!(sent(&onward)["traceparent"].to_str().unwrap().ends_with("-00"));
}

#[test]
fn a_collector_that_never_answers_holds_shutdown_up_only_so_long() {
    // Bound but never accepted from: connections hang in the kernel's queue.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let mut otlp = Otlp::to(endpoint, protocol);
        otlp.timeout = Duration::from_secs(60);
        let (subscriber, guard) = assemble(&settings(Some(otlp)), io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let subject = Subject { method: "tools/call", ..Subject::default() };
            drop(CallSpan::open(&subject, &TraceContext::default()));
        });
        let begun = Instant::now();
        drop(guard);
        assert!(begun.elapsed() < FLUSH_TIME + Duration::from_secs(2), "{protocol:?}");
    }
}

#[tokio::test]
async fn the_guard_may_drop_inside_a_single_threaded_runtime() {
    let collector = tokio::task::spawn_blocking(Collector::start).await.unwrap();
    let otlp = Otlp::to(&*collector.endpoint, Protocol::Http);
    let (subscriber, guard) = assemble(&settings(Some(otlp)), io::sink).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let subject = Subject { method: "tools/call", ..Subject::default() };
        drop(CallSpan::open(&subject, &TraceContext::default()));
    });
    drop(guard);
    assert_eq!(collector.spans().len(), 1);
    tokio::task::spawn_blocking(move || drop(collector)).await.unwrap();
}

/// Lines that a test can read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_have_the_chosen_shape_and_level() {
    for (format, level, expected_lines) in [
        (Format::Json, "info", 1),
        (Format::Json, "debug", 2),
        (Format::Json, "off", 0),
        (Format::Json, "warn,countersign=debug", 2),
        (Format::Text, "info", 1),
    ] {
        let lines = Lines::default();
        let writer = lines.clone();
        let settings = Settings { format, level: level.into(), otlp: None };
        let (subscriber, _guard) = assemble(&settings, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let subject = Subject { method: "tools/call", ..Subject::default() };
            let call = CallSpan::open(&subject, &TraceContext::default());
            call.span().in_scope(|| {
                tracing::info!(server = "crm", "the call was\nallowed");
                tracing::debug!("a detail");
            });
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let written: Vec<&str> = written.lines().collect();
        if format == Format::Json {
            assert_eq!(written.len(), expected_lines, "{level}: {written:?}");
            for line in written {
                let line: Value = serde_json::from_str(line).unwrap();
                assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            }
        } else {
            assert_eq!(written.len(), expected_lines, "{written:?}");
            assert!(written[0].contains("INFO") && written[0].contains("was\\nallowed"));
        }
    }
    let settings = Settings { format: Format::Json, level: "info,a=loud".into(), otlp: None };
    let fault = assemble(&settings, io::sink).err().unwrap().to_string();
    assert!(fault.contains("log level is not valid"), "{fault}");
}

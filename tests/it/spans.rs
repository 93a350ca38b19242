//! What does a collector see of a call, and what may nobody see?

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::support::{Gate, Reply, Setup, Upstream, call, rpc, tool};

const CANARY: &str = "canary-5d07c1";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OUTER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";

/// A collector that takes OTLP over HTTP.
fn collector() -> Upstream {
    let collector = Upstream::of_tools(&[]);
    collector.script(|_| {
        let headers = vec![("content-type", "application/x-protobuf".to_owned())];
        Some(Reply::Raw(200, headers, Vec::new()))
    });
    collector
}

fn spans(collector: &Upstream) -> Vec<Span> {
    let decoded = collector.all().into_iter().map(|seen| {
        assert_eq!(seen.path, "/v1/traces");
        ExportTraceServiceRequest::decode(&*seen.body).unwrap()
    });
    decoded
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

fn said(span: &Span) -> Map<String, Value> {
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

/// The log line of each decided call.
fn lines(gate: &Gate) -> Vec<Value> {
    let log = gate.log();
    let lines = log.lines().filter(|line| line.contains("decided one call"));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn scene(otlp: &str) -> (Upstream, Gate) {
    let text = r#"{"note":{"type":"string"},"n":{"type":"integer"}}"#;
    let upstream = Upstream::of_tools(&[tool("refund", text), tool("other", "{}")]);
    let rules = "allow := true\n\nvisible := true\n\n\
         deny contains {\"code\": \"too_much\", \"message\": \"too much\"} if input.call.arguments.n > 1\n";
    let setup =
        Setup::to(&upstream).permission(rules).config("policy: {deadline: 5s}").config(otlp);
    let gate = Gate::start(&setup);
    (upstream, gate)
}

fn traced(id: u64, arguments: &str) -> String {
    rpc(
        id,
        "tools/call",
        &format!(
            r#"{{"name":"refund","arguments":{arguments},"_meta":{{"traceparent":"{CALLER}","tracestate":"rojo=1","mine":1}}}}"#
        ),
    )
}

#[test]
fn a_call_is_traced_from_its_caller_to_its_server() {
    let collector = collector();
    let (upstream, mut gate) =
        scene(&format!("otlp: {{endpoint: \"http://{}\"}}", collector.address));
    let headers = [("mcp-protocol-version", "2025-11-25"), ("traceparent", OUTER)];
    let answer = gate.post_with(&headers, &traced(7, r#"{"n":1}"#));
    assert_eq!(answer.json()["result"]["content"][0]["text"], "refund");
    let up = upstream.only_call();
    let decision = gate.only_decision();
    gate.signal("TERM");
    gate.wait();

    let spans = spans(&collector);
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let server = spans.iter().find(|span| span.kind == 2).unwrap();
    let client = spans.iter().find(|span| span.kind == 3).unwrap();
    assert_eq!((&*server.name, &*client.name), ("tools/call refund", "tools/call refund"));
    assert_eq!(hex::encode(&server.trace_id), TRACE);
    assert_eq!(hex::encode(&server.parent_span_id), "00f067aa0ba902b7", "`_meta` speaks first");
    assert_eq!(client.trace_id, server.trace_id);
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(
        Value::Object(said(server)),
        json!({
            "mcp.method.name": "tools/call", "mcp.protocol.version": "2025-11-25",
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund",
            "jsonrpc.request.id": "7", "network.transport": "tcp",
            "network.protocol.name": "http", "countersign.server": "crm",
            "countersign.agent": "dev", "countersign.tier": "low",
            "countersign.decision": "allow",
        })
    );
    let of_client = said(client);
    assert_eq!(of_client["server.address"], "127.0.0.1");
    assert_eq!(of_client["server.port"], upstream.address.port());
    assert_eq!(of_client["mcp.method.name"], "tools/call");
    assert!(!of_client.contains_key("error.type"), "{of_client:?}");

    let onward = format!("00-{TRACE}-{}-01", hex::encode(&client.span_id));
    assert_eq!(up.header("traceparent"), Some(&*onward));
    assert_eq!(up.header("tracestate"), Some("rojo=1"));
    let meta = &up.json()["params"]["_meta"];
    assert_eq!(*meta, json!({"traceparent": onward, "tracestate": "rojo=1", "mine": 1}));
    assert_eq!(lines(&gate)[0]["trace_id"], TRACE);
    assert_eq!(decision["trace_id"], TRACE);
}

#[test]
fn what_is_refused_or_fails_says_so_in_its_span() {
    let collector = collector();
    let (upstream, mut gate) =
        scene(&format!("otlp: {{endpoint: \"http://{}\"}}", collector.address));
    let ask = |n: u64, tool: &str, arguments: &str| gate.post(&call(n, tool, arguments));
    ask(1, "refund", r#"{"n":2}"#);
    ask(2, "refund", r#"{"n":"x"}"#);
    ask(3, "made-up", "{}");
    upstream.answer("tools/call", json!({"isError": true, "content": []}));
    ask(4, "refund", "{}");
    upstream.script(|seen| {
        let asked = seen.method() == "tools/call";
        asked.then(|| Reply::Error(json!({"code": -32001, "message": "no"})))
    });
    ask(5, "refund", "{}");
    upstream.script(|seen| (seen.method() == "tools/call").then_some(Reply::Reset));
    ask(6, "refund", "{}");
    upstream.script(|seen| {
        let html = vec![("content-type", "text/html".to_owned())];
        (seen.method() == "tools/call").then(|| Reply::Raw(200, html, b"<p>".to_vec()))
    });
    ask(7, "refund", "{}");
    gate.entries("outcome", 4);
    let ids: Vec<Value> =
        gate.decisions(7).into_iter().map(|decision| decision["trace_id"].clone()).collect();
    gate.signal("TERM");
    gate.wait();

    let spans = spans(&collector);
    for (n, refusal, error, upstream_error) in [
        ("1", Some("denied"), "denied", None),
        ("2", Some("invalid_arguments"), "invalid_arguments", None),
        ("3", Some("unknown_tool"), "unknown_tool", None),
        ("4", None, "tool_error", Some("tool_error")),
        ("5", None, "-32001", Some("-32001")),
        ("6", Some("outcome_unknown"), "outcome_unknown", Some("outcome_unknown")),
        ("7", Some("invalid_answer"), "invalid_answer", Some("invalid_answer")),
    ] {
        let of = |kind: i32| {
            let mine = |span: &&Span| span.kind == kind && said(span)["jsonrpc.request.id"] == n;
            let mut found = spans.iter().filter(mine);
            let one = found.next();
            assert!(found.next().is_none(), "{n} has two spans of kind {kind}");
            one
        };
        let server = of(2).unwrap();
        let attributes = said(server);
        assert!(server.parent_span_id.is_empty(), "{n}: the trace begins here");
        assert_eq!(
            attributes.get("countersign.refusal"),
            refusal.map(|r| json!(r)).as_ref(),
            "{n}"
        );
        assert_eq!(attributes["error.type"], error, "{n}");
        assert_eq!(server.status.as_ref().unwrap().code, 2, "{n}");
        assert_eq!(attributes.contains_key("gen_ai.tool.name"), n != "3", "{attributes:?}");
        let decision = if upstream_error.is_some() { "allow" } else { "deny" };
        assert_eq!(attributes["countersign.decision"], decision, "{n}");
        let of_client = of(3).map(|span| said(span)["error.type"].as_str().unwrap().to_owned());
        assert_eq!(of_client.as_deref(), upstream_error, "{n}");
        let trace = hex::encode(&server.trace_id);
        let at: usize = n.parse().unwrap();
        assert_eq!(ids[at - 1], trace, "{n}: the record names the trace that began here");
        assert!(lines(&gate).iter().any(|line| line["trace_id"] == trace), "{n}");
    }
    assert_eq!(spans.len(), 11);
}

#[test]
fn without_a_collector_what_came_goes_on_untouched() {
    let (upstream, gate) = scene("");
    let headers = [("traceparent", OUTER)];
    gate.post_with(&headers, &traced(1, "{}"));
    gate.post(&call(2, "refund", "{}"));
    let up = upstream.calls();
    assert_eq!(up[0].header("traceparent"), Some(OUTER));
    assert_eq!(up[0].json()["params"]["_meta"]["traceparent"], CALLER);
    assert_eq!(up[1].header("traceparent"), None);
    let decisions = gate.decisions(2);
    gate.entries("outcome", 2);
    let lines = lines(&gate);
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["trace_id"], &decisions[0]["trace_id"]), (&json!(TRACE), &json!(TRACE)));
    assert!(lines[1].get("trace_id").is_none(), "{}", lines[1]);
    assert!(decisions[1].get("trace_id").is_none(), "{}", decisions[1]);
}

#[test]
fn o6_no_value_of_an_argument_or_a_result_is_in_any_sink() {
    let collector = collector();
    let otlp =
        format!("otlp: {{endpoint: \"http://{}\"}}\nlog: {{level: trace}}", collector.address);
    let (upstream, mut gate) = scene(&otlp);
    upstream.answer("tools/call", json!({"content": [{"type": "text", "text": CANARY}]}));
    let claim = format!(
        r#"{{"name":"refund","arguments":{{"note":"{CANARY}"}},"_meta":{{"io.countersign/claim":{{"reason":"{CANARY}"}}}}}}"#
    );
    let passed = gate.post(&rpc(1, "tools/call", &claim));
    assert!(passed.text().contains(CANARY), "the tool's own answer passes");
    for (arguments, code) in [
        (format!(r#"{{"note":"{CANARY}","n":2}}"#), "denied"),
        (format!(r#"{{"n":"{CANARY}"}}"#), "invalid_arguments"),
        (format!(r#"{{"note":["{CANARY}"]}}"#), "invalid_arguments"),
        (format!(r#"{{"note":"{CANARY}","note":"{CANARY}"}}"#), "duplicate_key"),
    ] {
        let refused = gate.post(&call(2, "refund", &arguments));
        assert_eq!(refused.code(), code);
        assert!(!refused.text().contains(CANARY), "{}", refused.text());
    }
    upstream.script(|seen| {
        let html = vec![("content-type", "text/html".to_owned())];
        (seen.method() == "tools/call").then(|| Reply::Raw(200, html, CANARY.into()))
    });
    let refused = gate.post(&call(3, "refund", &format!(r#"{{"note":"{CANARY}"}}"#)));
    assert!(!refused.text().contains(CANARY));
    gate.entries("outcome", 2);
    assert_eq!(gate.entries("intent", 6).len(), 6);
    for path in ["/metrics", "/readyz", "/healthz"] {
        assert!(!gate.operator(path).text().contains(CANARY), "{path}");
    }
    gate.signal("TERM");
    gate.wait();
    let sent: Vec<u8> = collector.all().into_iter().flat_map(|seen| seen.body).collect();
    assert!(!spans(&collector).is_empty());
    let mut sinks = vec![("spans", sent), ("log", gate.log().into_bytes())];
    for entry in std::fs::read_dir(gate.path("state/trail")).unwrap() {
        sinks.push(("trail", std::fs::read(entry.unwrap().path()).unwrap()));
    }
    for (sink, bytes) in sinks {
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "the {sink} has an argument's value");
    }
}

//! What others' gateways got wrong: each test is named by its case (A01, B09, …).
//!
//! On every case, whatever else it checks: nothing goes up that was not allowed on record (O1),
//! each message leaves exactly one decision (O2), what goes up is what was decided (O3), and the
//! answer is definite (O5).

use countersign::call::Call;
use countersign::json::{self, Digest, Value};

use crate::support::{Gate, Response, Seen, Setup, Upstream, tool};

mod a;
mod b;
mod c;
mod d;
mod g;
mod h;
mod handles;
mod j;
mod streams;

/// Refused before it was a call.
struct Refused<'a> {
    status: u16,
    rpc: i64,
    code: &'a str,
}

/// An upstream with a few tools, and a gate that allows all of them.
struct Scene {
    upstream: Upstream,
    gate: Gate,
}

impl Scene {
    fn new() -> Self {
        Self::with(|setup| setup)
    }

    fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let upstream = Upstream::of_tools(&[
            tool("echo", r#"{"text": {"type": "string"}, "n": {"type": "number"}}"#),
            tool("other", "{}"),
            serde_json::json!({"name": "open", "inputSchema": {
                "type": "object", "additionalProperties": true,
            }}),
        ]);
        let gate = Gate::start(&change(Setup::to(&upstream)));
        Self { upstream, gate }
    }

    /// Each of these is refused alike, leaves one decision, and goes nowhere.
    fn refuses(&self, expected: &Refused<'_>, bodies: &[impl AsRef<[u8]>]) {
        let before = self.gate.trail().iter().filter(|entry| entry["kind"] == "intent").count();
        for body in bodies {
            let body = body.as_ref();
            let shown = String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned();
            let response = self.gate.send(&crate::support::post("/mcp/crm", &[], body));
            assert_eq!(response.status, expected.status, "{shown}: {}", response.text());
            assert_eq!(response.rpc_code(), expected.rpc, "{shown}");
            assert_eq!(response.code(), expected.code, "{shown}");
        }
        let decisions = self.gate.decisions(before + bodies.len());
        for decision in &decisions[before..] {
            assert_eq!(
                (&decision["effect"], &decision["code"]),
                (&"deny".into(), &expected.code.into())
            );
        }
        assert!(self.upstream.calls().is_empty(), "{:#?}", self.upstream.calls());
    }
}

/// The hash on record is that of the value the upstream was sent (O3).
fn is_what_was_decided(decision: &Value, seen: &Seen) {
    let sent = json::parse(&seen.body, &json::Limits::default()).unwrap();
    let definition: Option<Digest> =
        decision["definition"].as_str().map(|text| text.parse().unwrap());
    let [agent, server, tool] =
        ["agent", "server", "tool"].map(|key| decision[key].as_str().unwrap());
    assert_eq!(sent["params"]["name"], *tool);
    let hash =
        Call::hash_of(agent, server, tool, definition.as_ref(), &sent["params"]["arguments"]);
    assert_eq!(decision["hash"], hash.to_string());
}

/// A tool result that says no, for the model to read.
fn is_told_to_the_model(response: &Response, code: &str) {
    assert_eq!(response.status, 200, "{response:?}");
    let message = response.message();
    assert_eq!(message["result"]["isError"], true, "{message}");
    assert_eq!(response.code(), code, "{message}");
}

/// A request of 2026-07-28, with the headers that it must have.
struct Modern {
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl Modern {
    fn new(id: u64, method: &str, name: Option<&str>, mut params: Value) -> Self {
        params["_meta"] = serde_json::json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {
                "extensions": {"io.modelcontextprotocol/tasks": {}},
            },
        });
        let body = serde_json::json!({
            "jsonrpc": "2.0", "id": id, "method": method, "params": params,
        });
        let mut headers = vec![
            ("mcp-protocol-version", "2026-07-28".to_owned()),
            ("mcp-method", method.to_owned()),
        ];
        headers.extend(name.map(|name| ("mcp-name", name.to_owned())));
        Self { headers, body }
    }

    fn call(id: u64, tool: &str, arguments: Value) -> Self {
        let params = serde_json::json!({"name": tool, "arguments": arguments});
        Self::new(id, "tools/call", Some(tool), params)
    }

    fn by(self, agent: &str) -> Self {
        self.with("authorization", &bearer(agent))
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let headers: Vec<_> = self.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        crate::support::post("/mcp/crm", &headers, self.body.to_string())
    }

    fn send(&self, gate: &Gate) -> Response {
        gate.send(&self.bytes())
    }
}

fn bearer(agent: &str) -> String {
    format!("Bearer {}", Setup::token(agent))
}

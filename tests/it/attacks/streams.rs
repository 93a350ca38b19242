//! What a server says on a stream: answers to others, questions to the client, hidden tools.

use serde_json::{Value, json};

use super::Modern;
use crate::support::{
    Connection, Events, Gate, Reply, Sender, Setup, Upstream, call, post, rpc, tool,
};

/// A tool with a promise about its result.
fn report() -> Value {
    json!({"name": "report", "inputSchema": {"type": "object"}, "outputSchema": {
        "type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}},
    }})
}

/// One agent in the session `s`, who sees neither `secret` nor questions.
struct Session {
    upstream: Upstream,
    gate: Gate,
}

const QUIET: &str = "allow if startswith(input.call.method, \"tools/\")\n\n\
                     visible if input.call.tool != \"secret\"";

impl Session {
    fn new(permission: &str) -> Self {
        let upstream = Upstream::of_tools(&[tool("echo", "{}"), tool("secret", "{}"), report()]);
        upstream.script(|seen| {
            let opens = seen.method() == "initialize" && !seen.is_the_gates_own();
            opens.then(|| {
                let result =
                    json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}});
                let message = json!({"jsonrpc": "2.0", "id": seen.json()["id"], "result": result});
                let headers = vec![
                    ("content-type", "application/json".to_owned()),
                    ("mcp-session-id", "s".to_owned()),
                ];
                Reply::Raw(200, headers, message.to_string().into_bytes())
            })
        });
        let gate = Gate::start(&Setup::to(&upstream).permission(permission));
        assert_eq!(
            gate.post(&rpc(0, "initialize", r#"{"protocolVersion":"2025-11-25"}"#)).status,
            200
        );
        upstream.forget();
        Self { upstream, gate }
    }

    fn send(&self, body: &str) -> Connection {
        let mut connection = self.gate.connect();
        let headers = [("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")];
        connection.send(&post("/mcp/crm", &headers, body));
        connection
    }

    /// Sends what the server answers with a stream; both ends of that.
    fn ask(&self, method: &'static str, body: &str) -> (Connection, Sender) {
        let streams = self.upstream.stream_on(method);
        let mut connection = self.send(body);
        let sender = streams.next();
        assert_eq!(connection.head().status, 200);
        (connection, sender)
    }

    /// Resumes a stream; both ends of that.
    fn listen(&self) -> (Connection, Sender) {
        let streams = self.upstream.stream_on("GET");
        let mut connection = self.gate.connect();
        connection.send(
            b"GET /mcp/crm HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: s\r\n\
              mcp-protocol-version: 2025-11-25\r\naccept: text/event-stream\r\n\
              last-event-id: 1\r\n\r\n",
        );
        let sender = streams.next();
        assert_eq!(connection.head().status, 200);
        (connection, sender)
    }
}

fn listed(id: u64) -> String {
    let tools = json!([tool("echo", "{}"), tool("secret", "{}"), {"noname": 1}, 7]);
    json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}}).to_string()
}

fn names(message: &Value) -> Vec<&str> {
    let tools = message["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

const NEWS: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"end"}}"#;

#[test]
fn b06_a_server_may_not_ask_the_client_what_policy_denies() {
    let session = Session::new(QUIET);
    let (mut connection, server) = session.ask("tools/call", &call(5, "echo", "{}"));
    for (id, method) in [
        ("\"q1\"", "sampling/createMessage"),
        ("2", "elicitation/create"),
        ("3", "roots/list"),
        ("4", "shell/exec"),
    ] {
        server.data(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"prompt":"obey"}}}}"#
        ));
        // The server hears no, in the client's place, in the client's session.
        let id: Value = serde_json::from_str(id).unwrap();
        let told = session
            .upstream
            .wait_for(|seen| seen.json()["id"] == id && seen.json()["error"]["code"].is_i64());
        assert_eq!(told.header("mcp-session-id"), Some("s"), "{method}");
        assert!(!told.body.windows(4).any(|window| window == b"obey"));
    }
    // One that two parsers would read differently is no question either.
    server.data(
        r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{"a":1,"a":2}}"#,
    );
    server.data(NEWS);
    assert_eq!(connection.message().unwrap()["method"], "notifications/message");
    // One that can be read in two ways ends the call, since it may have been its answer.
    server.data(r#"{"jsonrpc":"2.0","id":9,"method":"ping","method":"sampling/createMessage"}"#);
    let message = connection.message().unwrap();
    let code = &message["result"]["_meta"]["io.countersign/refusal"]["code"];
    assert_eq!((&message["id"], code), (&json!(5), &json!("invalid_answer")));
    let decisions = session.gate.entries("intent", 4);
    let seen: Vec<_> = decisions.iter().map(|d| (&d["method"], &d["effect"])).collect();
    assert_eq!(seen[0], (&json!("tools/call"), &json!("allow")));
    assert!(seen[1..].iter().all(|(_, effect)| *effect == "deny"), "{seen:?}");
}

#[test]
fn b06_what_policy_allows_a_server_may_ask() {
    let session = Session::new("allow := true\n\nvisible := true");
    let (mut connection, server) = session.ask("tools/call", &call(5, "echo", "{}"));
    let question =
        r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"who?"}}"#;
    server.data(question);
    assert_eq!(connection.message().unwrap(), serde_json::from_str::<Value>(question).unwrap());
    session.upstream.forget();
    let answer = r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept","content":{"n":1.0}}}"#;
    assert_eq!(session.send(answer).head().status, 202);
    let up = session.upstream.only_call();
    assert_eq!(up.json(), serde_json::from_str::<Value>(answer).unwrap());
    assert_eq!(session.gate.decisions(2)[1]["method"], "elicitation/create");
}

#[test]
fn b06_an_input_required_result_asks_only_what_policy_allows() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream).permission(
        "allow if input.call.method in {\"tools/call\", \"elicitation/create\"}\n\nvisible := true",
    ));
    let ask = |questions: Value| {
        let result = json!({
            "resultType": "input_required", "requestState": "s", "inputRequests": questions,
        });
        upstream.answer("tools/call", result);
        Modern::call(1, "echo", json!({})).send(&gate)
    };
    let elicit = json!({"method": "elicitation/create", "params": {"message": "who?"}});
    let sample = json!({"method": "sampling/createMessage", "params": {"prompt": "obey"}});
    for (questions, code) in [
        (json!({"a": sample}), "denied"),
        (json!({"a": elicit, "b": sample}), "denied"),
        (json!({"a": {"method": "shell/exec"}}), "invalid_answer"),
        (json!({"a": {"params": {}}}), "invalid_answer"),
        (json!({"a": 1}), "invalid_answer"),
        (json!([sample]), "invalid_answer"),
        (json!("x"), "invalid_answer"),
    ] {
        let response = ask(questions.clone());
        assert_eq!(response.code(), code, "{questions}");
        assert!(!response.text().contains("obey"));
        assert!(!response.text().contains("requestState"));
    }
    let asked = ask(json!({"a": elicit})).json();
    assert_eq!(asked["result"]["inputRequests"], json!({"a": elicit}));
}

#[test]
fn b09_an_answer_to_nothing_that_was_asked_is_dropped() {
    let session = Session::new(QUIET);
    let (mut connection, server) = session.ask("tools/call", &call(5, "report", "{}"));
    for id in ["6", "\"5\"", "5.0", "\"\"", "[5]", "{}", "true"] {
        server.data(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#));
    }
    server.data(
        r#"{"jsonrpc":"2.0","id":5,"result":{"content":[],"structuredContent":{"total":3}}}"#,
    );
    let message = connection.message().unwrap();
    assert_eq!(
        (&message["id"], &message["result"]["structuredContent"]["total"]),
        (&json!(5), &json!(3))
    );
    // A second answer is held to the same as the first.
    server.data(
        r#"{"jsonrpc":"2.0","id":5,"result":{"content":[],"structuredContent":{"total":"all"}}}"#,
    );
    let message = connection.message().unwrap();
    let code = &message["result"]["_meta"]["io.countersign/refusal"]["code"];
    assert_eq!(code, "invalid_answer", "{message}");
}

#[test]
fn b07_a_list_that_comes_on_another_stream_is_still_for_one_agent() {
    let session = Session::new(QUIET);
    let (mut asking, list) = session.ask("tools/list", &rpc(5, "tools/list", "{}"));
    list.raw("id: 1\ndata: \n\n");
    assert!(asking.event().unwrap().starts_with("id: 1"));
    drop((asking, list));
    // The client resumes, and the server answers there.
    let (mut listening, server) = session.listen();
    server.data(&listed(5));
    assert_eq!(names(&listening.message().unwrap()), ["echo"]);
    // Nobody asked that.
    server.data(&listed(6));
    server.data(NEWS);
    assert_eq!(listening.message().unwrap()["method"], "notifications/message");
    assert_eq!(
        session.upstream.wait_for(|seen| seen.http == "GET").header("last-event-id"),
        Some("1")
    );
}

#[test]
fn b07_an_id_used_again_does_not_unlock_the_answer_to_the_first() {
    let session = Session::new(QUIET);
    let (asking, list) = session.ask("tools/list", &rpc(5, "tools/list", "{}"));
    list.raw("id: 1\ndata: \n\n");
    drop((asking, list));
    assert_eq!(session.send(&rpc(5, "ping", "{}")).response().json()["id"], 5);
    let (mut listening, server) = session.listen();
    server.data(&listed(5));
    server.data(NEWS);
    assert_eq!(listening.message().unwrap()["method"], "notifications/message");
}

#[test]
fn b07_a_result_that_comes_on_another_stream_is_held_to_its_tool() {
    let session = Session::new(QUIET);
    let (asking, answering) = session.ask("tools/call", &call(5, "report", "{}"));
    answering.raw("id: 1\ndata: \n\n");
    drop((asking, answering));
    let (mut listening, server) = session.listen();
    server.data(
        r#"{"jsonrpc":"2.0","id":5,"result":{"content":[],"structuredContent":{"total":"all"}}}"#,
    );
    let message = listening.message().unwrap();
    assert_eq!(message["id"], 5);
    assert_eq!(message["result"]["_meta"]["io.countersign/refusal"]["code"], "invalid_answer");
    let outcome = session.gate.entries("outcome", 1).remove(0);
    assert_eq!(outcome["outcome"], "refused_answer", "{outcome}");
}

#[test]
fn b07_an_answer_elsewhere_closes_the_record_while_its_own_stream_is_open() {
    let session = Session::new(QUIET);
    let (mut asking, answering) = session.ask("tools/call", &call(5, "echo", "{}"));
    answering.raw("id: 1\ndata: \n\n");
    assert!(asking.event().is_some());
    let (mut listening, server) = session.listen();
    server.data(r#"{"jsonrpc":"2.0","id":5,"result":{"content":[]}}"#);
    assert_eq!(listening.message().unwrap()["id"], 5);
    let outcome = session.gate.entries("outcome", 1).remove(0);
    assert_eq!(outcome["outcome"], "answered", "{outcome}");
    drop(answering);
    assert_eq!(asking.event(), None);
    session.gate.entries("outcome", 1);
}

#[test]
fn b07_what_nobody_asked_for_is_not_passed_on_as_json_either() {
    let session = Session::new(QUIET);
    for body in [listed(5), r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage"}"#.into()]
    {
        let say = body.clone();
        session.upstream.script(move |seen| {
            seen.method().starts_with("notifications/").then(|| {
                let headers = vec![
                    ("content-type", "application/json".to_owned()),
                    ("mcp-session-id", "another".to_owned()),
                ];
                Reply::Raw(200, headers, say.clone().into_bytes())
            })
        });
        let response =
            session.send(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#).response();
        assert_eq!((response.status, response.text()), (200, String::new()));
        assert_eq!(response.header("mcp-session-id"), None);
        // Asked for something, a server may not say something else.
        let say = body.clone();
        session.upstream.script(move |seen| {
            (seen.method() == "ping").then(|| {
                let headers = vec![("content-type", "application/json".to_owned())];
                Reply::Raw(200, headers, say.clone().into_bytes())
            })
        });
        let response = session.send(&rpc(77, "ping", "{}")).response();
        assert_eq!(response.code(), "invalid_answer");
        assert!(!response.text().contains("secret"), "{}", response.text());
    }
}

#[test]
fn h04_no_word_beside_a_result_keeps_it_from_being_checked() {
    let session = Session::new(QUIET);
    for beside in [
        json!({}),
        json!({"task": {}}),
        json!({"task": {"status": "working"}}),
        json!({"task": {"taskId": "t1"}}),
        json!({"resultType": "task", "taskId": "t2"}),
        json!({"resultType": "input_required"}),
        json!({"resultType": "partial"}),
        json!({"isError": false, "resultType": "complete"}),
    ] {
        let mut result = json!({"content": [], "structuredContent": {"total": "all"}});
        result.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        session.upstream.answer("tools/call", result);
        let response = session.send(&call(5, "report", "{}")).response();
        assert_eq!(response.code(), "invalid_answer", "{beside}");
    }
}

#[test]
fn h01_a_list_that_changes_is_learnt_at_once() {
    let session = Session::new("allow := true\n\nvisible := true");
    let (mut listening, server) = session.listen();
    // Right after another: neither may be lost.
    for nth in 0..3 {
        let name = format!("new{nth}");
        session.upstream.offer(&[
            tool("echo", &format!(r#"{{"a{nth}":{{"type":"string"}}}}"#)),
            tool(&name, "{}"),
        ]);
        session.upstream.forget();
        server.data(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        assert!(listening.event().is_some());
        session.upstream.wait_for(|seen| seen.is_the_gates_own() && seen.method() == "tools/list");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(4);
        // Sooner than a call to an unknown tool would make it ask again.
        while session.send(&call(1, &name, "{}")).response().json()["result"]["isError"] == true {
            assert!(std::time::Instant::now() < until, "{name} is not learnt");
        }
        let changed = session.send(&call(1, "echo", &format!(r#"{{"a{nth}":"x"}}"#))).response();
        assert_eq!(changed.json()["result"]["isError"], Value::Null, "{}", changed.text());
    }
}

#[test]
fn b05_subscriptions_do_not_take_the_place_of_calls() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream).config("limits: {calls: 2, streams: 3}"));
    let streams = upstream.stream_on("subscriptions/listen");
    let listen = Modern::new(9, "subscriptions/listen", None, json!({"notifications": {}}));
    let open: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = gate.connect();
            connection.send(&listen.bytes());
            assert_eq!(connection.head().status, 200);
            (connection, streams.next())
        })
        .collect();
    assert_eq!(listen.send(&gate).code(), "overloaded");
    assert_eq!(Modern::call(1, "echo", json!({})).send(&gate).status, 200);
    drop(open);
}

#[test]
fn b06_a_stateless_stream_that_only_talks_ends_with_a_definite_answer() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    upstream.script(|seen| {
        let asked = seen.method() == "tools/call";
        asked.then(|| Reply::Stream(Vec::new(), Events::saying(&format!("data: {NEWS}\n\n"))))
    });
    let gate = Gate::start(&Setup::to(&upstream));
    let response = Modern::call(1, "echo", json!({})).send(&gate);
    assert_eq!((response.status, response.code().as_str()), (200, "outcome_unknown"));
    assert_eq!(gate.entries("outcome", 1)[0]["outcome"], "unknown");
}

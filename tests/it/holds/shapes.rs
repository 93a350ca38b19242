//! Each client waits as it can.

use serde_json::{Value, json};

use super::{arguments, refund, refunds, ticket, until};
use crate::support::{Gate, Response, Setup, Upstream, call, post, rpc};

const WAITS: &str = "hold: {wait: 20s}";

fn patient(upstream: &Upstream) -> Setup {
    Setup::to(upstream).holds("").reviewers(&["ann", "ben"]).config(WAITS)
}

/// A call of 2026-07-28.
fn stateless(gate: &Gate, id: u64, meta: &Value, more: &Value) -> Response {
    let mut params = json!({"name": "refund", "arguments": {"order": "7", "amount": "20.00"}});
    let mut all = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    all.as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
    params["_meta"] = all;
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "refund"),
    ];
    gate.post_with(&headers, &rpc(id, "tools/call", &params.to_string()))
}

#[test]
fn an_older_client_listens_until_it_is_signed() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&patient(&upstream));
    let mut connection = gate.connect();
    let params = json!({
        "name": "refund",
        "arguments": {"order": "7", "amount": "20.00"},
        "_meta": {"progressToken": "p-1", "example.com/kept": 1},
    });
    connection.send(&post("/mcp/crm", &[], rpc(5, "tools/call", &params.to_string())));
    let head = connection.head();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    let beat = connection.event().unwrap();
    assert!(beat.contains("notifications/progress") && beat.contains("p-1"), "{beat}");
    gate.reviewer("ann").approves();
    let answer = connection.event().unwrap();
    let data = answer.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let message: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&message["id"], &message["result"]["content"][0]["text"]),
        (&json!(5), &json!("refund"))
    );
    // Its own message went up, with all that it carried.
    let seen = upstream.only_call().json();
    assert_eq!(seen["params"]["_meta"]["example.com/kept"], 1, "{seen}");
    assert_eq!(seen["id"], 5);
}

#[test]
fn a_client_of_2026_comes_back_with_a_state_until_it_gets_a_ticket() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]);
    let gate = Gate::start(&setup.config("hold: {wait: 200ms, rounds: 3}"));
    let first = stateless(&gate, 1, &json!({}), &json!({})).json();
    assert_eq!(first["result"]["resultType"], "input_required", "{first:#}");
    assert!(first["result"].get("inputRequests").is_none());
    let state = first["result"]["requestState"].clone();
    // B12: another call, a forged state, and the same state twice are no way in.
    let forged = state.as_str().unwrap().replace("hold-", "hold+");
    assert_eq!(
        stateless(&gate, 2, &json!({}), &json!({"requestState": forged})).code(),
        "unknown_handle"
    );
    let other = json!({"requestState": state, "arguments": {"order": "8", "amount": "20.00"}});
    assert_eq!(stateless(&gate, 2, &json!({}), &other).code(), "unknown_handle");
    let second = stateless(&gate, 2, &json!({}), &json!({"requestState": state})).json();
    assert_eq!(second["result"]["resultType"], "input_required", "{second:#}");
    let again = stateless(&gate, 3, &json!({}), &json!({"requestState": state}));
    assert_eq!(again.code(), "unknown_handle");
    let state = second["result"]["requestState"].clone();
    let third = stateless(&gate, 4, &json!({}), &json!({"requestState": state})).json();
    assert_eq!(third["result"]["resultType"], "complete", "{third:#}");
    assert_eq!(ticket(&third)["state"], "pending");
    gate.reviewer("ann").approves();
    gate.reviewer("ann").holds("done", 1);
    let result = stateless(&gate, 5, &json!({}), &json!({})).json();
    assert_eq!(result["result"]["content"][0]["text"], "refund", "{result:#}");
    assert_eq!(refunds(&upstream).len(), 1);
}

#[test]
fn a_client_of_2026_that_waits_gets_the_result_itself() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&patient(&upstream));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stateless(&gate, 9, &json!({}), &json!({})).json());
        gate.reviewer("ann").approves();
        let answer = waiting.join().unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], "refund", "{answer:#}");
        assert_eq!(answer["id"], 9);
    });
    assert_eq!(upstream.only_call().json()["id"], 9);
}

#[test]
fn a_client_that_knows_tasks_gets_a_task() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&patient(&upstream));
    let tasks = json!({"io.modelcontextprotocol/clientCapabilities":
        {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
    let created = stateless(&gate, 1, &tasks, &json!({})).json();
    let task = &created["result"];
    assert_eq!(
        (&task["resultType"], &task["status"]),
        (&json!("task"), &json!("working")),
        "{created:#}"
    );
    assert!(task["statusMessage"].as_str().unwrap().contains("any reviewer has to sign it"));
    let ask = |method: &str| {
        let mut meta = tasks.clone();
        meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        let id = task["taskId"].as_str().unwrap();
        let params = json!({"taskId": id, "_meta": meta}).to_string();
        let headers =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", id)];
        gate.post_with(&headers, &rpc(2, method, &params)).json()
    };
    assert_eq!(ask("tasks/get")["result"]["status"], "working");
    gate.reviewer("ann").approves();
    until("it is done", || ask("tasks/get")["result"]["status"] == "completed");
    let done = ask("tasks/get");
    assert_eq!(done["result"]["result"]["content"][0]["text"], "refund", "{done:#}");
    assert_eq!(refunds(&upstream).len(), 1);
}

#[test]
fn a_task_is_made_only_where_the_server_knows_tasks_too() {
    let upstream = Upstream::of_tools(&[refund()]);
    upstream.script(|seen| {
        let plain = json!({"resultType": "complete", "capabilities": {"tools": {}}});
        (seen.method() == "server/discover").then_some(crate::support::Reply::Result(plain))
    });
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]);
    let gate = Gate::start(&setup.config("hold: {wait: 200ms}"));
    let tasks = json!({"io.modelcontextprotocol/clientCapabilities":
        {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
    let answer = stateless(&gate, 1, &tasks, &json!({})).json();
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer:#}");
}

#[test]
fn a_kept_result_is_told_in_the_revision_of_who_collects_it() {
    let upstream = Upstream::of_tools(&[refund()]);
    upstream.script(|seen| {
        let old = json!({"content": [{"type": "text", "text": "refund"}]});
        (seen.method() == "tools/call").then_some(crate::support::Reply::Result(old))
    });
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]);
    let gate = Gate::start(&setup.config("hold: {wait: 200ms, rounds: 1}"));
    let held = stateless(&gate, 1, &json!({}), &json!({})).json();
    assert_eq!(ticket(&held)["state"], "pending");
    gate.reviewer("ann").approves();
    gate.reviewer("ann").holds("done", 1);
    let result = stateless(&gate, 2, &json!({}), &json!({})).json();
    assert_eq!(result["result"]["content"][0]["text"], "refund", "{result:#}");
    assert_eq!(result["result"]["resultType"], "complete", "{result:#}");
}

#[test]
fn a_task_of_2025_ends_in_its_result() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&patient(&upstream));
    let params = json!({"name": "refund", "arguments": {"order": "7"}, "task": {"ttl": 60000}});
    let version = [("mcp-protocol-version", "2025-11-25")];
    let created = gate.post_with(&version, &rpc(1, "tools/call", &params.to_string())).json();
    let task = created["result"]["task"]["taskId"].as_str().unwrap().to_owned();
    let ask = |method: &str| {
        let params = json!({"taskId": task}).to_string();
        gate.post_with(&version, &rpc(3, method, &params)).json()
    };
    std::thread::scope(|scope| {
        let result = scope.spawn(|| ask("tasks/result"));
        gate.reviewer("ann").approves();
        let result = result.join().unwrap();
        assert_eq!(result["result"]["content"][0]["text"], "refund", "{result:#}");
        // The gate asked in 2026-07-28; the client reads 2025-11-25.
        assert!(result["result"].get("resultType").is_none(), "{result:#}");
        let related = &result["result"]["_meta"]["io.modelcontextprotocol/related-task"];
        assert_eq!(related["taskId"], task);
    });
    assert_eq!(ask("tasks/get")["result"]["status"], "completed");
}

#[test]
fn a_tool_that_only_runs_as_a_task_runs_as_one_when_it_is_signed() {
    let mut tool = refund();
    tool["execution"] = json!({"taskSupport": "required"});
    let upstream = Upstream::of_tools(&[tool]);
    upstream.script(|seen| {
        let message = seen.json();
        let task = |status: &str| json!({"taskId": "t-1", "status": status, "pollInterval": 100});
        let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let result = match seen.method().as_str() {
            "tools/call" if message["params"].get("task").is_some() => {
                json!({"task": task("working")})
            }
            "tools/call" => text("this tool only runs as a task"),
            "tasks/get" => task("completed"),
            "tasks/result" => text("refunded"),
            // It knows no revision without sessions.
            _ if seen.headers.get("mcp-protocol-version").is_some_and(|v| v == "2026-07-28") => {
                return Some(crate::support::Reply::Raw(400, Vec::new(), Vec::new()));
            }
            _ => return None,
        };
        Some(crate::support::Reply::Result(result))
    });
    let gate = Gate::start(&patient(&upstream));
    let params = json!({"name": "refund", "arguments": {"order": "7"}, "task": {}});
    let version = [("mcp-protocol-version", "2025-11-25")];
    let created = gate.post_with(&version, &rpc(1, "tools/call", &params.to_string())).json();
    let params = json!({"taskId": created["result"]["task"]["taskId"]}).to_string();
    gate.reviewer("ann").approves();
    let result = gate.post_with(&version, &rpc(2, "tasks/result", &params)).json();
    assert_eq!(result["result"]["content"][0]["text"], "refunded", "{result:#}");
    gate.reviewer("ann").holds("done", 1);
}

#[test]
fn b09_a_task_or_hold_of_another_agent_does_not_exist() {
    let upstream = Upstream::of_tools(&[refund()]);
    let setup = patient(&upstream).agents(&["ada", "bob"]);
    let gate = Gate::start(&setup);
    let as_agent = |agent: &str, body: &str| {
        let bearer = format!("Bearer {}", Setup::token(agent));
        let headers = [("mcp-protocol-version", "2025-11-25"), ("authorization", &*bearer)];
        gate.post_with(&headers, body)
    };
    let params = json!({"name": "refund", "arguments": {"order": "7"}, "task": {}});
    let created = as_agent("ada", &rpc(1, "tools/call", &params.to_string())).json();
    let task = created["result"]["task"]["taskId"].as_str().unwrap();
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let real = as_agent("bob", &rpc(2, method, &json!({"taskId": task}).to_string()));
        let made_up = json!({"taskId": "hold-00000000000000000000000000000000"}).to_string();
        let fabricated = as_agent("bob", &rpc(2, method, &made_up));
        assert_eq!((real.code(), real.status), (fabricated.code(), fabricated.status), "{method}");
        assert_eq!(real.json()["error"]["message"], fabricated.json()["error"]["message"]);
    }
    assert_eq!(gate.reviewer("ann").only("pending")["agent"], "ada");
}

#[test]
fn a_client_can_take_a_held_call_back_and_a_hang_up_does_not() {
    let upstream = Upstream::of_tools(&[refund()]);
    let gate = Gate::start(&patient(&upstream));
    let mut connection = gate.connect();
    connection.send(&post("/mcp/crm", &[], call(5, "refund", &arguments("7"))));
    assert_eq!(connection.head().status, 200);
    gate.reviewer("ann").only("pending");
    drop(connection);
    let mut connection = gate.connect();
    connection.send(&post("/mcp/crm", &[], call(6, "refund", &arguments("7"))));
    assert_eq!(connection.head().status, 200);
    // The same hold: nothing was cancelled.
    gate.reviewer("ann").only("pending");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}"#;
    assert_eq!(gate.post(cancel).status, 202);
    gate.reviewer("ann").only("cancelled");
    assert!(refunds(&upstream).is_empty());
}

#[test]
fn a_tool_that_asks_back_goes_on_with_the_same_signature() {
    let upstream = Upstream::of_tools(&[refund()]);
    upstream.script(|seen| {
        let message = seen.json();
        let params = &message["params"];
        (message["method"] == "tools/call" && params.get("requestState").is_none()).then(|| {
            crate::support::Reply::Result(json!({
                "resultType": "input_required",
                "requestState": "round-1",
            }))
        })
    });
    let gate = Gate::start(&patient(&upstream));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stateless(&gate, 1, &json!({}), &json!({})).json());
        gate.reviewer("ann").approves();
        let asked = waiting.join().unwrap();
        let state = &asked["result"]["requestState"];
        assert!(state.is_string(), "{asked:#}");
        gate.reviewer("ann").holds("executing", 1);
        // E06: what the client brings back signs nothing, it only goes on.
        let more =
            json!({"requestState": state, "inputResponses": {"approved": {"action": "accept"}}});
        let done = stateless(&gate, 2, &json!({}), &more).json();
        assert_eq!(done["result"]["content"][0]["text"], "refund", "{done:#}");
        gate.reviewer("ann").holds("done", 1);
        // Once: the state is used up.
        assert_eq!(stateless(&gate, 3, &json!({}), &more).code(), "unknown_handle");
    });
    assert_eq!(refunds(&upstream).len(), 2);
}

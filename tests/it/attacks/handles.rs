//! B09, B11, B12: whatever names something of one agent is nothing to another.

use serde_json::{Value, json};

use super::{Modern, bearer};
use crate::support::{Gate, Reply, Response, Setup, Upstream, call, rpc, tool};

struct Two {
    upstream: Upstream,
    gate: Gate,
}

impl Two {
    /// Agents ada and bob before one server.
    fn new(change: impl FnOnce(Setup) -> Setup) -> Self {
        let open = |name: &str| {
            let schema = json!({"type": "object", "additionalProperties": true});
            json!({"name": name, "inputSchema": schema})
        };
        let tools = [tool("echo", "{}"), report(), open("open"), open("open2")];
        let upstream = Upstream::of_tools(&tools);
        let gate = Gate::start(&change(Setup::to(&upstream).agents(&["ada", "bob"])));
        Self { upstream, gate }
    }

    /// Sessions with these ids are given, in turn, to whoever initializes.
    fn with_sessions(self, ids: &[&str]) -> Self {
        let mut ids: Vec<_> = ids.iter().rev().map(|id| (*id).to_owned()).collect();
        self.upstream.script(move |seen| {
            if seen.method() != "initialize" || seen.is_the_gates_own() {
                return None;
            }
            let result =
                json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}});
            let message = json!({"jsonrpc": "2.0", "id": seen.json()["id"], "result": result});
            let headers = vec![
                ("content-type", "application/json".to_owned()),
                ("mcp-session-id", ids.pop().unwrap_or_else(|| uuid::Uuid::new_v4().to_string())),
            ];
            Some(Reply::Raw(200, headers, message.to_string().into_bytes()))
        });
        self
    }

    fn as_agent(&self, agent: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let bearer = bearer(agent);
        let headers: Vec<_> =
            headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        self.gate.post_with(&headers, body)
    }

    fn initialize(&self, agent: &str) -> Response {
        self.as_agent(agent, &[], &rpc(0, "initialize", r#"{"protocolVersion":"2025-11-25"}"#))
    }

    fn raw(&self, agent: &str, method: &str, session: &str) -> Response {
        let bearer = bearer(agent);
        let request = format!(
            "{method} /mcp/crm HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\n\
             mcp-session-id: {session}\r\naccept: text/event-stream\r\n\r\n"
        );
        self.gate.send(request.as_bytes())
    }
}

/// A tool with a promise about its result.
fn report() -> Value {
    json!({"name": "report", "inputSchema": {"type": "object"}, "outputSchema": {
        "type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}},
    }})
}

/// The body without what names the one decision.
fn anonymous(response: &Response) -> (u16, String) {
    let mut message = response.json();
    message["error"]["data"]["decision"] = Value::Null;
    (response.status, message.to_string())
}

#[test]
fn b09_a_session_is_its_agents_alone() {
    let two = Two::new(|setup| setup).with_sessions(&["hers"]);
    let opened = two.initialize("ada");
    assert_eq!((opened.status, opened.header("mcp-session-id")), (200, Some("hers")));
    two.upstream.forget();
    let echo = call(1, "echo", "{}");
    let mut answers = Vec::new();
    for session in ["hers", "made-up", "HERS", "hers ", "", "hers,hers"] {
        if session != "hers " {
            answers.push(two.as_agent("bob", &[("mcp-session-id", session)], &echo));
            two.raw("bob", "GET", session).code();
            assert_eq!(two.raw("bob", "DELETE", session).status, 404, "{session}");
        }
    }
    for answer in &answers {
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_handle"));
        assert_eq!(anonymous(answer), anonymous(&answers[1]));
    }
    // One chosen by the client is no session either, nor does it become one.
    let initialize = rpc(0, "initialize", r#"{"protocolVersion":"2025-11-25"}"#);
    let fixed = two.as_agent("bob", &[("mcp-session-id", "fixed")], &initialize);
    assert_eq!(fixed.status, 404);
    // Two at once are none.
    let both = [("mcp-session-id", "hers"), ("mcp-session-id", "hers")];
    assert_eq!(two.as_agent("ada", &both, &echo).code(), "header_mismatch");
    assert!(two.upstream.calls().is_empty(), "{:#?}", two.upstream.calls());
    assert_eq!(two.as_agent("ada", &[("mcp-session-id", "hers")], &echo).status, 200);
    assert_eq!(two.upstream.only_call().header("mcp-session-id"), Some("hers"));
    two.gate.decisions(answers.len() + 3);
}

#[test]
fn b09_a_session_that_is_given_twice_stays_with_the_first() {
    let two = Two::new(|setup| setup).with_sessions(&["same", "same"]);
    assert_eq!(two.initialize("ada").status, 200);
    let second = two.initialize("bob");
    assert_eq!(second.code(), "invalid_answer");
    assert_eq!(second.header("mcp-session-id"), None);
    let echo = call(1, "echo", "{}");
    assert_eq!(two.as_agent("bob", &[("mcp-session-id", "same")], &echo).status, 404);
    assert_eq!(two.as_agent("ada", &[("mcp-session-id", "same")], &echo).status, 200);
}

#[test]
fn b09_a_session_that_is_ended_is_gone() {
    let two = Two::new(|setup| setup).with_sessions(&["hers"]);
    two.initialize("ada");
    two.upstream.script(|seen| {
        (seen.http == http::Method::DELETE).then(|| Reply::Raw(200, Vec::new(), Vec::new()))
    });
    assert_eq!(two.raw("ada", "DELETE", "hers").status, 200);
    let echo = call(1, "echo", "{}");
    assert_eq!(two.as_agent("ada", &[("mcp-session-id", "hers")], &echo).status, 404);
    assert_eq!(two.raw("ada", "GET", "hers").status, 404);
}

#[test]
fn b11_sessions_are_bounded_for_each_agent() {
    let two = Two::new(|setup| setup.config("limits: {sessions: 8}")).with_sessions(&["kept"]);
    let opened = |agent| {
        let response = two.initialize(agent);
        assert_eq!(response.status, 200);
        response.header("mcp-session-id").unwrap().to_owned()
    };
    let echo = call(1, "echo", "{}");
    let talks = |agent, id: &str| two.as_agent(agent, &[("mcp-session-id", id)], &echo).status;
    let kept = opened("bob");
    let hers: Vec<_> = (0..100).map(|_| opened("ada")).collect();
    assert_eq!(two.gate.metric("countersign_sessions_open", &[]), 3.0);
    // What she used last is hers yet; what she left behind is gone, and she begins anew.
    let (gone, last) = hers.split_at(98);
    for id in [&gone[0], &gone[97]] {
        assert_eq!(talks("ada", id), 404);
    }
    assert_eq!((talks("ada", &last[1]), talks("ada", &last[0])), (200, 200));
    opened("ada");
    assert_eq!((talks("ada", &last[1]), talks("ada", &last[0])), (404, 200));
    assert_eq!(talks("bob", &kept), 200);
}

#[test]
fn b11_an_idle_session_makes_room() {
    let two = Two::new(|setup| setup.config("limits: {sessions: 1, session_idle: 1s}"))
        .with_sessions(&["first"]);
    assert_eq!(two.initialize("ada").status, 200);
    let sent = two.upstream.calls().len();
    // Another agent's session is nobody's to take.
    let refused = two.initialize("bob");
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("mcp-session-id"), None);
    // The server is not made to open sessions that nobody can use.
    assert_eq!(two.upstream.calls().len(), sent);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while two.initialize("bob").status != 200 {
        assert!(std::time::Instant::now() < until, "the first session never ends");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let echo = call(1, "echo", "{}");
    assert_eq!(two.as_agent("ada", &[("mcp-session-id", "first")], &echo).status, 404);
}

/// The server makes each call of `echo` and `report` the task `t1`.
fn with_a_task(two: &Two) {
    for name in ["echo", "report"] {
        two.upstream.script(move |seen| {
            (seen.json()["params"]["name"] == name).then(|| {
                Reply::Result(json!({"resultType": "task", "taskId": "t1", "status": "working"}))
            })
        });
    }
}

fn of_task(method: &str, task: &str) -> Modern {
    Modern::new(2, method, Some(task), json!({"taskId": task, "inputResponses": {}}))
}

#[test]
fn b09_a_task_is_its_agents_alone() {
    let two = Two::new(|setup| setup);
    with_a_task(&two);
    let made = Modern::call(1, "echo", json!({})).by("ada").send(&two.gate);
    assert_eq!(made.json()["result"]["taskId"], "t1");
    two.upstream.forget();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let [his, unknown] =
            ["t1", "t2"].map(|task| of_task(method, task).by("bob").send(&two.gate));
        assert_eq!((his.rpc_code(), his.code().as_str()), (-32602, "unknown_handle"), "{method}");
        assert_eq!(anonymous(&his), anonymous(&unknown));
    }
    let old = rpc(2, "tasks/result", r#"{"taskId":"t1"}"#);
    assert_eq!(two.as_agent("bob", &[], &old).code(), "unknown_handle");
    // A name in the header does not stand for one in the body.
    let lie = Modern::new(2, "tasks/get", Some("t2"), json!({"taskId": "t1"})).by("ada");
    assert_eq!(lie.send(&two.gate).code(), "header_mismatch");
    let two_names = rpc(2, "tasks/result", r#"{"taskId":["t1"]}"#);
    assert_eq!(two.as_agent("ada", &[], &two_names).code(), "unknown_handle");
    assert!(two.upstream.calls().is_empty());
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(of_task(method, "t1").by("ada").send(&two.gate).status, 200, "{method}");
    }
    assert_eq!(two.upstream.calls().len(), 3);
    // A server that gives the same task to two agents is not believed.
    let again = Modern::call(3, "echo", json!({})).by("bob").send(&two.gate);
    assert_eq!(again.code(), "invalid_answer");
}

#[test]
fn b09_nobody_hears_of_anothers_task() {
    let two = Two::new(|setup| setup);
    with_a_task(&two);
    Modern::call(1, "report", json!({})).by("ada").send(&two.gate);
    two.upstream.forget();
    let listen = |agent: &str, tasks: Value| {
        let wanted = json!({"notifications": {"toolsListChanged": true, "taskIds": tasks}});
        Modern::new(9, "subscriptions/listen", None, wanted).by(agent)
    };
    for tasks in [json!(["t1"]), json!(["t9"]), json!(["t9", "t1"])] {
        assert_eq!(listen("bob", tasks).send(&two.gate).code(), "unknown_handle");
    }
    for tasks in [json!("t1"), json!([1]), json!({"0": "t1"}), json!([["t1"]])] {
        assert_eq!(listen("bob", tasks).send(&two.gate).code(), "invalid_params");
    }
    assert!(two.upstream.calls().is_empty());
    // What a server tells all its listeners is for the task's own agent.
    let streams = two.upstream.stream_on("subscriptions/listen");
    let mut ears = [("bob", json!([])), ("ada", json!(["t1"]))].map(|(agent, tasks)| {
        let mut connection = two.gate.connect();
        connection.send(&listen(agent, tasks).bytes());
        let sender = streams.next();
        assert_eq!(connection.head().status, 200);
        (connection, sender)
    });
    let news = |params: Value| {
        json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": params}).to_string()
    };
    for (connection, sender) in &mut ears {
        sender.data(&news(json!({"taskId": "t1", "status": "working"})));
        // The tool promised a whole number: what breaks that reaches nobody.
        let wrong = json!({"content": [], "structuredContent": {"total": "all"}});
        sender.data(&news(json!({"taskId": "t1", "status": "completed", "result": wrong})));
        // A question would have to be decided first.
        let ask = json!({"q": {"method": "sampling/createMessage", "params": {}}});
        sender
            .data(&news(json!({"taskId": "t1", "status": "input_required", "inputRequests": ask})));
        sender.data(&news(json!({"status": "working"})));
        sender.data(&news(json!({"taskId": "t9", "status": "working"})));
        sender.data(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        let _ = connection;
    }
    let [(bob, _to_bob), (ada, _to_ada)] = &mut ears;
    assert_eq!(bob.message().unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(ada.message().unwrap()["params"], json!({"taskId": "t1", "status": "working"}));
    assert_eq!(ada.message().unwrap()["method"], "notifications/tools/list_changed");
}

#[test]
fn b09_what_a_task_brings_is_held_to_its_tool() {
    let two = Two::new(|setup| setup);
    with_a_task(&two);
    Modern::call(1, "report", json!({})).by("ada").send(&two.gate);
    let result = |total: Value| {
        json!({"resultType": "complete", "taskId": "t1", "status": "completed",
            "result": {"content": [], "structuredContent": {"total": total}}})
    };
    two.upstream.answer("tasks/get", result(json!("all")));
    assert_eq!(of_task("tasks/get", "t1").by("ada").send(&two.gate).code(), "invalid_answer");
    two.upstream.answer("tasks/get", result(json!(7)));
    let got = of_task("tasks/get", "t1").by("ada").send(&two.gate);
    assert_eq!(got.json()["result"]["result"]["structuredContent"]["total"], 7);
}

#[test]
fn b09_a_list_of_tasks_is_for_one_agent() {
    let two = Two::new(|setup| setup);
    let task = json!({"task": {"taskId": "t1", "status": "working"}});
    two.upstream.answer("tools/call", task);
    two.as_agent("ada", &[], &call(1, "echo", "{}"));
    let tasks = json!([
        {"taskId": "t1", "status": "working", "kept": [1]}, {"taskId": "t2"}, {"taskId": 1}, {}, 7,
    ]);
    two.upstream.answer("tasks/list", json!({"tasks": tasks, "nextCursor": "next"}));
    let list = |agent: &str| two.as_agent(agent, &[], &rpc(2, "tasks/list", "{}")).json();
    let hers = list("ada");
    assert_eq!(hers["result"]["tasks"], json!([tasks[0]]));
    assert_eq!(hers["result"]["nextCursor"], "next");
    assert_eq!(list("bob")["result"]["tasks"], json!([]));
}

/// A call that the server answers with a state to come back with.
fn asked_back(two: &Two, agent: &str) -> String {
    two.upstream.script(|seen| {
        let params = &seen.json()["params"];
        let first = seen.method() == "tools/call" && params["requestState"].is_null();
        first.then(|| {
            Reply::Result(json!({"resultType": "input_required", "requestState": "round.1"}))
        })
    });
    let answer = Modern::call(1, "open", json!({"a": 1})).by(agent).send(&two.gate);
    let state = answer.json()["result"]["requestState"].as_str().unwrap().to_owned();
    assert_ne!(state, "round.1");
    state
}

fn come_back(two: &Two, agent: &str, tool: &str, arguments: Value, state: &str) -> Response {
    let params = json!({"name": tool, "arguments": arguments, "requestState": state});
    Modern::new(2, "tools/call", Some(tool), params).by(agent).send(&two.gate)
}

#[test]
fn b12_a_state_is_for_one_agent_and_one_call_once() {
    let two = Two::new(|setup| setup);
    let state = asked_back(&two, "ada");
    two.upstream.forget();
    let same = || json!({"a": 1});
    let mut flipped = state.clone().into_bytes();
    flipped[10] ^= 1;
    let flipped = String::from_utf8(flipped).unwrap();
    let refused = [
        come_back(&two, "bob", "open", same(), &state),
        come_back(&two, "ada", "open2", same(), &state),
        come_back(&two, "ada", "open", json!({"a": 2}), &state),
        come_back(&two, "ada", "open", json!({}), &state),
        come_back(&two, "ada", "open", same(), "round.1"),
        come_back(&two, "ada", "open", same(), &state.replace("round.1", "round.2")),
        come_back(&two, "ada", "open", same(), &flipped),
        come_back(&two, "ada", "open", same(), ""),
    ];
    for response in &refused {
        assert_eq!(response.code(), "unknown_handle", "{}", response.text());
        assert_eq!(anonymous(response), anonymous(&refused[0]));
    }
    assert!(two.upstream.calls().is_empty());
    let good = come_back(&two, "ada", "open", same(), &state);
    assert_eq!(good.json()["result"]["isError"], Value::Null, "{}", good.text());
    // The server gets its own state back.
    assert_eq!(two.upstream.only_call().json()["params"]["requestState"], "round.1");
    // Used, it is gone.
    assert_eq!(come_back(&two, "ada", "open", same(), &state).code(), "unknown_handle");
    assert_eq!(two.upstream.calls().len(), 1);
    two.gate.decisions(refused.len() + 3);
}

#[test]
fn b12_a_state_expires() {
    let two = Two::new(|setup| setup.config("limits: {session_idle: 1s}"));
    let state = asked_back(&two, "ada");
    // Nothing tells that it has expired but a try, and a try uses it up: so it is waited for.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let late = come_back(&two, "ada", "open", json!({"a": 1}), &state);
    assert_eq!(late.code(), "unknown_handle");
}

#[test]
fn b12_a_state_outlives_the_gate_and_stays_bound() {
    let two = Two::new(|setup| setup);
    let state = asked_back(&two, "ada");
    let setup = Setup::to(&two.upstream).agents(&["ada", "bob"]);
    let Two { upstream, gate } = two;
    let two = Two { upstream, gate: Gate::start_in(&setup, gate.kill()) };
    let stolen = come_back(&two, "bob", "open", json!({"a": 1}), &state);
    assert_eq!(stolen.code(), "unknown_handle");
    let good = come_back(&two, "ada", "open", json!({"a": 1}), &state);
    assert_eq!(good.json()["result"]["isError"], Value::Null, "{}", good.text());
}

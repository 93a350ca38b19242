//! A. Parsing: JSON and JSON-RPC.

use serde_json::{Value, json};

use super::{Refused, Scene, is_told_to_the_model, is_what_was_decided};
use crate::support::{Gate, Setup, Upstream, call, post, rpc, tool};

#[test]
fn a01_a_key_twice_in_the_envelope() {
    Scene::new().refuses(
        &Refused { status: 400, rpc: -32600, code: "duplicate_key" },
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"echo"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"other"},"params":{"name":"echo"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"other","name":"echo"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"echo"}}"#,
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},"arguments":{"text":"x"}}}"#,
        ],
    );
}

#[test]
fn a02_a_key_twice_in_the_arguments() {
    let mut bodies = vec![
        call(1, "echo", r#"{"text":"a","text":"b"}"#),
        call(1, "echo", r#"{"text":"a","te\u0078t":"b"}"#),
        call(1, "echo", r#"{"te\u0078t":"a","\u0074ext":"b"}"#),
        call(1, "open", r#"{"list":[{"a":1},{"a":1,"a":2}]}"#),
        call(1, "open", r#"{"😀":1,"\ud83d\ude00":2}"#),
        call(1, "open", r#"{"":1,"":2}"#),
        call(1, "open", r#"{"__proto__":1,"__proto__":2}"#),
    ];
    for depth in [1, 10, 50] {
        let nested = format!(r#"{}{{"a":1,"a":2}}{}"#, r#"{"x":"#.repeat(depth), "}".repeat(depth));
        bodies.push(call(1, "open", &nested));
    }
    Scene::new().refuses(&Refused { status: 400, rpc: -32600, code: "duplicate_key" }, &bodies);
}

#[test]
fn a05_a_name_that_only_looks_like_a_tools() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}"), tool("caf\u{e9}", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream));
    let names = [
        "Echo",
        "ECHO",
        "\u{435}cho",
        "ech\u{3bf}",
        "cafe\u{301}",
        "ec\u{200b}ho",
        "\u{202e}echo",
        "echo\u{2066}",
        "echo ",
        " echo",
        "echo\\t",
        "echo\\u0000",
        "echo/",
        "./echo",
        "crm.echo",
        "ｅｃｈｏ",
        "",
        "*",
    ];
    for (id, name) in names.iter().enumerate() {
        let response = gate.post(&call(id as u64, name, "{}"));
        is_told_to_the_model(&response, "unknown_tool");
        assert_eq!(response.json()["id"], id);
    }
    for decision in gate.decisions(names.len()) {
        assert_eq!(
            (&decision["effect"], &decision["code"]),
            (&json!("deny"), &json!("unknown_tool"))
        );
    }
    assert!(upstream.calls().is_empty());
    // The exact bytes, however they are written, are the tool.
    for (id, name) in ["echo", r"\u0065cho", "caf\u{e9}", r"caf\u00e9"].iter().enumerate() {
        assert_eq!(gate.post(&call(id as u64, name, "{}")).status, 200);
    }
    assert_eq!(upstream.calls().len(), 4);
}

#[test]
fn a06_a_batch_is_no_message_in_any_revision() {
    let scene = Scene::new();
    let echo = call(1, "echo", "{}");
    let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"x"}"#; 30_000].join(","));
    let bodies = [
        "[]".to_owned(),
        format!("[{echo}]"),
        format!("[{echo},{}]", call(2, "missing", "{}")),
        format!("[[{echo}]]"),
        many,
    ];
    scene.refuses(&Refused { status: 400, rpc: -32600, code: "batch" }, &bodies);
    // The one revision that had batches is no way around.
    for version in ["2025-03-26", "2025-06-18"] {
        let response = scene.gate.post_with(&[("mcp-protocol-version", version)], &bodies[2]);
        assert_eq!((response.status, response.code().as_str()), (400, "batch"));
    }
    // 10^5 entries are too many values, whatever they are.
    let response = scene.gate.post(&format!("[{}]", vec!["{}"; 100_001].join(",")));
    assert_eq!((response.status, response.code().as_str()), (413, "too_large"));
    scene.gate.decisions(bodies.len() + 3);
    assert!(scene.upstream.calls().is_empty());
}

#[test]
fn a07_a_call_without_an_id_is_not_executed() {
    let scene = Scene::new();
    let methods = ["tools/call", "resources/read", "tasks/cancel", "initialize", "server/discover"];
    for method in methods {
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"name":"echo"}}}}"#);
        let response = scene.gate.post(&body);
        // 404 would mean that the session is gone, 2xx that it was taken.
        assert_eq!(response.status, 400, "{}", response.text());
        assert_eq!((response.rpc_code(), response.code().as_str()), (-32601, "unknown_method"));
    }
    scene.gate.decisions(methods.len());
    assert!(scene.upstream.calls().is_empty());
}

#[test]
fn a07_a_notification_with_an_id_is_no_notification() {
    let scene = Scene::new();
    let methods =
        ["notifications/initialized", "notifications/cancelled", "notifications/progress"];
    for method in methods {
        let response = scene.gate.post(&rpc(1, method, "{}"));
        assert_eq!(response.code(), "unknown_method");
        assert_eq!(response.json()["id"], 1);
    }
    scene.gate.decisions(methods.len());
    assert!(scene.upstream.calls().is_empty());
}

#[test]
fn a08_an_id_is_a_string_or_an_integer() {
    let bodies = ["null", "1.5", "1.0", "1e2", "true", "false", "{}", "[]", "[1]"].map(|id| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#)
    });
    Scene::new().refuses(&Refused { status: 400, rpc: -32600, code: "invalid_request" }, &bodies);
}

#[test]
fn a08_an_id_comes_back_as_it_went() {
    let scene = Scene::new();
    for id in ["0", "-1", "9007199254740991", r#""""#, r#""1""#, r#""é😀""#, r#""\u0000""#] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#
        );
        let answer = scene.gate.post(&body).json();
        assert_eq!(answer["id"], serde_json::from_str::<Value>(id).unwrap(), "{answer}");
        let refused = scene.gate.post(&body.replace("echo", "missing")).json();
        assert_eq!(refused["id"], answer["id"], "{refused}");
    }
}

#[test]
fn a09_a_number_is_exact_or_refused() {
    let scene = Scene::new();
    let kept = ["9007199254740991", "-9007199254740991", "0.1", "1e-7", "12.50", "1e21", "5e-324"];
    for (nth, number) in kept.iter().enumerate() {
        let response = scene.gate.post(&call(1, "echo", &format!(r#"{{"n":{number}}}"#)));
        assert_eq!(response.json()["result"]["isError"], Value::Null, "{}", response.text());
        let seen = &scene.upstream.calls()[nth];
        let exact: f64 = number.parse().unwrap();
        assert_eq!(seen.json()["params"]["arguments"]["n"].as_f64(), Some(exact), "{number}");
        is_what_was_decided(&scene.gate.decisions(nth + 1)[nth], seen);
    }
    scene.upstream.forget();
    let digits = "1234567890".repeat(40);
    let rounded =
        ["9007199254740993", "123456789012345678901234567890", &digits, "1e400", "-1e400"];
    let bodies: Vec<_> = rounded
        .iter()
        .flat_map(|number| {
            let argument = call(1, "echo", &format!(r#"{{"n":{number}}}"#));
            let id = format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"echo"}}}}"#
            );
            [argument, id]
        })
        .collect();
    scene.refuses(&Refused { status: 400, rpc: -32600, code: "number_would_round" }, &bodies);
}

#[test]
fn a11_deep_wide_and_long() {
    let scene = Scene::with(|setup| setup.config("limits: {body: 3MiB}"));
    let deep = |depth: usize, open: &str, close: &str| {
        let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        call(1, "open", &format!(r#"{{"x":{nested}}}"#))
    };
    // Envelope, parameters and arguments are three levels of the 64.
    let mut bodies = Vec::new();
    for depth in [62, 100, 1_000, 100_000] {
        bodies.push(deep(depth, "[", "]"));
        bodies.push(deep(depth, r#"{"a":"#, "}"));
    }
    bodies.push(format!(r#"{{"jsonrpc":"2.0","x":{}"#, "[".repeat(1_000_000)));
    scene.refuses(&Refused { status: 400, rpc: -32600, code: "too_deep" }, &bodies);
    let keys: Vec<_> = (0..200_000).map(|key| format!(r#""{key}":1"#)).collect();
    let wide = call(1, "open", &format!("{{{}}}", keys.join(",")));
    let padded = |bytes: usize| {
        let body = call(1, "open", r#"{"x":"@"}"#);
        let fill = bytes + 1 - body.len();
        body.replace('@', &"a".repeat(fill))
    };
    let limit = 3 << 20;
    scene.refuses(
        &Refused { status: 413, rpc: -32600, code: "too_large" },
        &[wide, padded(limit + 1)],
    );
    // At the bounds it passes.
    for (count, body) in [deep(61, "[", "]"), padded(limit)].iter().enumerate() {
        let response = scene.gate.post(body);
        assert_eq!(response.json()["result"]["isError"], Value::Null, "{}", response.text());
        assert_eq!(scene.upstream.calls().len(), count + 1);
    }
}

#[test]
fn a11_a_body_that_says_it_is_huge_is_refused_before_it_comes() {
    let scene = Scene::new();
    let mut connection = scene.gate.connect();
    let request = post("/mcp/crm", &[("content-length", "104857600")], r#"{"jsonrpc":"#);
    connection.send(&request);
    let response = connection.response();
    assert_eq!((response.status, response.code().as_str()), (413, "too_large"));
    // Without a length, the limit counts as it comes.
    let mut connection = scene.gate.connect();
    let mut request = post("/mcp/crm", &[("transfer-encoding", "chunked")], "");
    let text = String::from_utf8(request).unwrap().replace("content-length: 0\r\n", "");
    request = text.into_bytes();
    let chunk = vec![b'a'; 1 << 20];
    for _ in 0..5 {
        request.extend_from_slice(b"100000\r\n");
        request.extend_from_slice(&chunk);
        request.extend_from_slice(b"\r\n");
    }
    connection.send(&request);
    assert_eq!(connection.response().code(), "too_large");
    scene.gate.decisions(2);
    assert!(scene.upstream.calls().is_empty());
    assert_eq!(scene.gate.post(&call(1, "echo", "{}")).status, 200);
}

#[test]
fn a12_what_only_some_parsers_take() {
    let scene = Scene::new();
    let mut bodies: Vec<Vec<u8>> = [
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "-01",
        "+1",
        "0x1",
        "1.",
        ".5",
        "1e",
        "1_000",
        "'a'",
        "undefined",
        "True",
        "/* c */ 1",
        "1 // c\n",
        "[1,]",
        r#"{"a":1,}"#,
        "\"\t\"",
        r#""\x41""#,
    ]
    .iter()
    .map(|value| call(1, "open", &format!(r#"{{"x":{value}}}"#)).into_bytes())
    .collect();
    let echo = call(1, "echo", "{}");
    for text in [
        format!("{echo}{echo}"),
        format!("{echo}\n{echo}\n"),
        format!("{echo}]"),
        format!("{echo},"),
        format!("{echo}\u{0}"),
        format!("\u{feff}{echo}"),
        format!("\u{1e}{echo}"),
        echo[..echo.len() - 1].to_owned(),
        String::new(),
        " ".to_owned(),
    ] {
        bodies.push(text.into_bytes());
    }
    scene.refuses(&Refused { status: 400, rpc: -32700, code: "invalid_json" }, &bodies);
    let minus_zero = [call(1, "echo", r#"{"n":-0}"#), call(1, "echo", r#"{"n":-0.0}"#)];
    scene.refuses(&Refused { status: 400, rpc: -32600, code: "number_would_round" }, &minus_zero);
    let open = |bytes: &[u8]| {
        [br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"open","arguments":{"x":""#, bytes, br#""}}}"#].concat()
    };
    let texts = [
        open(b"\xff"),
        open(b"\xc0\xaf"),
        open(b"\xed\xa0\x80"),
        open(br"\ud800"),
        open(br"\udc00\ud800"),
    ];
    scene.refuses(&Refused { status: 400, rpc: -32700, code: "invalid_text" }, &texts);
}

#[test]
fn a14_a_call_written_otherwise_is_the_same_call() {
    let scene = Scene::new();
    let arguments = [
        r#"{"text":"é/😀","n":100}"#,
        r#"{ "n" : 100 ,"text":"\u00e9\/\ud83d\ude00"}"#,
        "\t{\r\n\"n\":100,\"t\\u0065xt\":\"é/😀\"\n}",
    ];
    let others = [
        r#"{"text":"é/😀","n":101}"#,
        r#"{"text":"é/😀 ","n":100}"#,
        r#"{"text":"e\u0301/😀","n":100}"#,
        r#"{"text":"é/😀"}"#,
    ];
    for arguments in arguments.iter().chain(&others) {
        let response = scene.gate.post(&call(1, "echo", arguments));
        assert_eq!(response.json()["result"]["isError"], Value::Null, "{}", response.text());
    }
    let decisions = scene.gate.decisions(arguments.len() + others.len());
    for (decision, seen) in decisions.iter().zip(&scene.upstream.calls()) {
        is_what_was_decided(decision, seen);
    }
    let hashes: Vec<_> = decisions.iter().map(|decision| decision["hash"].as_str()).collect();
    assert!(hashes[1..3].iter().all(|hash| *hash == hashes[0]));
    let mut distinct = hashes[2..].to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), others.len() + 1);
}

#[test]
fn a14_another_agent_or_tool_is_another_call() {
    let scene = Scene::with(|setup| setup.agents(&["ada", "bob"]));
    for (agent, tool) in [("ada", "open"), ("bob", "open"), ("ada", "other")] {
        let bearer = format!("Bearer {}", Setup::token(agent));
        let response = scene.gate.post_with(&[("authorization", &bearer)], &call(1, tool, "{}"));
        assert_eq!(response.status, 200);
    }
    let decisions = scene.gate.decisions(3);
    assert_ne!(decisions[0]["hash"], decisions[1]["hash"]);
    assert_ne!(decisions[0]["hash"], decisions[2]["hash"]);
}

#[test]
fn a14_keys_that_mean_something_to_a_parser_stay_plain_keys() {
    let scene = Scene::new();
    // What the schema does not mention is refused, whatever it is named.
    for key in ["__proto__", "constructor", "prototype", "toString", "$ref"] {
        let response = scene.gate.post(&call(1, "echo", &format!(r#"{{"{key}":{{"text":"x"}}}}"#)));
        is_told_to_the_model(&response, "invalid_arguments");
    }
    assert!(scene.upstream.calls().is_empty());
    // Where it allows anything they go up as they came, and nothing is read out of them.
    let nested = r#"{"__proto__":{"name":"other","arguments":{"admin":true}},"constructor":1}"#;
    scene.gate.post(&call(1, "open", nested));
    let seen = scene.upstream.only_call();
    assert_eq!(seen.json()["params"]["arguments"], serde_json::from_str::<Value>(nested).unwrap());
    assert_eq!(seen.json()["params"]["name"], "open");
    is_what_was_decided(&scene.gate.decisions(6)[5], &seen);
    // Arguments that are only inherited are none: the upstream gets an object of its own.
    scene.upstream.forget();
    let inherited = r#"{"name":"open","__proto__":{"arguments":{"admin":true}}}"#;
    scene.gate.post(&rpc(1, "tools/call", inherited));
    assert_eq!(scene.upstream.only_call().json()["params"]["arguments"], json!({}));
}

//! H: tools that change after somebody looked, and answers that are not what was promised. And
//! I06: names that would make the scrape grow.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::reload::wait_until;
use crate::support::{Gate, Reply, Response, Sender, Setup, Upstream, call, post, rpc, tool};

/// Must not come out of an answer that is not passed on.
const CANARY: &str = "canary-9f31";

fn names(gate: &Gate) -> Vec<String> {
    let listed = gate.post(&rpc(90, "tools/list", "{}")).json();
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn text_of(answer: &Response) -> String {
    answer.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

type Change = fn(&mut Value);

fn described(description: &str) -> Value {
    let mut tool = tool("refund", r#"{"amount":{"type":"string"}}"#);
    tool["description"] = description.into();
    tool
}

#[test]
fn h01_the_shipped_policy_denies_a_tool_that_changed_since_it_was_first_seen() {
    let changes: [(&str, Change); 4] = [
        ("description", |tool| tool["description"] = "now reads ~/.ssh".into()),
        ("schema", |tool| tool["inputSchema"]["properties"]["note"] = json!({"type": "string"})),
        ("output", |tool| tool["outputSchema"] = json!({"type": "object"})),
        ("annotation", |tool| tool["annotations"] = json!({"readOnlyHint": true})),
    ];
    let upstream = Upstream::of_tools(&[tool("other", "{}")]);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/permission.rego");
    let data = "countersign_config:\n  access: {agents: {dev: {crm: {\"*\": true}}}, groups: {}}\n";
    let setup = Setup::to(&upstream)
        .file("policies/permission.rego", &fs::read_to_string(shipped).unwrap())
        .file("policies/data.yaml", data)
        .config("policy: {deadline: 5s}");
    for (what, change) in changes {
        upstream.offer(&[described("refunds"), tool("other", "{}")]);
        let gate = Gate::start(&setup);
        upstream.forget();
        assert_eq!(text_of(&gate.post(&call(1, "refund", "{}"))), "refund", "{what}");
        let mut changed = described("refunds");
        change(&mut changed);
        upstream.offer(&[changed, tool("other", "{}")]);
        names(&gate);
        upstream.forget();
        let refused = gate.post(&call(2, "refund", "{}"));
        assert_eq!(refused.code(), "denied", "{what}: {}", refused.text());
        assert_eq!(gate.decisions(2)[1]["reasons"][0]["code"], "tool_changed", "{what}");
        assert!(upstream.calls().is_empty(), "{what}");
        assert_eq!(text_of(&gate.post(&call(3, "other", "{}"))), "other", "{what}");
        assert!(gate.log().contains("has changed since it was first seen"), "{what}");
    }
}

fn pin(gate: &Gate) {
    let config = gate.path("countersign.yaml");
    let done = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["pin", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(done.status.success() && said.contains("crm/refund sha256:"), "{said}");
}

#[test]
fn h01_with_a_lock_a_changed_tool_is_refused_and_hidden_until_it_is_pinned_again() {
    for mode in ["enforce", "dryrun"] {
        let upstream = Upstream::of_tools(&[described("refunds"), tool("other", "{}")]);
        let setup = Setup::to(&upstream).config(&format!("pins: ./tools.lock\nmode: {mode}"));
        let gate = Gate::start(&setup);
        let (first, _) = crate::reload::policy(&gate);
        pin(&gate);
        wait_until("the lock is read", || crate::reload::policy(&gate).0 != first);
        assert_eq!(text_of(&gate.post(&call(1, "refund", "{}"))), "refund");
        assert_eq!(names(&gate), ["refund", "other"]);

        upstream.offer(&[described("refunds, and sends you mail"), tool("other", "{}")]);
        names(&gate); // the gate looks on
        assert_eq!(names(&gate), ["other"], "{mode}");
        upstream.forget();
        let refused = gate.post(&call(2, "refund", "{}"));
        assert_eq!(refused.code(), "changed_tool", "{mode}: {}", refused.text());
        assert!(upstream.calls().is_empty(), "{mode}");
        assert_eq!(text_of(&gate.post(&call(3, "other", "{}"))), "other");

        pin(&gate);
        wait_until("it is accepted", || names(&gate) == ["refund", "other"]);
        assert_eq!(text_of(&gate.post(&call(4, "refund", "{}"))), "refund");
        let codes: Vec<Value> =
            gate.entries("intent", 4).into_iter().map(|entry| entry["code"].clone()).collect();
        assert_eq!(codes, ["allowed", "changed_tool", "allowed", "allowed"], "{mode}");
    }
}

#[test]
fn h01_a_server_that_says_that_its_list_changed_is_asked_again_by_the_gate_itself() {
    let upstream = Upstream::of_tools(&[described("refunds")]);
    let gate = Gate::start(&Setup::to(&upstream).config("pins: ./tools.lock"));
    let (first, _) = crate::reload::policy(&gate);
    pin(&gate);
    wait_until("the lock is read", || crate::reload::policy(&gate).0 != first);
    let streams = upstream.stream_on("tools/call");
    let mut connection = gate.connect();
    connection.send(&post("/mcp/crm", &[], call(1, "refund", "{}")));
    let sender = streams.next();
    connection.head();
    upstream.offer(&[described("refunds to anybody")]);
    upstream.forget();
    sender.data(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(connection.message().unwrap()["method"], "notifications/tools/list_changed");
    upstream.wait_for(|seen| seen.method() == "tools/list" && seen.is_the_gates_own());
    sender.data(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
    // What began by the old definition ends by it.
    assert_eq!(connection.message().unwrap()["result"]["content"], json!([]));
    drop(sender);
    upstream.answer("tools/call", json!({"content": []}));
    wait_until("the gate has learnt of it", || {
        gate.post(&call(2, "refund", "{}")).json()["result"]["isError"] == true
    });
    upstream.forget();
    assert_eq!(gate.post(&call(3, "refund", "{}")).code(), "changed_tool");
    assert!(upstream.calls().is_empty());
}

/// A gate whose answers may have 64 KiB, before a server with one tool that promises a total.
fn bounded() -> (Upstream, Gate) {
    let mut totals = tool("total", "{}");
    totals["outputSchema"] = json!({
        "type": "object", "required": ["total"], "additionalProperties": false,
        "properties": {"total": {"type": "integer"}},
    });
    let upstream = Upstream::of_tools(&[tool("echo", "{}"), totals]);
    let setup = Setup::to(&upstream)
        .server("timeout: 2s")
        .config("limits: {result: 64KiB, event: 64KiB}\npolicy: {deadline: 5s}");
    let gate = Gate::start(&setup);
    (upstream, gate)
}

/// What came of the `n`th call, which was refused with this code after it was sent.
fn recorded(gate: &Gate, n: usize, code: &str, ending: &str) {
    let outcome = gate.entries("outcome", n).remove(n - 1);
    assert_eq!(
        (&outcome["code"], &outcome["outcome"]),
        (&code.into(), &ending.into()),
        "{outcome}"
    );
    assert_eq!(gate.decisions(n)[n - 1]["effect"], "allow");
    assert!(!gate.log().contains(CANARY), "{}", gate.log());
}

/// A server that never stops talking, until the gate hangs up.
fn talk(sender: &Sender, piece: &str) {
    for _ in 0..10_000 {
        if sender.is_closed() {
            return;
        }
        sender.raw(piece);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the gate reads on for ever");
}

#[test]
fn h04_an_endless_answer_is_cut_with_an_error() {
    let piece = format!("\"{CANARY}\",").repeat(200);
    for (kind, begins, whole) in [
        ("application/json", r#"{"jsonrpc":"2.0","id":1,"result":{"content":["#, true),
        ("text/event-stream", r#"data: {"jsonrpc":"2.0","id":1,"result":{"content":["#, false),
        ("text/event-stream", ": ", false),
    ] {
        let (upstream, gate) = bounded();
        let streams = upstream.stream_as("tools/call", &[("content-type", kind)]);
        let mut connection = gate.connect();
        connection.send(&post("/mcp/crm", &[], call(1, "echo", "{}")));
        let sender = streams.next();
        sender.raw(begins);
        talk(&sender, &piece);
        let told = if whole {
            connection.response().json()
        } else {
            assert_eq!(connection.head().status, 200);
            connection.message().unwrap()
        };
        assert_eq!(told["id"], 1);
        let code = &told["result"]["_meta"]["io.countersign/refusal"]["code"];
        assert_eq!(code, "invalid_answer", "{kind}: {told}");
        assert!(!told.to_string().contains(CANARY));
        recorded(&gate, 1, "invalid_answer", "refused_answer");
        let errors = gate.metric("countersign_upstream_errors_total", &["kind=\"too_large\""]);
        assert_eq!(errors, 1.0, "{kind}");
        drop(sender);
        let errored = upstream.calls().len();
        assert_eq!(errored, 1, "nothing is sent twice");
    }
}

#[test]
fn h04_an_answer_that_stops_in_the_middle_is_an_unknown_outcome_in_time() {
    let (upstream, gate) = bounded();
    let streams = upstream.stream_as("tools/call", &[("content-type", "application/json")]);
    let mut connection = gate.connect();
    connection.send(&post("/mcp/crm", &[], call(1, "echo", "{}")));
    let sender = streams.next();
    sender.raw(r#"{"jsonrpc":"2.0","id":1,"result":"#);
    let told = connection.response();
    assert_eq!(told.code(), "outcome_unknown");
    recorded(&gate, 1, "outcome_unknown", "unknown");
    assert_eq!(gate.metric("countersign_upstream_timeouts_total", &["crm"]), 1.0);
    drop(sender);
}

/// A whole gzip member that stores `text` (RFC 1952; RFC 1951, section 3.2.4).
fn gzip(text: &[u8]) -> Vec<u8> {
    let crc = !text.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    let length = u16::try_from(text.len()).unwrap();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(text);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

#[test]
fn h04_an_answer_that_cannot_be_read_or_is_not_what_was_asked_is_not_passed_on() {
    const JSON: &str = "application/json";
    let result =
        |id: &str, result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    let fine = result("1", &format!(r#"{{"content":[{{"type":"text","text":"{CANARY}"}}]}}"#));
    let event = format!("data: {fine}\n\n");
    let cut = fine[..fine.len() - 4].to_owned();
    let structured = |value: &str| {
        result("1", &format!(r#"{{"content":[],"structuredContent":{value},"x":"{CANARY}"}}"#))
    };
    for (what, tool, status, kind, encoding, body) in [
        ("JSON in gzip", "echo", 200, JSON, "gzip", gzip(fine.as_bytes())),
        ("JSON said to be gzip", "echo", 200, JSON, "gzip", fine.clone().into_bytes()),
        ("gzip in an unknown coding", "echo", 200, JSON, "identity, x-own", fine.clone().into()),
        ("a stream in gzip", "echo", 200, "text/event-stream", "gzip", gzip(event.as_bytes())),
        ("an error page in gzip", "echo", 400, JSON, "gzip", gzip(fine.as_bytes())),
        ("a failure in br", "echo", 500, "text/html", "br", fine.clone().into()),
        ("cut JSON", "echo", 200, JSON, "", cut.into()),
        ("two texts", "echo", 200, JSON, "", format!("{fine}{fine}").into()),
        ("two results", "echo", 200, JSON, "", fine.replace("}]}", "}]},\"result\":{}").into()),
        (
            "not UTF-8",
            "echo",
            200,
            JSON,
            "",
            fine.replace("canary", "\u{7f}")
                .into_bytes()
                .into_iter()
                .map(|b| if b == 0x7f { 0xff } else { b })
                .collect(),
        ),
        ("another's answer", "echo", 200, JSON, "", result("2", "{}").into()),
        ("an answer to the text", "echo", 200, JSON, "", result("\"1\"", "{}").into()),
        ("no answer", "echo", 200, JSON, "", Vec::new()),
        (
            "a notification",
            "echo",
            200,
            JSON,
            "",
            br#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_vec(),
        ),
        ("HTML", "echo", 200, "text/html", "", fine.clone().into()),
        ("no type", "echo", 200, "", "", fine.clone().into()),
        ("half a type", "echo", 200, "application/jsonp", "", fine.clone().into()),
        (
            "not the promised structure",
            "total",
            200,
            JSON,
            "",
            structured(r#"{"total":"7"}"#).into(),
        ),
        (
            "more than the promised",
            "total",
            200,
            JSON,
            "",
            structured(r#"{"total":7,"y":1}"#).into(),
        ),
        ("twice the same", "total", 200, JSON, "", structured(r#"{"total":7,"total":8}"#).into()),
        ("no structure at all", "total", 200, JSON, "", fine.clone().into()),
    ] {
        let (upstream, gate) = bounded();
        let body: Vec<u8> = body;
        let reply = body.clone();
        upstream.script(move |seen| {
            let mut headers = Vec::new();
            for (name, value) in [("content-type", kind), ("content-encoding", encoding)] {
                if !value.is_empty() {
                    headers.push((name, value.to_owned()));
                }
            }
            let asked = seen.method() == "tools/call";
            asked.then(|| Reply::Raw(status, headers, reply.clone()))
        });
        let told = gate.post(&call(1, tool, "{}"));
        assert_eq!(told.code(), "invalid_answer", "{what}: {}", told.text());
        assert_eq!(told.message()["id"], 1, "{what}");
        assert!(!told.text().contains(CANARY), "{what}: {}", told.text());
        recorded(&gate, 1, "invalid_answer", "refused_answer");
        assert!(gate.metric("countersign_upstream_errors_total", &["crm"]) >= 1.0, "{what}");
        assert_eq!(upstream.calls().len(), 1, "{what}");
    }
}

#[test]
fn h04_a_result_on_a_stream_is_held_to_its_promise_too() {
    let (upstream, gate) = bounded();
    let streams = upstream.stream_on("tools/call");
    for (id, total, fits) in [(1, "7", true), (2, "\"7\"", false)] {
        let mut connection = gate.connect();
        connection.send(&post("/mcp/crm", &[], call(id, "total", "{}")));
        let sender = streams.next();
        assert_eq!(connection.head().status, 200);
        sender.data(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":{{"total":{total}}}}}}}"#
        ));
        let told = connection.message().unwrap();
        assert_eq!(told["result"]["isError"] == true, !fits, "{told}");
    }
    let outcomes = gate.entries("outcome", 2);
    assert_eq!(outcomes[0]["outcome"], "answered");
    assert_eq!(outcomes[1]["outcome"], "refused_answer");
}

#[test]
fn h04_a_list_of_tools_in_a_coding_is_not_believed_and_said_to_be_missing() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    upstream.script(|seen| {
        let headers = ["content-type", "content-encoding"]
            .into_iter()
            .zip(["application/json".to_owned(), "gzip".to_owned()])
            .collect();
        let list = json!({"jsonrpc": "2.0", "id": seen.json()["id"], "result": {"tools": []}});
        Some(Reply::Raw(200, headers, gzip(list.to_string().as_bytes())))
    });
    let gate = Gate::start(&Setup::to(&upstream).not_ready());
    wait_until("the gate says why", || {
        let ready = gate.operator("/readyz");
        ready.status == 503 && ready.text().contains("content encoding")
    });
    let refused = gate.post(&call(1, "echo", "{}"));
    assert_eq!(refused.code(), "unknown_tool");
}

#[test]
fn i06_made_up_and_many_names_do_not_grow_the_scrape() {
    let own = 300;
    let tools: Vec<Value> = (0..own).map(|n| tool(&format!("t{n}"), "{}")).collect();
    let upstream = Upstream::of_tools(&tools);
    let gate = Gate::start(&Setup::to(&upstream).config("policy: {deadline: 5s}"));
    let mut connection = gate.connect();
    let mut ask = |name: &str| {
        connection.send(&post("/mcp/crm", &[], call(1, name, "{}")));
        assert_eq!(connection.response().status, 200);
    };
    for n in 0..300 {
        ask(&format!("made-up-{n}"));
    }
    for n in 0..own {
        ask(&format!("t{n}"));
    }
    gate.entries("outcome", own);
    let text = gate.operator("/metrics").text();
    assert!(!text.contains("made-up"), "an agent's word became a label");
    let labels: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once("tool=\"")?.1.split_once('"'))
        .map(|(label, _)| label)
        .collect();
    // 200 by name, `other` and `unknown`.
    assert_eq!(labels.len(), 202, "{labels:?}");
    assert!(labels.contains("other") && labels.contains("unknown"));
    let calls = |label: &str| gate.metric("countersign_calls_total", &[label]);
    assert_eq!(calls("tool=\"unknown\""), 300.0);
    assert_eq!(calls("tool=\"other\""), 100.0);
    assert_eq!(calls("decision=\"allow\""), 300.0);
}

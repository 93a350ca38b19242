//! G: policies and schemas that are broken, change, run long, or reach out.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::reload::{Mount, policy, wait_until};
use crate::support::{Gate, Setup, Upstream, call, rpc, tool};

fn setup() -> (Upstream, Setup) {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let setup = Setup::to(&upstream);
    (upstream, setup)
}

fn rules(text: &str) -> String {
    format!("package countersign.permission\n\nallow := true\n\n{text}\n")
}

#[test]
fn g01_a_gate_with_a_broken_policy_never_starts() {
    let (_upstream, setup) = setup();
    let permission = "policies/permission.rego";
    for (what, setup, place) in [
        (
            "not Rego",
            setup.clone().file(permission, "package a\n\nallow = {\n"),
            "permission.rego:4:",
        ),
        (
            "half of it",
            setup.clone().file(permission, &rules("deny contains {\"code\"")),
            "permission.rego:6:",
        ),
        (
            "no such function",
            setup.clone().file(permission, &rules("deny contains 1 if absent(1)")),
            "permission.rego:5:",
        ),
        (
            "two values",
            setup
                .clone()
                .file("policies/other.rego", "package countersign.permission\n\nallow := \n"),
            "other.rego:",
        ),
        (
            "an empty folder",
            setup.clone().without(permission).file("policies/readme.txt", "x"),
            "policies: no policy files",
        ),
        ("no folder", setup.clone().without(permission), "policies"),
        ("data that is no YAML", setup.clone().file("policies/data.yaml", "a: [\n"), "data.yaml"),
        (
            "an unknown tier",
            setup.clone().file("tools/all.yaml", "server: crm\ntools:\n  '*': {tier: lowest}\n"),
            "all.yaml:3:",
        ),
        (
            "a broken lock",
            setup.clone().config("pins: ./tools.lock").file("tools.lock", "{"),
            "tools.lock",
        ),
    ] {
        let (code, said) = Gate::fails(&setup);
        assert_eq!(code, 1, "{what}: {said}");
        assert!(said.contains(place), "{what}: {said}");
    }
}

#[test]
fn g05_what_no_timer_could_end_is_refused_at_load() {
    let (_upstream, setup) = setup();
    for (text, word) in [
        ("x := numbers.range(1, 30000000)", "numbers.range"),
        ("x := numbers.range_step(1, 30000000, 1)", "numbers.range_step"),
        ("x := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})", "http.send"),
        ("x := opa.runtime()", "opa.runtime"),
        ("x := net.lookup_ip_addr(\"localhost\")", "net.lookup_ip_addr"),
        ("x := bits.lsh(1, 1000000000)", "bits.lsh"),
        (
            "x := replace(input.call.arguments.a, input.call.arguments.b, input.call.arguments.c)",
            "replace",
        ),
        ("x := 1e2000000000", "digits"),
        (&format!("x := {}1{}", "[".repeat(40), "]".repeat(40)), "nested deeper"),
        (&format!("x := 1{}", " + 1".repeat(2000)), "operators"),
        ("deny contains y if { y := numbers.range(1, 3)[_] }", "numbers.range"),
        ("f(x) := http.send(x)", "http.send"),
        ("a := b\nb := a", "a"),
    ] {
        let (code, said) =
            Gate::fails(&setup.clone().file("policies/permission.rego", &rules(text)));
        assert_eq!(code, 1, "{text}: {said}");
        assert!(said.contains(word), "{text}: {said}");
        assert!(said.contains("permission.rego:"), "{text}: {said}");
    }
}

#[test]
fn g05_a_policy_that_loops_denies_and_a_call_beside_it_is_answered() {
    let upstream = Upstream::of_tools(&[tool("slow", "{}"), tool("quick", "{}")]);
    let range = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let looping = (0..9).map(|n| format!("some x{n} in xs")).collect::<Vec<_>>().join("\n\t");
    let text = rules(&format!(
        "visible := true\n\nxs := [{range}]\n\ndeny contains {{\"code\": \"late\", \"message\": \"late\"}} \
         if {{\n\tinput.call.tool == \"slow\"\n\t{looping}\n\tx0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 == 1000\n}}"
    ));
    let setup = Setup::to(&upstream)
        .file("policies/permission.rego", &text)
        .config("policy: {deadline: 1s, workers: 2}");
    let gate = Gate::start(&setup);
    for round in 0..3 {
        let mut stuck = gate.connect();
        stuck.send(&crate::support::post("/mcp/crm", &[], call(round, "slow", "{}")));
        let beside = gate.post(&call(round, "quick", "{}"));
        assert_eq!(beside.json()["result"]["content"][0]["text"], "quick", "{beside:?}");
        let stuck = stuck.response();
        assert_eq!(stuck.code(), "policy_failed", "{}", stuck.text());
        // Our own fault's text is for the operator.
        assert!(!stuck.text().contains("deadline"), "{}", stuck.text());
    }
    // As many as there are threads, and more: each is refused, and then all is as before.
    let mut crowd: Vec<_> = (0..4)
        .map(|id| {
            let mut connection = gate.connect();
            connection.send(&crate::support::post("/mcp/crm", &[], call(id, "slow", "{}")));
            connection
        })
        .collect();
    for connection in &mut crowd {
        assert_eq!(connection.response().code(), "policy_failed");
    }
    let after = gate.post(&call(9, "quick", r#"{}"#));
    assert_eq!(after.json()["result"]["content"][0]["text"], "quick", "{after:?}");
    let decisions = gate.decisions(11);
    let codes: Vec<&Value> =
        decisions.iter().filter(|d| d["tool"] == "slow").map(|d| &d["code"]).collect();
    assert_eq!(codes, ["policy_failed"; 7]);
    assert_eq!(upstream.calls().len(), 4);
    assert!(gate.log().contains("policy could not decide"), "{}", gate.log());
}

#[test]
fn g05_what_doubles_again_and_again_is_stopped_before_it_is_large() {
    let doubling = |first: &str, step: &str| {
        let steps = (0..40).map(|n| {
            let step = step.replace('@', &format!("x{n}"));
            format!("\tx{} := {step}\n", n + 1)
        });
        format!(
            "visible := true\n\ndeny contains {{\"code\": \"late\", \"message\": \"late\"}} if {{\n\tx0 := {first}\n{}\tcount(x40) > 0\n}}",
            steps.collect::<String>()
        )
    };
    for (first, step) in [
        ("input.call.arguments.text", "concat(\"\", [@, @])"),
        ("input.call.arguments.text", "sprintf(\"%s%s\", [@, @])"),
        ("[input.call.arguments.text]", "array.concat(@, @)"),
        ("input.call.arguments.text", "replace(concat(\"\", [@, @]), \"a\", \"aa\")"),
    ] {
        let upstream = Upstream::of_tools(&[tool("echo", r#"{"text":{"type":"string"}}"#)]);
        let setup = Setup::to(&upstream)
            .file("policies/permission.rego", &rules(&doubling(first, step)))
            .config("policy: {deadline: 100ms}");
        let mut gate = Gate::start(&setup);
        for id in 0..2 {
            let refused = gate.post(&call(id, "echo", r#"{"text":"aaaaaaaa"}"#));
            assert_eq!(refused.code(), "policy_failed", "{step}: {}", refused.text());
        }
        assert!(upstream.calls().is_empty());
        assert_eq!(gate.decisions(2).len(), 2);
        // Far below what 40 doublings would take; a debug build on a busy machine gets less far.
        let most = gate.peak_resident_bytes();
        assert!(most < 1 << 30, "{step}: {most}");
        gate.signal("TERM");
        assert_eq!(gate.wait(), 0, "{step}");
    }
}

const PACKAGES: [&str; 3] = ["permission", "budget", "reversibility"];

/// Three packages that each deny in the name of one version.
fn version(letter: char) -> Vec<(String, String)> {
    PACKAGES
        .iter()
        .map(|package| {
            let head =
                if *package == "permission" { "allow := true\n\nvisible := true\n\n" } else { "" };
            let text = format!(
                "package countersign.{package}\n\n{head}deny contains {{\"code\": \"{letter}\", \
                 \"message\": \"by {letter}\"}} if {{\n\tinput.call.arguments.n >= 0\n}}\n"
            );
            (format!("{package}.rego"), text)
        })
        .collect()
}

#[test]
fn g02_each_decision_under_reload_is_of_one_version_and_names_it() {
    let upstream = Upstream::of_tools(&[tool("echo", r#"{"n":{"type":"integer"}}"#)]);
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    let names = PACKAGES.map(|package| format!("{package}.rego"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Mount(&directory.path().join("policies")).lay("..0", &names);
    let setup = version('a').iter().fold(Setup::to(&upstream), |setup, (name, text)| {
        setup.file(&format!("policies/{name}"), text)
    });
    let gate = Gate::start_in(&setup.config("policy: {deadline: 5s}"), directory);
    let over = AtomicBool::new(false);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let ask = |thread: u64| {
            let (gate, over) = (&gate, &over);
            move || {
                let mut answers = Vec::new();
                let mut connection = gate.connect();
                while !over.load(Ordering::Relaxed) {
                    let n = answers.len() as u64 * 2 + thread;
                    let body = call(n, "echo", &format!("{{\"n\":{n}}}"));
                    connection.send(&crate::support::post("/mcp/crm", &[], body));
                    answers.push(connection.response().json());
                }
                answers
            }
        };
        let asking: Vec<_> = (0..2).map(|thread| scope.spawn(ask(thread))).collect();
        let policies = gate.path("policies");
        for (round, letter) in (1..=6).zip(['b', 'a'].into_iter().cycle()) {
            let (before, _) = policy(&gate);
            let files = version(letter);
            let files: Vec<_> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
            Mount(&policies).swap(&format!("..{round}"), &files);
            wait_until("the next version decides", || policy(&gate).0 != before);
        }
        over.store(true, Ordering::Relaxed);
        asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect()
    });
    assert!(upstream.calls().is_empty());
    let on_record = gate.entries("intent", answers.len());
    let mut by_digest: HashMap<String, String> = HashMap::new();
    let mut by_id: HashMap<String, String> = HashMap::new();
    for decision in &on_record {
        let reasons = decision["reasons"].as_array().unwrap();
        let letter = reasons[0]["code"].as_str().unwrap();
        assert!(reasons.iter().all(|reason| reason["code"] == letter), "mixed: {decision}");
        assert_eq!(reasons.len(), PACKAGES.len(), "{decision}");
        let digest = decision["policy"].as_str().unwrap().to_owned();
        let known = by_digest.entry(digest).or_insert_with(|| letter.to_owned());
        assert_eq!(known, letter, "another version under the same digest: {decision}");
        by_id.insert(decision["id"].as_str().unwrap().to_owned(), letter.to_owned());
    }
    assert_eq!(by_digest.len(), 2, "{by_digest:?}");
    for answer in &answers {
        let refusal = &answer["result"]["_meta"]["io.countersign/refusal"];
        let letter = &by_id[refusal["decision"].as_str().unwrap()];
        assert_eq!(refusal["rule"], letter.as_str(), "told otherwise than recorded: {answer}");
    }
}

#[test]
fn g07_a_schema_that_refers_elsewhere_is_not_followed_and_its_tool_is_refused() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let refs = [
        format!("http://127.0.0.1:{port}/schema.json"),
        format!("http://localhost:{port}/schema.json#/a"),
        format!("//127.0.0.1:{port}/schema.json"),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "other.json".to_owned(),
    ];
    let mut tools = vec![tool("fine", "{}")];
    let (mut named, mut out) = (Vec::new(), Vec::new());
    for (n, target) in refs.iter().enumerate() {
        let properties = json!({"a": {"$ref": target}}).to_string();
        tools.push(tool(&format!("ref{n}"), &properties));
        named.push(format!("ref{n}"));
        let mut promising = tool(&format!("out{n}"), "{}");
        promising["outputSchema"] =
            json!({"type": "object", "properties": {"a": {"$ref": target}}});
        tools.push(promising);
        out.push(format!("out{n}"));
    }
    let based = json!({"name": "based", "inputSchema": {
        "$id": format!("http://127.0.0.1:{port}/base.json"), "type": "object",
        "properties": {"a": {"$ref": "more.json"}},
    }});
    tools.push(based);
    let upstream = Upstream::of_tools(&tools);
    let gate = Gate::start(&Setup::to(&upstream));
    let listed = gate.post(&rpc(1, "tools/list", "{}")).json();
    let listed: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ["fine"]);
    upstream.forget();
    let bad: Vec<&str> = named.iter().chain(&out).map(String::as_str).chain(["based"]).collect();
    for name in &bad {
        let refused = gate.post(&call(2, name, r#"{"a":1}"#));
        assert_eq!(refused.code(), "unusable_tool", "{name}: {}", refused.text());
    }
    assert!(upstream.calls().is_empty(), "{:?}", upstream.calls());
    assert!(gate.decisions(bad.len()).iter().all(|d| d["code"] == "unusable_tool"));
    let followed = elsewhere.accept();
    assert!(followed.is_err(), "somebody followed a reference: {followed:?}");
    assert_eq!(gate.post(&call(3, "fine", "{}")).json()["result"]["content"][0]["text"], "fine");
}

//! What does a reviewer see and do in a terminal?

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};

use crate::support::{Gate, Setup, Upstream, call, reviewer_token, tool};

fn upstream() -> Upstream {
    Upstream::of_tools(&[tool(
        "refund",
        r#"{"order":{"type":"string"},"amount":{"type":"string"}}"#,
    )])
}

fn held(upstream: &Upstream) -> Gate {
    let setup = Setup::to(upstream)
        .holds(r#""reviewers": ["group:payments"], "approvals": 2"#)
        .reviewers(&["ann", "ben"])
        .config("hold: {wait: 1s}");
    Gate::start(&setup)
}

fn hold(gate: &Gate, id: u64, arguments: &Value) -> String {
    let ticket = gate.post(&call(id, "refund", &arguments.to_string())).message();
    ticket["result"]["_meta"]["io.countersign/hold"]["id"].as_str().unwrap().to_owned()
}

fn command(gate: &Gate, who: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("countersign"));
    command
        .env_clear()
        .env("COUNTERSIGN_TOKEN", reviewer_token(who))
        .arg("holds")
        .args(arguments)
        .args(["--operator", &format!("http://{}", gate.operators)])
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn said(gate: &Gate, who: &str, arguments: &[&str]) -> (i32, String, String) {
    ran(&mut command(gate, who, arguments))
}

fn ran(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The text with what differs from run to run named instead.
fn steady(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        ("hold-[0-9a-f]{32}", "HOLD"),
        ("sha256:[0-9a-f]{64}", "HASH"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b\d+s\b", "AGE"),
        (r"in \d+m", "LEFT"),
        (r" +\n", "\n"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    text
}

#[test]
fn a_hold_is_listed_shown_and_signed() {
    let (upstream, order) = (upstream(), json!({"order": "7", "amount": "20.00"}));
    let gate = held(&upstream);
    let id = hold(&gate, 1, &order);
    let (code, list, _) = said(&gate, "ann", &["list"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("list", steady(&list));
    let (code, shown, _) = said(&gate, "ann", &["show", &id]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("show", steady(&shown));

    let (code, out, err) = said(&gate, "ann", &["approve", &id]);
    assert_eq!(code, 2, "{out}");
    assert!(err.contains("`--yes`"), "{err}");
    let (code, out, _) = said(&gate, "ann", &["approve", &id, "--yes"]);
    assert_eq!(code, 0);
    assert!(out.ends_with("is pending; 1 more signature is needed\n"), "{out}");
    let (code, _, err) = said(&gate, "ann", &["approve", &id, "--yes"]);
    assert_eq!(
        (code, err.as_str()),
        (3, "refused: you have signed it already; another person has to (already_signed)\n")
    );
    let (code, _, err) = said(&gate, "ben", &["approve", &id, "--yes", "--hash", "sha256:0"]);
    assert_eq!(code, 3, "{err}");
    let (code, out, _) = said(&gate, "ben", &["approve", &id, "--yes", "--justification", "ok"]);
    assert!(code == 0 && out.ends_with("is approved\n"), "{out}");
    gate.reviewer("ann").holds("done", 1);
    let (_, json, _) = said(&gate, "ann", &["show", &id, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["signatures"][1]["justification"], "ok");
    let (code, list, _) = said(&gate, "ann", &["list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((code, &list["total"]), (0, &json!(0)));
}

#[test]
fn a_hold_is_denied_answered_and_edited() {
    let upstream = upstream();
    let gate = held(&upstream);
    let order = |order: &str| json!({"order": order, "amount": "20.00"});
    let id = hold(&gate, 1, &order("1"));
    let (code, _, err) = said(&gate, "ann", &["deny", &id]);
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = said(&gate, "ann", &["deny", &id, "--preset", "nonsense"]);
    assert_eq!(code, 1, "{err}");
    let (code, out, _) = said(&gate, "ann", &["deny", &id, "--reason", "wrong customer"]);
    assert!(code == 0 && out.ends_with("is denied\n"), "{out}");
    let (code, _, err) = said(&gate, "ben", &["deny", &id, "--reason", "late"]);
    assert_eq!(code, 3);
    assert!(err.contains("already denied by ann"), "{err}");

    let id = hold(&gate, 2, &order("2"));
    assert_eq!(said(&gate, "ann", &["answer", &id, "--message", "use invoice 42"]).0, 0);

    let id = hold(&gate, 3, &order("3"));
    let file = gate.path("edited.json");
    std::fs::write(&file, r#"{"order":"3","amount":"1.00","amount":"2.00"}"#).unwrap();
    let edit = ["edit", &id, "--yes", "--arguments", file.to_str().unwrap()];
    let (code, _, err) = said(&gate, "ann", &edit);
    assert!(code == 1 && err.contains("stands twice"), "{err}");
    std::fs::write(&file, r#"{"order":3}"#).unwrap();
    assert_eq!(said(&gate, "ann", &edit).0, 3, "the schema refuses it");
    std::fs::write(&file, r#"{"order":"3","amount":"1.00"}"#).unwrap();
    let (code, out, err) = said(&gate, "ann", &edit);
    assert!(code == 0 && out.contains(r#""amount": "1.00""#), "{out}{err}");

    let id = hold(&gate, 4, &order("4"));
    let mut editor = command(&gate, "ann", &["edit", &id, "--yes"]);
    editor.env("EDITOR", "sed -i s/20.00/5.00/").env("PATH", std::env::var("PATH").unwrap());
    let (code, out, err) = ran(&mut editor);
    assert!(code == 0 && out.contains(r#""amount": "5.00""#), "{out}{err}");
}

#[test]
fn e09_nothing_an_agent_writes_moves_the_terminal() {
    let upstream = upstream();
    let gate = held(&upstream);
    let hostile = "\u{1b}[2J\u{202e}\u{9b}31m\u{200b}\r\u{7}\u{2028}x\u{e0041}";
    let id = hold(&gate, 1, &json!({"order": hostile, "amount": hostile}));
    for arguments in [&["show", &id][..], &["show", &id, "--json"], &["list", "--json"]] {
        let (code, out, err) = said(&gate, "ann", arguments);
        assert_eq!(code, 0, "{err}");
        let moves = |c: char| (c.is_control() && c != '\n') || hostile.contains(c) && !c.is_ascii();
        assert!(!out.contains(moves), "{arguments:?}: {}", out.escape_debug());
    }
    let (_, out, _) = said(&gate, "ann", &["show", &id]);
    assert!(out.contains("U+202E") && out.contains("U+200B"), "{out}");
    // The JSON means what the agent sent.
    let (_, out, _) = said(&gate, "ann", &["show", &id, "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["arguments"]["order"], hostile);
}

#[test]
fn who_asks_and_whom_is_told_apart() {
    let upstream = upstream();
    let gate = held(&upstream);
    let (code, _, err) = ran(command(&gate, "ann", &["list"]).env_remove("COUNTERSIGN_TOKEN"));
    assert!(code == 2 && err.contains("--token-file"), "{code} {err}");
    let (code, _, err) = said(&gate, "nobody", &["list"]);
    assert!(code == 3 && err.contains("unauthenticated"), "{code} {err}");
    let (code, _, err) = said(&gate, "ann", &["list", "--state", "pendng"]);
    assert!(code == 1 && err.contains("`pending`"), "{code} {err}");
    let (code, _, err) = said(&gate, "ann", &["show", "../events"]);
    assert!(code == 1 && err.contains("unknown_hold"), "{code} {err}");
    let file = gate.path("ann.reviewer");
    let mut by_file = command(&gate, "nobody", &["list", "--token-file", file.to_str().unwrap()]);
    assert_eq!(ran(&mut by_file).0, 0);
    let mut away = Command::new(assert_cmd::cargo::cargo_bin("countersign"));
    away.env("COUNTERSIGN_TOKEN", "x").args(["holds", "list", "--operator", "http://127.0.0.1:1"]);
    let (code, _, err) = ran(&mut away);
    assert!(code == 1 && err.contains("cannot be reached"), "{code} {err}");
}

#[test]
fn watching_tells_each_change() {
    let upstream = upstream();
    let gate = held(&upstream);
    let mut watch = command(&gate, "ann", &["watch", "--json"]);
    let mut child = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, told) = std::sync::mpsc::channel::<()>();
    let of = &gate;
    let first: Value = std::thread::scope(|scope| {
        // It may not watch yet when the first are held.
        scope.spawn(move || {
            let mut n = 0;
            while told.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                n += 1;
                hold(of, n, &json!({"order": n.to_string(), "amount": "1"}));
            }
        });
        let line = lines.next().unwrap().unwrap();
        drop(sender);
        serde_json::from_str(&line).unwrap()
    });
    assert_eq!((&first["event"], &first["what"]), (&json!("change"), &json!("held")));
    let id = first["id"].as_str().unwrap();
    assert_eq!(said(&gate, "ann", &["deny", id, "--reason", "no"]).0, 0);
    let denied = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let denied = denied.into_iter().find(|change| change["what"] == "denied").unwrap();
    assert_eq!(denied["id"], first["id"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

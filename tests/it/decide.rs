//! `countersign decide` and `countersign check`, as a shell sees them.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const CONFIG: &str = "state: ./state
policies: [./policies]
tools: [./tools]
agents:
  - {id: dev, anonymous: true}
  - {id: bot, groups: [support], token: {env: BOT_TOKEN}}
  - {id: other, token: {file: ./not-here.token}}
servers:
  crm: {mcp: 'http://127.0.0.1:9/mcp'}
";
const PERMISSION: &str = "package countersign.permission

allow if input.agent.id == \"dev\"

allow if \"support\" in input.agent.groups

visible := true

deny contains {\"code\": \"too_much\", \"message\": \"up to 100 only\"} if {
	input.call.arguments.amount > 100
}

warn contains {\"code\": \"odd\", \"message\": \"an odd amount\"} if input.call.arguments.amount == 77
";
const REVERSIBILITY: &str = "package countersign.reversibility

hold contains {\"code\": \"sign\", \"message\": \"refunds need a signature\"} if {
	input.call.tool == \"refund\"
}
";

fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("countersign.yaml", CONFIG),
        ("policies/permission.rego", PERMISSION),
        ("policies/reversibility.rego", REVERSIBILITY),
        ("tools/crm.yaml", "server: crm\ntools:\n  look: {tier: low, reversible: true}\n"),
    ] {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

/// Runs it with this standard input; gives exit code, standard output and standard error.
fn ran(directory: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("countersign").unwrap();
    let command = command.current_dir(directory).env_clear().args(arguments);
    let output = command.write_stdin(input).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn asked(agent: &str, tool: &str, rest: &str) -> String {
    format!(r#"{{"agent":"{agent}","server":"crm","tool":"{tool}"{rest}}}"#)
}

#[test]
fn decide_tells_allowed_and_refused_apart_and_why() {
    let directory = place();
    let definition = r#","definition":{"name":"look","inputSchema":{"type":"object","properties":{"amount":{"type":"integer"}}}}"#;
    for (agent, tool, rest, code, first, told) in [
        ("dev", "look", "", 0, "allow, tier low", ""),
        ("dev", "pay", "", 0, "allow, tier high", ""),
        (
            "dev",
            "look",
            r#","arguments":{"amount":77}"#,
            0,
            "allow",
            "warning odd (permission): an odd amount",
        ),
        ("dev", "look", r#","arguments":{"amount":101}"#, 3, "deny", "denied: up to 100 only"),
        ("dev", "look", r#","arguments":{"amount":101}"#, 3, "deny", "too_much (permission)"),
        ("dev", "refund", "", 3, "hold", "needs_signature: refunds need a signature"),
        ("bot", "look", "", 0, "allow", ""), // its groups are in the config
        ("bot", "look", r#","groups":[]"#, 3, "deny", "no rule allows it"),
        ("nobody", "look", "", 3, "deny", "no rule allows it"),
        ("dev", "look", &format!(r#","arguments":{{"amount":7}}{definition}"#), 0, "allow", ""),
        (
            "dev",
            "look",
            &format!(r#","arguments":{{"amount":"7"}}{definition}"#),
            3,
            "deny",
            "invalid_arguments",
        ),
        (
            "dev",
            "look",
            &format!(r#","arguments":{{"amuont":7}}{definition}"#),
            3,
            "deny",
            "invalid_arguments",
        ),
    ] {
        let call = asked(agent, tool, rest);
        let (found, out, err) = ran(directory.path(), &["decide", "-"], &call);
        assert_eq!(found, code, "{call}: {out}{err}");
        assert!(out.starts_with(first), "{call}: {out}");
        assert!(out.contains(told), "{call}: {out}");
        assert_eq!(err, "", "{call}");
        let (again, json, _) = ran(directory.path(), &["decide", "--json", "-"], &call);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(again, code);
        assert!(first.starts_with(json["effect"].as_str().unwrap()), "{json}");
        assert_eq!(json["code"] == "allowed", code == 0, "{json}");
    }
    // Nothing is recorded, and nothing needs to be there for it.
    assert!(!directory.path().join("state").exists());
}

#[test]
fn decide_reads_a_file_and_fails_on_a_wrong_one() {
    let directory = place();
    let file = directory.path().join("call.json");
    for (text, code, told) in [
        (asked("dev", "look", ""), 0, ""),
        ("{".to_owned(), 1, "cannot be read"),
        (String::new(), 1, "cannot be read"),
        (r#"{"agent":"dev","agent":"x","server":"crm","tool":"look"}"#.to_owned(), 1, "twice"),
        (asked("dev", "look", r#","argumets":{}"#), 1, "unknown field `argumets`"),
        (asked("dev", "look", r#","arguments":[]"#), 1, "cannot be read"),
        (asked("dev", "look", r#","arguments":{"a":1e400}"#), 1, "round"),
        (asked("dev", "look", r#","method":"no/such""#), 1, "no method `no/such`"),
        (r#"{"agent":"dev","server":"crm"}"#.to_owned(), 1, "`tool` is missing"),
        (
            asked("dev", "look", r#","definition":{"name":"other","inputSchema":{}}"#),
            1,
            "is not that of `tool`",
        ),
        ("[".repeat(100_000), 1, "nesting"),
    ] {
        fs::write(&file, &text).unwrap();
        let (found, out, err) = ran(directory.path(), &["decide", "call.json"], "");
        assert_eq!(found, code, "{text:.80}: {out}{err}");
        assert!(err.contains(told), "{text:.80}: {err}");
        assert_eq!(out.is_empty(), code == 1, "{text:.80}: {out}");
    }
    let (found, _, err) = ran(directory.path(), &["decide", "absent.json"], "");
    assert_eq!(found, 1);
    assert!(err.contains("absent.json"), "{err}");
}

#[test]
fn decide_needs_policies_that_load_but_no_secrets() {
    let directory = place();
    let broken = directory.path().join("policies/permission.rego");
    fs::write(&broken, "package countersign.permission\n\nallow if {\n").unwrap();
    let (code, out, err) = ran(directory.path(), &["decide", "-"], &asked("dev", "look", ""));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("policies/permission.rego:3:") || err.contains("permission.rego:4:"),
        "{err}"
    );
}

#[test]
fn check_finds_all_that_is_broken_in_policies_and_tool_files_with_lines() {
    let directory = place();
    let config = CONFIG.lines().filter(|line| !line.contains("token:")).collect::<Vec<_>>();
    fs::write(directory.path().join("countersign.yaml"), config.join("\n")).unwrap();
    let (code, out, err) = ran(directory.path(), &["check"], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for (name, text) in [
        ("policies/one.rego", "package one\n\nx := [1,\n"),
        ("policies/two.rego", "package two\n\nx if {\n\ty := absent(1)\n\ty\n}\n"),
        ("policies/three.rego", "package countersign.budget\n\nallow := true\n"),
        ("tools/crm.yaml", "server: crm\ntools:\n  look: {tier: low}\n  pay: {tier: lwo}\n"),
        ("tools/more.yaml", "server: crm\ntools:\n  see: {teir: low}\n"),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let (code, out, err) = ran(directory.path(), &["check"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    for told in [
        "policies/one.rego:",
        "policies/two.rego:4:",
        "policies/three.rego:3:",
        "tools/crm.yaml:4:",
        "tools/more.yaml:3:",
        "did you mean `tier`?",
        "`allow` is not asked for in `countersign.budget`",
    ] {
        assert!(err.contains(told), "{told}: {err}");
    }
    let one = err.lines().find(|line| line.contains("one.rego")).unwrap();
    let line: u32 =
        one.split("one.rego:").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!((3..=4).contains(&line), "{one}");
}

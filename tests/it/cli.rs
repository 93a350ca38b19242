//! What does the command line do, as a shell sees it?

use std::fs;
use std::path::Path;

use assert_cmd::Command;

fn countersign(directory: &Path) -> Command {
    let mut command = Command::cargo_bin("countersign").unwrap();
    command.current_dir(directory).env_clear();
    command
}

/// Runs it; gives exit code, standard output and standard error.
fn ran(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = countersign(directory).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const CONFIG: &str = "
policies: [./policies]
agents:
  - {id: bot, token: {env: BOT_TOKEN}}
servers:
  crm: {mcp: http://127.0.0.1:9000/mcp}
";

#[test]
fn exit_codes_tell_done_failed_and_misused_apart() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["help", "audit", "tail"], 0),
        (&["completions", "bash"], 0),
        (&[], 2),
        (&["chekc"], 2),
        (&["check", "--confg", "x"], 2),
        (&["decide"], 2),
        (&["demo", "--listen", "everywhere"], 2),
        (&["check"], 1),
        (&["run"], 1),
        (&["audit", "show", "not-an-id", "--state", "."], 1),
    ] {
        let (found, out, err) = ran(directory.path(), arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{err}");
        let (told, silent) = if code == 0 { (out, err) } else { (err, out) };
        assert!(!told.is_empty() && silent.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_version_names_its_commit() {
    let (_, out, _) = ran(Path::new("."), &["--version"]);
    let commit = out.trim().strip_suffix(')').and_then(|rest| rest.split_once(" (")).unwrap().1;
    let is_commit = commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(out.starts_with("countersign 0."), "{out}");
    assert!(is_commit || commit == "unknown", "{out}");
}

#[test]
fn a_misspelt_command_or_flag_hears_the_right_one() {
    for (arguments, expected) in
        [(&["chekc"][..], "check"), (&["check", "--confg", "x"], "--config")]
    {
        let (_, _, err) = ran(Path::new("."), arguments);
        assert!(err.contains(expected), "{err}");
    }
}

#[test]
fn what_init_writes_passes_check_and_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let (code, out, err) = ran(directory.path(), &["init", "gate"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("countersign check --config gate/countersign.yaml"), "{out}");

    let (code, out, err) = ran(directory.path(), &["check", "-c", "gate/countersign.yaml"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("ok: 1 server, 1 agent"), "{out}");

    let config = directory.path().join("gate/countersign.yaml");
    fs::write(&config, "mine").unwrap();
    let (code, _, err) = ran(directory.path(), &["init", "gate"]);
    assert_eq!(code, 1);
    assert!(err.contains("nothing was written") && err.contains("countersign.yaml"), "{err}");
    assert_eq!(fs::read_to_string(&config).unwrap(), "mine");
}

#[test]
fn init_writes_nothing_where_one_file_is_there_already() {
    let directory = tempfile::tempdir().unwrap();
    // A dangling link is there too: writing through it would write elsewhere.
    std::os::unix::fs::symlink("/nowhere/x", directory.path().join("countersign.yaml")).unwrap();
    let (code, _, err) = ran(directory.path(), &["init"]);
    assert_eq!(code, 1, "{err}");
    assert!(!directory.path().join("policies").exists());
}

#[test]
fn check_tells_every_problem_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let text = include_str!("../config/faults.yaml");
    fs::write(directory.path().join("countersign.yaml"), text).unwrap();
    let (code, out, err) = ran(directory.path(), &["check"]);
    assert_eq!((code, out.as_str()), (1, ""));
    for expected in [
        "countersign.yaml:3:12: unknown key `lisen`; did you mean `listen`?",
        "countersign.yaml:5:1: unknown key `polices`; did you mean `policies`?",
        "countersign.yaml:14:10: link-local addresses are refused",
        "error: 11 problems",
    ] {
        assert!(err.contains(expected), "{expected}: {err}");
    }
    assert!(!err.contains("hunter2"), "{err}");
}

#[test]
fn secrets_come_from_the_environment_and_are_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::write(directory.path().join("policies/none.rego"), "package countersign.permission\n")
        .unwrap();
    fs::write(directory.path().join("countersign.yaml"), CONFIG).unwrap();
    for (token, code, expected) in [
        (None, 1, "environment variable `BOT_TOKEN` is not set"),
        (Some(""), 1, "the secret is empty"),
        (Some("k7Qw9ZpL2mXv4Rt"), 1, "shorter than 16 bytes"),
        (Some("changeme-changeme"), 1, "well-known default"),
        (Some("k7Qw9ZpL2mXv4RtY"), 0, "ok: 1 server"),
    ] {
        let mut command = countersign(directory.path());
        command.arg("check");
        if let Some(token) = token {
            command.env("BOT_TOKEN", token);
        }
        let output = command.output().unwrap();
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert!(shown.contains(expected), "{shown}");
        assert!(token.is_none_or(|token| token.is_empty() || !shown.contains(token)), "{shown}");
    }
}

#[test]
fn the_config_may_come_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let output = countersign(directory.path())
        .arg("check")
        .env("COUNTERSIGN_CONFIG", "elsewhere.yaml")
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.starts_with("elsewhere.yaml: cannot be read"), "{err}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let binary = assert_cmd::cargo::cargo_bin("countersign");
    let script = format!("set -o pipefail; '{}' completions zsh | head -n 1", binary.display());
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

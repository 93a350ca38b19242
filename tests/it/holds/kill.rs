//! J04: killed at any moment, and at each step towards the disk.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{arguments, refund, refunds};
use crate::support::{Connection, Gate, Injected, Setup, Upstream, call, post};

#[test]
fn j04_killed_at_any_moment_no_hold_is_lost_or_sent_twice() {
    let out = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/hold_kills.py");
    let run = Command::new("python3")
        .arg(script)
        .args(["--binary", env!("CARGO_BIN_EXE_countersign"), "--rounds", "12", "--shared", "6"])
        .arg("--out")
        .arg(out.path().join("out"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let faults = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("violations: none"), "{said}\n{faults}");
}

/// Asks, without waiting for an answer that may never come.
fn ask(gate: &Gate) -> Option<serde_json::Value> {
    let mut connection = Connection::try_to(gate.agents)?;
    let headers = [("accept", "application/json")];
    connection.send(&post("/mcp/crm", &headers, call(1, "refund", &arguments("7"))));
    Some(connection.try_response()?.json())
}

/// A call is made, signed by two, and collected; whether the gate lived to its end.
fn whole_life(gate: &Gate) -> bool {
    for _ in 0..50 {
        let Some(answer) = ask(gate) else { return false };
        let result = &answer["result"];
        if result["isError"] != true {
            return true;
        }
        let hold = &result["_meta"]["io.countersign/hold"];
        if hold["state"] == "unknown" {
            return true;
        }
        let id = hold["id"].as_str().unwrap().to_owned();
        for who in ["ann", "ben"] {
            let path = format!("/holds/{id}");
            let Some(seen) = gate.reviewer(who).try_request("GET", &path, None) else {
                return false;
            };
            let fields = json!({"hash": seen.json()["hash"]});
            let signed =
                gate.reviewer(who).try_request("POST", &(path + "/approve"), Some(&fields));
            if signed.is_none() {
                return false;
            }
        }
    }
    panic!("it never came to an end: {}", gate.log());
}

#[test]
fn j04_killed_at_each_step_towards_the_disk_a_signed_call_is_sent_at_most_once() {
    for (file, calls) in [
        ("state/store.db-wal", "pwrite64,fdatasync,fsync"),
        ("state/trail/000001.trail", "write,pwrite64,fdatasync,fsync"),
    ] {
        let (mut step, mut sent, mut unknown) = (1, 0, 0);
        loop {
            let upstream = Upstream::of_tools(&[refund()]);
            let tools = "server: crm\ntools:\n  \"*\": {tier: high}\n";
            let setup = Setup::to(&upstream)
                .holds("\"approvals\": 2")
                .reviewers(&["ann", "ben"])
                .file("tools/all.yaml", tools)
                .config("hold: {wait: 1ms, on_approval: await_retry}");
            let gate = Gate::start(&setup);
            let fault = format!("signal=KILL:when={step}");
            let injected = Injected::about(&gate, &gate.path(file), calls, &fault);
            let lived = whole_life(&gate);
            drop(injected);
            // The same again where it was killed: it goes on from what was kept.
            let gate = Gate::start_in(&setup, gate.kill());
            assert!(lived || whole_life(&gate), "step {step} of {file}");
            agree(&gate, &upstream, &format!("step {step} of {file}"));
            sent += refunds(&upstream).len();
            unknown += usize::from(refunds(&upstream).is_empty());
            if lived {
                break;
            }
            // Each one takes its time: all of them only where somebody wants that.
            step += if std::env::var_os("COUNTERSIGN_ROUNDS").is_some() { 1 } else { 5 };
        }
        eprintln!("{file}: killed up to step {}, sent {sent}, not sent {unknown}", step - 1);
        assert!(step > 4, "{file} is not what is written to");
    }
}

/// One hold; sent at most once, and then with its record and both signatures.
fn agree(gate: &Gate, upstream: &Upstream, when: &str) {
    let sent = refunds(upstream).len();
    assert!(sent <= 1, "{when}");
    let holds = gate.reviewer("ann").request("GET", "/holds", None).json();
    assert_eq!(holds["total"], 1, "{when}: {holds:#}");
    let hold = &holds["holds"][0];
    let ends: &[&str] = if sent == 1 { &["done", "unknown"] } else { &["unknown"] };
    assert!(ends.contains(&hold["state"].as_str().unwrap()), "{when}: {sent} {hold:#}");
    let trail = gate.trail();
    let claimed: Vec<_> = trail.iter().filter(|entry| entry["what"] == "claimed").collect();
    let allowed: Vec<_> = trail
        .iter()
        .filter(|entry| entry["kind"] == "intent" && entry["effect"] == "allow")
        .collect();
    assert!(allowed.len() <= 1 && allowed.len() >= sent, "{when}: {allowed:#?}");
    for intent in allowed {
        assert_eq!((&intent["hold"], &intent["hash"]), (&hold["id"], &hold["hash"]), "{when}");
        assert_eq!(claimed.len(), 1, "{when}");
        assert_eq!(claimed[0]["note"], "signed by ann, ben", "{when}");
    }
}

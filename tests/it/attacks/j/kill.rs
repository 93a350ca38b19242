//! J03, J04, J05: killed at any moment, and started again.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Connection, Gate, Setup, Upstream, call, post, tool};

/// Sends calls, each in a trace of its own, until nobody answers.
fn load(gate: std::net::SocketAddr, round: usize, worker: usize, stop: &AtomicBool) {
    let mut connection = Connection::to(gate);
    for n in 0.. {
        let trace = format!("00-{:032x}-{:016x}-01", (round * 100 + worker) * 1_000_000 + n + 1, 1);
        let body = call(1, "echo", "{}");
        connection.send(&post("/mcp/crm", &[("traceparent", &trace)], &body));
        if connection.try_response().is_none() || stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn trace_of(header: &str) -> String {
    header.split('-').nth(1).unwrap().to_owned()
}

#[test]
fn j04_killed_at_any_moment_each_request_has_its_intent() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    // Both: an entry that only the page cache has survives the process just as well.
    let tiers = "server: crm\ntools:\n  \"*\": {tier: medium}\n";
    let mut directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::to(&upstream);
    for round in 0..12 {
        if round == 6 {
            setup = setup.file("tools/all.yaml", tiers);
        }
        let gate = Gate::start_in(&setup, directory);
        let stop = AtomicBool::new(false);
        let agents = gate.agents;
        directory = std::thread::scope(|scope| {
            for worker in 0..4 {
                let stop = &stop;
                scope.spawn(move || load(agents, round, worker, stop));
            }
            // Any moment will do, and each another one.
            std::thread::sleep(Duration::from_millis(37 + 23 * round as u64));
            let directory = gate.kill();
            stop.store(true, Ordering::Relaxed);
            directory
        });
    }
    let gate = Gate::start_in(&setup, directory);
    assert_eq!(gate.post(&call(1, "echo", "{}")).status, 200);
    let trail = gate.trail(); // verified entry by entry
    let intents: Vec<_> = trail.iter().filter(|e| e["kind"] == "intent").collect();
    let traces: HashSet<_> = intents.iter().filter_map(|e| e["trace_id"].as_str()).collect();
    let seen: Vec<_> =
        upstream.calls().iter().filter_map(|s| s.header("traceparent").map(trace_of)).collect();
    assert!(seen.len() > 100, "too little load: {}", seen.len());
    for trace in &seen {
        assert!(traces.contains(trace.as_str()), "no intent for {trace}");
    }
    let once: HashSet<_> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "a call was sent twice");
    let ids: HashSet<_> = intents.iter().map(|e| e["id"].to_string()).collect();
    assert_eq!(ids.len(), intents.len(), "a decision is on record twice");
    let starts = trail.iter().filter(|e| e["kind"] == "start").count();
    assert_eq!(starts, 13);
}

#[test]
fn j05_a_torn_end_is_cut_off_and_said_and_a_changed_trail_is_refused() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let tiers = "server: crm\ntools:\n  \"*\": {tier: high}\n";
    let setup = Setup::to(&upstream).file("tools/all.yaml", tiers);
    let gate = Gate::start(&setup);
    for _ in 0..10 {
        assert_eq!(gate.post(&call(1, "echo", "{}")).status, 200);
    }
    let before = gate.entries("outcome", 10).len() + gate.entries("intent", 10).len();
    let directory = gate.kill();
    let segment = directory.path().join("state/trail/000001.trail");
    let bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // The last entry, an outcome that nobody waited for, was half written.
    fs::write(&segment, &bytes[..end - 20]).unwrap();
    let gate = Gate::start_in(&setup, directory);
    assert!(gate.log().contains("torn"), "{}", gate.log());
    assert_eq!(gate.entries("intent", 10).len() + gate.entries("outcome", 9).len(), before - 1);
    assert_eq!(gate.post(&call(1, "echo", "{}")).status, 200);
    let directory = gate.kill();
    // A byte of an entry that was durable.
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(9).position(|window| window == b"\"allowed\"").unwrap();
    bytes[at + 1] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let log = Gate::refused_to_start(&setup, directory.path());
    assert!(log.contains("restore") && log.contains("000001.trail"), "{log}");
    assert_eq!(upstream.calls().len(), 11);
}

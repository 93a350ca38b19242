//! I05: the disk is full, or fails.

use std::fs;

use crate::support::{Gate, Injected, Mounted, Setup, Upstream, call, tool};

#[test]
fn i05_on_a_full_disk_nothing_goes_up_and_space_is_all_it_takes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::at(&directory.path().join("state"), 256) else { return };
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let ballast = directory.path().join("state/ballast");
    fs::write(&ballast, vec![1; 64 << 10]).unwrap();
    let gate = Gate::start_in(&Setup::to(&upstream), directory);
    let body = call(1, "echo", "{}");
    // What was allocated is used up first.
    let answered = (0..5000).take_while(|_| {
        let answer = gate.post(&body).json();
        answer["result"]["isError"] != true
    });
    let answered = answered.count();
    assert!(answered > 0 && answered < 5000, "{answered}");
    let sent = upstream.calls().len();
    assert_eq!(sent, answered);
    for _ in 0..20 {
        let refused = gate.post(&body);
        assert_eq!((refused.status, &*refused.code()), (200, "record_failed"));
    }
    assert_eq!(gate.post("{}").status, 400);
    assert_eq!(upstream.calls().len(), sent);
    assert!(gate.metric("countersign_refusals_total", &["record_failed"]) >= 20.0);
    // All that is there is whole, and each call that went up has its intent.
    let allowed = gate.trail().iter().filter(|e| e["code"] == "allowed").count();
    assert_eq!(allowed, sent);
    fs::remove_file(&ballast).unwrap();
    assert_eq!(gate.post(&body).json()["result"]["content"][0]["text"], "echo");
    assert_eq!(upstream.calls().len(), sent + 1);
    gate.trail();
    assert_eq!(gate.stop(), 0);
}

#[test]
fn i05_after_a_sync_that_failed_nothing_goes_up_until_a_restart() {
    // A second sync would succeed, without the pages that the first one lost.
    for which in ["1", "1+"] {
        let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
        let tiers = "server: crm\ntools:\n  \"*\": {tier: high}\n";
        let setup = Setup::to(&upstream).file("tools/all.yaml", tiers);
        let gate = Gate::start(&setup);
        let body = call(1, "echo", "{}");
        for _ in 0..5 {
            assert_eq!(gate.post(&body).json()["result"]["content"][0]["text"], "echo");
        }
        // What nobody waits for is synced too: with that out of the way, the next is a call's.
        gate.entries("outcome", 5);
        let failing = Injected::into(&gate, "fdatasync,fsync", &format!("error=EIO:when={which}"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(gate.post(&body).code(), "record_failed", "{which}"));
            }
        });
        drop(failing);
        assert_eq!(gate.post(&body).code(), "record_failed", "{which}");
        // Refused in any case, and so it says what it was refused for.
        assert_eq!(gate.post(&call(2, "missing", "{}")).code(), "unknown_tool", "{which}");
        assert_eq!(upstream.calls().len(), 5, "{which}");
        assert_eq!(gate.operator("/readyz").status, 503);
        assert!(gate.log().contains("Input/output error"), "{}", gate.log());
        // What the disk has is whole, and what it has is all there is.
        let gate = Gate::start_in(&setup, gate.kill());
        assert_eq!(gate.post(&body).json()["result"]["content"][0]["text"], "echo");
        assert_eq!(upstream.calls().len(), 6);
        let intents: Vec<_> =
            gate.trail().into_iter().filter(|entry| entry["kind"] == "intent").collect();
        assert!(intents.len() >= 6, "{intents:#?}");
    }
}

#[test]
fn i06_labels_stay_few_whatever_agents_call() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream));
    let mut connection = gate.connect();
    let lines = |gate: &Gate| gate.operator("/metrics").text().lines().count();
    for n in 0..50 {
        connection.send(&crate::support::post("/mcp/crm", &[], call(1, &format!("x{n}"), "{}")));
        connection.response();
    }
    let few = lines(&gate);
    for n in 50..3000 {
        connection.send(&crate::support::post("/mcp/crm", &[], call(1, &format!("x{n}"), "{}")));
        assert_eq!(connection.response().code(), "unknown_tool");
    }
    assert_eq!(lines(&gate), few);
    gate.decisions(3000);
}

use std::path::Path;

use super::*;
use crate::metrics::Build;
use crate::trail;

fn ledger(state: &Path) -> Arc<Ledger> {
    let trail = Trail::open(state, trail::Settings::default()).unwrap();
    let metrics = Arc::new(Metrics::new(Build { version: "", commit: "" }).unwrap());
    Arc::new(Ledger { trail, metrics })
}

fn record(ledger: &Arc<Ledger>) -> Record {
    let facts = Facts {
        id: uuid::Uuid::now_v7(),
        at: SystemTime::now(),
        door: Door::Mcp,
        agent: Arc::from("ada"),
        server: Arc::from("crm"),
        method: "tools/call",
        tool: Arc::from("refund"),
        session: None,
        claimed: Claimed::default(),
        trace: None,
        policy: Digest::of(b""),
        environment: Arc::from("test"),
        mode: Mode::Enforce,
    };
    Record::of(Arc::clone(ledger), facts, CallSpan::default())
}

/// Kind and code of each entry.
fn entries(state: &Path) -> Vec<(String, String)> {
    let text = |body: &serde_json::Value, key: &str| body[key].as_str().unwrap().to_owned();
    trail::read(state)
        .map(|entry| serde_json::from_slice::<serde_json::Value>(&entry.unwrap().body).unwrap())
        .map(|body| (text(&body, "kind"), text(&body, "code")))
        .collect()
}

#[tokio::test]
async fn a_call_that_is_given_up_while_the_disk_works_is_on_record_once() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let mut record = record(&ledger);
    // Polled once: the intent is written, and the wait for the disk has begun.
    let intending = record.intend(Sync { low: true, medium: true, high: true });
    let _ = tokio::time::timeout(Duration::ZERO, intending).await;
    drop(record);
    let wanted = [("intent", "allowed"), ("outcome", "not_sent")];
    assert_eq!(entries(state.path()), wanted.map(|(kind, code)| (kind.into(), code.into())));
}

#[test]
fn a_hang_up_before_the_decision_is_no_fault_of_ours_and_a_panic_is() {
    for (panics, code) in [(false, "cancelled"), (true, "internal")] {
        let state = tempfile::tempdir().unwrap();
        let ledger = ledger(state.path());
        let open = record(&ledger);
        let ended = std::thread::spawn(move || {
            let _open = open;
            assert!(!panics);
        });
        assert_eq!(ended.join().is_err(), panics);
        assert_eq!(entries(state.path()), [("intent".to_owned(), code.to_owned())]);
    }
}

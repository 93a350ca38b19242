//! What does the gate itself cost for one call?
//!
//! The whole pipeline from a read message to a permit used up: schema, hash, policy as shipped,
//! record with and without fsync. Ids and arguments vary for real: what repeats the same call
//! proves nothing. `cargo bench --bench decision`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot go on panics"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use countersign::call::{Agent, Call, Claimed, Door};
use countersign::config::{Mode, Sync};
use countersign::gate::desk::{self, Desk};
use countersign::gate::forward::{Carrier, ResultShape};
use countersign::gate::policy::{self, Policies};
use countersign::gate::record::Ledger;
use countersign::gate::{Arrival, Gate, Handled, Offered, Snapshot, Target, Waits};
use countersign::hold::{Event, Hold};
use countersign::json::{Digest, Map};
use countersign::metrics::{Build, Metrics};
use countersign::refusal::Refusal;
use countersign::store::sqlite::Sqlite;
use countersign::telemetry::CallSpan;
use countersign::tools::{Catalogue, Classifier, Limits};
use countersign::trail::{self, Trail};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::json;

struct Nothing;

impl Carrier for Nothing {
    type Answer = ();

    async fn carry(self, call: Call, _span: &CallSpan) -> Result<(), Refusal> {
        black_box(call);
        Ok(())
    }
}

async fn gate(directory: &Path, sync: bool) -> Gate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = policy::read_directory(&[root.join("policies")]).unwrap();
    let tools = root.join("tools/demo.yaml");
    let text = std::fs::read_to_string(&tools).unwrap();
    let snapshot = Snapshot {
        policies: Policies::load(&sources, &policy::Settings::default()).unwrap(),
        classifier: Classifier::load(&[(tools.display().to_string(), text)]).unwrap(),
        pins: None,
        environment: Arc::from("bench"),
        mode: Mode::Enforce,
        sync: Sync { low: sync, medium: sync, high: sync },
        digest: Digest::of(b"bench"),
    };
    let metrics = Arc::new(Metrics::new(Build { version: "bench", commit: "" }).unwrap());
    let trail = Trail::open(directory, trail::Settings::default()).unwrap();
    let store = Arc::new(Sqlite::open(&directory.with_file_name("store.db")).unwrap());
    let ledger = Arc::new(Ledger { trail, metrics });
    let herald = Box::new(|_: &Hold, _: &Event| {});
    let desk = Desk::open(store, desk::Settings::default(), ledger, herald).await.unwrap();
    Gate::new(snapshot, desk, 1000)
}

fn offered() -> Offered {
    let raw = json!({
        "name": "refund",
        "inputSchema": {
            "type": "object",
            "properties": {
                "payment_id": {"type": "string", "pattern": "^pay_[0-9]+$"},
                "amount": {"type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$"},
                "reason": {"type": "string", "maxLength": 500},
            },
            "required": ["payment_id", "amount", "reason"],
            "additionalProperties": false,
        },
    });
    let raw = serde_json::value::to_raw_value(&raw).unwrap();
    let catalogue = Catalogue::build(&[raw], &Limits::default());
    Offered { definition: Arc::clone(catalogue.find("refund").unwrap()), changed: false }
}

/// What differs from call to call.
#[derive(Clone, Copy)]
enum Varies {
    /// Only what no package reads.
    Reason,
    /// Also what one package reads.
    Amount,
}

fn arrival(agent: &Arc<Agent>, tool: &Offered, n: u64, varies: Varies) -> Arrival {
    let amount = match varies {
        Varies::Reason => "12.50".to_owned(),
        Varies::Amount => format!("{}.{:02}", n % 100, (n / 100) % 100),
    };
    let arguments = json!({
        "payment_id": format!("pay_{n}"),
        "amount": amount,
        "reason": format!("case {n}: the parcel arrived damaged and the customer wants it back"),
    });
    Arrival {
        id: uuid::Uuid::now_v7(),
        door: Door::Mcp,
        agent: Arc::clone(agent),
        server: Arc::from("demo"),
        method: "tools/call",
        tool: Arc::from("refund"),
        target: Target::Tool(tool.clone()),
        arguments,
        claimed: Claimed::default(),
        session: None,
        trace: None,
        span: CallSpan::default(),
        received_at: SystemTime::now(),
        hold: None,
        waits: Waits::Client,
    }
}

fn decisions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tool = offered();
    let agent = Arc::new(Agent { id: Arc::from("demo"), groups: Vec::new(), claims: Map::new() });
    for (name, varies, sync) in [
        ("remembered, no fsync", Varies::Reason, false),
        ("one package asked, no fsync", Varies::Amount, false),
        ("remembered, fsync", Varies::Reason, true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let gate = runtime.block_on(gate(&directory.path().join("trail"), sync));
        let mut n = 0;
        criterion.bench_function(&format!("whole decision, {name}"), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || {
                    n += 1;
                    arrival(&agent, &tool, n, varies)
                },
                |arrival| async {
                    let handled = gate.handle(arrival, Nothing).await.unwrap();
                    let Handled::Sent((), mut in_flight) = handled else { panic!("it is held") };
                    in_flight.complete("demo", &ResultShape::default()).unwrap();
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);

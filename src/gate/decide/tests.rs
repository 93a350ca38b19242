use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::call::Door;
use crate::config::Sync;
use crate::gate::Waits;
use crate::gate::policy::{Policies, Settings, Source};
use crate::telemetry::CallSpan;
use crate::tools::{Catalogue, Classifier, Limits};

fn snapshot() -> Snapshot {
    // It reads all there is, so that nothing is left out of the input.
    let text = "package countersign.permission\n\nallow if count(input) > 0\n\nvisible := true\n";
    let sources = [Source::new("permission.rego", text)];
    Snapshot {
        policies: Policies::load(&sources, &Settings::default()).unwrap(),
        classifier: Classifier::load(&[]).unwrap(),
        pins: None,
        environment: Arc::from("test"),
        mode: Mode::Enforce,
        sync: Sync::default(),
        digest: Digest::of(b""),
    }
}

fn arrival() -> Arrival {
    let raw = json!({
        "name": "refund",
        "annotations": {"destructiveHint": true},
        "inputSchema": {"type": "object", "properties": {"amount": {"type": "string"}}},
    });
    let raw = serde_json::value::to_raw_value(&raw).unwrap();
    let catalogue = Catalogue::build(&[raw], &Limits::default());
    let definition = Arc::clone(catalogue.find("refund").unwrap());
    Arrival {
        id: uuid::Uuid::now_v7(),
        door: Door::Mcp,
        agent: Arc::new(Agent {
            id: Arc::from("ada"),
            groups: vec!["support".to_owned()],
            claims: Map::new(),
        }),
        server: Arc::from("crm"),
        method: "tools/call",
        tool: Arc::from("refund"),
        target: Target::Tool(Offered { definition, changed: false }),
        arguments: json!({"amount": "12.50"}),
        claimed: serde_json::from_value(json!({"user": "bob", "confidence": 0.9})).unwrap(),
        session: Some(Arc::from("s-1")),
        trace: None,
        span: CallSpan::default(),
        received_at: SystemTime::now(),
        hold: None,
        waits: Waits::Never,
    }
}

#[tokio::test]
async fn what_policy_sees_is_what_the_schema_says() {
    let schema = include_str!("../../../schemas/policy-input.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let (snapshot, past) = (snapshot(), Sessions::new(8));
    let bench = Bench { snapshot: &snapshot, past: &past, signatures: &[], again: false };
    // The second call has a past.
    for _ in 0..2 {
        let judged = judge(&bench, arrival()).await;
        assert!(judged.outcome.is_ok());
    }
    let arrival = arrival();
    let Target::Tool(offered) = &arrival.target else { panic!("a tool") };
    let class = snapshot.classifier.classify("crm", "refund");
    let definition = Arc::clone(&offered.definition);
    let about = About { class: &class, definition: Some(&definition), pin: Pin::New };
    let input = Input::of_tool(&snapshot, &arrival.agent, &about);
    let mut call = call_of(arrival, Some(&definition));
    let facts = sessions::facts(&past.of(&call), &call, true);
    let input = input.of_call(&snapshot, &mut call, facts);
    let problems: Vec<_> = schema.iter_errors(&input).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{problems:#?}\n{input:#}");
    assert_eq!(input["session"]["recent"].as_array().map(Vec::len), Some(2));
    assert_eq!(input["tool_calls"][0]["params"], json!({"amount": "12.50"}));
}

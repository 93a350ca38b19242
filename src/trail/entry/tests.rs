use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::trail::ENTRY_LIMIT;
use crate::trail::shape::cut;

fn at() -> At {
    At(SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_000_000_000_001))
}

fn reason(text: &str) -> Reason {
    Reason { code: text.into(), message: text.into(), policy: text.into() }
}

fn would(text: &str) -> Would {
    Would { effect: Effect::Deny, reason: reason(text) }
}

/// An intent with all there can be, made of one text.
fn intent(text: &str, items: usize) -> Intent<'_> {
    let some = Some(Digest([7; 32]));
    Intent {
        v: V1,
        id: Uuid::from_u128(5),
        at: at(),
        door: Door::Mcp,
        agent: text.into(),
        server: text.into(),
        method: text.into(),
        tool: text.into(),
        tier: Tier::High,
        hash: some,
        definition: some,
        policy: some,
        environment: text.into(),
        mode: "enforce".into(),
        effect: Effect::Hold,
        code: text.into(),
        reasons: vec![reason(text); items].into(),
        warnings: vec![reason(text); items].into(),
        would: vec![would(text); items].into(),
        session: Some(text.into()),
        claimed: Some(Said {
            user: Some(text.into()),
            workflow: Some(text.into()),
            step: Some(text.into()),
        }),
        hold: Some(text.into()),
        durable: Durability::Fsync,
        trace_id: Some(text.into()),
    }
}

fn bare<'a>() -> Intent<'a> {
    Intent {
        hash: None,
        definition: None,
        policy: None,
        session: None,
        claimed: None,
        hold: None,
        trace_id: None,
        ..intent("", 0)
    }
}

fn outcome<'a>(outcome: Ending, status: Option<u16>) -> Body<'a> {
    Body::Outcome(Outcome {
        v: V1,
        id: Uuid::from_u128(5),
        at: at(),
        outcome,
        code: "ok".into(),
        duration_us: 1,
        gate_us: 0,
        status,
        result: status.map(|_| Digest([1; 32])),
        bytes: u64::MAX,
    })
}

fn held<'a>(said: Option<&'a str>) -> Body<'a> {
    Body::Hold(Box::new(HoldChange {
        v: V1,
        id: Uuid::from_u128(5),
        at: at(),
        hold: "hold-00000000000000000000000000000001".into(),
        what: "signed".into(),
        state: "approved".into(),
        hash: Digest([3; 32]),
        by: said.map(Into::into),
        note: said.map(Into::into),
    }))
}

fn every_variant() -> Vec<Body<'static>> {
    let (some, none) = (Some(Digest([9; 32])), None);
    let life = |config| Lifecycle { v: V1, at: at(), version: "0.1.0".into(), config };
    let change = |old, new, problem: Option<&'static str>| {
        Body::Policy(PolicyChange { v: V1, at: at(), old, new, problem: problem.map(Into::into) })
    };
    let mut all = vec![
        Body::Intent(Box::new(bare())),
        Body::Intent(Box::new(intent("x \"\u{1b}\u{202e}", 2))),
        change(none, some, None),
        change(some, none, Some("line 3: no such rule")),
        held(Some("the amount")),
        held(None),
        Body::Start(life(some)),
        Body::Stop(life(none)),
    ];
    for ending in [
        Ending::Answered,
        Ending::ToolError,
        Ending::Failed,
        Ending::Unknown,
        Ending::Cancelled,
        Ending::RefusedAnswer,
    ] {
        all.push(outcome(ending, (ending == Ending::Answered).then_some(200)));
    }
    all
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../schemas/record.schema.json");
    jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
}

fn written(body: &Body<'_>) -> Vec<u8> {
    let mut buffer = b"what was there".to_vec();
    body.write(&mut buffer).unwrap();
    buffer
}

#[test]
fn every_variant_satisfies_the_schema_and_comes_back() {
    let schema = schema();
    for body in every_variant() {
        let bytes = written(&body);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let problems: Vec<_> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{value}: {problems:?}");
        assert_eq!(serde_json::from_slice::<Body<'_>>(&bytes).unwrap(), body);
    }
}

#[test]
fn what_the_schema_does_not_know_is_refused_by_it_and_by_us() {
    let schema = schema();
    for body in every_variant() {
        let good: Value = serde_json::from_slice(&written(&body)).unwrap();
        for (key, value) in [
            ("v", Value::from(2)),
            ("kind", "other".into()),
            ("at", "yesterday".into()),
            ("arguments", serde_json::json!({"card": "4111"})),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(!schema.is_valid(&bad), "{bad}");
            let text = bad.to_string();
            assert!(serde_json::from_str::<Body<'_>>(&text).is_err(), "{bad}");
        }
        for key in ["v", "kind", "at"] {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().shift_remove(key);
            assert!(!schema.is_valid(&bad), "{bad}");
        }
    }
}

#[test]
fn the_record_of_a_call_reads_as_documented() {
    let text = String::from_utf8(written(&Body::Intent(Box::new(bare())))).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"kind":"intent","v":1,"id":"00000000-0000-0000-0000-000000000005","#,
            r#""at":"2026-11-18T11:06:40.000001Z","door":"mcp","agent":"","server":"","#,
            r#""method":"","tool":"","tier":"high","environment":"","mode":"enforce","#,
            r#""effect":"hold","code":"","durable":"fsync"}"#
        )
    );
}

#[test]
fn no_entry_is_too_long_whatever_outsiders_send() {
    for text in ["\0", "\"", "é", "𝄞", "x", "\u{7f}"] {
        let long = text.repeat(5000);
        let bytes = written(&Body::Intent(Box::new(intent(&long, 5000))));
        assert!(bytes.len() <= ENTRY_LIMIT, "{text:?}: {}", bytes.len());
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(schema().is_valid(&value), "{text:?}");
    }
}

#[test]
fn of_a_claim_only_names_are_kept() {
    let claimed = Claimed {
        user: Some("ann".into()),
        reason: Some("because".into()),
        evidence: vec!["https://x".into()],
        confidence: Some(0.5),
        ..Claimed::default()
    };
    let said = Said::of(&claimed).unwrap();
    assert_eq!(serde_json::to_string(&said).unwrap(), r#"{"user":"ann"}"#);
    assert_eq!(Said::of(&Claimed { user: None, ..claimed }), None);
}

proptest! {
    #[test]
    fn a_text_is_cut_by_its_json_and_only_if_it_is_too_long(text in "\\PC{0,80}|[\\x00-\\x7f]{0,80}") {
        let limit = 60;
        let json = serde_json::to_string(&text).unwrap().len() - 2;
        let short = cut(&text, limit);
        if json <= limit {
            prop_assert_eq!(&*short, &*text);
        } else {
            let kept = short.strip_suffix('…').unwrap();
            prop_assert!(text.starts_with(kept));
            prop_assert!(serde_json::to_string(kept).unwrap().len() - 2 <= limit);
        }
    }
}

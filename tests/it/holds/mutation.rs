//! E01: an approved call, changed in one place, is another call.

use countersign::json;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value};

use super::{refunds, ticket};
use crate::support::{Gate, Setup, Upstream, call};

/// Arguments as agents make them: an object with members.
fn arguments() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|cents| Value::from(f64::from(cents) / 100.0)),
        "[a-zé😀 \"\\\\]{0,8}".prop_map(Value::from),
    ];
    let nested = scalar.prop_recursive(3, 12, 3, |inner| {
        let object = btree_map("[a-z]{1,3}", inner.clone(), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    });
    btree_map("[a-z]{1,3}", nested, 1..5)
        .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into())
}

/// The places of all values below a value, by JSON Pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, v)| (name.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let place = format!("{at}/{name}");
        found.push(place.clone());
        places(child, &place, found);
    }
}

/// Other values of the same kind, of another, and one level deeper.
fn others(value: &Value) -> Vec<Value> {
    let mut others = vec![Value::from(vec![value.clone()]), serde_json::json!({"": value})];
    match value {
        Value::Null => others.extend([Value::from(false), Value::from(""), Value::from(0)]),
        Value::Bool(flag) => others.extend([Value::from(!flag), Value::from(u8::from(*flag))]),
        Value::Number(number) => {
            let next = number.as_f64().unwrap() + 1.0;
            others.extend([Value::from(number.to_string()), Value::from(next), Value::Null]);
        }
        Value::String(text) => {
            let upper = text.to_uppercase();
            others.extend([format!("{text} "), format!("{text}\u{200b}"), upper].map(Value::from));
            others.push(Value::Null);
        }
        Value::Array(items) => {
            others.push(items.iter().rev().cloned().collect());
            others.push(items.iter().skip(1).cloned().collect());
            others.push(items.iter().cloned().chain([Value::Null]).collect());
        }
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("more".to_owned(), Value::Null);
            others.extend([
                Value::from(more),
                Value::from(members.values().cloned().collect::<Vec<_>>()),
            ]);
        }
    }
    others
}

/// The same with one value, or one key, changed.
fn mutations(original: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    places(original, "", &mut found);
    let mut mutations = Vec::new();
    for place in found {
        for other in others(original.pointer(&place).unwrap()) {
            let mut mutated = original.clone();
            *mutated.pointer_mut(&place).unwrap() = other;
            mutations.push(mutated);
        }
        let (parent, name) = place.rsplit_once('/').unwrap();
        for key in [Some(format!("{name}_")), None] {
            let mut mutated = original.clone();
            if let Some(Value::Object(members)) = mutated.pointer_mut(parent) {
                let value = members.shift_remove(name).unwrap();
                members.extend(key.map(|key| (key, value)));
                mutations.push(mutated);
            }
        }
    }
    // An empty list reversed is the same list.
    mutations.retain(|mutated| json::canonical(mutated) != json::canonical(original));
    mutations
}

#[test]
fn e01_of_200_approved_calls_none_lets_a_mutation_go() {
    let open = serde_json::json!({"name": "refund", "inputSchema": {
        "type": "object", "additionalProperties": true,
    }});
    let upstream = Upstream::of_tools(&[open]);
    let config = "hold: {wait: 1ms, on_approval: await_retry, open: 5000, open_per_agent: 5000}";
    let setup = Setup::to(&upstream).holds("").reviewers(&["ann"]).config(config);
    let gate = Gate::start(&setup);
    let say = |arguments: &Value| gate.post(&call(1, "refund", &arguments.to_string())).message();
    let mut random = TestRunner::deterministic();
    let mut seen = std::collections::HashSet::new();
    let ann = gate.reviewer("ann");
    let mut approved = 0;
    while approved < 200 {
        let original = arguments().new_tree(&mut random).unwrap().current();
        let choices = mutations(&original);
        let choice = (0..choices.len()).new_tree(&mut random).unwrap().current();
        let mutated = &choices[choice];
        // What is held already is no new call.
        if !seen.insert(json::canonical(&original)) || !seen.insert(json::canonical(mutated)) {
            continue;
        }
        approved += 1;
        let hold = ticket(&say(&original)).clone();
        let id = hold["id"].as_str().unwrap();
        let whole = ann.request("GET", &format!("/holds/{id}"), None).json();
        assert_eq!(ann.act(&whole, "approve", serde_json::json!({})).status, 200);
        let other = say(mutated);
        assert_ne!(ticket(&other)["id"], hold["id"], "{original} {mutated}");
        assert_eq!(ticket(&other)["state"], "pending", "{original} {mutated}");
        let still = ann.request("GET", &format!("/holds/{id}"), None).json();
        assert_eq!(still["state"], "approved", "{original} {mutated}");
    }
    assert_eq!(refunds(&upstream), Vec::<Value>::new());
}

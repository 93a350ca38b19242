use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::call::{Effect, Tier};

mod attacks;
mod law;
mod remembering;

/// Enough time for a debug build beside other work.
fn settings() -> Settings {
    Settings { deadline: Duration::from_secs(5), workers: 1, ..Settings::default() }
}

fn shipped() -> Vec<Source> {
    read_directory(&[PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")]).unwrap()
}

fn load(texts: &[&str]) -> Result<Policies, Vec<Problem>> {
    let sources: Vec<_> =
        texts.iter().enumerate().map(|(n, t)| Source::new(format!("p{n}.rego"), *t)).collect();
    Policies::load(&sources, &settings())
}

fn permission(rules: &str) -> Policies {
    load(&[&format!("package countersign.permission\n{rules}")]).unwrap()
}

fn refused(rules: &str) -> String {
    let problems = load(&[&format!("package countersign.permission\n{rules}")]).unwrap_err();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What the gate would give for a call of the demo agent.
fn input(tool: &str, tier: &str, arguments: Value) -> Value {
    json!({
        "version": 1,
        "call": {"id": "0199", "hash": "sha256:00", "door": "mcp", "server": "demo", "tool": tool,
                 "arguments": arguments, "received_at": "2026-11-20T21:35:00Z"},
        "tool": {"tier": tier, "reversible": tier == "low", "labels": [], "annotations": {},
                 "pin": "match"},
        "agent": {"id": "demo", "groups": [], "claims": {}},
        "claimed": {},
        "budgets": {},
        "environment": "test",
    })
}

fn codes(verdict: &Verdict) -> Vec<&str> {
    verdict.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

#[tokio::test]
async fn the_shipped_policies_decide_the_demo() {
    let policies = Policies::load(&shipped(), &settings()).unwrap();
    let refund = |amount: &str| json!({"payment_id": "p1", "amount": amount, "reason": "late"});
    let mail = |to: Value| json!({"to": to, "subject": "s", "body": "b"});
    for (tool, tier, arguments, effect, expected) in [
        ("lookup_customer", "low", json!({"customer_id": "c1"}), Effect::Allow, vec![]),
        ("update_customer", "medium", json!({"customer_id": "c1"}), Effect::Allow, vec![]),
        ("refund", "medium", refund("100.00"), Effect::Allow, vec![]),
        ("refund", "medium", refund("100.01"), Effect::Hold, vec!["refund_over_limit"]),
        ("refund", "medium", refund("-5"), Effect::Deny, vec!["amount_not_valid"]),
        ("refund", "medium", refund("1e9999999999"), Effect::Deny, vec!["amount_not_valid"]),
        ("refund", "medium", json!({}), Effect::Deny, vec!["amount_not_valid"]),
        ("wire_transfer", "high", refund("1"), Effect::Hold, vec!["irreversible"]),
        ("send_email", "medium", mail(json!("a@example.com")), Effect::Allow, vec![]),
        ("send_email", "medium", mail(json!("a@Example.COM")), Effect::Allow, vec![]),
        (
            "send_email",
            "medium",
            mail(json!("a@evil.com")),
            Effect::Deny,
            vec!["external_recipient"],
        ),
        (
            "send_email",
            "medium",
            mail(json!("a@example.com@evil.com")),
            Effect::Deny,
            vec!["external_recipient"],
        ),
        (
            "send_email",
            "medium",
            mail(json!(["a@example.com"])),
            Effect::Deny,
            vec!["external_recipient"],
        ),
        ("delete_file", "high", json!({"path": "/a"}), Effect::Hold, vec!["irreversible"]),
        ("drop_table", "low", json!({}), Effect::Deny, vec!["default"]),
    ] {
        let verdict = policies.decide(&input(tool, tier, arguments.clone())).await;
        assert_eq!(
            (verdict.effect, codes(&verdict)),
            (effect, expected),
            "{tool} {arguments}: {verdict:?}"
        );
        assert!(!verdict.failed, "{tool}: {verdict:?}");
    }
    let over = policies.decide(&input("refund", "medium", refund("250"))).await;
    assert_eq!(over.tier, Some(Tier::High));
    assert!(over.hold.unwrap().reviewers.contains("group:payments"));
}

#[tokio::test]
async fn the_shipped_policies_look_at_who_calls_and_what_changed() {
    let policies = Policies::load(&shipped(), &settings()).unwrap();
    let base = input("lookup_customer", "low", json!({"customer_id": "c1"}));
    let with = |pointer: &str, value: Value| {
        let mut changed = base.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    for (name, input, effect, visible) in [
        ("as it is", base.clone(), Effect::Allow, true),
        ("another agent", with("/agent/id", json!("demo2")), Effect::Deny, false),
        ("another server", with("/call/server", json!("crm")), Effect::Deny, false),
        ("a changed tool", with("/tool/pin", json!("changed")), Effect::Deny, true),
        ("unsure, tier low", with("/claimed", json!({"confidence": 0.1})), Effect::Allow, true),
    ] {
        let verdict = policies.decide(&input).await;
        assert_eq!(verdict.effect, effect, "{name}: {verdict:?}");
        assert_eq!(policies.visible(&input).await, visible, "{name}");
    }
    let mut unsure = input("write_file", "medium", json!({"path": "a", "text": "b"}));
    unsure["claimed"] = json!({"confidence": 0.59});
    assert_eq!(codes(&policies.decide(&unsure).await), ["low_confidence"]);
    let mut spent = input("refund", "medium", json!({"amount": "20.00"}));
    spent["budgets"] = json!({"usd-per-day": {"remaining": "19.99"}});
    assert_eq!(codes(&policies.decide(&spent).await), ["budget_exhausted"]);
    spent["budgets"] = json!({"usd-per-day": {"remaining": "20"}});
    let verdict = policies.decide(&spent).await;
    assert_eq!(verdict.effect, Effect::Allow);
    assert_eq!(verdict.charges[0].amount, "20.00");
}

#[tokio::test]
async fn what_nobody_reads_need_not_be_computed() {
    let policies = Policies::load(&shipped(), &settings()).unwrap();
    for (path, read) in [
        (vec!["session"], false),
        (vec!["session", "recent"], false),
        (vec!["tool_calls"], false),
        (vec!["call", "id"], false),
        (vec!["call", "arguments"], true),
        (vec!["call", "arguments", "to"], true),
        (vec!["call", "arguments", "body"], false),
        (vec!["budgets"], true),
        (vec!["budgets", "usd-per-day"], true),
        (vec![], true),
    ] {
        assert_eq!(policies.reads(&path), read, "{path:?}");
    }
}

#[tokio::test]
async fn rego_has_three_answers_and_only_true_allows() {
    for (rules, effect, failed) in [
        ("allow := true", Effect::Allow, false),
        ("allow := false", Effect::Deny, false),
        ("allow if input.nothing", Effect::Deny, false),
        ("helper := true", Effect::Deny, false),
        ("allow := \"yes\"", Effect::Deny, true),
        ("allow := 1", Effect::Deny, true),
        ("allow := true\nallow := false if true", Effect::Deny, true),
        ("allow := true\ndeny := true", Effect::Deny, true),
        ("allow := true\ndeny := []", Effect::Deny, true),
        ("allow := true\ndeny contains \"no\"", Effect::Deny, true),
        ("allow := true\ndeny contains {\"code\": \"c\"}", Effect::Deny, true),
        ("allow := true\ndeny contains {\"code\": \"\", \"message\": \"m\"}", Effect::Deny, true),
        (
            "allow := true\ndeny contains {\"code\": \"c\", \"message\": \"m\", \"x\": 1}",
            Effect::Deny,
            true,
        ),
        (
            "allow := true\ndeny contains {\"code\": \"c\", \"message\": \"m\", \"mode\": \"off\"}",
            Effect::Deny,
            true,
        ),
        (
            "allow := true\ndeny contains {\"code\": \"c\", \"message\": \"m\"} if input.nothing",
            Effect::Allow,
            false,
        ),
        ("allow := true\ndeny contains {\"code\": \"c\", \"message\": \"m\"}", Effect::Deny, false),
        ("allow if sum([input.text]) >= 0", Effect::Deny, true),
        ("allow if count(input.number) >= 0", Effect::Deny, true),
        (
            "allow := true\nwarn contains {\"code\": \"c\", \"message\": \"m\"}",
            Effect::Allow,
            false,
        ),
        ("allow := true\nlabels := {\"a\": 1}", Effect::Deny, true),
        ("allow := true\nredact := {\"arguments\": [\"ssn\"]}", Effect::Deny, true),
        ("allow := true\nredact.arguments contains \"/ssn\"", Effect::Allow, false),
    ] {
        let policies = permission(rules);
        // Twice: a failure is not remembered, an outcome is.
        for _ in 0..2 {
            let verdict = policies.decide(&json!({"text": "s3cret", "number": 5})).await;
            assert_eq!((verdict.effect, verdict.failed), (effect, failed), "{rules}: {verdict:?}");
            let failure = verdict.failure.unwrap_or_default();
            assert_eq!(failure.is_empty(), !failed, "{rules}");
            assert!(!failure.contains("s3cret"), "{failure}");
        }
    }
}

#[tokio::test]
async fn without_permission_nothing_is_allowed() {
    let policies = load(&["package countersign.budget\ndeny contains {\"code\": \"c\", \"message\": \"m\"} if input.x"]).unwrap();
    let verdict = policies.decide(&json!({})).await;
    assert_eq!(
        (verdict.effect, verdict.failed, codes(&verdict)),
        (Effect::Deny, false, vec!["default"])
    );
    assert!(!policies.visible(&json!({})).await);
}

#[tokio::test]
async fn visible_is_asked_by_itself() {
    for (rules, visible) in [
        ("visible := true", true),
        ("visible := false", false),
        ("visible := 1", false),
        ("visible if count(1) == 1", false),
        ("allow := true", false),
        // A broken decision leaves what is shown as it is.
        ("visible := true\nallow if count(1) == 1", true),
    ] {
        assert_eq!(permission(rules).visible(&json!({})).await, visible, "{rules}");
    }
}

#[test]
fn what_is_wrong_is_told_at_once_by_file_and_line() {
    let problems = load(&[
        "package a\nx := ",
        "package b\n\ny if http.send({})",
        "package countersign.permission\nhold contains 1",
    ])
    .unwrap_err();
    let told: Vec<_> = problems.iter().map(|p| (p.path.as_str(), p.line)).collect();
    assert_eq!(told, [("p0.rego", 2), ("p1.rego", 3), ("p2.rego", 2)], "{problems:#?}");
    assert!(problems[2].message.contains("`countersign.budget` or `countersign.reversibility`"));
}

#[test]
fn what_could_not_be_evaluated_is_refused_at_load() {
    for (rules, told) in [
        ("allow if nothing_like_it(1)", "no function `nothing_like_it`"),
        ("allow if io.jwt.decode(input.token)", "no function `io.jwt.decode`"),
        ("allow if print(input.x)", "to the log"),
        ("allow if a\na if b\nb if a", "in a circle"),
        ("allow if f(1)\nf(x) := f(x - 1)", "in a circle"),
        ("allow if data.countersign", "in a circle"),
        ("allow if x := [[[[[[[[[[[[[1]]]]]]]]]]]]]", "nested deeper"),
        ("allow if replace(input.a, \"b\", input.c)", "has to be written out"),
        ("allow if concat(input.a, input.b)", "has to be written out"),
        ("allow if sprintf(\"%999999d\", [1]) == \"\"", "width"),
        ("allow if sprintf(\"\\u0025999999d\", [1]) == \"\"", "width"),
        ("allow if unknown_variable == 1", "unsafe"),
        ("allow := tru", "neither a rule of this package nor a variable"),
        ("allow := true\ndenny contains 1 if input.x", "is it `deny` that is meant?"),
        ("allow := true\ndeny(x) := x", "a function would never be called"),
    ] {
        assert!(refused(rules).contains(told), "{rules}: {}", refused(rules));
    }
    let mut chain = "allow if r0\n".to_owned();
    for n in 0..200 {
        chain.push_str(&format!("r{n} if r{}\n", n + 1));
    }
    chain.push_str("r200 := true");
    assert!(refused(&chain).contains("a chain of more than 100"));
    let mut chain = "allow if r0\n".to_owned();
    (0..98).for_each(|n| chain.push_str(&format!("r{n} if r{}\n", n + 1)));
    chain.push_str("r98 := true");
    permission(&chain);
}

#[test]
fn data_may_not_stand_where_rules_are() {
    let rule = Source::new("a.rego", "package countersign.permission\nhelper := 1");
    for text in [r#"{"countersign": {"permission": {"allow": true}}}"#, r#"{"countersign": true}"#]
    {
        let sources = [rule.clone(), Source::new("data.json", text)];
        let problems = Policies::load(&sources, &settings()).unwrap_err();
        assert!(problems[0].message.contains("data files stand where"), "{problems:?}");
    }
    let entry = load(&["package countersign_entry\npermission := {\"allow\": true}"]).unwrap_err();
    assert!(entry[0].message.contains("belongs to the gate"));
}

#[test]
fn the_shipped_tests_pass() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut engine = regorus::Engine::new();
    let mut tests = Vec::new();
    let mut sources = shipped();
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        let path = entry.path();
        if path.to_string_lossy().ends_with("_test.rego") {
            let text = std::fs::read_to_string(&path).unwrap();
            sources.push(Source::new(path.display().to_string(), text));
        }
    }
    for source in sources.iter().filter(|source| source.is_rego()) {
        let package = engine.add_policy(source.path.clone(), source.text.clone()).unwrap();
        tests.extend(
            source
                .text
                .lines()
                .filter(|line| line.starts_with("test_"))
                .filter_map(|line| line.split_whitespace().next())
                .map(|name| format!("{package}.{name}")),
        );
    }
    let data = Value::Object(data::merge(&sources, &mut Vec::new()));
    engine.add_data_json(&data.to_string()).unwrap();
    assert!(tests.len() >= 12, "only {} tests", tests.len());
    for test in tests {
        assert_eq!(engine.eval_rule(test.clone()).unwrap(), regorus::Value::Bool(true), "{test}");
    }
}

#[tokio::test]
async fn inputs_and_decisions_have_the_shape_that_the_schemas_tell() {
    let schema = |name: &str| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    };
    let (input_schema, decision_schema) =
        (schema("policy-input.schema.json"), schema("decision.schema.json"));
    let policies = Policies::load(&shipped(), &settings()).unwrap();
    for (tool, tier, arguments) in [
        ("refund", "medium", json!({"amount": "1"})),
        ("refund", "high", json!({"amount": "1000"})),
        ("send_email", "medium", json!({"to": "x"})),
    ] {
        let mut input = input(tool, tier, arguments);
        input["call"]["hash"] = json!(format!("sha256:{}", "0".repeat(64)));
        input["budgets"] = json!({"usd-per-day": {"remaining": "5000"}});
        let problems: Vec<_> = input_schema.iter_errors(&input).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}");
        let decision = serde_json::to_value(policies.decide(&input).await).unwrap();
        let problems: Vec<_> =
            decision_schema.iter_errors(&decision).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?} in {decision}");
    }
}

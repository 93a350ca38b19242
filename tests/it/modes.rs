//! What does a gate do that only watches?

use serde_json::{Value, json};

use crate::support::{Gate, Setup, Upstream, call, rpc, tool};

const RULES: &str = "allow if input.call.tool != \"closed\"

deny contains {\"code\": \"too_much\", \"message\": \"too much\"} if input.call.arguments.n > 1
";
const HOLD: &str = "package countersign.reversibility

hold contains {\"code\": \"sign\", \"message\": \"somebody has to sign\"} if input.call.arguments.n == 1
";

fn scene(mode: &str) -> (Upstream, Gate) {
    let upstream =
        Upstream::of_tools(&[tool("echo", r#"{"n":{"type":"integer"}}"#), tool("closed", "{}")]);
    let setup = Setup::to(&upstream)
        .permission(RULES)
        .file("policies/reversibility.rego", HOLD)
        .file("tools/all.yaml", "server: crm\ntools:\n  \"*\": {tier: medium}\n")
        .config(&format!("mode: {mode}\npolicy: {{deadline: 5s}}"));
    let gate = Gate::start(&setup);
    (upstream, gate)
}

#[test]
fn warn_and_dryrun_let_a_call_go_and_record_what_would_have_been() {
    for mode in ["warn", "dryrun"] {
        let (upstream, gate) = scene(mode);
        let cases = [
            // Nothing says `visible`, so that enforced, no tool would be known.
            ("echo", r#"{"n":0}"#, "deny", "unknown_tool"),
            ("echo", r#"{"n":1}"#, "deny", "unknown_tool"),
        ];
        for (tool, arguments, _, _) in &cases {
            let told = gate.post(&call(1, tool, arguments));
            assert_eq!(told.json()["result"]["content"][0]["text"], *tool, "{mode}");
        }
        assert_eq!(upstream.calls().len(), cases.len());
        for (decision, (_, _, effect, code)) in gate.decisions(cases.len()).iter().zip(&cases) {
            assert_eq!(
                (&decision["effect"], &decision["code"]),
                (&json!("allow"), &json!("allowed"))
            );
            assert_eq!(decision["mode"], mode);
            let would = &decision["would"][0];
            assert_eq!(would["effect"], *effect, "{would}");
            assert_eq!(would["reason"]["code"], *code, "{would}");
            assert_eq!(would["reason"]["policy"], mode, "{would}");
        }
        let kind = format!("kind=\"{mode}\"");
        assert_eq!(gate.metric("countersign_exceptions_total", &[&kind]), 2.0);
        let near = gate.metric("countersign_near_misses_total", &["kind=\"unenforced\""]);
        assert_eq!(near, 2.0);
    }
}

#[test]
fn each_kind_of_refusal_by_policy_is_only_recorded() {
    for mode in ["warn", "dryrun"] {
        let (upstream, gate) = scene(mode);
        std::fs::write(
            gate.path("policies/permission.rego"),
            format!("package countersign.permission\n\nvisible := true\n\n{RULES}"),
        )
        .unwrap();
        let (first, _) = crate::reload::policy(&gate);
        crate::reload::wait_until("it is read", || crate::reload::policy(&gate).0 != first);
        let cases = [
            ("echo", r#"{"n":0}"#, None),
            ("echo", r#"{"n":1}"#, Some(("hold", "needs_signature", "sign"))),
            ("echo", r#"{"n":2}"#, Some(("deny", "denied", "too_much"))),
            ("closed", "{}", Some(("deny", "denied", "default"))),
        ];
        for (tool, arguments, _) in &cases {
            let told = gate.post(&call(1, tool, arguments));
            assert_eq!(told.json()["result"]["content"][0]["text"], *tool, "{}", told.text());
        }
        assert_eq!(upstream.calls().len(), cases.len());
        for (decision, (_, _, would)) in gate.decisions(cases.len()).iter().zip(&cases) {
            assert_eq!(decision["effect"], "allow");
            let Some((effect, code, rule)) = would else {
                assert!(decision["would"].is_null(), "{decision}");
                continue;
            };
            assert_eq!(decision["would"][0]["effect"], *effect, "{decision}");
            assert_eq!(decision["would"][0]["reason"]["code"], *code, "{decision}");
            let said = decision["reasons"][0]["code"].as_str().unwrap_or_default();
            assert_eq!(said, *rule, "{decision}");
        }
        let exceptions = gate.metric("countersign_exceptions_total", &[mode]);
        assert_eq!(exceptions, 3.0);
    }
}

#[test]
fn what_is_no_matter_of_policy_is_refused_in_every_mode() {
    for mode in ["enforce", "warn", "dryrun"] {
        let upstream = Upstream::of_tools(&[tool("echo", r#"{"n":{"type":"integer"}}"#)]);
        let conflict = "allow := true\n\nvisible := true\n\nlabels := {\"a\": input.call.arguments.n}\n\n\
             labels := {\"a\": \"b\"} if input.call.arguments.n == 3\n";
        let setup = Setup::to(&upstream)
            .permission(conflict)
            .config(&format!("mode: {mode}\npolicy: {{deadline: 5s}}"));
        let gate = Gate::start(&setup);
        let cases = [
            ("no_such", "{}", "unknown_tool"),
            ("echo", r#"{"n":"x"}"#, "invalid_arguments"),
            ("echo", r#"{"more":1}"#, "invalid_arguments"),
            ("echo", r#"{"n":3}"#, "policy_failed"),
        ];
        for (tool, arguments, code) in cases {
            let told = gate.post(&call(1, tool, arguments));
            assert_eq!(told.code(), code, "{mode}: {}", told.text());
        }
        assert!(upstream.calls().is_empty(), "{mode}");
        let codes: Vec<Value> =
            gate.decisions(cases.len()).iter().map(|d| d["code"].clone()).collect();
        assert_eq!(codes, cases.map(|(_, _, code)| code), "{mode}");
        assert_eq!(gate.metric("countersign_exceptions_total", &[mode]), 0.0, "{mode}");
        assert_eq!(gate.post(&rpc(9, "no/such", "{}")).rpc_code(), -32601);
    }
}

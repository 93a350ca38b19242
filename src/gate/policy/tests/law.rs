//! The law in Rust and the law in Rego are one.

use proptest::prelude::*;

use super::*;

const SPEAK: &str = "
deny contains element if some element in input.PACKAGE.deny
warn contains element if some element in input.PACKAGE.warn
redact := input.PACKAGE.redact
labels := input.PACKAGE.labels
";

/// Three packages that say what the input tells them to.
fn echo() -> Vec<Source> {
    [
        ("permission", "allow := input.permission.allow\n"),
        (
            "budget",
            "hold contains element if some element in input.budget.hold\n\
             charge contains element if some element in input.budget.charge\n",
        ),
        (
            "reversibility",
            "hold contains element if some element in input.reversibility.hold\n\
             tier := input.reversibility.tier\n",
        ),
    ]
    .into_iter()
    .map(|(package, rules)| {
        let text = format!("package countersign.{package}\n{rules}{SPEAK}");
        Source::new(format!("{package}.rego"), text.replace("PACKAGE", package))
    })
    .collect()
}

fn maybe(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    proptest::option::of(value).boxed()
}

fn words(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::select(words).prop_map(|word| json!(word)).boxed()
}

fn object(fields: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values
        .prop_map(move |values| {
            let members = keys.iter().zip(values);
            members.filter_map(|(key, value)| Some(((*key).to_owned(), value?))).collect()
        })
        .prop_map(Value::Object)
        .boxed()
}

fn must(value: BoxedStrategy<Value>) -> BoxedStrategy<Option<Value>> {
    value.prop_map(Some).boxed()
}

fn list(value: BoxedStrategy<Value>, most: usize) -> BoxedStrategy<Value> {
    proptest::collection::vec(value, 0..=most).prop_map(Value::Array).boxed()
}

fn reason(more: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let mut fields =
        vec![("code", must(words(&["a", "b", "c"]))), ("message", must(words(&["x", "y"])))];
    fields.extend(more);
    object(fields)
}

fn mode() -> (&'static str, BoxedStrategy<Option<Value>>) {
    ("mode", maybe(words(&["enforce", "warn", "dryrun"])))
}

fn hold() -> BoxedStrategy<Value> {
    reason(vec![
        mode(),
        ("reviewers", maybe(list(words(&["ann", "bob", "group:x"]), 3))),
        ("approvals", maybe((1..5_u32).prop_map(|n| json!(n)))),
        ("justification", maybe(any::<bool>().prop_map(|b| json!(b)))),
        ("expires_in", maybe(words(&["30m", "1h", "90s"]))),
        ("not_before", maybe(words(&["2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z"]))),
        ("not_after", maybe(words(&["2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z"]))),
        ("tier", maybe(words(&["low", "medium", "high"]))),
    ])
}

fn said() -> BoxedStrategy<Value> {
    let package = |label: &'static str, more: Vec<(&'static str, BoxedStrategy<Option<Value>>)>| {
        let places = || maybe(list(words(&["/a", "/b"]), 2));
        let mut fields = vec![
            ("deny", must(list(reason(vec![mode()]), 1))),
            ("warn", must(list(reason(vec![]), 1))),
            ("redact", maybe(object(vec![("arguments", places()), ("result", places())]))),
            ("labels", maybe(object(vec![(label, must(words(&["1", "2"])))]))),
        ];
        fields.extend(more);
        must(object(fields))
    };
    let charge =
        object(vec![("budget", must(words(&["usd"]))), ("amount", must(words(&["1", "2.50"])))]);
    object(vec![
        ("permission", package("p", vec![("allow", maybe(any::<bool>().prop_map(|b| json!(b))))])),
        (
            "budget",
            package("b", vec![("hold", must(list(hold(), 2))), ("charge", must(list(charge, 2)))]),
        ),
        (
            "reversibility",
            package(
                "r",
                vec![
                    ("hold", must(list(hold(), 2))),
                    ("tier", maybe(words(&["low", "medium", "high"]))),
                ],
            ),
        ),
    ])
}

/// One order, one unit of time, nothing twice.
fn normal(mut decision: Value) -> Value {
    for pointer in [
        "/reasons",
        "/warnings",
        "/charges",
        "/redact/arguments",
        "/redact/result",
        "/hold/reviewers",
    ] {
        if let Some(Value::Array(items)) = decision.pointer_mut(pointer) {
            items.iter_mut().for_each(Value::sort_all_objects);
            items.sort_by_key(ToString::to_string);
            items.dedup();
        }
    }
    if let Some(time) = decision.pointer_mut("/hold/expires_in")
        && let Some(text) = time.as_str()
    {
        *time = json!(humantime::parse_duration(text).unwrap().as_nanos() as u64);
    }
    for pointer in ["/hold/not_before", "/hold/not_after"] {
        if let Some(time) = decision.pointer_mut(pointer)
            && let Some(text) = time.as_str()
        {
            let since = humantime::parse_rfc3339(text).unwrap();
            let since = since.duration_since(std::time::UNIX_EPOCH).unwrap();
            *time = json!(since.as_nanos() as u64);
        }
    }
    decision.sort_all_objects();
    decision
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_law_in_rust_is_the_law_in_rego(inputs in proptest::collection::vec(said(), 4)) {
        let mut sources = echo();
        sources.extend(shipped().into_iter().filter(|s| s.path.ends_with("countersign.rego")));
        prop_assert_eq!(sources.len(), 4);
        let policies = Policies::load(&sources, &settings()).unwrap();
        let program = load::load(&sources, 64 << 20, Duration::from_secs(10)).unwrap().program;
        let pristine = program.engine().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for input in inputs {
            let verdict = runtime.block_on(policies.decide(&input));
            prop_assert!(!verdict.failed, "{:?}", verdict);
            let mut engine = pristine.clone();
            engine.set_input(regorus::Value::from_json_str(&input.to_string()).unwrap());
            let rego = engine.eval_rule("data.countersign.decision".into()).unwrap();
            let rego: Value = serde_json::from_str(&rego.to_json_str().unwrap()).unwrap();
            prop_assert_eq!(
                normal(serde_json::to_value(&verdict).unwrap()),
                normal(rego),
                "{}",
                input
            );
        }
    }
}

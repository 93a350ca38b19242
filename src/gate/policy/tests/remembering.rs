//! A wrong hit is a wrong allow: what is remembered must be what a plain evaluation of the whole
//! input would say, whatever way the policy reads.

use proptest::prelude::*;

use super::*;
use crate::gate::policy::load::Loaded;

/// The policy as the interpreter has it, with nothing cut off and nothing remembered.
struct Plain {
    loaded: Loaded,
    engine: regorus::Engine,
}

impl Plain {
    fn new(sources: &[Source]) -> Self {
        let loaded = load::load(sources, 64 << 20, Duration::from_secs(10)).unwrap();
        let engine = loaded.program.engine().unwrap();
        Self { loaded, engine }
    }

    fn decide(&self, input: &Value) -> Verdict {
        let said: Vec<_> = self
            .loaded
            .entries
            .iter()
            .filter(|known| !known.visible)
            .map(|known| {
                let mut engine = self.engine.clone();
                engine.set_input(regorus::Value::from_json_str(&input.to_string()).unwrap());
                let rule = format!("data.{}.{}", engine::ENTRY, known.package.name());
                let outcome = engine
                    .eval_rule(rule)
                    .map_err(|error| error.to_string())
                    .and_then(|value| Outcome::read(known.package, &value));
                (known.package, outcome)
            })
            .collect();
        let mut verdict =
            combine::combine(said.iter().map(|(p, o)| (*p, o.as_ref().map_err(String::as_str))));
        verdict.failure = None;
        verdict
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Random choices out of given bytes; when they run out, always the first.
struct Choice<'a>(std::slice::Iter<'a, u8>);

impl Choice<'_> {
    fn of(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.of(from.len())]
    }

    fn key(&mut self) -> &'static str {
        self.pick(&["a", "b", "c"])
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.of(if depth == 0 { 7 } else { 12 }) {
            0 => json!("a"),
            1 => json!("b"),
            2 => json!(0),
            3 => json!(1),
            4 => json!(true),
            5 => json!(false),
            6 => Value::Null,
            7 | 8 => {
                let n = self.of(3);
                (0..n).map(|_| self.value(depth - 1)).collect::<Vec<_>>().into()
            }
            _ => {
                let mut members = crate::json::Map::new();
                for key in ["c", "a", "b"] {
                    if self.of(3) > 0 {
                        members.insert(key.to_owned(), self.value(depth - 1));
                    }
                }
                Value::Object(members)
            }
        }
    }

    fn input(&mut self) -> Value {
        json!({"a": self.value(2), "b": self.value(3), "c": self.value(1)})
    }

    /// The same input with one place changed.
    fn mutate(&mut self, value: &mut Value) {
        if self.of(4) > 0 {
            match value {
                Value::Object(members) if !members.is_empty() => {
                    let at = self.of(members.len());
                    let (key, inner) = members.iter_mut().nth(at).unwrap();
                    if self.of(6) > 0 {
                        return self.mutate(inner);
                    }
                    let key = key.clone();
                    members.remove(&key);
                    return;
                }
                Value::Array(items) if !items.is_empty() => {
                    let at = self.of(items.len());
                    return self.mutate(&mut items[at]);
                }
                _ => {}
            }
        }
        *value = self.value(2);
    }

    /// Something that reads. `level` is the first helper it may ask: they never ask back.
    fn expr(&mut self, level: usize) -> String {
        let (k, l, m) = (self.key(), self.key(), self.key());
        if level >= HELPERS {
            return match self.of(4) {
                0 => format!("input.{k}"),
                1 => format!("input.{k}.{l}"),
                2 => format!("input[\"{k}\"].{l}[\"{m}\"]"),
                _ => format!("object.get(input, \"{k}\", 7)"),
            };
        }
        let inner = self.expr(HELPERS);
        let helper = format!("h{level}");
        match self.of(28) {
            0 => inner,
            1 => format!("input.{k}[input.{l}]"),
            2 => format!("input.{k}[0].{l}"),
            3 => format!("[v | v := input.{k}[_]]"),
            4 => format!("[v | some v in {inner}]"),
            5 => format!("{{x: y | some x, y in input.{k}}}"),
            6 => "count({x | x := input[_]})".to_owned(),
            7 => format!("f({inner})"),
            8 => format!("g({inner})"),
            9 => "g(input)".to_owned(),
            10 => format!("[p | walk({inner}, [p, _])]"),
            11 => format!("[p | walk(input, [p, v]); v == {inner}]"),
            12 => helper,
            13 => format!("[x | x := {helper} with input as {{\"{k}\": {inner}}}]"),
            14 => format!("[x | x := {helper} with input.{k} as {inner}]"),
            15 => format!("[x | x := data.lib.z with data.lib.y as {inner}]"),
            16 => "[x | x := f(1) with f as g]".to_owned(),
            17 => format!("alias.{k}"),
            18 => format!("all.{k}.{l}"),
            19 => format!("[y | x := input.{k}; y := x.{l}]"),
            20 => format!("data.lib.{}", self.pick(&["y", "z", "o"])),
            21 => format!("data.lib[input.{k}]"),
            22 => format!("[x | [x, _] := [input.{k}, input.{l}]]"),
            23 => format!("[x | {{\"{k}\": x}} := input.{l}]"),
            24 => format!("[1 | every v in input.{k} {{ v != {inner} }}]"),
            25 => format!("[1 | not {inner}]"),
            26 => format!("lib.fn({inner}, {helper})"),
            _ => format!("[1 | {inner} in input.{k}]"),
        }
    }

    fn policy(&mut self) -> Vec<Source> {
        let mut text = String::from(
            "package countersign.permission\nimport input.b as alias\nimport input as all\n\
             import data.lib\nf(x) := x.a\ng(x) := [y | y := x[_]; y != input.c]\n",
        );
        for level in 0..HELPERS {
            let (one, two) = (self.expr(level + 1), self.expr(level + 1));
            text.push_str(&match self.of(5) {
                0 => format!("h{level} := {one}\n"),
                1 => format!("h{level} contains v if some v in [{one}, {two}]\n"),
                2 => format!("h{level} := {one} if {two}\n"),
                3 => format!("h{level} := 1 if {one} else := {two}\n"),
                _ => format!("default h{level} := 3\nh{level} := {one} if not {two}\n"),
            });
        }
        for n in 0..3 {
            let one = self.expr(0);
            text.push_str(&format!(
                "warn contains {{\"code\": \"w{n}\", \"message\": sprintf(\"%v\", [{one}])}}\n"
            ));
        }
        let (one, two, three) = (self.expr(0), self.expr(0), self.expr(0));
        text.push_str(&format!("allow if {one} == {two}\nallow if {three}\n"));
        let (one, two) = (self.expr(0), self.expr(0));
        text.push_str(&format!(
            "deny contains {{\"code\": \"d\", \"message\": \"m\"}} if {one} != {two}\n"
        ));
        let (one, two) = (self.expr(HELPERS), self.expr(HELPERS));
        let lib = format!(
            "package lib\ny := {one}\nz := [y, {two}]\no[k] := v if some k, v in {two}\n\
             fn(a, b) := [a, b, {one}]\n"
        );
        vec![Source::new("p.rego", text), Source::new("lib.rego", lib)]
    }
}

const HELPERS: usize = 3;

fn compare(sources: &[Source], inputs: &[Value]) -> Result<(), TestCaseError> {
    let plain = Plain::new(sources);
    let policies = Policies::load(sources, &settings()).unwrap();
    run(async {
        // Twice over, so that each input is met with all others remembered.
        for input in inputs.iter().chain(inputs) {
            let mut verdict = policies.decide(input).await;
            verdict.failure = None;
            prop_assert_eq!(
                verdict,
                plain.decide(input),
                "{}\n{}",
                input,
                sources.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("POLICY_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_remembered_is_what_a_plain_evaluation_says(
        bytes in proptest::collection::vec(any::<u8>(), 400..1200),
    ) {
        let mut choice = Choice(bytes.iter());
        let sources = choice.policy();
        // Some of them are not well-formed policies (a circle, a type clash): nothing to compare.
        prop_assume!(Policies::load(&sources, &settings()).is_ok());
        let mut inputs = vec![choice.input()];
        for n in 0..12 {
            let mut next = inputs[n].clone();
            choice.mutate(&mut next);
            inputs.push(next);
        }
        compare(&sources, &inputs)?;
    }

    #[test]
    fn the_shipped_policies_are_remembered_rightly(
        bytes in proptest::collection::vec(any::<u8>(), 200),
        tools in proptest::collection::vec(0_usize..6, 12),
    ) {
        let mut choice = Choice(bytes.iter());
        let mut inputs = Vec::new();
        for at in tools {
            let tool = ["refund", "send_email", "read_file", "wire_transfer", "x", "lookup_customer"][at];
            let amount = choice.pick(&["1", "100", "100.01", "x", "-1", ""]);
            let to = choice.pick(&["a@example.com", "a@evil.com", "a"]);
            let tier = choice.pick(&["low", "medium", "high"]);
            let mut next = input(tool, tier, json!({"amount": amount, "to": to, "body": choice.key()}));
            next["budgets"] = json!({"usd-per-day": {"remaining": choice.pick(&["50", "1000"])}});
            next["call"]["id"] = choice.value(0);
            if choice.of(4) == 0 {
                choice.mutate(&mut next);
            }
            inputs.push(next);
        }
        compare(&shipped(), &inputs)?;
    }
}

#[test]
fn the_generated_policies_say_something() {
    let (mut loaded, mut said, mut allowed, mut hits) = (0, 0, 0, 0);
    let mut state = 1_u64;
    for _ in 0..60 {
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((state >> 56) as u8);
        }
        let mut choice = Choice(bytes.iter());
        let Ok(policies) = Policies::load(&choice.policy(), &settings()) else { continue };
        loaded += 1;
        let mut input = choice.input();
        for _ in 0..10 {
            hits += usize::from(matches!(
                policies.entries[0].look_up(&input, &mut Vec::new()),
                Found::Known(_)
            ));
            let verdict = run(policies.decide(&input));
            said += usize::from(!verdict.failed);
            allowed += usize::from(verdict.effect == Effect::Allow);
            choice.mutate(&mut input);
        }
    }
    println!("{loaded} loaded, {said} said, {allowed} allowed, {hits} hits");
    assert!(loaded > 30 && said > 100 && allowed > 50 && hits > 10);
}

#[test]
fn hits_are_hits_and_what_changes_by_itself_is_asked_each_time() {
    let remembered = |rules: &str, a: Value, b: Value| {
        let policies = permission(rules);
        run(policies.decide(&a));
        let mut questions = Vec::new();
        matches!(policies.entries[0].look_up(&b, &mut questions), Found::Known(_))
    };
    let a = json!({"x": 1, "y": 1, "m": {"k": 1, "l": 2}});
    for (rules, b, hit) in [
        ("allow if input.x == 1", json!({"x": 1, "y": 2}), true),
        ("allow if input.x == 1", json!({"x": 2, "y": 1}), false),
        ("allow if input.x == 1", json!({"y": 1}), false),
        ("allow if input.x == 1", json!({"x": null}), false),
        ("allow if input.m.k == 1", json!({"m": {"k": 1, "l": 3}}), true),
        ("allow if input.m[input.x] == 1", json!({"x": 1, "m": {"k": 1, "l": 3}}), false),
        ("allow if input.m", json!({"m": {"l": 2, "k": 1}}), true),
        ("allow if count(input) == 3", json!({"x": 1, "y": 2, "m": {"k": 1, "l": 2}}), false),
        ("allow if input.x == 1\nvisible if input.y", json!({"x": 1, "y": 2}), true),
        ("allow if time.now_ns() > input.x", a.clone(), false),
        ("allow if h\nh if rand.intn(\"a\", 5) >= 0", a.clone(), false),
        ("allow if count([input.x]) > to_number(input.x)", json!({"x": 1}), true),
        ("allow if sum(input.y) > 0", a.clone(), false),
    ] {
        assert_eq!(remembered(rules, a.clone(), b.clone()), hit, "{rules} {b}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let settings = Settings { remembered: 16, ..settings() };
    let source = Source::new("p.rego", "package countersign.permission\nallow if input.x");
    let policies = Policies::load(&[source], &settings).unwrap();
    run(async {
        for n in 0..500 {
            policies.decide(&json!({"x": n})).await;
        }
        let memory = policies.entries[0].memory.as_ref().unwrap();
        assert!(memory.weight() <= 16 * ENTRY_BYTES, "{}", memory.weight());
        let long = json!({"x": "x".repeat(MAX_KEY_BYTES + 1)});
        for _ in 0..2 {
            assert_eq!(policies.decide(&long).await.effect, Effect::Allow);
        }
        assert!(matches!(
            policies.entries[0].look_up(&long, &mut Vec::new()),
            Found::Asked(_, None)
        ));
    });
}

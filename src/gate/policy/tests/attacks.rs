use super::*;

#[test]
fn g01_a_broken_policy_is_refused_as_a_whole() {
    for broken in [
        vec![
            ("a.rego", "package countersign.permission\nallow := true"),
            ("b.rego", "package countersign.budget\ndeny contains {"),
        ],
        vec![("a.rego", "package countersign.permission\nallow := tr"), ("c.rego", "package c")],
        vec![("a.rego", "")],
        vec![
            ("a.rego", "package countersign.permission\nallow := true"),
            ("data.json", "{\"a\": "),
        ],
        vec![("a.rego", "package countersign.permission\nallow := true"), ("data.yaml", "a: [")],
    ] {
        let sources: Vec<_> = broken.iter().map(|(p, t)| Source::new(*p, *t)).collect();
        assert!(Policies::load(&sources, &settings()).is_err(), "{broken:?}");
    }
}

#[test]
fn g05_what_sends_or_looks_outside_is_refused_at_load() {
    for name in ["http.send", "opa.runtime", "net.lookup_ip_addr"] {
        for rules in [
            format!("allow if {name}({{}})"),
            format!("allow if {{ x := [y | y := {name}({{}})]; x }}"),
            format!("allow if f(1)\nf(x) if {name}({{}})"),
            format!("allow if count([]) == 0 with count as {name}"),
        ] {
            assert!(refused(&rules).contains("may not be called"), "{rules}: {}", refused(&rules));
        }
    }
}

#[test]
fn g05_built_ins_that_outlast_a_deadline_are_refused_at_load() {
    for call in [
        "numbers.range(1, input.n)",
        "numbers.range_step(1, input.n, 1)",
        "net.cidr_expand(input.cidr)",
        "bits.lsh(1, input.n)",
        "graph.reachable_paths(input.graph, [\"a\"])",
    ] {
        assert!(refused(&format!("allow if {call}")).contains("outlast every deadline"), "{call}");
    }
}

#[test]
fn g05_a_replacement_that_could_outgrow_memory_is_refused_at_load() {
    for call in [
        "replace(input.a, input.b, input.c)",
        "replace(input.a, \"a\", input.c)",
        "replace(input.a, \"a\", c) == \"\"; c := input.c",
        "strings.replace_n(input.a, input.b)",
        "strings.replace_n({\"a\": input.c}, input.b)",
        "regex.replace(input.a, input.b, \"c\")",
        "concat(input.a, input.b)",
        "sprintf(input.a, input.b)",
    ] {
        assert!(refused(&format!("allow if {{ {call} }}")).contains("written out here"), "{call}");
    }
    permission("allow if replace(input.a, \"a\", \"b\") == concat(\",\", input.l)");
}

#[test]
fn g05_the_deepest_literals_that_are_let_through_load_soon() {
    let nested = |open: &str, close: &str| {
        format!("{}1{}", open.repeat(MAX_NESTING as usize), close.repeat(MAX_NESTING as usize))
    };
    for (open, close) in [("[", "]"), ("{\"a\": ", "}"), ("{", "}"), ("(", ")")] {
        let mut rules = String::from("allow := true\n");
        for n in 0..10 {
            rules.push_str(&format!("x{n} := {}\n", nested(open, close)));
        }
        // Each level more would double it: where the bound is too high, this does not end.
        let _ = load(&[&format!("package countersign.permission\n{rules}")]);
    }
}

#[tokio::test]
async fn g05_nested_loops_are_ended_and_deny() {
    let text = "package countersign.permission
allow if {
  some a in input.l
  some b in input.l
  some c in input.l
  some d in input.l
  a + b + c + d == -1
}
visible := true";
    let settings = Settings { deadline: Duration::from_millis(200), ..settings() };
    let policies = Policies::load(&[Source::new("p.rego", text)], &settings).unwrap();
    let input = json!({"l": (0..200).collect::<Vec<_>>()});
    let begun = Instant::now();
    let verdict = policies.decide(&input).await;
    assert_eq!((verdict.effect, verdict.failed), (Effect::Deny, true));
    assert!(verdict.failure.unwrap().contains("deadline"));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // And the thread is free again.
    assert!(policies.visible(&json!({})).await);
}

#[tokio::test]
async fn g05_numbers_out_of_texts_cannot_run_long() {
    let policies = permission(
        "allow if to_number(input.n) > 0
visible if json.unmarshal(input.n) > 0",
    );
    for (text, fine) in [
        ("12.50", true),
        ("1e300", true),
        ("1e2000000000", false),
        ("1E+2000000000", false),
        ("1e-2000000000", false),
        ("0x10", false),
        ("", false),
    ] {
        let input = json!({"n": text});
        let begun = Instant::now();
        assert_eq!(policies.decide(&input).await.effect == Effect::Allow, fine, "{text}");
        assert_eq!(policies.visible(&input).await, fine, "{text}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{text}");
    }
    let long = json!({"n": "1".repeat(100_000)});
    assert!(policies.decide(&long).await.failed);
    let units =
        permission("allow if units.parse(input.n) > 0\nvisible if units.parse_bytes(input.n) > 0");
    for (text, fine) in [("1Ki", true), ("5", true), ("1e2000000000", false)] {
        assert_eq!(units.decide(&json!({"n": text})).await.effect == Effect::Allow, fine, "{text}");
        assert_eq!(units.visible(&json!({"n": text})).await, fine, "{text}");
    }
}

#[tokio::test]
async fn g05_a_thread_stuck_in_one_built_in_does_not_starve_the_others() {
    // `trim` takes the product of both lengths: no timer looks in between.
    let text = "package countersign.permission
allow if trim(input.a, input.b) == \"\"
visible := true if input.v";
    let settings = Settings { deadline: Duration::from_millis(60), workers: 1, ..settings() };
    let policies = Policies::load(&[Source::new("p.rego", text)], &settings).unwrap();
    let mut tries = 0;
    while !policies.visible(&json!({"v": 0})).await {
        tries += 1;
        assert!(tries < 50, "{:?}", policies.ask(&json!({"v": 0}), true).await);
    }
    let letters: String = (0x4e00..0x9e00).filter_map(char::from_u32).collect();
    let stuck =
        json!({"a": format!("{}{letters}", "龥".repeat(300_000)), "b": format!("{letters}龥")});
    assert!(policies.decide(&stuck).await.failed);
    let mut tries = 0;
    while !policies.visible(&json!({"v": tries + 1})).await {
        tries += 1;
        assert!(tries < 50, "nobody took the stuck thread's place");
    }
    assert_eq!(policies.stuck_threads(), 1);
    // As many as there are workers; past that, decisions fail rather than threads pile up.
    assert!(policies.decide(&stuck).await.failed);
    for n in 0..5 {
        assert!(!policies.visible(&json!({"v": format!("{n}")})).await);
    }
    assert_eq!(policies.stuck_threads(), 1);
}

#[tokio::test]
async fn an_error_half_way_leaves_nothing_behind() {
    let policies = permission(
        "allow if {
  some s in input.l
  to_number(s) > 10
  s != \"x\"
}",
    );
    for (list, effect, failed) in [
        (json!(["5", "x", "50"]), Effect::Deny, true),
        (json!(["5", "6"]), Effect::Deny, false),
        (json!(["50", "6"]), Effect::Allow, false),
        (json!(["x"]), Effect::Deny, true),
        (json!(["7"]), Effect::Deny, false),
    ] {
        let verdict = policies.decide(&json!({"l": list})).await;
        assert_eq!((verdict.effect, verdict.failed), (effect, failed), "{list}");
    }
}

use super::*;

fn metrics() -> Metrics {
    Metrics::new(Build { version: "0.1.0", commit: "abc" }).unwrap()
}

fn lines(metrics: &Metrics, prefix: &str) -> Vec<String> {
    metrics.render().lines().filter(|l| l.starts_with(prefix)).map(str::to_owned).collect()
}

#[test]
fn what_happened_is_what_the_scrape_says() {
    let m = metrics();
    m.decided("crm", "refund", Tier::High, Effect::Hold);
    m.decided("crm", "refund", Tier::High, Effect::Hold);
    m.decided("crm", "lookup", Tier::Low, Effect::Allow);
    m.refused("crm", "denied");
    m.near_miss("crm", Tier::High, NearMiss::Held);
    m.tool("crm", "refund").took(Duration::from_millis(3), Duration::from_micros(60));
    m.step(Step::Policy, Duration::from_micros(40));
    m.upstream_failed("crm", UpstreamError::Reset);
    m.upstream_timed_out("crm");
    m.shed();
    m.exception("anonymous");
    let text = m.render();
    for line in [
        r#"countersign_calls_total{decision="hold",server="crm",tier="high",tool="refund"} 2"#,
        r#"countersign_calls_total{decision="allow",server="crm",tier="low",tool="lookup"} 1"#,
        r#"countersign_refusals_total{code="denied",server="crm"} 1"#,
        r#"countersign_near_misses_total{kind="held",server="crm",tier="high"} 1"#,
        r#"countersign_call_duration_seconds_bucket{server="crm",le="0.0025"} 0"#,
        r#"countersign_call_duration_seconds_bucket{server="crm",le="0.005"} 1"#,
        r#"countersign_gate_duration_seconds_count 1"#,
        r#"countersign_step_duration_seconds_count{step="policy"} 1"#,
        r#"countersign_step_duration_seconds_count{step="parse"} 0"#,
        r#"countersign_upstream_errors_total{kind="reset",server="crm"} 1"#,
        r#"countersign_upstream_timeouts_total{server="crm"} 1"#,
        r#"countersign_shed_total 1"#,
        r#"countersign_exceptions_total{kind="anonymous"} 1"#,
        r#"countersign_build_info{commit="abc",version="0.1.0"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "missing {line} in\n{text}");
    }
    assert!(!text.contains(r#"tier="medium""#), "a series for what never happened");
}

#[test]
fn every_step_has_its_own_histogram() {
    let m = metrics();
    for (position, step) in Step::ALL.into_iter().enumerate() {
        assert_eq!(step as usize, position);
        m.step(step, Duration::from_micros(1));
    }
    let counts = lines(&m, "countersign_step_duration_seconds_count");
    assert_eq!(counts.len(), Step::ALL.len());
    assert!(counts.iter().all(|l| l.ends_with(" 1")), "{counts:?}");
}

#[test]
fn i06_a_hundred_thousand_tool_names_share_a_bounded_set_of_labels() {
    let m = metrics();
    for n in 0..100_000 {
        m.decided("crm", &format!("tool-{n}"), Tier::High, Effect::Deny);
    }
    m.decided("crm", UNKNOWN_TOOL, Tier::High, Effect::Deny);
    m.decided("mail", &"x".repeat(129), Tier::High, Effect::Deny);
    m.decided("mail", &"y".repeat(128), Tier::High, Effect::Deny);
    let series = lines(&m, "countersign_calls_total{");
    // The tools with room, `other` and `unknown` of crm; `other` and one name of mail.
    assert_eq!(series.len(), TOOLS_PER_SERVER + 2 + 2);
    let other = format!(r#"tool="{OTHER}"}} {}"#, 100_000 - TOOLS_PER_SERVER);
    assert!(series.iter().any(|l| l.ends_with(&other)), "{other}");
    assert!(series.iter().any(|l| l.contains(r#"tool="tool-199""#)));
    assert!(!series.iter().any(|l| l.contains(r#"tool="tool-200""#)));
}

#[test]
fn servers_past_the_bound_share_other() {
    let m = metrics();
    for n in 0..SERVERS + 50 {
        m.refused(&format!("server-{n}"), "not_found");
    }
    let series = lines(&m, "countersign_refusals_total{");
    assert_eq!(series.len(), SERVERS + 1);
    assert!(series.iter().any(|l| l.ends_with(r#"server="other"} 50"#)), "{series:?}");
}

#[test]
fn hostile_names_cannot_forge_a_line() {
    let m = metrics();
    m.decided("crm", "a\"} 1\ncountersign_shed_total 99\n#\\", Tier::Low, Effect::Allow);
    assert_eq!(lines(&m, "countersign_shed_total"), ["countersign_shed_total 0"]);
}

#[test]
fn a_failed_reload_shows_until_one_succeeds() {
    let m = metrics();
    m.policy_loaded("r0");
    assert!(lines(&m, "countersign_policy_reloads_total").is_empty(), "the start is no reload");
    for (act, failed, revision) in
        [(Some("r1"), "0", "r1"), (None, "1", "r1"), (None, "1", "r1"), (Some("r2"), "0", "r2")]
    {
        match act {
            Some(revision) => m.policy_reloaded(revision),
            None => m.policy_rejected(),
        }
        assert_eq!(
            lines(&m, "countersign_policy_failed"),
            [format!("countersign_policy_failed {failed}")]
        );
        assert_eq!(
            lines(&m, "countersign_policy_info"),
            [format!(r#"countersign_policy_info{{revision="{revision}"}} 1"#)]
        );
    }
    assert_eq!(
        lines(&m, "countersign_policy_reloads_total"),
        [
            r#"countersign_policy_reloads_total{result="failed"} 2"#,
            r#"countersign_policy_reloads_total{result="ok"} 2"#
        ]
    );
}

#[test]
fn what_is_open_closes_with_its_guard() {
    let m = metrics();
    let open = [m.stream_opened(), m.stream_opened(), m.session_opened(), m.call_began()];
    assert_eq!(lines(&m, "countersign_streams_open"), ["countersign_streams_open 2"]);
    assert_eq!(lines(&m, "countersign_sessions_open"), ["countersign_sessions_open 1"]);
    assert_eq!(lines(&m, "countersign_calls_in_flight"), ["countersign_calls_in_flight 1"]);
    drop(open);
    assert_eq!(lines(&m, "countersign_streams_open"), ["countersign_streams_open 0"]);
    assert_eq!(lines(&m, "countersign_calls_in_flight"), ["countersign_calls_in_flight 0"]);
}

#[test]
fn resident_memory_is_plausible() {
    let bytes = process::resident_bytes().unwrap();
    assert!((1e6..1e12).contains(&bytes), "{bytes}");
}

//! What a decision costs, with calls that differ for real.
//!
//! Each iteration takes another input from a pool, or changes one, outside the measured time.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign::gate::policy::{Policies, Settings, Source, read_directory};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};

/// `POLICIES=folder` measures others than the shipped ones.
fn shipped() -> Vec<Source> {
    let folder = std::env::var("POLICIES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/policies").to_owned());
    read_directory(&[PathBuf::from(folder)]).unwrap()
}

/// CPU time of all threads, which a busy machine distorts less than the clock.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let spent = threads.filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
    let nanos = spent.filter_map(|s| s.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

/// About 2 KB, no two alike in ids, hash, time and arguments.
fn input(n: u64, tool: &str, tier: &str, arguments: Value) -> Value {
    let recent: Vec<_> = (0..8)
        .map(|i| {
            json!({"server": "demo", "tool": "lookup_customer", "decision": "allow",
                   "at": format!("2026-11-20T21:35:{i:02}Z"), "same_arguments": (n + i) % 7})
        })
        .collect();
    json!({
        "version": 1,
        "call": {"id": format!("0199a1b2-{n:012x}"), "hash": format!("sha256:{n:064x}"),
                 "door": "mcp", "server": "demo", "tool": tool, "arguments": arguments,
                 "received_at": format!("2026-11-20T21:35:00.{:09}Z", n % 1_000_000_000)},
        "tool": {"tier": tier, "reversible": tier == "low", "labels": ["crm"],
                 "annotations": {"readOnlyHint": true}, "pin": "match"},
        "agent": {"id": "demo", "groups": ["support", "europe"], "claims": {"sub": "demo"}},
        "claimed": {"user": format!("user-{}", n % 50), "workflow": format!("ticket-{n}"),
                    "confidence": 0.93, "reason": "the customer asked for it", "evidence": []},
        "session": {"id": format!("s-{}", n % 100), "calls": n, "refusals": 0, "recent": recent},
        "budgets": {"usd-per-day": {"limit": "100000", "spent": "1", "reserved": "0",
                                    "remaining": "99999", "key": "org:acme"}},
        "approvals": [],
        "environment": "bench",
        "tool_calls": [{"tool": tool, "params": {}}],
    })
}

fn lookup(n: u64) -> Value {
    input(n, "lookup_customer", "low", json!({"customer_id": format!("c-{n}")}))
}

fn refund(n: u64) -> Value {
    let amount = format!("{}.{:02}", n / 100 % 90, n % 100);
    input(
        n,
        "refund",
        "medium",
        json!({"payment_id": format!("p-{n}"), "amount": amount, "reason": "late"}),
    )
}

/// Large enough to be held, and never the same amount twice.
fn large_refund(n: u64) -> Value {
    let amount = format!("{}", 101 + n);
    input(
        n,
        "refund",
        "medium",
        json!({"payment_id": format!("p-{n}"), "amount": amount, "reason": "late"}),
    )
}

/// Mail differs in the recipient, which `permission` alone reads.
fn mail(n: u64) -> Value {
    let to = format!("customer-{n}@example.com");
    input(n, "send_email", "medium", json!({"to": to, "subject": "s", "body": "b".repeat(300)}))
}

fn decide(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let settings = Settings { workers: 2, ..Settings::default() };
    let policies = Policies::load(&shipped(), &settings).unwrap();
    let forgetful = Policies::load(&shipped(), &Settings { remembered: 0, ..settings }).unwrap();
    let mut n = 0_u64;
    let mut next = || {
        n += 1;
        n
    };
    let verdict = runtime.block_on(policies.decide(&mail(0)));
    assert!(!verdict.failed, "{verdict:?}");
    println!("input: {} bytes", mail(0).to_string().len());

    let cases = [
        ("all_remembered_only_ids_differ", &policies, lookup as fn(u64) -> Value),
        ("one_package_evaluated_its_argument_differs", &policies, mail),
        ("two_packages_evaluated_the_amount_differs", &policies, large_refund),
        ("three_plain_evaluations_lookup", &forgetful, lookup),
        ("three_plain_evaluations_mail", &forgetful, mail),
        ("three_plain_evaluations_refund", &forgetful, refund),
    ];
    for (name, policies, make) in cases {
        let inputs: Vec<_> = (0..3_000).map(|_| make(next())).collect();
        let (begun, wall) = (cpu(), Instant::now());
        for input in &inputs {
            assert!(!runtime.block_on(policies.decide(black_box(input))).failed);
        }
        let (spent, wall) = ((cpu() - begun) / 3_000, wall.elapsed() / 3_000);
        println!("{name}: {spent:?} CPU, {wall:?} wall a decision");
    }
    let mut group = c.benchmark_group("policy");
    for (name, policies, make) in cases {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    let mut total = Duration::ZERO;
                    for _ in 0..iterations {
                        let input = make(next());
                        let begun = Instant::now();
                        let verdict = policies.decide(black_box(&input)).await;
                        total += begun.elapsed();
                        assert!(!verdict.failed, "{verdict:?}");
                    }
                    total
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);

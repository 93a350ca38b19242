//! What does it cost to keep a record?

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first fault")]
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign::trail::{Settings, Trail, read};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BODY: usize = 600;

fn append(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), Settings::default()).unwrap();
    let body = vec![b'x'; BODY];
    criterion.bench_function("trail/append 600 B", |bencher| {
        bencher.iter(|| trail.append(black_box(&body)).unwrap());
    });
}

fn durable(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("trail/append and durable");
    for at_once in [1_u64, 16, 64] {
        let dir = tempfile::tempdir().unwrap();
        let trail = Trail::open(dir.path(), Settings::default()).unwrap();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(at_once), |bencher| {
            bencher.iter_custom(|times| runtime.block_on(run(&trail, at_once, times)));
        });
    }
    group.finish();
}

async fn run(trail: &Trail, at_once: u64, times: u64) -> Duration {
    let begun = Instant::now();
    let callers: Vec<_> = (0..at_once)
        .map(|caller| {
            let trail = trail.clone();
            let share = times / at_once + u64::from(caller < times % at_once);
            tokio::spawn(async move {
                let body = vec![b'x'; BODY];
                for _ in 0..share {
                    let at = trail.append(&body).unwrap();
                    trail.durable(at).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    begun.elapsed()
}

fn verify(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), Settings::default()).unwrap();
    let body = vec![b'x'; BODY];
    for _ in 0..10_000 {
        trail.append(&body).unwrap();
    }
    let mut group = criterion.benchmark_group("trail/read and verify");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("10,000 entries", |bencher| {
        bencher.iter(|| assert_eq!(read(dir.path()).map(Result::unwrap).count(), 10_000));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = append, durable, verify
}
criterion_main!(benches);

//! What reading and hashing a call costs, beside `serde_json`.

use std::hint::black_box;

use countersign::json::{self, Limits, Value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A call whose text is about this long.
fn call(bytes: usize) -> Vec<u8> {
    if bytes < 100 {
        return br#"{"amount":12.5,"currency":"USD","invoice":"inv_20261120_77"}"#.to_vec();
    }
    let mut lines = Vec::new();
    let text = |lines: &[String]| {
        format!(
            r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"refund","arguments":{{"customer":"c_81723","note":"late \"express\" delivery – refund","lines":[{}]}},"_meta":{{"progressToken":"p-17"}}}}}}"#,
            lines.join(",")
        )
    };
    while text(&lines).len() < bytes {
        let n = lines.len();
        lines.push(format!(
            r#"{{"sku":"sku-{n:05}","quantity":{},"price":{}.{:02},"taxed":{},"tags":["a{n}","returned"],"comment":null}}"#,
            n % 7 + 1, n * 3 + 1, n % 100, n % 2 == 0,
        ));
    }
    text(&lines).into_bytes()
}

fn json(criterion: &mut Criterion) {
    let limits = Limits::default();
    for size in [59, 1_000, 15_000] {
        let text = call(size);
        let value = json::parse(&text, &limits).unwrap_or_default();
        assert!(!value.is_null(), "the benchmark's own call is strict JSON");
        let mut group = criterion.benchmark_group("json");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("parse", size), |bencher| {
            bencher.iter(|| json::parse(black_box(&text), &limits));
        });
        group.bench_function(BenchmarkId::new("parse_serde_json", size), |bencher| {
            bencher.iter(|| serde_json::from_slice::<Value>(black_box(&text)));
        });
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("canonical", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                json::write_canonical(black_box(&value), &mut out);
            });
        });
        group.bench_function(BenchmarkId::new("to_vec_serde_json", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, black_box(&value))
            });
        });
        group.bench_function(BenchmarkId::new("digest", size), |bencher| {
            bencher.iter(|| json::digest(black_box(&value)));
        });
        group.finish();
    }
}

criterion_group!(benches, json);
criterion_main!(benches);

//! What does it cost to check arguments against their schema?
//!
//! Arguments differ from call to call, so that nothing is remembered.

#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing)]

use std::hint::black_box;

use countersign::gate::schema;
use countersign::tools::{Catalogue, Limits};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn tool() -> Value {
    let line = json!({"type": "object", "required": ["sku", "count"], "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 10_000},
        "price": {"type": "string", "maxLength": 20},
        "note": {"type": "string", "maxLength": 500}}});
    json!({"name": "order", "inputSchema": {"type": "object", "required": ["id", "limit"],
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 64},
            "limit": {"type": "integer", "minimum": 0},
            "currency": {"enum": ["EUR", "USD", "GBP"]},
            "express": {"type": "boolean", "default": false},
            "customer": {"type": "object", "properties": {
                "name": {"type": "string"}, "city": {"type": "string"}, "mail": {"type": "string"}}},
            "lines": {"type": "array", "maxItems": 1_000, "items": line}}}})
}

fn call(lines: usize, n: u64) -> Value {
    let mut call = json!({"id": format!("order-{n:019}"), "limit": n, "currency": "EUR"});
    if lines > 0 {
        let line = |i: usize| {
            json!({"sku": format!("ABC-{}", n + i as u64), "count": 1 + i, "price": "12.50",
                "note": "as discussed, deliver to the back door before noon"})
        };
        call["lines"] = (0..lines).map(line).collect();
        call["customer"] =
            json!({"name": "Ada Example", "city": "Turin", "mail": "ada@example.com"});
    }
    call
}

fn schema(criterion: &mut Criterion) {
    let raw = RawValue::from_string(tool().to_string()).expect("a tool");
    let catalogue = Catalogue::build(std::slice::from_ref(&raw), &Limits::default());
    let schemas = catalogue.find("order").expect("listed").usable().expect("usable");
    let mut n = 0;
    for (name, lines) in [("59 B", 0), ("1 KB", 8), ("15 KB", 130)] {
        let bytes = call(lines, 1).to_string().len();
        criterion.bench_function(&format!("arguments/{name} ({bytes} B)"), |bencher| {
            bencher.iter_batched(
                || {
                    n += 1;
                    Some(call(lines, n))
                },
                |given| schema::arguments(schemas, black_box(given)).expect("fits"),
                BatchSize::SmallInput,
            );
        });
    }
    criterion.bench_function("arguments/1 KB, refused", |bencher| {
        bencher.iter_batched(
            || {
                n += 1;
                let mut given = call(8, n);
                given["lines"][3]["cuont"] = json!(n);
                Some(given)
            },
            |given| schema::arguments(schemas, black_box(given)).expect_err("does not fit"),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("catalogue/one tool", |bencher| {
        bencher
            .iter(|| Catalogue::build(black_box(std::slice::from_ref(&raw)), &Limits::default()));
    });
}

criterion_group!(benches, schema);
criterion_main!(benches);

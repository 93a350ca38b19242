//! Is anything accepted that others read otherwise?
#![no_main]

use countersign::json::{Limits, Value, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { bytes: 1 << 16, depth: 128, values: 10_000 };
    match parse(bytes, &limits) {
        Ok(value) => {
            let theirs: Value = serde_json::from_slice(bytes).expect("theirs is laxer");
            assert_eq!(value, theirs);
            let forwarded = serde_json::to_vec(&value).expect("a value has a text");
            // `1e15` comes out longer than it went in.
            let limits = Limits { bytes: usize::MAX, ..limits };
            assert_eq!(parse(&forwarded, &limits).as_ref(), Ok(&value));
        }
        Err(fault) => assert!(fault.at <= bytes.len()),
    }
});

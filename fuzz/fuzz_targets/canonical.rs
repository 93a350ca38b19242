//! Is there one canonical text, and does it say the same?
#![no_main]

use countersign::json::{Limits, Value, canonical, digest, parse};
use libfuzzer_sys::fuzz_target;

/// With numbers as doubles, which is all that canonical text keeps of them.
fn as_doubles(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::from(number.as_f64()),
        Value::Array(elements) => elements.iter_mut().for_each(as_doubles),
        Value::Object(members) => members.values_mut().for_each(as_doubles),
        _ => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut value) = parse(bytes, &Limits::default()) else { return };
    let text = canonical(&value);
    let mut read: Value = serde_json::from_slice(&text).expect("canonical text is JSON");
    assert_eq!(canonical(&read), text);
    assert_eq!(digest(&read), digest(&value));
    as_doubles(&mut read);
    as_doubles(&mut value);
    assert_eq!(read, value);
});

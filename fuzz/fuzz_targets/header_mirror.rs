//! Does a header that lies ever pass?
#![no_main]

use countersign::front::mcp::message::Message;
use countersign::front::mcp::{methods, mirror};
use countersign::json::Limits;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, Vec<&[u8]>, Vec<&[u8]>)| {
    let (name, in_body, named, spoken) = input;
    // What is encoded decodes to itself, and nothing else decodes to it by accident.
    assert_eq!(mirror::decode(&mirror::encode(name)).as_deref(), Some(name));
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": in_body},
    });
    let text = serde_json::to_vec(&body).expect("a value has a text");
    let Ok(message) = Message::parse(&text, &Limits::default()) else { return };
    let mut headers = HeaderMap::new();
    for (header, values) in [(mirror::NAME, &named), (mirror::METHOD, &spoken)] {
        append(&mut headers, &header, values);
    }
    let row = methods::request("tools/call");
    if mirror::standard(&headers, &message, row, true).is_ok() {
        assert_eq!((named.len(), spoken.len()), (1, 1));
        assert_eq!(spoken.first().copied(), Some(&b"tools/call"[..]));
        let header = headers.get(mirror::NAME).and_then(|value| value.to_str().ok());
        assert_eq!(header.and_then(mirror::decode).as_deref(), Some(in_body));
    }
});

fn append(headers: &mut HeaderMap, name: &HeaderName, values: &[&[u8]]) {
    for value in values {
        // What no header can hold, hyper refuses before it comes here.
        let value = HeaderValue::from_bytes(value);
        headers.append(name, value.unwrap_or(HeaderValue::from_static("?")));
    }
}

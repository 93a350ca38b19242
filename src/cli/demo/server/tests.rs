use super::*;

fn newest(method: &str, name: Option<&str>, version: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", version.parse().unwrap());
    headers.insert("mcp-method", method.parse().unwrap());
    if let Some(name) = name {
        headers.insert("mcp-name", name.parse().unwrap());
    }
    headers
}

fn meta(version: &str) -> Value {
    json!({VERSION_KEY: version, CAPABILITIES_KEY: {}})
}

fn ask(headers: &HeaderMap, method: &str, params: Value) -> Result<Value, (u16, i32)> {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    respond(&World::default(), headers, &message).map_err(|f| (f.status.as_u16(), f.code))
}

#[test]
fn initialize_agrees_on_a_revision_that_both_speak() {
    for (asked, agreed) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let result =
            ask(&HeaderMap::new(), "initialize", json!({"protocolVersion": asked})).unwrap();
        assert_eq!(result["protocolVersion"], agreed, "{asked}");
    }
}

#[test]
fn the_newest_revision_checks_what_its_headers_mirror() {
    let call = |meta: Value| json!({"name": "read_file", "arguments": {"path": "/readme.md"}, "_meta": meta});
    let good = newest("tools/call", Some("read_file"), STATELESS);
    for (name, headers, params, expected) in [
        ("as it should be", good.clone(), call(meta(STATELESS)), Ok(())),
        (
            "another method",
            newest("tools/list", Some("read_file"), STATELESS),
            call(meta(STATELESS)),
            Err((400, -32020)),
        ),
        (
            "another name",
            newest("tools/call", Some("refund"), STATELESS),
            call(meta(STATELESS)),
            Err((400, -32020)),
        ),
        (
            "no name",
            newest("tools/call", None, STATELESS),
            call(meta(STATELESS)),
            Err((400, -32020)),
        ),
        (
            "another version",
            newest("tools/call", Some("read_file"), "2025-11-25"),
            call(meta(STATELESS)),
            Err((400, -32020)),
        ),
        (
            "no capabilities",
            good.clone(),
            call(json!({VERSION_KEY: STATELESS})),
            Err((400, -32602)),
        ),
        (
            "an unknown version",
            newest("tools/call", Some("read_file"), "2031-01-01"),
            call(meta("2031-01-01")),
            Err((400, -32022)),
        ),
    ] {
        assert_eq!(ask(&headers, "tools/call", params).map(|_| ()), expected, "{name}");
    }
    let unknown = ask(
        &newest("resources/list", None, STATELESS),
        "resources/list",
        json!({"_meta": meta(STATELESS)}),
    );
    assert_eq!(unknown, Err((404, -32601)));
}

#[test]
fn results_have_the_shape_of_their_revision() {
    let list = ask(
        &newest("tools/list", None, STATELESS),
        "tools/list",
        json!({"_meta": meta(STATELESS)}),
    )
    .unwrap();
    assert_eq!(
        (list["resultType"].as_str(), list["cacheScope"].as_str()),
        (Some("complete"), Some("public"))
    );
    let list = ask(&HeaderMap::new(), "tools/list", Value::Null).unwrap();
    assert_eq!(list.get("resultType"), None);
    assert_eq!(list["tools"].as_array().unwrap().len(), 9);
}

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

#[tokio::test]
async fn over_http_only_single_messages_to_its_path_are_answered() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let told = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let huge = "x".repeat(BODY_BYTES + 1);
    for (method, path, body, expected) in [
        ("POST", "/mcp", ping, "200"),
        ("POST", "/mcp", told, "202"),
        ("POST", "/mcp", "[]", "400"),
        ("POST", "/mcp", "{", "400"),
        ("POST", "/mcp", &huge, "413"),
        ("POST", "/", ping, "404"),
        ("GET", "/mcp", "", "405"),
        ("DELETE", "/mcp", "", "405"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        // The server may answer before it has read all of a body that is too long.
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.strip_prefix("HTTP/1.1 "), Some(expected), "{method} {path}");
    }
    serving.abort();
}

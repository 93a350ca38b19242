//! C02, C03, C08, C09: bodies that are not what they seem, and names that are not ours.

use crate::support::{Gate, Setup, Upstream, call, post, tool};

fn echo() -> (Upstream, String) {
    let upstream = Upstream::of_tools(&[tool("echo", r#"{"text":{"type":"string"}}"#)]);
    (upstream, call(1, "echo", r#"{"text":"hello"}"#))
}

#[test]
fn c02_an_encoded_body_is_refused_unread() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream));
    for (index, encoding) in
        ["gzip", "br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "GZIP", "x", ""]
            .iter()
            .enumerate()
    {
        let refused = gate.post_with(&[("content-encoding", encoding)], &body);
        assert_eq!((refused.status, &*refused.code()), (415, "unsupported_media_type"));
        assert_eq!(gate.decisions(index + 1)[index]["code"], "unsupported_media_type");
    }
    let twice = [("content-encoding", "identity"), ("content-encoding", "gzip")];
    assert_eq!(gate.post_with(&twice, &body).status, 415);
    assert_eq!(upstream.calls().len(), 0);
    assert_eq!(gate.post_with(&[("content-encoding", "identity")], &body).status, 200);
    assert_eq!(upstream.calls().len(), 1);
}

#[test]
fn c03_a_body_past_the_limit_is_refused_and_never_cut() {
    let (upstream, _) = echo();
    let gate = Gate::start(&Setup::to(&upstream).config("limits: {body: 4096}"));
    let frame = call(1, "echo", r#"{"text":""}"#).len();
    let of = |length: usize| {
        call(1, "echo", &format!(r#"{{"text":"{}"}}"#, "x".repeat(length - frame)))
    };
    for (length, status) in [(4096, 200), (4097, 413), (1 << 20, 413)] {
        let body = of(length);
        let plain = gate.post(&body);
        assert_eq!(plain.status, status, "{length}");
        let mut connection = gate.connect();
        let mut chunked = b"POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\n\
            content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
            transfer-encoding: chunked\r\n\r\n"
            .to_vec();
        for piece in body.as_bytes().chunks(1000) {
            chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        connection.send(&chunked);
        // Where much is unread, the close may overtake the answer.
        if let Some(response) = connection.try_response() {
            assert_eq!(response.status, status, "{length} chunked");
        }
    }
    assert_eq!(upstream.calls().len(), 2);
}

#[test]
fn c08_a_request_for_another_host_is_refused() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream).config("hosts: [gate.example]"));
    for (host, status) in [
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.nip.io", 403),
        ("gate.example.evil.example", 403),
        ("evil.example@localhost", 403),
        ("0x7f.1", 403),
        ("2130706433", 403),
        ("", 403),
        ("localhost, evil.example", 403),
        ("gate.example", 200),
        ("GATE.example:8700", 200),
        ("[::1]:8700", 200),
    ] {
        let seen = upstream.calls().len();
        for origin in [None, Some("http://evil.example")] {
            let mut headers = vec![("host", host)];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let response = gate.send(&post("/mcp/crm", &headers, &body));
            let expected = if origin.is_some() { 403 } else { status };
            // hyper itself may refuse what is no host at all.
            let refused = expected == 403 && response.status == 400;
            assert!(response.status == expected || refused, "{host:?} {origin:?} {response:?}");
        }
        assert_eq!(upstream.calls().len() - seen, usize::from(status == 200), "{host:?}");
    }
    let calls = upstream.calls().len();
    for request in [
        format!("POST http://evil.example/mcp/crm HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        format!("POST /mcp/crm HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        format!("POST /mcp/crm HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    ] {
        let response = gate.send(request.as_bytes());
        assert!(matches!(response.status, 400 | 403), "{request} {response:?}");
    }
    assert_eq!(upstream.calls().len(), calls);
}

#[test]
fn c09_a_page_of_somebody_else_is_refused() {
    let (upstream, body) = echo();
    let setup = Setup::to(&upstream).config("origins: ['https://inspector.example']");
    let gate = Gate::start(&setup);
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://localhost.evil", 403),
        ("http://evil-localhost", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://localhost@evil.example", 403),
        ("https://inspector.example.evil.example", 403),
        ("https://evil.example/https://inspector.example", 403),
        ("http://inspector.example", 403), // another scheme is another origin
        ("https://inspector.example:8443", 403),
        ("file://", 403),
        ("http://localhost:6274", 200),
        ("https://inspector.example", 200),
    ] {
        let seen = upstream.calls().len();
        let response = gate.post_with(&[("origin", origin)], &body);
        assert_eq!(response.status, status, "{origin:?}");
        assert_eq!(upstream.calls().len() - seen, usize::from(status == 200), "{origin:?}");
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
    let calls = upstream.calls().len();
    // What a page may send without asking first (Fetch, "CORS-safelisted").
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert_eq!(gate.post_with(&[("content-type", media)], &body).status, 415, "{media}");
    }
    let two = [("content-type", "text/plain"), ("content-type", "application/json")];
    assert_eq!(gate.post_with(&two, &body).status, 415);
    let preflight = "OPTIONS /mcp/crm HTTP/1.1\r\nhost: localhost\r\n\
        origin: https://evil.example\r\naccess-control-request-method: POST\r\n\r\n";
    assert_eq!(gate.send(preflight.as_bytes()).status, 403);
    assert_eq!(upstream.calls().len(), calls);
}

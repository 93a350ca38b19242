//! C04: where does a request end?
//!
//! Requests whose end two readers see in different places, after the mutations of
//! `defparam/smuggler`: whoever believes the other reader executes what hides behind the end. Each
//! hides a call to the tool `smuggled`, which must never go up.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Connection, Gate, Setup, Upstream, call, post, tool};

const TYPES: &str = "content-type: application/json\r\naccept: application/json, text/event-stream";

/// One raw request, and its name for a failure.
struct Case {
    name: String,
    bytes: Vec<u8>,
}

fn honest() -> String {
    call(1, "echo", "{}")
}

/// A whole request that must not be seen as one.
fn hidden() -> Vec<u8> {
    post("/mcp/crm", &[], call(2, "smuggled", "{}"))
}

fn head(lines: &[u8]) -> Vec<u8> {
    let mut head = format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\n{TYPES}\r\n").into_bytes();
    head.extend_from_slice(lines);
    head.extend_from_slice(b"\r\n\r\n");
    head
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// The lines that may or may not mean `Transfer-Encoding: chunked`.
fn encodings() -> Vec<(String, Vec<u8>)> {
    let mut lines: Vec<(String, Vec<u8>)> = [
        "Transfer-Encoding: chunked",
        "transfer-encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding\t:\tchunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding:  chunked  ",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunke\u{17f}",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked; foo=bar",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: cow, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding",
        "Transfer-Encoding chunked",
        "Transfer Encoding: chunked",
        "Transfer_Encoding: chunked",
        "TransferEncoding: chunked",
        "X-Transfer-Encoding: chunked",
        "Content-Encoding: chunked",
        "TE: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding: chunked\r\n x",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\n\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nX: y",
        "Transfer-Encoding: chunked\rX: y",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Connection: Content-Length",
        "Expect: 100-continue\r\nTransfer-Encoding: chunked",
        "Transfer\u{2d}Encoding\u{a0}: chunked",
        "Trans\\fer-Encoding: chunked",
        "Transfer-\r\n Encoding: chunked",
    ]
    .iter()
    .map(|line| (format!("{line:?}"), line.as_bytes().to_vec()))
    .collect();
    for odd in (1..=0x20u8).chain([0x22, 0x2c, 0x3a, 0x3b, 0x7f, 0x80, 0x85, 0xa0, 0xad, 0xff]) {
        for (name, [before, after]) in [
            ("midspace", ["Transfer-Encoding:", "chunked"]),
            ("postspace", ["Transfer-Encoding", ": chunked"]),
            ("prespace", ["", "Transfer-Encoding: chunked"]),
            ("endspace", ["Transfer-Encoding: chunked", ""]),
            ("xprespace", ["X: X", "Transfer-Encoding: chunked"]),
            ("endspacex", ["Transfer-Encoding: chunked", "X: X"]),
            ("rxprespace", ["X: X\r", "Transfer-Encoding: chunked"]),
            ("xnprespace", ["X: X", "\nTransfer-Encoding: chunked"]),
            ("endspacerx", ["Transfer-Encoding: chunked\r", "X: X"]),
            ("endspacexn", ["Transfer-Encoding: chunked", "\nX: X"]),
        ] {
            lines.push((format!("{name} {odd:#04x}"), [before.as_bytes(), &[odd], after.as_bytes()].concat()));
        }
    }
    lines
}

fn two_lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, line) in encodings() {
        // The end by `Content-Length` is behind the hidden request, by chunks before it.
        let mut body = chunk(honest().as_bytes());
        body.extend_from_slice(b"0\r\n\r\n");
        body.extend_from_slice(&hidden());
        // And the other way round: the hidden request is a chunk, and the length ends before it.
        let inside = chunk(&[hidden(), b"x=1".to_vec()].concat());
        let short = inside.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for (kind, length, body) in [
            ("CL.TE", Some(body.len()), &body),
            ("TE.CL", Some(short), &inside),
            ("TE.0", None, &inside),
        ] {
            let length = length.map(|length| format!("Content-Length: {length}"));
            let orders: &[bool] = if length.is_some() { &[true, false] } else { &[true] };
            for length_first in orders {
                let mut parts: Vec<&[u8]> = vec![&line];
                if let Some(length) = &length {
                    parts.insert(usize::from(!length_first), length.as_bytes());
                }
                let bytes = [head(&parts.join(&b"\r\n"[..])), body.clone()].concat();
                cases.push(Case { name: format!("{kind} {name} {length_first}"), bytes });
            }
        }
    }
    cases
}

fn lengths() -> Vec<Case> {
    let honest = honest();
    let (short, long) = (honest.len(), honest.len() + hidden().len());
    let body = [honest.as_bytes(), &hidden()].concat();
    [
        format!("Content-Length: {short}\r\nContent-Length: {long}"),
        format!("Content-Length: {long}\r\nContent-Length: {short}"),
        format!("Content-Length: {short}, {long}"),
        format!("Content-Length: {short},{short}"),
        format!("Content-Length: +{short}"),
        format!("Content-Length: -{short}"),
        format!("Content-Length: {short} {long}"),
        format!("Content-Length: {short}\r\n {long}"),
        format!("Content-Length : {short}"),
        format!(" Content-Length: {short}"),
        format!("Content-Length: {short:#x}"),
        format!("Content-Length: {short}.0"),
        format!("Content-Length: {short}e0"),
        format!("Content-Length: {short};"),
        format!("Content-Length: \"{short}\""),
        format!("Content-Length:\x0b{short}"),
        format!("Content-Length: {short}\x00"),
        "Content-Length: 18446744073709551616".to_owned(),
        "Content-Length: 99999999999999999999999999".to_owned(),
        "Content-Length: ".to_owned(),
        "Content-Length: 0".to_owned(),
        format!("Content-Length: 0\r\nContent-Length: {short}"),
        format!("Content-Length: {short}\r\nContent-Length: 0"),
        format!("Content_Length: {short}"),
        format!("X: y\rContent-Length: {short}"),
    ]
    .map(|lines| Case {
        name: format!("{lines:?}"),
        bytes: [head(lines.as_bytes()), body.clone()].concat(),
    })
    .into()
}

fn chunks() -> Vec<Case> {
    let honest = honest();
    let size = honest.len();
    let sized = |line: String| format!("{line}{honest}\r\n0\r\n\r\n").into_bytes();
    let mut bodies: Vec<(String, Vec<u8>)> = Vec::new();
    for line in [
        format!("0x{size:x}\r\n"),
        format!("+{size:x}\r\n"),
        format!("-{size:x}\r\n"),
        format!(" {size:x}\r\n"),
        format!("{size:x}\n"),
        format!("{size:x}\r"),
        format!("{size:x}\r\r\n"),
        format!("{size:x}\0\r\n"),
        format!("{size:x}\x0b\r\n"),
        format!("{size:x}g\r\n"),
        format!("{size:x},1\r\n"),
        format!("1{:016x}\r\n", size),
        format!("{}{size:x}\r\n", "f".repeat(20)),
        format!("{size:x};a\n\r\n"),
        format!("{size:x};a=\"\n\"\r\n"),
        format!("{size:x};{}\r\n", "a".repeat(40_000)),
        format!("{:x}\r\n", size - 1),
        format!("{:x}\r\n", size + 1),
        "\r\n".to_owned(),
        ";a\r\n".to_owned(),
        "ffffffffffffffff\r\n".to_owned(),
        "7fffffffffffffff\r\n".to_owned(),
    ] {
        bodies.push((format!("{:.40?}", line), sized(line)));
    }
    let whole = chunk(honest.as_bytes());
    for (name, end) in [
        ("no end of the data", &b"0\r\n\r\n"[..]),
        ("end with LF", b"\n0\n\n"),
        ("a CR too many", b"\r\r\n0\r\n\r\n"),
        ("two ends", b"\r\n0\r\n0\r\n\r\n"),
        ("an empty chunk", b"\r\n00\n\r\n"),
    ] {
        let data = whole.strip_suffix(b"\r\n").unwrap();
        bodies.push((name.to_owned(), [data, end].concat()));
    }
    let close = "\r\nConnection: close";
    bodies
        .into_iter()
        .map(|(name, body)| {
            let head = head(format!("Transfer-Encoding: chunked{close}").as_bytes());
            Case { name, bytes: [head, body, hidden()].concat() }
        })
        .collect()
}

fn others() -> Vec<Case> {
    let (honest, hidden) = (honest(), hidden());
    let inside = String::from_utf8(hidden.clone()).unwrap();
    let length = honest.len();
    let full = hidden.len();
    let lines = [
        // The hidden request is the body of a request that is thought to have none.
        format!("GET /mcp/crm HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\ncontent-length: {full}\r\n\r\n{inside}"),
        format!("DELETE /mcp/crm HTTP/1.1\r\nhost: localhost\r\ncontent-length: {full}\r\n\r\n{inside}"),
        format!("OPTIONS /mcp/crm HTTP/1.1\r\nhost: localhost\r\ncontent-length: {full}\r\n\r\n{inside}"),
        format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: {full}\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: evil.example\r\ncontent-length: {full}\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: {full}\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{TYPES}\r\ncontent-length: {full}\r\n\r\n{inside}"),
        // Versions and request lines that end elsewhere.
        format!("POST /mcp/crm HTTP/1.0\r\nhost: localhost\r\n{TYPES}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{honest}\r\n0\r\n\r\n{inside}", length),
        format!("POST /mcp/crm HTTP/1.0\r\nhost: localhost\r\n{TYPES}\r\ncontent-length: {length}\r\n\r\n{honest}{inside}"),
        format!("POST /mcp/crm\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/9.9\r\nhost: localhost\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1 \r\nhost: localhost\r\n\r\n{inside}"),
        format!("POST  /mcp/crm HTTP/1.1\r\nhost: localhost\r\n\r\n{inside}"),
        format!("POST\t/mcp/crm\tHTTP/1.1\r\nhost: localhost\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\rhost: localhost\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\n host: localhost\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\n: x\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\nx\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n{inside}"),
        // An upgrade, and a tunnel.
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 0\r\n\r\n{inside}"),
        format!("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n{inside}"),
        format!("POST /mcp/crm HTTP/1.1\r\nhost: localhost\r\n{TYPES}\r\ntransfer-encoding: chunked\r\ntrailer: content-length\r\n\r\n{length:x}\r\n{honest}\r\n0\r\ncontent-length: {full}\r\nhost: evil.example\r\nconnection: close\r\n"),
    ];
    lines
        .into_iter()
        .map(|text| Case { name: format!("{:.60?}", text), bytes: text.into_bytes() })
        .collect()
}

/// What one request brought: all statuses until the connection was closed.
fn statuses(mut connection: Connection, bytes: &[u8]) -> Vec<u16> {
    connection.send(bytes);
    let mut statuses = Vec::new();
    while let Some(response) = connection.try_response() {
        statuses.push(response.status);
    }
    statuses
}

#[test]
fn c04_a_request_has_one_end() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}"), tool("smuggled", "{}")]);
    let limits = "limits: {body_timeout: 1s, header_timeout: 1s, connection_idle: 1s}";
    let gate = Gate::start(&Setup::to(&upstream).config(limits));
    let mut cases = two_lengths();
    cases.extend(lengths());
    cases.extend(chunks());
    cases.extend(others());
    assert!(cases.len() > 500, "{}", cases.len());
    let next = AtomicUsize::new(0);
    let (executed, odd) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = statuses(gate.connect(), &case.bytes);
                    let answered = found.iter().filter(|status| **status == 200).count();
                    executed.fetch_add(answered, Ordering::Relaxed);
                    let refused = found.iter().all(|status| matches!(status, 100 | 200 | 400..=499));
                    if answered > 1 || !refused || found.len() > 2 {
                        odd.lock().unwrap().push((case.name.clone(), found));
                    }
                }
            });
        }
    });
    let odd = odd.into_inner().unwrap();
    let seen = upstream.calls();
    let tools: Vec<_> = seen.iter().map(|seen| seen.json()["params"]["name"].clone()).collect();
    assert!(!tools.contains(&"smuggled".into()), "smuggled, of {} calls: {odd:#?}", tools.len());
    assert!(odd.is_empty(), "{odd:#?}");
    assert_eq!(seen.len(), executed.into_inner());
    assert_eq!(gate.post(&honest()).status, 200);
    assert_eq!(gate.post(&call(2, "smuggled", "{}")).status, 200);
}

#[test]
fn c04_two_requests_with_clear_ends_are_two() {
    // The control: what is hidden above would be executed if it were seen.
    let upstream = Upstream::of_tools(&[tool("echo", "{}"), tool("smuggled", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream));
    let mut connection = gate.connect();
    connection.send(&[post("/mcp/crm", &[], honest()), hidden()].concat());
    assert_eq!((connection.response().status, connection.response().status), (200, 200));
    assert_eq!(upstream.calls().len(), 2);
}

//! C13: slow, silent, many and large.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::h2::{BOUND, memory};
use crate::support::{Gate, Reply, Setup, Upstream, call, post, tool};

const IMPATIENT: &str = "limits: {header_timeout: 1s, body_timeout: 1s, connection_idle: 1s}";

fn echo() -> (Upstream, String) {
    (Upstream::of_tools(&[tool("echo", "{}")]), call(1, "echo", "{}"))
}

/// What comes until the other side closes; `None` if it never does.
fn until_closed(stream: &mut TcpStream) -> Option<String> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => None,
        _ => Some(String::from_utf8_lossy(&all).into_owned()),
    }
}

#[test]
fn c13_who_connects_and_does_not_go_on_is_sent_away() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream).config(IMPATIENT));
    let whole = String::from_utf8(post("/mcp/crm", &[], &body)).unwrap();
    let head = whole.find("\r\n\r\n").unwrap();
    for (name, bytes, answer) in [
        ("nothing", "", ""),
        ("the beginning of HTTP/2's preface", "PRI * HTTP", ""),
        ("HTTP/2's preface alone", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        ("the beginning of a method", "PO", ""),
        ("part of a head", &whole[..head], ""),
        ("a head", &whole[..head + 4], "HTTP/1.1 408"),
        ("part of a body", &whole[..whole.len() - 1], "HTTP/1.1 408"),
        ("a whole request", &whole, "HTTP/1.1 200"),
        ("one and a half", &format!("{whole}{}", &whole[..head]), "HTTP/1.1 200"),
    ] {
        let mut stream = TcpStream::connect(gate.agents).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let found = until_closed(&mut stream);
        let found = found.unwrap_or_else(|| panic!("{name}: not closed"));
        // HTTP/2 may say goodbye.
        assert!(found.starts_with(answer) || found.contains('\0'), "{name}: {found}");
        assert_eq!(answer.is_empty(), !found.starts_with("HTTP"), "{name}: {found}");
    }
    assert_eq!(upstream.calls().len(), 2);
}

#[test]
fn c13_a_byte_now_and_then_does_not_help() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream).config(IMPATIENT));
    let whole = post("/mcp/crm", &[], &body);
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    for at_once in [0, head] {
        let mut stream = TcpStream::connect(gate.agents).unwrap();
        stream.write_all(&whole[..at_once]).unwrap();
        let mut dripping = stream.try_clone().unwrap();
        let rest = whole[at_once..].to_vec();
        let drip = std::thread::spawn(move || {
            let sent = rest.iter().take_while(|byte| {
                std::thread::sleep(Duration::from_millis(100));
                dripping.write_all(&[**byte]).is_ok()
            });
            sent.count() < rest.len()
        });
        assert!(until_closed(&mut stream).is_some());
        assert!(drip.join().unwrap(), "all of it was taken");
    }
    assert_eq!(upstream.calls().len(), 0);
}

#[test]
fn c13_a_reader_that_never_reads_is_cut_off() {
    let (upstream, body) = echo();
    upstream.script(|seen| {
        let asked = seen.method() == "tools/call";
        asked.then(|| Reply::Result(serde_json::json!({"content": [], "x": "x".repeat(8 << 20)})))
    });
    let gate = Gate::start(&Setup::to(&upstream).config(IMPATIENT));
    let mut streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(gate.agents).unwrap();
            stream.write_all(&post("/mcp/crm", &[], &body)).unwrap();
            stream
        })
        .collect();
    for stream in &mut streams {
        while is_held(&gate, stream) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // What the kernel had already taken is still there, and then it ends.
        let found = until_closed(stream).expect("closed");
        assert!(found.len() < 8 << 20, "{}", found.len());
    }
    assert!(memory(&gate) < BOUND, "{}", memory(&gate));
}

/// Whether the gate's end of a connection is still there, by the kernel's own list.
fn is_held(gate: &Gate, stream: &TcpStream) -> bool {
    let ours = format!(":{:04X} ", stream.local_addr().unwrap().port());
    let gates = format!(":{:04X} ", gate.agents.port());
    let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
    list.lines().any(|line| {
        let ends: Vec<_> = line.split_inclusive(' ').filter(|end| end.contains(':')).collect();
        matches!(&ends[..], [_, local, remote, ..] if local.ends_with(&gates) && remote.ends_with(&ours))
    })
}

#[test]
fn c13_heads_have_bounds() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream));
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    for (name, head) in [
        ("a header of 1 MB", format!("x: {}\r\n", "y".repeat(1 << 20))),
        ("a name of 1 MB", format!("{}: y\r\n", "x".repeat(1 << 20))),
        ("100 and more headers", lines(101)),
        ("100,000 headers", lines(100_000)),
        ("a path of 1 MB", String::new()),
    ] {
        let path = if head.is_empty() { "x".repeat(1 << 20) } else { "mcp/crm".to_owned() };
        let mut stream = TcpStream::connect(gate.agents).unwrap();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {head}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        // It may be closed long before all of it is sent.
        let _ = stream.write_all(request.as_bytes());
        let found = until_closed(&mut stream).expect("closed");
        let refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"];
        let refused = refused.iter().any(|status| found.starts_with(status));
        assert!(found.is_empty() || refused, "{name}: {found}");
        assert_eq!(gate.post(&body).status, 200, "{name}");
        assert!(memory(&gate) < BOUND, "{name}");
    }
    assert_eq!(upstream.calls().len(), 5);
}

#[test]
fn c13_ten_thousand_that_say_nothing_leave_room_for_one_that_does() {
    const SILENT: usize = 10_000;
    // This end has as many.
    let hard = getrlimit(Resource::Nofile).maximum;
    assert!(hard.is_none_or(|hard| hard > 11_000), "ulimit -Hn is {hard:?}");
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let (upstream, body) = echo();
    // Longer than a test may wait: none is sent away meanwhile.
    let limits = "limits: {connections: 10100, connection_idle: 10m, header_timeout: 10m}";
    // 1024 is what most systems begin with; the gate asks for more by itself.
    let gate = Gate::start(&Setup::to(&upstream).config(limits).descriptors(1024, 11_000));
    let mut silent = Vec::new();
    while silent.len() < SILENT {
        // Fewer than the kernel keeps for who accepts: beyond that, connecting takes seconds.
        silent.extend((0..500).map(|_| TcpStream::connect(gate.agents).unwrap()));
        gate.until_open(|descriptors| descriptors > silent.len());
    }
    for _ in 0..20 {
        assert_eq!(gate.post(&body).status, 200);
    }
    assert!(memory(&gate) < BOUND, "{}", memory(&gate));
    drop(silent);
    gate.until_open(|descriptors| descriptors < 100);
    assert_eq!(gate.post(&body).status, 200);
    // 10,100 connections, 1024 calls and 2000 streams are more than 11,000.
    assert!(gate.log().contains("file descriptors"), "{}", gate.log());
}

#[test]
fn c13_a_crowd_that_says_nothing_is_sent_away() {
    let (upstream, body) = echo();
    let limits = "limits: {connections: 2100, connection_idle: 3s, header_timeout: 3s}";
    let gate = Gate::start(&Setup::to(&upstream).config(limits));
    let mut silent: Vec<_> = (0..2000).map(|_| TcpStream::connect(gate.agents).unwrap()).collect();
    assert_eq!(gate.post(&body).status, 200);
    for stream in &mut silent {
        assert_eq!(until_closed(stream).as_deref(), Some(""));
    }
    assert_eq!(gate.post(&body).status, 200);
}

#[test]
fn c13_one_connection_more_than_the_limit_is_closed_at_once() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream).config("limits: {connections: 4}"));
    let mut held: Vec<_> = (0..4).map(|_| gate.connect()).collect();
    for connection in &mut held {
        connection.send(&post("/mcp/crm", &[], &body));
        assert_eq!(connection.response().status, 200);
    }
    let mut more = gate.connect();
    more.send(&post("/mcp/crm", &[], &body));
    assert!(more.try_response().is_none());
    assert_eq!(upstream.calls().len(), 4);
    for connection in &mut held {
        connection.send(&post("/mcp/crm", &[], &body));
        assert_eq!(connection.response().status, 200);
    }
}

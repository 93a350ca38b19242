//! J01: what a call is told, and what is on record, when its server fails.
//!
//! Before it was sent, nothing happened; after it was sent, nobody knows. It is never sent twice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Gate, Setup, call};

type Fault = fn(TcpStream);

/// A server of one tool, which lists it properly and then does this to each call.
struct Faulty {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    fn that(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let calls = Arc::clone(&counted);
                std::thread::spawn(move || serve(stream.unwrap(), &calls, fault));
            }
        });
        Self { address, calls }
    }

    fn setup(&self) -> Setup {
        Setup::at(&format!("http://{}/mcp", self.address)).server("timeout: 1s, idle: 1s")
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, calls: &AtomicUsize, fault: Fault) {
    loop {
        let Some(body) = request(&mut stream) else { return };
        let message: Value = serde_json::from_slice(&body).unwrap();
        if message["method"] == "tools/call" {
            calls.fetch_add(1, Ordering::SeqCst);
            return fault(stream);
        }
        let answer = serde_json::json!({"jsonrpc": "2.0", "id": message["id"], "result": {
            "resultType": "complete",
            "tools": [{"name": "echo", "inputSchema": {"type": "object"}}],
        }});
        let answer = answer.to_string();
        let head = head("application/json", answer.len());
        if stream.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

fn head(kind: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
}

fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// Closes so that the other side sees a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Writes a byte now and then, until nobody takes it.
fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// Waits until the gate gives up.
fn hang(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn j01_a_call_that_may_have_run_is_unknown_and_never_sent_twice() {
    let faults: &[(&str, Fault, &str, &str)] = &[
        ("closes after the request", drop, "outcome_unknown", "unknown"),
        ("resets after the request", reset, "outcome_unknown", "unknown"),
        ("never answers", hang, "outcome_unknown", "unknown"),
        (
            "a head byte by byte",
            |mut s| drip(&mut s, head("application/json", 5).as_bytes()),
            "outcome_unknown",
            "unknown",
        ),
        (
            "closes within the head",
            |mut s| s.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").unwrap(),
            "outcome_unknown",
            "unknown",
        ),
        (
            "no HTTP",
            |mut s| s.write_all(b"SSH-2.0-x\r\n\r\n").unwrap(),
            "outcome_unknown",
            "unknown",
        ),
        (
            "a body byte by byte",
            |mut s| {
                s.write_all(head("application/json", 1000).as_bytes()).unwrap();
                drip(&mut s, &[b' '; 1000]);
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "hangs within the body",
            |mut s| {
                s.write_all(head("application/json", 1000).as_bytes()).unwrap();
                s.write_all(br#"{"jsonrpc":"2.0","#).unwrap();
                hang(s);
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "closes within the body",
            |mut s| {
                s.write_all(head("application/json", 1000).as_bytes()).unwrap();
                s.write_all(br#"{"jsonrpc":"2.0","#).unwrap();
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "resets within the body",
            |mut s| {
                s.write_all(head("application/json", 1000).as_bytes()).unwrap();
                reset(s);
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "JSON that is cut",
            |mut s| {
                let text = r#"{"jsonrpc":"2.0","id":1,"result":{"#;
                s.write_all(format!("{}{text}", head("application/json", text.len())).as_bytes())
                    .unwrap();
            },
            "invalid_answer",
            "refused_answer",
        ),
        (
            "an answer to something else",
            |mut s| {
                let text = r#"{"jsonrpc":"2.0","id":99,"result":{"content":[]}}"#;
                s.write_all(format!("{}{text}", head("application/json", text.len())).as_bytes())
                    .unwrap();
            },
            "invalid_answer",
            "refused_answer",
        ),
        (
            "closes the stream before the answer",
            |mut s| {
                s.write_all(SSE.as_bytes()).unwrap();
                s.write_all(b"d\r\n: nothing yet\r\n0\r\n\r\n").unwrap();
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "breaks the stream within an event",
            |mut s| {
                s.write_all(SSE.as_bytes()).unwrap();
                s.write_all(b"f\r\ndata: {\"jsonrpc\r\n").unwrap();
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "resets the stream",
            |mut s| {
                s.write_all(SSE.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                reset(s);
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "a silent stream",
            |mut s| {
                s.write_all(SSE.as_bytes()).unwrap();
                hang(s);
            },
            "outcome_unknown",
            "unknown",
        ),
        (
            "a redirect",
            |mut s| {
                s.write_all(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /mcp\r\ncontent-length: 0\r\n\r\n")
                    .unwrap();
            },
            "invalid_answer",
            "refused_answer",
        ),
    ];
    for (name, fault, code, outcome) in faults {
        let server = Faulty::that(*fault);
        let gate = Gate::start(&server.setup());
        let mut connection = gate.connect();
        connection.send(&crate::support::post("/mcp/crm", &[], call(1, "echo", "{}")));
        let mut response = connection.try_head().unwrap_or_else(|| panic!("{name}: no answer"));
        let message = match response.header("content-type") {
            Some("text/event-stream") => connection.message().unwrap(),
            _ => {
                response.body = connection.rest();
                response.json()
            }
        };
        let told = &message["result"]["_meta"]["io.countersign/refusal"]["code"];
        assert_eq!(told, code, "{name}: {message}");
        assert_eq!(message["id"], 1, "{name}");
        let decision = gate.only_decision();
        assert_eq!(decision["code"], "allowed", "{name}");
        let ended = gate.entries("outcome", 1).remove(0);
        assert_eq!(ended["outcome"], *outcome, "{name}: {ended}");
        assert_eq!(ended["id"], decision["id"], "{name}");
        assert_eq!(gate.metric("countersign_calls_in_flight", &[]), 0.0, "{name}");
        assert_eq!(server.calls(), 1, "{name}");
    }
}

#[test]
fn j01_a_call_that_never_left_may_be_tried_again() {
    let server = Faulty::that(drop);
    let gate = Gate::start(&server.setup());
    // Its server is gone, and nobody listens there any more.
    let (closed, refused) = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), call(1, "echo", "{}"))
    };
    drop(gate);
    let setup = Setup::at(&format!("http://{closed}/mcp")).not_ready();
    let gate = Gate::start(&setup);
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///x"}}"#,
    ] {
        assert_eq!(gate.post(body).code(), "upstream_unreachable");
    }
    let ended = gate.entries("outcome", 1).remove(0);
    assert_eq!(
        (&ended["outcome"], &ended["code"]),
        (&"failed".into(), &"upstream_unreachable".into())
    );
    assert_eq!(gate.post(&refused).code(), "unknown_tool");
}

#[test]
fn j01_a_server_that_does_not_list_holds_nobody_up() {
    // It takes the connection, reads, and never answers: also a call to an unknown tool ends.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let setup = Setup::at(&format!("http://{address}/mcp")).server("timeout: 1s").not_ready();
    let gate = Gate::start(&setup);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                assert_eq!(gate.post(&call(1, "echo", "{}")).code(), "unknown_tool");
            });
        }
    });
    gate.decisions(16);
    assert_eq!(gate.stop(), 0);
}

#[test]
fn j01_a_stale_connection_is_never_the_cause_of_a_second_call() {
    // The server closes each connection right after its answer, as the gate sends the next call.
    let server = Faulty::that(|mut stream| {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
        let head = head("application/json", text.len());
        stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
    });
    let gate = Gate::start(&server.setup());
    let mut connection = gate.connect();
    let (mut answered, mut unknown) = (0, 0);
    for _ in 0..200 {
        connection.send(&crate::support::post("/mcp/crm", &[], call(1, "echo", "{}")));
        match connection.response().json()["result"]["isError"].as_bool() {
            Some(true) => unknown += 1,
            _ => answered += 1,
        }
    }
    assert_eq!(gate.entries("outcome", 200).len(), answered + unknown);
    assert!(server.calls() <= 200, "{}", server.calls());
    assert!(server.calls() >= answered);
}

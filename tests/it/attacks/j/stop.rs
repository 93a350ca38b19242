//! J03: how it ends.

use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Connection, Gate, Reply, Setup, Upstream, call, post, tool};

fn slow() -> Upstream {
    Upstream::of_tools(&[tool("echo", "{}"), tool("slow", "{}")])
}

fn asked(gate: &Gate, tool: &str) -> Connection {
    let mut connection = gate.connect();
    connection.send(&post("/mcp/crm", &[], call(1, tool, "{}")));
    connection
}

#[test]
fn j03_it_ends_at_once_where_nothing_runs() {
    let upstream = slow();
    // Longer than a test may wait: nothing but the call of nobody would end it.
    let gate = Gate::start(&Setup::to(&upstream).config("drain: 10m"));
    // Connections that say nothing, that said something, that have begun, in either HTTP.
    let silent = gate.connect();
    let mut kept = gate.connect();
    kept.send(&post("/mcp/crm", &[], call(1, "echo", "{}")));
    assert_eq!(kept.response().status, 200);
    let mut second = gate.connect();
    second.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let mut begun = gate.connect();
    begun.send(b"POST /mcp/cr");
    let idle = TcpStream::connect(gate.operators).unwrap();
    assert_eq!(gate.stop(), 0);
    drop((silent, kept, second, begun, idle));
}

#[test]
fn j03_what_runs_is_finished_first() {
    let upstream = slow();
    let streams = upstream.stream_on("tools/call");
    let mut gate = Gate::start(&Setup::to(&upstream).config("drain: 10m"));
    let mut running = asked(&gate, "slow");
    let sender = streams.next();
    assert_eq!(running.head().status, 200);
    gate.signal("TERM");
    gate.until_draining();
    sender.data(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
    drop(sender);
    assert_eq!(running.message().unwrap()["result"]["content"], serde_json::json!([]));
    assert_eq!(gate.wait(), 0);
    let ended = gate.entries("outcome", 1).remove(0);
    assert_eq!(ended["outcome"], "answered");
    let last = gate.trail().pop().unwrap();
    assert_eq!(last["kind"], "stop", "{last}");
}

#[test]
fn j03_a_call_whose_client_has_gone_is_finished_too() {
    let upstream = slow();
    let (answer, answered) = mpsc::channel::<()>();
    let answered = std::sync::Mutex::new(answered);
    upstream.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            answered.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
            Reply::Result(serde_json::json!({"content": []}))
        })
    });
    let mut gate = Gate::start(&Setup::to(&upstream).config("drain: 10m"));
    let gone = asked(&gate, "slow");
    upstream.wait_for(|seen| seen.method() == "tools/call");
    drop(gone);
    gate.signal("TERM");
    gate.until_draining();
    answer.send(()).unwrap();
    assert_eq!(gate.wait(), 0);
    let ended = gate.entries("outcome", 1).remove(0);
    assert_eq!(ended["outcome"], "answered");
}

#[test]
fn j03_what_does_not_end_is_cut_off_and_unknown() {
    let upstream = slow();
    upstream.script(|seen| (seen.method() == "tools/call").then_some(Reply::Silence));
    let mut gate = Gate::start(&Setup::to(&upstream).config("drain: 1s"));
    let mut running = asked(&gate, "slow");
    upstream.wait_for(|seen| seen.method() == "tools/call");
    gate.signal("TERM");
    assert_eq!(gate.wait(), 0);
    assert!(running.try_response().is_none());
    let ended = gate.entries("outcome", 1).remove(0);
    assert_eq!(ended["outcome"], "unknown");
    assert_eq!(upstream.calls().len(), 1);
}

#[test]
fn j03_streams_that_only_listen_end_so_that_clients_resume_elsewhere() {
    let upstream = slow();
    let streams = upstream.stream_on("GET");
    let gate = Gate::start(&Setup::to(&upstream).config("drain: 10m"));
    let mut listening = gate.connect();
    listening
        .send(b"GET /mcp/crm HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    let sender = streams.next();
    assert_eq!(listening.head().status, 200);
    sender.raw(
        "id: 7\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n",
    );
    assert!(listening.event().unwrap().contains("id: 7"));
    assert_eq!(gate.stop(), 0);
    assert_eq!(listening.event(), None);
}

#[test]
fn j03_a_handshake_that_never_begins_does_not_hold_up_the_end() {
    let upstream = slow();
    let (certificate, key) = crate::attacks::c::tls::self_signed();
    let setup = Setup::to(&upstream)
        .file("gate.pem", &certificate)
        .file("gate.key", &key)
        .config("tls: {certificate: ./gate.pem, key: ./gate.key}\ndrain: 10m\nlimits: {header_timeout: 10m}");
    let gate = Gate::start(&setup);
    let silent = TcpStream::connect(gate.agents).unwrap();
    // Whoever connects later has been accepted later.
    crate::attacks::c::tls::greet(&gate);
    assert_eq!(gate.stop(), 0);
    drop(silent);
}

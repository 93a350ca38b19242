//! C06, C07: HTTP/2, by hand, so that it can be wrong.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Gate, Setup, Upstream, call, tool};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client of HTTP/2 that sends any frame it is told to.
struct Client(TcpStream);

/// A frame: type, flags, stream, payload.
type Frame = (u8, u8, u32, Vec<u8>);

impl Client {
    fn to(gate: &Gate) -> Self {
        let stream = TcpStream::connect(gate.agents).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self(stream);
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.send(SETTINGS, 0, 0, &[]);
        client
    }

    /// Sends a frame; whether the connection still takes it.
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.0.write_all(&frame(kind, flags, stream, payload)).is_ok()
    }

    fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// Whether the other side has ended the connection, and does not just say nothing.
    fn was_ended(&mut self) -> bool {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), TimedOut | WouldBlock),
        }
    }

    /// What becomes of stream 1: the first byte of its answer's head, which is its status in
    /// HPACK's static table, or `None` if it was reset or the connection ended.
    fn fate(&mut self) -> Option<u8> {
        loop {
            match self.receive()? {
                (HEADERS, _, 1, payload) => return payload.first().copied(),
                (RESET, _, 1, _) | (GOAWAY, ..) => return None,
                _ => {}
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Literal fields, as they are (RFC 7541, 6.2.2).
fn fields(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                block.push(u8::try_from(text.len()).unwrap());
            } else {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text);
        }
    }
    block
}

const HONEST: [(&[u8], &[u8]); 6] = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/mcp/crm"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
];

/// `:status: 200` in HPACK's static table.
const OK: u8 = 0x88;

type Edit = fn(&mut Vec<(&'static [u8], &'static [u8])>);

fn gate() -> (Upstream, Gate) {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream));
    (upstream, gate)
}

#[test]
fn c06_what_http_2_forbids_is_refused() {
    let (upstream, gate) = gate();
    let body = call(1, "echo", "{}");
    let edits: &[(&str, Edit)] = &[
        ("CRLF in a value", |f| f.push((b"x", b"a\r\nauthorization: x"))),
        ("LF in a value", |f| f.push((b"x", b"a\nb"))),
        ("NUL in a value", |f| f.push((b"x", b"a\0b"))),
        ("CRLF in a name", |f| f.push((b"x: y\r\nz", b"a"))),
        ("space in a name", |f| f.push((b"x y", b"a"))),
        ("colon in a name", |f| f.push((b"x:y", b"a"))),
        ("an empty name", |f| f.push((b"", b"a"))),
        ("upper case", |f| f.push((b"X-Upper", b"a"))),
        ("transfer-encoding", |f| f.push((b"transfer-encoding", b"chunked"))),
        ("connection", |f| f.push((b"connection", b"keep-alive"))),
        ("keep-alive", |f| f.push((b"keep-alive", b"timeout=5"))),
        ("proxy-connection", |f| f.push((b"proxy-connection", b"keep-alive"))),
        ("upgrade", |f| f.push((b"upgrade", b"h2c"))),
        ("te", |f| f.push((b"te", b"gzip"))),
        ("a second :path", |f| f.insert(3, (b":path", b"/mcp/other"))),
        ("a second :method", |f| f.insert(1, (b":method", b"GET"))),
        ("a second :authority", |f| f.insert(4, (b":authority", b"evil.example"))),
        ("a second :scheme", |f| f.insert(2, (b":scheme", b"https"))),
        ("a late pseudo-header", |f| f.push((b":path", b"/mcp/crm"))),
        ("an unknown pseudo-header", |f| f.insert(0, (b":evil", b"x"))),
        ("an answer's pseudo-header", |f| f.insert(0, (b":status", b"200"))),
        ("no :method", |f| {
            f.remove(0);
        }),
        ("no :path", |f| {
            f.remove(2);
        }),
        ("no :scheme", |f| {
            f.remove(1);
        }),
        ("an empty :path", |f| f[2].1 = b""),
        ("a space in :path", |f| f[2].1 = b"/mcp/crm HTTP/1.1"),
        ("CRLF in :path", |f| f[2].1 = b"/mcp/crm\r\nx: y"),
        ("a :path without a slash", |f| f[2].1 = b"mcp/crm"),
        ("space in :method", |f| f[0].1 = b"POST /x"),
        ("CONNECT", |f| f[0].1 = b"CONNECT"),
        (":authority is another's", |f| f[3].1 = b"evil.example"),
        ("user info in :authority", |f| f[3].1 = b"localhost@evil.example"),
        ("host differs from :authority", |f| f.push((b"host", b"evil.example"))),
        (":authority differs from host", |f| {
            f[3].1 = b"evil.example";
            f.push((b"host", b"localhost"));
        }),
        ("two hosts", |f| {
            f.push((b"host", b"localhost"));
            f.push((b"host", b"localhost"));
        }),
        ("no :authority, another's host", |f| {
            f.remove(3);
            f.push((b"host", b"evil.example"));
        }),
        ("a length too short", |f| f.push((b"content-length", b"5"))),
        ("a length too long", |f| f.push((b"content-length", b"5000"))),
        ("two lengths", |f| {
            f.push((b"content-length", b"5"));
            f.push((b"content-length", b"6"));
        }),
        ("no length", |f| f.push((b"content-length", b"x"))),
    ];
    for (name, edit) in edits {
        let mut all = HONEST.to_vec();
        edit(&mut all);
        let mut client = Client::to(&gate);
        client.send(HEADERS, END_HEADERS, 1, &fields(&all));
        client.send(DATA, END_STREAM, 1, body.as_bytes());
        assert_ne!(client.fate(), Some(OK), "{name}");
        assert_eq!(upstream.calls().len(), 0, "{name}");
    }
    // The control: without an edit it goes up.
    let mut client = Client::to(&gate);
    client.send(HEADERS, END_HEADERS, 1, &fields(&HONEST));
    client.send(DATA, END_STREAM, 1, body.as_bytes());
    assert_eq!(client.fate(), Some(OK));
    assert_eq!(upstream.calls().len(), 1);
}

#[test]
fn c06_trailers_and_late_frames_change_nothing() {
    let (upstream, gate) = gate();
    let body = call(1, "echo", "{}");
    let mut client = Client::to(&gate);
    client.send(HEADERS, END_HEADERS, 1, &fields(&HONEST));
    client.send(DATA, 0, 1, body.as_bytes());
    let trailers: &[(&[u8], &[u8])] = &[(b"host", b"evil.example"), (b"authorization", b"x")];
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields(trailers));
    assert_eq!(client.fate(), Some(OK));
    // A stream that is over, a stream of the server's, and stream 0.
    for stream in [1, 2, 0] {
        let mut client = Client::to(&gate);
        client.send(HEADERS, END_HEADERS | END_STREAM, 3, &fields(&HONEST));
        client.send(HEADERS, END_HEADERS, stream, &fields(&HONEST));
        client.send(DATA, END_STREAM, stream, body.as_bytes());
        // It may have been closed already, which is as good.
        let _ = client.0.shutdown(std::net::Shutdown::Write);
        while client.receive().is_some() {}
    }
    let seen = upstream.only_call();
    assert!(!seen.headers.contains_key("authorization"));
}

/// Bytes of memory that a process has.
pub(super) fn memory(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// More than this is not bounded any more: the gate itself takes some 40 MB unoptimised.
pub(super) const BOUND: u64 = 256 << 20;

#[test]
fn c07_floods_end_the_connection_and_nobody_elses() {
    let (upstream, gate) = gate();
    let body = call(1, "echo", "{}");
    type Flood = fn(&mut Client, u32) -> bool;
    let floods: &[(&str, bool, Flood)] = &[
        ("rapid reset", true, |client, round| {
            let stream = round * 2 + 1;
            client.send(HEADERS, END_HEADERS, stream, &fields(&HONEST))
                && client.send(RESET, 0, stream, &8u32.to_be_bytes())
        }),
        ("made you reset", true, |client, round| {
            let stream = round * 2 + 1;
            client.send(HEADERS, END_HEADERS, stream, &fields(&HONEST))
                && client.send(WINDOW, 0, stream, &0u32.to_be_bytes())
        }),
        ("made you reset by overflow", true, |client, round| {
            let stream = round * 2 + 1;
            client.send(HEADERS, END_HEADERS, stream, &fields(&HONEST))
                && client.send(WINDOW, 0, stream, &0x7fff_ffffu32.to_be_bytes())
        }),
        ("streams without end", false, |client, round| {
            client.send(HEADERS, END_HEADERS, round * 2 + 1, &fields(&HONEST))
        }),
        ("continuations", true, |client, round| {
            if round == 0 {
                return client.send(HEADERS, 0, 1, &fields(&HONEST));
            }
            client.send(CONTINUATION, 0, 1, &fields(&[(b"x", &[b'x'; 1000])]))
        }),
        ("empty continuations", true, |client, round| {
            if round == 0 {
                return client.send(HEADERS, 0, 1, &fields(&HONEST));
            }
            client.send(CONTINUATION, 0, 1, &[])
        }),
        ("settings", false, |client, _| client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("pings", false, |client, _| client.send(PING, 0, 0, &[0; 8])),
        ("empty data", false, |client, round| {
            if round == 0 {
                return client.send(HEADERS, END_HEADERS, 1, &fields(&HONEST));
            }
            client.send(DATA, 0, 1, &[])
        }),
        ("windows", false, |client, _| client.send(WINDOW, 0, 0, &1u32.to_be_bytes())),
        ("a head of 1 MB", true, |client, round| {
            let flags = if round == 70 { END_HEADERS } else { 0 };
            let kind = if round == 0 { HEADERS } else { CONTINUATION };
            client.send(kind, flags, 1, &fields(&[(b"x", &[b'x'; 15_000])]))
        }),
    ];
    for (name, ends, flood) in floods {
        let mut client = Client::to(&gate);
        client.0.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        // Who is not read any more has been stopped, too.
        let taken = (0..20_000).take_while(|round| flood(&mut client, *round)).count();
        if *ends {
            assert!(client.was_ended(), "{name}: {taken}");
        }
        assert_eq!(gate.post(&body).status, 200, "{name}");
        assert!(memory(&gate) < BOUND, "{name}: {}", memory(&gate));
    }
    assert_eq!(upstream.calls().len(), floods.len());
}

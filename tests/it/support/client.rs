//! A client that sends exactly the bytes it is given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Nothing in a test takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request message.
pub(crate) fn rpc(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// A `tools/call`, with its arguments as JSON text.
pub(crate) fn call(id: u64, tool: &str, arguments: &str) -> String {
    rpc(id, "tools/call", &format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#))
}

/// A POST as a client of MCP sends it; a header given here replaces the usual one.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!("POST {path} HTTP/1.1\r\n");
    let length = body.len().to_string();
    for (name, value) in [
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("content-length", &length),
    ] {
        if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// All headers, their names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The message, whether it came as JSON or as the last event of a stream.
    pub(crate) fn message(&self) -> Value {
        if self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let text = self.text();
            let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
            return serde_json::from_str(data).unwrap();
        }
        self.json()
    }

    /// The code of the refusal in it; panics where it is none.
    pub(crate) fn code(&self) -> String {
        let message = self.message();
        let error = &message["error"]["data"]["code"];
        let result = &message["result"]["_meta"]["io.countersign/refusal"]["code"];
        let code = error.as_str().or(result.as_str());
        code.unwrap_or_else(|| panic!("no refusal: {self:?} {}", self.text())).to_owned()
    }

    /// The code of the JSON-RPC error in it.
    pub(crate) fn rpc_code(&self) -> i64 {
        self.message()["error"]["code"].as_i64().unwrap_or_else(|| panic!("{}", self.text()))
    }
}

/// One connection, HTTP/1.1.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    chunked: bool,
    left: usize,
}

impl Connection {
    /// Opens one.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::try_to(address).unwrap()
    }

    /// Opens one, if anybody is there.
    pub(crate) fn try_to(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream: BufReader::new(stream), chunked: false, left: 0 })
    }

    /// Sends bytes. That the other side has closed is for the answer to tell.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Write);
    }

    /// Reads status and headers; the body stays to be read.
    pub(crate) fn head(&mut self) -> Response {
        self.try_head().expect("a response")
    }

    /// Reads status and headers; `None` if the connection was closed instead.
    pub(crate) fn try_head(&mut self) -> Option<Response> {
        let status = self.line()?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut response = Response { status, ..Response::default() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        self.chunked = response.header("transfer-encoding") == Some("chunked");
        let length = response.header("content-length").map(|length| length.parse().unwrap());
        self.left = length.unwrap_or(0);
        Some(response)
    }

    /// Reads a whole response.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("a response")
    }

    /// Reads a whole response; `None` if the connection was closed instead.
    pub(crate) fn try_response(&mut self) -> Option<Response> {
        let mut response = self.try_head()?;
        response.body = self.rest();
        Some(response)
    }

    /// Reads the body, after its head.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.byte()).collect()
    }

    /// Reads one event of a stream, without the blank line after it; `None` at its end.
    pub(crate) fn event(&mut self) -> Option<String> {
        let mut event = Vec::new();
        loop {
            match self.byte() {
                Some(byte) => event.push(byte),
                None => return None,
            }
            if event.ends_with(b"\n\n") {
                event.truncate(event.len() - 2);
                return Some(String::from_utf8(event).unwrap());
            }
        }
    }

    /// The data of the next event that has any, as JSON.
    pub(crate) fn message(&mut self) -> Option<Value> {
        loop {
            let event = self.event()?;
            let data: String =
                event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            if !data.trim().is_empty() {
                return Some(serde_json::from_str(&data).unwrap());
            }
        }
    }

    /// Whether the other side has closed the connection; waits for it or for more bytes.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.fill_buf().map_or(true, <[u8]>::is_empty)
    }

    fn byte(&mut self) -> Option<u8> {
        if self.left == 0 && self.chunked {
            let mut line = self.line()?;
            if line.is_empty() {
                line = self.line()?; // the end of the chunk before
            }
            self.left = usize::from_str_radix(&line, 16).ok()?;
            self.chunked = self.left > 0;
            if self.left == 0 {
                self.line()?;
            }
        }
        if self.left == 0 {
            return None;
        }
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        self.left -= 1;
        Some(byte[0])
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// GETs a path, if anybody is there.
pub(crate) fn try_fetch(address: SocketAddr, path: &str) -> Option<Response> {
    let mut connection = Connection::try_to(address)?;
    connection.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
    connection.try_response()
}

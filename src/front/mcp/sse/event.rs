//! What does this event say, and how is it said again with other data?

use bytes::{BufMut, Bytes, BytesMut};

/// One event, or a comment or a blank line that stands where one would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The exact bytes, with the blank line that ends them.
    pub raw: Bytes,
    /// Its data lines, joined by line feeds. `None` if there is none (a comment, a bare `retry`);
    /// empty for a priming event.
    pub data: Option<Bytes>,
    /// Its id, if it sets one; an empty id resets the client's.
    pub id: Option<Bytes>,
    /// Its type, if it names one.
    pub event: Option<Bytes>,
}

impl Event {
    /// What these bytes say, up to and with the blank line.
    pub(super) fn of(raw: Bytes) -> Self {
        let mut data: Option<Data> = None;
        let (mut id, mut event) = (None, None);
        for line in lines(&raw) {
            let (name, value) = field(line.content);
            match name {
                b"data" => {
                    data = Some(match data {
                        None => Data::One(raw.slice_ref(value)),
                        Some(before) => before.and(value),
                    });
                }
                // As the standard has it: an id with NUL is none.
                b"id" if !value.contains(&0) => id = Some(raw.slice_ref(value)),
                b"event" => event = Some(raw.slice_ref(value)),
                _ => {}
            }
        }
        Self { data: data.map(Data::joined), id, event, raw }
    }

    /// The same event with other data: its id, type, retry, comments and unknown fields stay as
    /// they are, in their places.
    pub fn with_data(&self, data: &[u8]) -> Self {
        let mut raw = BytesMut::with_capacity(self.raw.len() + data.len() + 8);
        let mut written = false;
        for line in lines(&self.raw) {
            let is_data = field(line.content).0 == b"data";
            if (is_data || line.content.is_empty()) && !written {
                put_data(&mut raw, data, line.ends_in_crlf);
                written = true;
            }
            if !is_data {
                raw.put_slice(line.content);
                // A bare carriage return could meet a line feed that did not follow it before.
                raw.put_slice(if line.ends_in_crlf { b"\r\n" } else { b"\n" });
            }
        }
        Self::of(raw.freeze())
    }
}

/// An event of the gate's own, of the type that MCP uses (`message`).
pub fn message(data: &[u8]) -> Bytes {
    let mut raw = BytesMut::with_capacity(data.len() + 24);
    raw.put_slice(b"event: message\n");
    put_data(&mut raw, data, false);
    raw.put_u8(b'\n');
    raw.freeze()
}

fn put_data(raw: &mut BytesMut, data: &[u8], crlf: bool) {
    // A text without a line end is one line here, as an empty one is.
    let with_end = [data, b"\n"];
    for line in lines(&with_end.concat()) {
        raw.put_slice(b"data: ");
        raw.put_slice(line.content);
        raw.put_slice(if crlf { b"\r\n" } else { b"\n" });
    }
}

/// The values of data lines so far; a single one is not copied.
enum Data {
    One(Bytes),
    Many(BytesMut),
}

impl Data {
    fn and(self, value: &[u8]) -> Self {
        let mut joined = match self {
            Self::One(first) => BytesMut::from(first.as_ref()),
            Self::Many(joined) => joined,
        };
        joined.put_u8(b'\n');
        joined.put_slice(value);
        Self::Many(joined)
    }

    fn joined(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

struct Line<'a> {
    content: &'a [u8],
    ends_in_crlf: bool,
}

/// The lines of a text, each of which ends in LF, CR or CRLF; what follows the last is left out.
fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let stop = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let (content, from) = rest.split_at(stop);
        let ends_in_crlf = from.starts_with(b"\r\n");
        rest = from.get(if ends_in_crlf { 2 } else { 1 }..)?;
        Some(Line { content, ends_in_crlf })
    })
}

/// A line's name and value; a comment's name is empty.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, rest) = line.split_at(colon);
    let value = rest.strip_prefix(b":").unwrap_or(rest);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

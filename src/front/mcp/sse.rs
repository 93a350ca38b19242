//! Where does one server-sent event end and the next begin?
//!
//! As WHATWG says it, and without touching a byte: what nobody changed goes on as it came.

mod event;

use bytes::{Bytes, BytesMut};

pub use event::{Event, message};

/// An event grew past the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event of more than {0} bytes")]
pub struct TooLong(pub usize);

/// Cuts a byte stream into events, however its chunks fall.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Where in `buffer` the line begins that is being read.
    line: usize,
    /// Up to where that line is known to hold no line end.
    scanned: usize,
    /// The line before it, in the same event, ended in a bare carriage return.
    after_cr: bool,
    /// Past the place where a byte-order mark may stand.
    begun: bool,
    max_event_bytes: usize,
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Framer {
    /// For one stream, refusing events of more than `max_event_bytes`.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            line: 0,
            scanned: 0,
            after_cr: false,
            begun: false,
            max_event_bytes,
        }
    }

    /// Takes the next chunk. Then ask [`next`](Self::next) until it has no more.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole event, or `None` until more bytes come. Concatenated, the events' `raw`
    /// are the stream.
    ///
    /// # Errors
    /// If the event is over the bound; and then each time, since where the next one begins is
    /// not known.
    #[allow(clippy::should_implement_trait, reason = "`None` is not the end, and it can fail")]
    pub fn next(&mut self) -> Result<Option<Event>, TooLong> {
        self.take(false)
    }

    /// When the stream has ended: an event that only waited for the other half of its CRLF, and
    /// what is left of one that never ended, which clients discard.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn finish(mut self) -> Result<(Option<Event>, Bytes), TooLong> {
        let event = self.take(true)?;
        Ok((event, self.buffer.freeze()))
    }

    fn take(&mut self, ended: bool) -> Result<Option<Event>, TooLong> {
        let end = if self.at_mark() { Some(MARK.len()) } else { self.event_end(ended) };
        if end.unwrap_or(self.buffer.len()) > self.max_event_bytes {
            return Err(TooLong(self.max_event_bytes));
        }
        Ok(end.map(|end| {
            self.begun = true;
            self.line = 0;
            self.scanned = 0;
            self.after_cr = false;
            Event::of(self.buffer.split_to(end).freeze())
        }))
    }

    /// A byte-order mark at the very start belongs to no event: it goes on by itself.
    fn at_mark(&self) -> bool {
        !self.begun && self.buffer.starts_with(MARK)
    }

    /// Reads lines until a blank one, and says where that ends.
    fn event_end(&mut self, ended: bool) -> Option<usize> {
        while let Some((stop, end)) = self.line_end(ended) {
            let blank = stop == self.line;
            self.after_cr = end == stop + 1 && self.buffer.get(stop) == Some(&b'\r');
            self.line = end;
            self.scanned = end;
            if blank {
                return Some(end);
            }
        }
        None
    }

    /// Where the line stops, and where its line end ends; `None` if that needs more bytes.
    fn line_end(&mut self, ended: bool) -> Option<(usize, usize)> {
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let stop = self.scanned + found;
        if rest.get(found) == Some(&b'\n') {
            return Some((stop, stop + 1));
        }
        // Who ends lines in bare carriage returns ends the event so too: waiting for a line feed
        // would hold it back until the next one. Should one come, it is a blank line by itself.
        if self.after_cr && stop == self.line {
            return Some((stop, stop + 1));
        }
        match rest.get(found + 1) {
            Some(b'\n') => Some((stop, stop + 2)),
            Some(_) => Some((stop, stop + 1)),
            None if ended => Some((stop, stop + 1)),
            None => {
                self.scanned = stop;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;

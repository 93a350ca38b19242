//! Is one event one line?
//!
//! JSON escapes for itself. A text line may carry what a peer sent, and a line end in it would let
//! that peer write lines of its own; a terminal would obey its control characters.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Writes each event as one line without control characters.
pub(super) struct OneLine<W>(pub(super) W);

/// Where one event goes.
pub(super) struct Line<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.make_writer())
    }
}

impl<W: Write> Write for Line<W> {
    // The formatter hands over each event whole, with its line end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (text, end) = event.strip_suffix(b"\n").map_or((event, ""), |text| (text, "\n"));
        let mut line = String::with_capacity(event.len());
        for c in String::from_utf8_lossy(text).chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        line.push_str(end);
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sent_cannot_end_the_line_or_steer_a_terminal() {
        for (event, written) in [
            ("plain\n", "plain\n"),
            ("a\nINFO forged\n", "a\\nINFO forged\n"),
            ("a\r\nb\n", "a\\r\\nb\n"),
            ("a\u{1b}[2Jb\n", "a\\u{1b}[2Jb\n"),
            ("caf\u{e9} \u{1f600}\n", "caf\u{e9} \u{1f600}\n"),
            ("a\u{9b}1mb\n", "a\\u{9b}1mb\n"),
            ("no end", "no end"),
        ] {
            let mut line = Line(Vec::new());
            line.write_all(event.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(line.0).unwrap(), written);
        }
    }
}

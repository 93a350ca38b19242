//! What do the bytes of a trail mean?
//!
//! A trail is a directory of segments, `000001.trail`, `000002.trail`, …; all numbers are little
//! endian. A segment is one header, then entries back to back, then zeroes to its end.
//!
//! | header, 104 bytes | |
//! |---|---|
//! | 8 | magic, `csgn-tr\n` |
//! | 4 | version, 1 |
//! | 4 | number of this segment, from 1 |
//! | 16 | id of the log, random, the same in each of its segments |
//! | 8 | index of the first entry in this segment, from 0 |
//! | 32 | chain at the end of the segment before; zeroes in the first one |
//! | 32 | SHA-256 of the 72 bytes before: the chain that the first entry goes on from |
//!
//! | entry, 44 bytes and its body | |
//! |---|---|
//! | 4 | length of the body, 1 to 65,536; 0 is the end |
//! | 8 | how many entries were known to be on disk when this one was written |
//! | 32 | chain: SHA-256(chain before ‖ length ‖ known on disk ‖ body) |
//! | … | body, one JSON object |
//!
//! The second field is what tells a torn tail from damage. A power cut may lose any page that was
//! not yet synced, in any order, so a broken entry alone proves nothing; but an intact later entry
//! that counts the broken one among those on disk proves that it was whole once.

use sha2::{Digest as _, Sha256};

use crate::json::Digest;

/// Bytes of a segment's header.
pub(super) const HEADER: usize = 104;
/// Bytes of an entry before its body.
pub(super) const FRAME: usize = 44;
/// The longest body of an entry, in bytes.
pub const ENTRY_LIMIT: usize = 64 * 1024;

const MAGIC: &[u8; 8] = b"csgn-tr\n";
const VERSION: u32 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Which one it is, from 1.
    pub(super) segment: u32,
    /// Which log it belongs to.
    pub(super) log: [u8; 16],
    /// Index of its first entry.
    pub(super) first: u64,
    /// Where the segment before ended.
    pub(super) previous: Digest,
}

impl Header {
    /// Its bytes, and the chain that its first entry goes on from.
    pub(super) fn encode(&self) -> (Vec<u8>, Digest) {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.log);
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.previous.0);
        let chain = Digest(Sha256::digest(&bytes).into());
        bytes.extend_from_slice(&chain.0);
        (bytes, chain)
    }

    /// Reads it, and the chain that its first entry goes on from; `None` if it is not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, Digest)> {
        let mut rest = bytes;
        let magic: [u8; 8] = take(&mut rest)?;
        let version = u32::from_le_bytes(take(&mut rest)?);
        let header = Self {
            segment: u32::from_le_bytes(take(&mut rest)?),
            log: take(&mut rest)?,
            first: u64::from_le_bytes(take(&mut rest)?),
            previous: Digest(take(&mut rest)?),
        };
        let chain = Digest(take(&mut rest)?);
        let whole = &magic == MAGIC && version == VERSION && header.encode().1 == chain;
        whole.then_some((header, chain))
    }
}

/// What stands before an entry's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the body; 0 is the end.
    pub(super) length: u32,
    /// How many entries were known to be on disk when it was written.
    pub(super) durable: u64,
    /// The chain up to and with this entry.
    pub(super) chain: Digest,
}

impl Frame {
    /// Reads it; `None` if there are too few bytes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        Some(Self {
            length: u32::from_le_bytes(take(&mut rest)?),
            durable: u64::from_le_bytes(take(&mut rest)?),
            chain: Digest(take(&mut rest)?),
        })
    }

    /// Bytes of the body, if they can be such.
    pub(super) fn body_bytes(&self) -> Option<usize> {
        let length = usize::try_from(self.length).ok()?;
        (1..=ENTRY_LIMIT).contains(&length).then_some(length)
    }

    /// Whether this frame, before `body` and after `previous`, is intact.
    pub(super) fn holds(&self, previous: &Digest, body: &[u8]) -> bool {
        self.link(previous, body) == self.chain
    }

    /// The chain that this frame should carry before `body` and after `previous`.
    pub(super) fn link(&self, previous: &Digest, body: &[u8]) -> Digest {
        let mut hash = Sha256::new();
        hash.update(previous.0);
        hash.update(self.length.to_le_bytes());
        hash.update(self.durable.to_le_bytes());
        hash.update(body);
        Digest(hash.finalize().into())
    }
}

/// Puts one entry into `buffer` and returns its chain. The body is at most [`ENTRY_LIMIT`].
pub(super) fn encode(buffer: &mut Vec<u8>, previous: &Digest, durable: u64, body: &[u8]) -> Digest {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let chain = Frame { length, durable, chain: *previous }.link(previous, body);
    buffer.clear();
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&durable.to_le_bytes());
    buffer.extend_from_slice(&chain.0);
    buffer.extend_from_slice(body);
    chain
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_byte_of_it_can_change() {
        let header = Header { segment: 7, log: [3; 16], first: 99, previous: Digest([8; 32]) };
        let (bytes, chain) = header.encode();
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(Header::decode(&bytes), Some((header, chain)));
        for at in 0..HEADER {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Header::decode(&bad), None, "byte {at}");
            assert_eq!(Header::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn an_entry_is_bound_to_all_before_it() {
        let previous = Digest([1; 32]);
        let mut buffer = Vec::new();
        let chain = encode(&mut buffer, &previous, 4, b"{}");
        let frame = Frame::decode(&buffer).unwrap();
        assert_eq!((frame.length, frame.durable, frame.chain), (2, 4, chain));
        assert!(frame.holds(&previous, b"{}"));
        assert!(!frame.holds(&Digest([2; 32]), b"{}"));
        assert!(!frame.holds(&previous, b"[]"));
        assert!(!Frame { durable: 5, ..frame }.holds(&previous, b"{}"));
    }
}

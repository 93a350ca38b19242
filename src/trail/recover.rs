//! Where do we go on?
//!
//! Finds the end of the last segment. A torn tail is cut off and said; a trail that was damaged is
//! left alone and refused. What nobody had confirmed as synced is written again, because after a
//! failed sync the page cache may show bytes that the disk never got.

use std::path::Path;

use super::format::{FRAME, HEADER, Header};
use super::read::{Step, Walk};
use super::segment::{self, Segment};
use super::{DamageKind, Tip, TrailFault};
use crate::json::Digest;

/// What was cut off when a trail was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Index of the first entry that was cut off, which is the index of the next one written.
    pub index: u64,
    /// The segment.
    pub segment: u32,
    /// Where it now ends, in bytes.
    pub offset: u64,
}

/// Opens the last segment in `dir`, or the first one of a new trail.
pub(super) fn recover(dir: &Path) -> Result<(Tip, Option<Cut>), TrailFault> {
    let numbers = segment::list(dir).map_err(|error| TrailFault::io("list", dir, &error))?;
    let Some(&last) = numbers.last() else { return Ok((begin(dir)?, None)) };
    let path = segment::path(dir, last);
    let io = |error| TrailFault::io("open", &path, &error);
    let mut walk = Walk::open(&path, 0)?;
    // All before a segment is on disk before the segment is begun.
    let mut durable = walk.header.first;
    let mut unsure: std::collections::VecDeque<(u64, Vec<u8>)> = std::collections::VecDeque::new();
    let mut unsure_from = walk.index;
    let torn = loop {
        let previous = walk.chain;
        match walk.step()? {
            Step::Entry(entry) => {
                durable = durable.max(entry.durable);
                let mut bytes = Vec::with_capacity(FRAME + entry.body.len());
                super::format::encode(&mut bytes, &previous, entry.durable, &entry.body);
                unsure.push_back((entry.offset, bytes));
                while unsure_from < durable && unsure.pop_front().is_some() {
                    unsure_from += 1;
                }
            }
            Step::End => break false,
            Step::Bad if walk.was_durable()? => {
                return Err(TrailFault::Damaged(walk.damage(DamageKind::Changed)));
            }
            Step::Bad => break true,
        }
    };
    let segment = Segment::open(&path, walk.header, walk.offset).map_err(io)?;
    for (offset, bytes) in &unsure {
        segment.write(bytes, *offset).map_err(io)?;
    }
    segment.sync().map_err(io)?;
    let cut = torn.then_some(Cut { index: walk.index, segment: last, offset: walk.offset });
    Ok((Tip::new(segment, walk.offset, walk.index, walk.chain), cut))
}

fn begin(dir: &Path) -> Result<Tip, TrailFault> {
    let header = Header {
        segment: 1,
        log: uuid::Uuid::now_v7().into_bytes(),
        first: 0,
        previous: Digest([0; 32]),
    };
    let (segment, chain) = Segment::create(dir, header)?;
    Ok(Tip::new(segment, HEADER as u64, 0, chain))
}

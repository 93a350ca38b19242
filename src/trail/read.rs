//! What does the trail say, and is all of it true?
//!
//! Reads entries in order and holds each to its chain; also while a gate writes to the same trail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::{FRAME, Frame, HEADER, Header};
use super::segment;
use crate::json::Digest;

const WINDOW: usize = 256 * 1024;
/// How often an entry that looks broken is read again before it counts as such: a gate may be
/// writing it right now.
const LOOKS: u32 = 5;

/// One entry, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the whole trail, from 0.
    pub index: u64,
    /// The segment it is in.
    pub segment: u32,
    /// Where it begins in that segment, in bytes.
    pub offset: u64,
    /// How many entries were known to be on disk when it was written.
    pub durable: u64,
    /// The chain up to and with it.
    pub chain: Digest,
    /// What was appended.
    pub body: Vec<u8>,
}

/// The first place where a trail is not what it was, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} of the trail, in `{}` at byte {offset}, {kind}", path.display())]
pub struct Damage {
    /// The first entry that is bad; all before it are intact.
    pub index: u64,
    /// The segment it is in.
    pub path: PathBuf,
    /// Where it begins in that segment, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What can be wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The entry is not whole, and nothing after it shows that it ever was: a write was cut short.
    /// Opening the trail for writing cuts it off.
    #[error("was never written to its end")]
    Torn,
    /// The entry does not match its chain, its length cannot be, or there are bytes after the end.
    #[error("does not match its chain")]
    Changed,
    /// The header of its segment is not whole.
    #[error("follows a segment header that is not intact")]
    Header,
    /// Its segment does not go on where the one before ended.
    #[error("does not go on from the segment before")]
    Break,
    /// A segment is not there.
    #[error("is in a segment that is missing")]
    Missing,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// Reads the whole trail in `dir` from its first segment, verifying each entry.
///
/// After `None` it can be asked again: it goes on where a live trail has grown. After an error it
/// says no more.
pub fn read(dir: &Path) -> Entries {
    Entries { dir: dir.into(), first: None, walk: None, over: false }
}

/// As [`read`], from the beginning of one segment.
pub fn read_from(dir: &Path, segment: u32) -> Entries {
    Entries { dir: dir.into(), first: Some(segment), walk: None, over: false }
}

/// The numbers of the segments in `dir`, in order.
///
/// # Errors
/// If the directory cannot be listed.
pub fn segments(dir: &Path) -> io::Result<Vec<u32>> {
    segment::list(dir)
}

/// The entries of a trail, one after the other.
#[derive(Debug)]
pub struct Entries {
    dir: PathBuf,
    first: Option<u32>,
    walk: Option<Walk>,
    over: bool,
}

impl Iterator for Entries {
    type Item = Result<Entry, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.advance().transpose();
        self.over = matches!(item, Some(Err(_)));
        item
    }
}

impl Entries {
    fn advance(&mut self) -> Result<Option<Entry>, Damage> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => match self.begin()? {
                Some(walk) => walk,
                None => return Ok(None),
            },
        };
        loop {
            if let Some(entry) = self.patient_step(&mut walk)? {
                self.walk = Some(walk);
                return Ok(Some(entry));
            }
            let next = walk.header.segment.saturating_add(1);
            if !segment::path(&self.dir, next).exists() {
                let gap = segment::list(&self.dir)
                    .ok()
                    .and_then(|all| all.last().copied())
                    .is_some_and(|last| last > next);
                if gap {
                    return Err(walk.damage(DamageKind::Missing));
                }
                self.walk = Some(walk);
                return Ok(None);
            }
            // It may have grown between the look at its end and the birth of the next one.
            if let Some(entry) = self.patient_step(&mut walk)? {
                self.walk = Some(walk);
                return Ok(Some(entry));
            }
            walk = walk.into_next(&segment::path(&self.dir, next))?;
        }
    }

    fn begin(&self) -> Result<Option<Walk>, Damage> {
        let numbers = segment::list(&self.dir).map_err(|error| Damage {
            index: 0,
            path: self.dir.clone(),
            offset: 0,
            kind: DamageKind::Unreadable(error.to_string()),
        })?;
        let Some(first) = self.first.or(numbers.first().copied()) else { return Ok(None) };
        Walk::open(&segment::path(&self.dir, first), 0).map(Some)
    }

    fn patient_step(&self, walk: &mut Walk) -> Result<Option<Entry>, Damage> {
        for look in 1.. {
            match walk.step()? {
                Step::Entry(entry) => return Ok(Some(entry)),
                Step::End => return Ok(None),
                Step::Bad if look < LOOKS => std::thread::sleep(Duration::from_millis(1)),
                Step::Bad => break,
            }
        }
        let next = segment::path(&self.dir, walk.header.segment.saturating_add(1));
        let torn = !next.exists() && !walk.was_durable()?;
        Err(walk.damage(if torn { DamageKind::Torn } else { DamageKind::Changed }))
    }
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Step {
    Entry(Entry),
    End,
    Bad,
}

/// A reader's place in one segment.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) header: Header,
    /// Where the next entry begins.
    pub(super) offset: u64,
    /// The next entry's index.
    pub(super) index: u64,
    /// The chain that the next entry goes on from.
    pub(super) chain: Digest,
    path: PathBuf,
    window: Window,
}

impl Walk {
    /// Opens a segment; `index` is what to blame if its header does not tell.
    pub(super) fn open(path: &Path, index: u64) -> Result<Self, Damage> {
        let damage = |kind| Damage { index, path: path.into(), offset: 0, kind };
        let unreadable = |error: io::Error| damage(DamageKind::Unreadable(error.to_string()));
        let file = File::open(path).map_err(unreadable)?;
        let mut window = Window { file, start: 0, bytes: Vec::new() };
        let (header, chain) = Header::decode(window.at(0, HEADER).map_err(unreadable)?)
            .ok_or_else(|| damage(DamageKind::Header))?;
        if segment::path(Path::new(""), header.segment).as_os_str()
            != path.file_name().unwrap_or_default()
        {
            return Err(damage(DamageKind::Header));
        }
        let (offset, index) = (HEADER as u64, header.first);
        Ok(Self { header, offset, index, chain, path: path.into(), window })
    }

    fn into_next(self, path: &Path) -> Result<Self, Damage> {
        let next = Self::open(path, self.index)?;
        let joins = next.header.previous == self.chain
            && next.header.first == self.index
            && next.header.log == self.header.log;
        if joins {
            Ok(next)
        } else {
            Err(Damage { index: self.index, ..next.damage(DamageKind::Break) })
        }
    }

    pub(super) fn damage(&self, kind: DamageKind) -> Damage {
        Damage { index: self.index, path: self.path.clone(), offset: self.offset, kind }
    }

    /// Reads what is here, and goes past it if it is an entry.
    pub(super) fn step(&mut self) -> Result<Step, Damage> {
        let mut step = self.look();
        if !matches!(step, Ok(Step::Entry(_))) {
            // What was read ahead may be older than what is there now.
            self.window.bytes.clear();
            step = self.look();
        }
        let step = step.map_err(|error| self.damage(DamageKind::Unreadable(error.to_string())))?;
        if let Step::Entry(entry) = &step {
            self.offset += (FRAME + entry.body.len()) as u64;
            self.index += 1;
            self.chain = entry.chain;
        }
        Ok(step)
    }

    fn look(&mut self) -> io::Result<Step> {
        let Some(frame) = Frame::decode(self.window.at(self.offset, FRAME)?) else {
            return self.end_or_bad();
        };
        if frame.length == 0 {
            return self.end_or_bad();
        }
        let Some(length) = frame.body_bytes() else { return Ok(Step::Bad) };
        let body = self.window.at(self.offset + FRAME as u64, length)?;
        if body.len() < length || !frame.holds(&self.chain, body) {
            return Ok(Step::Bad);
        }
        Ok(Step::Entry(Entry {
            index: self.index,
            segment: self.header.segment,
            offset: self.offset,
            durable: frame.durable,
            chain: frame.chain,
            body: body.to_vec(),
        }))
    }

    // An end has nothing but zeroes after it: else a wiped length would hide what follows.
    fn end_or_bad(&mut self) -> io::Result<Step> {
        let mut at = self.offset;
        loop {
            let bytes = self.window.at(at, WINDOW)?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(Step::Bad);
            }
            if bytes.len() < WINDOW {
                return Ok(Step::End);
            }
            at += WINDOW as u64;
        }
    }

    /// Whether the broken entry here was on disk once: a later entry, intact, says so.
    pub(super) fn was_durable(&mut self) -> Result<bool, Damage> {
        self.proof().map_err(|error| self.damage(DamageKind::Unreadable(error.to_string())))
    }

    // Lengths may be what is broken, so each later byte may begin an entry. It does if it goes on
    // from the chain that stands here, from the one that should stand here, or if the entry after
    // it goes on from its own.
    fn proof(&mut self) -> io::Result<bool> {
        let mut before = Vec::new();
        if let Some((frame, body)) = self.window.entry(self.offset)? {
            before.push(frame.link(&self.chain, &body));
        }
        if let Some(frame) = Frame::decode(self.window.at(self.offset, FRAME)?) {
            before.push(frame.chain);
        }
        let mut at = self.offset + 1;
        loop {
            let Some(frame) = Frame::decode(self.window.at(at, FRAME)?) else { return Ok(false) };
            if frame.body_bytes().is_some()
                && let Some((frame, body)) = self.window.entry(at)?
            {
                let counts = frame.durable > self.index;
                if counts && before.iter().any(|chain| frame.holds(chain, &body)) {
                    return Ok(true);
                }
                let after = at + (FRAME + body.len()) as u64;
                if let Some((next, body)) = self.window.entry(after)?
                    && next.durable > self.index
                    && next.holds(&frame.chain, &body)
                {
                    return Ok(true);
                }
            }
            at += 1;
        }
    }
}

/// A part of a file, read ahead.
#[derive(Debug)]
struct Window {
    file: File,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes there; fewer than asked for only if the file ends.
    fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length as u64 > end {
            self.fill(offset, length.max(WINDOW))?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let until = from.saturating_add(length).min(self.bytes.len());
        Ok(self.bytes.get(from..until).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.start = offset;
        self.bytes.resize(length, 0);
        let mut have = 0;
        while let Some(rest) = self.bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(have);
        Ok(())
    }

    /// What would be an entry there, if lengths are to be believed.
    fn entry(&mut self, offset: u64) -> io::Result<Option<(Frame, Vec<u8>)>> {
        let frame = Frame::decode(self.at(offset, FRAME)?);
        let Some((frame, length)) = frame.and_then(|f| Some((f, f.body_bytes()?))) else {
            return Ok(None);
        };
        let body = self.at(offset + FRAME as u64, length)?;
        Ok((body.len() == length).then(|| (frame, body.to_vec())))
    }
}

//! Where do the bytes go?
//!
//! One file, written with zeroes ahead of its entries: an entry then only overwrites blocks that
//! exist, so that a sync has no metadata to write, and a full disk shows before an entry is begun.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::Header;
use super::{TrailFault, lock};
use crate::json::Digest;

const ZEROES: &[u8; 64 * 1024] = &[0; 64 * 1024];

/// One file of the trail, open for writing.
#[derive(Debug)]
pub(super) struct Segment {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it says of itself.
    pub(super) header: Header,
    file: File,
    /// Up to here the file is written, with entries or with zeroes.
    allocated: AtomicU64,
    /// Who writes zeroes ahead. Its holder never waits for the tip.
    growing: Mutex<()>,
}

impl Segment {
    /// Makes a new one. It gets its name only once its header is on disk.
    pub(super) fn create(dir: &Path, header: Header) -> Result<(Self, Digest), TrailFault> {
        let path = path(dir, header.segment);
        let unnamed = dir.join("next");
        let (bytes, chain) = header.encode();
        let make = || {
            let file = options().create(true).truncate(true).open(&unnamed)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            std::fs::rename(&unnamed, &path)?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|error| TrailFault::io("create", &path, &error))?;
        let allocated = AtomicU64::new(bytes.len() as u64);
        Ok((Self { path, header, file, allocated, growing: Mutex::new(()) }, chain))
    }

    /// Opens an existing one and cuts it after `end`.
    pub(super) fn open(path: &Path, header: Header, end: u64) -> io::Result<Self> {
        let file = options().open(path)?;
        let allocated = AtomicU64::new(file.metadata()?.len());
        let segment = Self { path: path.into(), header, file, allocated, growing: Mutex::new(()) };
        segment.cut(end)?;
        Ok(segment)
    }

    fn cut(&self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.file.sync_all()?;
        self.allocated.store(end, Ordering::Release);
        Ok(())
    }

    /// Bytes up to which entries may be written.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    /// Writes zeroes up to `until` at least, and to `wanted` if the disk has room for it.
    pub(super) fn make_room(&self, until: u64, wanted: u64) -> io::Result<()> {
        if self.allocated() >= until {
            return Ok(());
        }
        let _growing = lock(&self.growing);
        let wanted = wanted.max(until);
        while self.allocated() < wanted {
            let at = self.allocated();
            let piece = usize::try_from(wanted - at).unwrap_or(usize::MAX).min(ZEROES.len());
            match self.file.write_at(ZEROES.get(..piece).unwrap_or_default(), at) {
                Ok(0) => return Err(io::ErrorKind::StorageFull.into()),
                Ok(written) => self.allocated.store(at + written as u64, Ordering::Release),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What there is suffices for the entry at hand.
                Err(_) if self.allocated() >= until => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes one entry into room that was made for it.
    pub(super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Takes back an entry that could not be written whole.
    pub(super) fn erase(&self, length: usize, at: u64) -> io::Result<()> {
        self.file.write_all_at(&vec![0; length], at)
    }

    /// Waits until all that was written is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// The name of a segment.
pub(super) fn path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:06}.trail"))
}

/// The segments of a directory by number.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".trail"));
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

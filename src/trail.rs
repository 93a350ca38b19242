//! What happened, provably?
//!
//! An append-only log: each entry carries a hash over itself and all before it. [`Trail::append`]
//! puts an entry into the page cache, where it survives this process; [`Trail::durable`] waits
//! until it survives a power cut. The bytes are described in `trail/format.rs`.
//!
//! What can go wrong, and what follows:
//!
//! | | |
//! |---|---|
//! | no space, or no quota | the entry is refused as [`TrailFault::Full`] and leaves no trace; each later append tries anew, so that space is all it takes |
//! | a sync fails | the kernel may have dropped the very pages, and a second sync would succeed without them: nobody is told "durable", and the trail takes nothing until a restart reads back what the disk has |
//! | a write fails otherwise | the entry is erased; if that fails too, the same as a failed sync |
//! | the process dies | all appended entries are there; one half written is cut off at the next opening |
//! | power fails | all durable entries are there; what else is torn is cut off at the next opening |
//! | the file was changed | opening it for writing is refused, and reading names the first bad entry |
//! | its end was cut off, or entries that no later entry counts as durable were changed | not provable from the trail alone: keep a copy of [`Trail::head`] elsewhere |

mod commit;
mod entry;
mod format;
mod read;
mod recover;
mod segment;
mod shape;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use self::commit::Queue;
pub use self::entry::*;
pub use self::format::ENTRY_LIMIT;
use self::format::{FRAME, HEADER, Header};
pub use self::read::{Damage, DamageKind, Entries, Entry, read, read_from, segments};
pub use self::recover::Cut;
use self::segment::Segment;
use crate::json::Digest;
use crate::private;

/// How a trail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A segment grows to this many bytes; the next entry begins another one.
    pub segment_bytes: u64,
    /// Zeroes written ahead of the entries at a time, in bytes.
    pub ahead_bytes: u64,
    /// How long an entry that nobody waits for may be in the page cache only.
    pub sync_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 256 * 1024 * 1024,
            ahead_bytes: 1024 * 1024,
            sync_every: Duration::from_secs(1),
        }
    }
}

/// The place of an entry in the whole trail, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// As a number.
    pub const fn index(self) -> u64 {
        self.0
    }
}

/// Why the trail does not take, or keep, an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrailFault {
    /// Another process writes to it.
    #[error(
        "the trail in `{}` is in use by another process; give each gate a `state` of its own",
        .0.display()
    )]
    Locked(PathBuf),
    /// The file is not what was written.
    #[error(
        "{0}; the entries before it are intact; keep a copy of the directory, then restore it \
         from a backup, or move it away to begin a new trail"
    )]
    Damaged(#[from] Damage),
    /// Nothing more fits on the disk.
    #[error("no space left for the trail in `{}`; nothing is recorded until there is", .0.display())]
    Full(PathBuf),
    /// The entry is empty, or longer than [`ENTRY_LIMIT`].
    #[error("an entry of the trail has 1 to {ENTRY_LIMIT} bytes; this one has {0}")]
    Length(usize),
    /// The operating system refused.
    #[error("cannot {doing} `{}`: {cause}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        cause: String,
    },
    /// A sync or a write failed before; nothing is taken until a restart.
    #[error("the trail has failed and takes nothing until a restart: {0}")]
    Failed(String),
}

impl TrailFault {
    fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.into()),
            _ => Self::Io { doing, path: path.into(), cause: error.to_string() },
        }
    }

    /// Whether it may pass by itself, so that a later append is worth a try.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Length(_))
    }
}

/// The trail, open for writing. Clones share it; the last one dropped syncs and closes it.
#[derive(Debug, Clone)]
pub struct Trail {
    shared: Arc<Shared>,
    cut: Option<Cut>,
    _committer: Arc<Committer>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    settings: Settings,
    tip: Mutex<Tip>,
    /// Held for each sync until its result is out. The kernel reports a lost write to one sync
    /// only, so no other may say "durable" in between. Taken after `tip`, never before.
    syncing: Mutex<()>,
    /// How many entries are known to be on disk.
    synced: AtomicU64,
    fault: OnceLock<TrailFault>,
    queue: Mutex<Queue>,
    wake: Condvar,
    _lock: File,
}

/// Where the next entry goes.
#[derive(Debug)]
struct Tip {
    segment: Arc<Segment>,
    end: u64,
    entries: u64,
    chain: Digest,
    buffer: Vec<u8>,
}

impl Tip {
    fn new(segment: Segment, end: u64, entries: u64, chain: Digest) -> Self {
        Self { segment: Arc::new(segment), end, entries, chain, buffer: Vec::new() }
    }
}

impl Trail {
    /// Opens the trail in `dir`, or begins one, and locks it.
    ///
    /// The whole last segment is verified; [`read()`] verifies the others.
    ///
    /// # Errors
    /// If another process has it, if it was damaged, or if the operating system refuses.
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, TrailFault> {
        private::directory(dir).map_err(|error| TrailFault::io("make", dir, &error))?;
        let lock = exclusive(dir)?;
        let (tip, cut) = recover::recover(dir)?;
        let shared = Arc::new(Shared {
            dir: dir.into(),
            settings,
            synced: AtomicU64::new(tip.entries),
            tip: Mutex::new(tip),
            syncing: Mutex::new(()),
            fault: OnceLock::new(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            _lock: lock,
        });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("trail".into())
            .spawn(move || commit::run(&ours))
            .map_err(|error| TrailFault::io("start the thread of", dir, &error))?;
        let committer = Committer { shared: Arc::clone(&shared), thread: Some(thread) };
        Ok(Self { shared, cut, _committer: Arc::new(committer) })
    }

    /// What was cut off at opening, if the tail was torn.
    pub const fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Appends one JSON object. When this returns it survives the process, not yet a power cut.
    ///
    /// # Errors
    /// If the entry is too long, the disk is full, or the trail has failed.
    pub fn append(&self, body: &[u8]) -> Result<Position, TrailFault> {
        self.shared.append(body)
    }

    /// Waits until the entry, and all before it, is on disk.
    ///
    /// # Errors
    /// If the sync fails, now or at any time since opening: then it may not be there.
    pub async fn durable(&self, at: Position) -> Result<(), TrailFault> {
        if let Some(receive) = self.shared.enlist(at)? {
            return receive.await.unwrap_or_else(|_| Err(self.shared.closed()));
        }
        Ok(())
    }

    /// How many entries there are, and the chain over all of them.
    pub fn head(&self) -> (u64, Digest) {
        let tip = lock(&self.shared.tip);
        (tip.entries, tip.chain)
    }

    /// Why it takes nothing more until a restart, if so.
    pub fn fault(&self) -> Option<&TrailFault> {
        self.shared.fault.get()
    }
}

impl Shared {
    fn append(&self, body: &[u8]) -> Result<Position, TrailFault> {
        if !(1..=ENTRY_LIMIT).contains(&body.len()) {
            return Err(TrailFault::Length(body.len()));
        }
        let mut tip = lock(&self.tip);
        self.sound()?;
        let need = (FRAME + body.len()) as u64;
        if tip.end + need > self.settings.segment_bytes && tip.end > HEADER as u64 {
            self.rotate(&mut tip)?;
        }
        let Tip { segment, end, entries, chain, buffer } = &mut *tip;
        let until = *end + need;
        let wanted = (*end + self.settings.ahead_bytes).min(self.settings.segment_bytes);
        segment
            .make_room(until, wanted)
            .map_err(|error| TrailFault::io("write to", &segment.path, &error))?;
        let link = format::encode(buffer, chain, self.synced.load(Ordering::Acquire), body);
        if let Err(error) = segment.write(buffer, *end) {
            let fault = TrailFault::io("write to", &segment.path, &error);
            return Err(match segment.erase(buffer.len(), *end) {
                Ok(()) => fault,
                Err(_) => self.fail(&fault),
            });
        }
        let position = Position(*entries);
        (*end, *entries, *chain) = (until, *entries + 1, link);
        Ok(position)
    }

    // All of the old segment is on disk before the new one is born.
    fn rotate(&self, tip: &mut Tip) -> Result<(), TrailFault> {
        self.sync(&tip.segment, tip.entries)?;
        let old = &tip.segment.header;
        let segment = old.segment.saturating_add(1);
        let header = Header { segment, first: tip.entries, previous: tip.chain, ..*old };
        let (segment, chain) = Segment::create(&self.dir, header)
            .map_err(|fault| if fault.is_passing() { fault } else { self.fail(&fault) })?;
        (tip.segment, tip.end, tip.chain) = (Arc::new(segment), HEADER as u64, chain);
        Ok(())
    }

    fn sync(&self, segment: &Segment, entries: u64) -> Result<(), TrailFault> {
        let _syncing = lock(&self.syncing);
        self.sound()?;
        if self.synced.load(Ordering::Acquire) >= entries {
            return Ok(());
        }
        match segment.sync() {
            Ok(()) => {
                self.synced.fetch_max(entries, Ordering::AcqRel);
                Ok(())
            }
            // Even "no space": which pages were lost, nobody says.
            Err(error) => Err(self.fail(&TrailFault::Io {
                doing: "sync",
                path: segment.path.clone(),
                cause: error.to_string(),
            })),
        }
    }

    fn enlist(
        &self,
        at: Position,
    ) -> Result<Option<oneshot::Receiver<Result<(), TrailFault>>>, TrailFault> {
        self.sound()?;
        if self.synced.load(Ordering::Acquire) > at.0 {
            return Ok(None);
        }
        let (send, receive) = oneshot::channel();
        let mut queue = lock(&self.queue);
        if queue.closing {
            return Err(self.closed());
        }
        queue.waiting.push(send);
        if queue.waiting.len() == 1 {
            self.wake.notify_one();
        }
        Ok(Some(receive))
    }

    fn sound(&self) -> Result<(), TrailFault> {
        self.fault.get().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    fn fail(&self, cause: &TrailFault) -> TrailFault {
        self.fault.get_or_init(|| TrailFault::Failed(cause.to_string())).clone()
    }

    fn closed(&self) -> TrailFault {
        TrailFault::Failed(format!("`{}` is closed", self.dir.display()))
    }
}

/// The thread that syncs; it ends, after a last sync, with the last handle.
#[derive(Debug)]
struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Committer {
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it had, there were nothing to be done here.
            let _ = thread.join();
        }
    }
}

// No code that holds one of these locks can panic, so what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exclusive(dir: &Path) -> Result<File, TrailFault> {
    let path = dir.join("lock");
    private::lock(&path)
        .map_err(|error| TrailFault::io("lock", &path, &error))?
        .ok_or_else(|| TrailFault::Locked(dir.into()))
}

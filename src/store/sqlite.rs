//! What does one file keep?
//!
//! The embedded store: SQLite, in this process. What can go wrong, and what follows:
//!
//! | | |
//! |---|---|
//! | another process has the file | opening it is refused |
//! | a later release wrote it | opening it is refused, and nothing is changed |
//! | no space, or somebody else's lock | the change is refused and leaves no trace; each later change tries anew |
//! | the disk fails | the change is refused; whether it is there after a crash, nobody knows |
//! | the process dies, or power fails | all that was answered is there |

mod lists;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod threads;

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::rows::Kept;
use self::threads::Worker;
use super::{Counts, Inserted, Open, Page, Pending, Query, Replaced, Room, Store, StoreFault};
use crate::hold::{Hold, HoldId, State};
use crate::json::Digest;
use crate::private;
use crate::time::At;

/// How many are forgotten at once, so that no change waits long.
const FORGET: u64 = 500;

/// A store in one file. The last that is dropped of it is its lock.
pub struct Sqlite {
    writer: Worker,
    /// Answers what a call waits for.
    single: Worker,
    /// Answers what people look at; that may take longer.
    lists: Worker,
    // After the threads: when it is free, nobody of ours writes.
    _lock: File,
}

impl Sqlite {
    /// Opens the file, or begins one, and locks it.
    ///
    /// # Errors
    /// If another process has it, a later release wrote it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, StoreFault> {
        let unusable = |error: io::Error| {
            StoreFault::Broken(format!("cannot open `{}`: {error}", path.display()))
        };
        let path = &absolute(path).map_err(unusable)?;
        let lock = private::lock(&beside(path)).map_err(unusable)?;
        let lock = lock.ok_or_else(|| StoreFault::InUse(path.display().to_string()))?;
        let file = private::file(path).map_err(unusable)?;
        // Where the volume is not ours we may not, and its owner has said who reads it.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
        // Closed before SQLite opens it: closing any descriptor of a file gives up its locks.
        drop(file);
        let connection = schema::prepare(path)?;
        Ok(Self {
            writer: Worker::writer(path, connection)?,
            single: Worker::reader(path)?,
            lists: Worker::reader(path)?,
            _lock: lock,
        })
    }
}

/// SQLite follows no link; those on the way to a directory are the operator's.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    private::directory(parent)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(parent.canonicalize()?.join(name))
}

/// The lock: `holds.db.lock` beside `holds.db`.
fn beside(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

impl Store for Sqlite {
    fn insert(&self, hold: Hold, after: Option<HoldId>, room: Room) -> Pending<'_, Inserted> {
        Box::pin(async move {
            let kept = Kept::of(hold)?;
            self.writer.ask(move |file| rows::insert(file, &kept, after, room)).await
        })
    }

    fn replace(&self, next: Hold, result: Option<Bytes>) -> Pending<'_, Replaced> {
        Box::pin(async move {
            let next = Kept::of(next)?;
            self.writer.ask(move |file| rows::replace(file, &next, result.as_ref())).await
        })
    }

    fn hold(&self, id: HoldId) -> Pending<'_, Option<Hold>> {
        Box::pin(self.single.ask(move |file| rows::by_id(file, id)))
    }

    fn result(&self, id: HoldId) -> Pending<'_, Option<Bytes>> {
        Box::pin(self.single.ask(move |file| rows::result(file, id)))
    }

    fn find(&self, agent: &str, binding: Digest) -> Pending<'_, Option<Hold>> {
        let agent = agent.to_owned();
        Box::pin(self.single.ask(move |file| rows::newest(file, &agent, binding)))
    }

    fn page(&self, query: Query) -> Pending<'_, Page> {
        Box::pin(self.lists.ask(move |file| lists::page(file, &query)))
    }

    fn counts(&self) -> Pending<'_, Counts> {
        Box::pin(self.lists.ask(lists::counts))
    }

    fn due(&self, now: At, limit: u64) -> Pending<'_, Vec<Hold>> {
        Box::pin(self.lists.ask(move |file| lists::due(file, now, limit)))
    }

    fn open(&self) -> Pending<'_, Vec<Open>> {
        Box::pin(self.lists.ask(lists::open))
    }

    fn past(&self, agent: &str, server: &str, tool: &str) -> Pending<'_, Vec<(State, u64)>> {
        let [agent, server, tool] = [agent, server, tool].map(str::to_owned);
        Box::pin(self.lists.ask(move |file| lists::past(file, &agent, &server, &tool)))
    }

    fn forget(&self, results: At, holds: At) -> Pending<'_, u64> {
        Box::pin(async move {
            let mut gone = 0;
            loop {
                let some = self.writer.ask(move |file| lists::forget(file, results, holds, FORGET));
                match some.await? {
                    0 => return Ok(gone),
                    some => gone += some,
                }
            }
        })
    }
}

/// What SQLite says, for the operator.
fn broken(error: &rusqlite::Error) -> StoreFault {
    StoreFault::Broken(error.to_string())
}

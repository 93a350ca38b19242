//! Who touches the file?
//!
//! Threads of their own, since the file may be slow. One writes: whatever is queued when it looks
//! goes into one transaction, so that many changes share one sync. An item that fails is undone
//! alone.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::{broken, schema};
use crate::store::StoreFault;

/// How many may wait for a thread; more wait before they are let in.
const QUEUE: usize = 1024;
/// How many changes go into one transaction.
const BATCH: usize = 256;

/// Something to do with the file, and somebody who waits for it.
trait Job: Send {
    /// Does it. It may be undone afterwards, and done again.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Says what came of it, once that is certain.
    fn answer(self: Box<Self>, kept: Result<(), StoreFault>);
}

struct Asked<W, T> {
    work: W,
    outcome: Option<T>,
    asker: oneshot::Sender<Result<T, StoreFault>>,
}

impl<W, T> Job for Asked<W, T>
where
    W: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.outcome = Some((self.work)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, kept: Result<(), StoreFault>) {
        let Self { outcome, asker, .. } = *self;
        // Whoever gave up waiting needs no answer.
        let _ = asker.send(kept.and_then(|()| outcome.ok_or_else(closed)));
    }
}

/// One thread with a connection of its own.
pub(super) struct Worker {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// One that commits.
    pub(super) fn writer(path: &Path, connection: Connection) -> Result<Self, StoreFault> {
        Self::start("store-write", Handle::new(path, Some(connection)), write)
    }

    /// One that reads.
    pub(super) fn reader(path: &Path) -> Result<Self, StoreFault> {
        Self::start("store-read", Handle::new(path, None), read)
    }

    fn start(
        name: &str,
        handle: Handle,
        run: fn(Handle, mpsc::Receiver<Box<dyn Job>>),
    ) -> Result<Self, StoreFault> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(handle, jobs))
            .map_err(|error| StoreFault::Broken(format!("cannot start its thread: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Has it done. A change that was let in is made, whether or not somebody still waits.
    pub(super) async fn ask<W, T>(&self, work: W) -> Result<T, StoreFault>
    where
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (asker, answer) = oneshot::channel();
        let job = Box::new(Asked { work, outcome: None, asker });
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(job).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it had, there were nothing to be done here.
            let _ = thread.join();
        }
    }
}

fn closed() -> StoreFault {
    StoreFault::Broken("it is closed".into())
}

/// A connection that is made anew after a fault.
struct Handle {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Handle {
    fn new(path: &Path, connection: Option<Connection>) -> Self {
        Self { path: path.into(), connection }
    }

    /// Does it with the connection, which does not outlive a failure: what a failing disk left in
    /// it is nothing to go on with, and closing it undoes what was not committed.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => schema::connect(&self.path)?,
        };
        let done = work(&connection)?;
        self.connection = Some(connection);
        Ok(done)
    }
}

fn read(mut handle: Handle, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(mut job) = jobs.blocking_recv() {
        let done = handle.with(|connection| job.run(connection));
        job.answer(done.map_err(|error| broken(&error)));
    }
}

fn write(mut handle: Handle, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Ok(next) = jobs.try_recv() else { break };
            batch.push(next);
        }
        settle(&mut handle, batch);
    }
}

fn settle(handle: &mut Handle, mut batch: Vec<Box<dyn Job>>) {
    match handle.with(|connection| together(connection, &mut batch)) {
        Ok(each) => batch.into_iter().zip(each).for_each(|(job, kept)| job.answer(kept)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            make_room(handle);
            for job in batch {
                alone(handle, job);
            }
        }
        Err(error) => batch.into_iter().for_each(|job| job.answer(Err(broken(&error)))),
    }
}

/// What is too much together may fit one by one.
fn alone(handle: &mut Handle, mut job: Box<dyn Job>) {
    let each = handle.with(|connection| together(connection, std::slice::from_mut(&mut job)));
    let kept = each.map_err(|error| broken(&error)).and_then(|each| each.into_iter().collect());
    job.answer(kept);
}

/// All in one transaction, and what came of each; or why all of them failed.
fn together(
    connection: &Connection,
    batch: &mut [Box<dyn Job>],
) -> rusqlite::Result<Vec<Result<(), StoreFault>>> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut each = Vec::with_capacity(batch.len());
    for job in batch {
        connection.execute_batch("SAVEPOINT item")?;
        let done = job.run(connection);
        let undone = match &done {
            Ok(()) => connection.execute_batch("RELEASE item"),
            // Some faults undo the whole transaction, and are then what became of all of it.
            Err(_) if connection.is_autocommit() => return done.map(|()| Vec::new()),
            Err(_) => connection.execute_batch("ROLLBACK TO item; RELEASE item"),
        };
        undone?;
        each.push(done.map_err(|error| broken(&error)));
    }
    connection.execute_batch("COMMIT")?;
    Ok(each)
}

/// Moves what the log holds into the file, and gives its room back.
fn make_room(handle: &mut Handle) {
    // Where this fails too there is no room to make.
    let _ = handle
        .with(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())));
}

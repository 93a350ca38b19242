//! What does the file look like?
//!
//! A hold is one JSON text; beside it stands what holds are found by. The tool's answers lie in a
//! table of their own, so that no list reads them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::broken;
use crate::store::StoreFault;

/// Each takes the file one schema further. Those that were released never change.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE holds (
        -- In the order in which they came.
        number     INTEGER PRIMARY KEY,
        id         TEXT NOT NULL UNIQUE,
        version    INTEGER NOT NULL,
        state      TEXT NOT NULL,
        open       INTEGER NOT NULL,
        agent      TEXT NOT NULL,
        binding    TEXT NOT NULL,
        server     TEXT NOT NULL,
        tool       TEXT NOT NULL,
        tier       TEXT NOT NULL,
        search     TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        due_at     INTEGER NOT NULL,
        ended_at   INTEGER,
        hold       TEXT NOT NULL
    ) STRICT;
    -- Of two calls at once that are the same, one is held.
    CREATE UNIQUE INDEX one_open ON holds (agent, binding) WHERE open = 1;
    CREATE INDEX same_call ON holds (agent, binding);
    CREATE INDEX due ON holds (due_at) WHERE open = 1;
    CREATE INDEX ended ON holds (ended_at) WHERE ended_at IS NOT NULL;
    CREATE INDEX states ON holds (state, created_at);
    CREATE INDEX past ON holds (agent, server, tool, state) WHERE open = 0;
    -- All that a page asks for, so that it reads no hold that it does not show.
    CREATE INDEX pages ON holds
        (open, created_at, number, state, agent, server, tool, tier, search);
    CREATE TABLE results (
        number INTEGER PRIMARY KEY REFERENCES holds ON DELETE CASCADE,
        result BLOB NOT NULL
    ) STRICT;
"];

/// How long a lock of somebody else's is waited for, such as that of a backup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opens a file that is there.
pub(super) fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    // Never `CREATE`: where the file is gone, an empty one would forget all holds.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF;
         PRAGMA foreign_keys = ON;
         PRAGMA synchronous = FULL;",
    )?;
    Ok(connection)
}

/// Makes the file what this release knows, and gives a connection to it.
pub(super) fn prepare(path: &Path) -> Result<Connection, StoreFault> {
    let mut connection = connect(path).map_err(|error| broken(&error))?;
    let found = version(&connection).map_err(|error| broken(&error))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreFault::Later { path: path.display().to_string(), found, known });
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))
        .map_err(|error| broken(&error))?;
    if mode != "wal" {
        return Err(StoreFault::Broken(format!(
            "`{}` is on a file system that cannot share memory; put it on a local disk",
            path.display()
        )));
    }
    migrate(&mut connection, found).map_err(|error| broken(&error))?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}

/// All steps or none.
fn migrate(connection: &mut Connection, found: u32) -> rusqlite::Result<()> {
    let whole = connection.transaction()?;
    for (step, number) in MIGRATIONS.iter().zip(1_u32..) {
        if number > found {
            whole.execute_batch(step)?;
            whole.pragma_update(None, "user_version", number)?;
        }
    }
    whole.commit()
}

//! How does a hold become a row, and a row a hold?

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, named_params, params};
use serde::Deserialize as _;

use crate::hold::{Hold, HoldId, State};
use crate::json::Digest;
use crate::store::{Inserted, Replaced, Room, StoreFault};
use crate::time::At;

/// Between the fields that a text is searched in; no name has it.
const BETWEEN: char = '\u{1f}';
/// A claimed user is the agent's own word, and may be long.
const USER_CHARS: usize = 256;

/// A hold with what it is found by, ready to be written.
pub(super) struct Kept {
    hold: Hold,
    text: String,
    search: String,
}

impl Kept {
    pub(super) fn of(hold: Hold) -> Result<Self, StoreFault> {
        let text = serde_json::to_string(&hold)
            .map_err(|error| StoreFault::Broken(format!("a hold cannot be written: {error}")))?;
        let search = search(&hold);
        Ok(Self { hold, text, search })
    }

    fn execute(&self, connection: &Connection, sql: &str) -> rusqlite::Result<usize> {
        let Hold { ask, .. } = &self.hold;
        let ended_at = self.hold.ended_at().map(micros);
        let fields: &[(&str, &dyn ToSql)] = named_params! {
            ":id": self.hold.id.to_string(),
            ":version": number(self.hold.version),
            ":state": self.hold.state.name(),
            ":open": self.hold.state.is_open(),
            ":agent": &*ask.agent.id,
            ":binding": self.hold.binding.to_string(),
            ":server": ask.server,
            ":tool": ask.tool,
            ":tier": self.hold.context.tier.name(),
            ":search": self.search,
            ":created_at": micros(self.hold.created_at),
            ":due_at": micros(self.hold.due_at),
            ":ended_at": ended_at,
            ":hold": self.text,
        };
        connection.prepare(sql)?.execute(fields)
    }
}

/// What of a hold a text is looked for in.
fn search(hold: &Hold) -> String {
    let mut text = hold.id.to_string();
    for field in [&*hold.ask.agent.id, &hold.ask.server, &hold.ask.tool] {
        text.push(BETWEEN);
        text.push_str(&folded(field));
    }
    if let Some(user) = &hold.ask.claimed.user {
        text.push(BETWEEN);
        text.extend(folded(user).chars().take(USER_CHARS));
    }
    text
}

/// So that upper and lower case are one, in any script.
pub(super) fn folded(text: &str) -> String {
    text.to_lowercase()
}

pub(super) fn micros(at: At) -> i64 {
    number(at.micros())
}

pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The hold in the first column.
pub(super) fn hold(row: &Row<'_>) -> rusqlite::Result<Hold> {
    let mut json = serde_json::Deserializer::from_str(row.get_ref(0)?.as_str()?);
    // Whatever was kept can be read; how deep it goes was bounded when the call came in.
    json.disable_recursion_limit();
    Hold::deserialize(&mut json).map_err(|error| unreadable(0, error))
}

/// What stands in this column, by its own text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

/// The state and the count that stand in the first two columns.
pub(super) fn state_and_count(row: &Row<'_>) -> rusqlite::Result<(State, u64)> {
    Ok((state(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
}

/// The state that stands in a column.
pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    let name = row.get_ref(column)?.as_str()?;
    let state = State::ALL.into_iter().find(|state| state.name() == name);
    state.ok_or_else(|| unreadable(column, std::fmt::Error))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(super) fn by_id(connection: &Connection, id: HoldId) -> rusqlite::Result<Option<Hold>> {
    connection
        .prepare("SELECT hold FROM holds WHERE id = ?")?
        .query_row([id.to_string()], hold)
        .optional()
}

pub(super) fn newest(
    connection: &Connection,
    agent: &str,
    binding: Digest,
) -> rusqlite::Result<Option<Hold>> {
    connection
        .prepare("SELECT hold FROM holds WHERE agent = ? AND binding = ? ORDER BY number DESC")?
        .query_row([agent, &binding.to_string()], hold)
        .optional()
}

pub(super) fn result(connection: &Connection, id: HoldId) -> rusqlite::Result<Option<Bytes>> {
    connection
        .prepare("SELECT result FROM results JOIN holds USING (number) WHERE id = ?")?
        .query_row([id.to_string()], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))
        .optional()
}

pub(super) fn insert(
    connection: &Connection,
    kept: &Kept,
    after: Option<HoldId>,
    room: Room,
) -> rusqlite::Result<Inserted> {
    let agent = &*kept.hold.ask.agent.id;
    if let Some(newest) = newest(connection, agent, kept.hold.binding)?
        && (newest.state.is_open() || Some(newest.id) != after)
    {
        return Ok(Inserted::Existing(Box::new(newest)));
    }
    let all: i64 = connection.query_row(
        "SELECT count(*) FROM holds INDEXED BY due WHERE open = 1",
        (),
        |row| row.get(0),
    )?;
    let own: i64 = connection.query_row(
        "SELECT count(*) FROM holds WHERE agent = ? AND open = 1",
        [agent],
        |row| row.get(0),
    )?;
    if all >= number(room.all) || own >= number(room.each) {
        return Ok(Inserted::Full);
    }
    kept.execute(
        connection,
        "INSERT INTO holds (id, version, state, open, agent, binding, server, tool, tier, search,
                            created_at, due_at, ended_at, hold)
         VALUES (:id, :version, :state, :open, :agent, :binding, :server, :tool, :tier, :search,
                 :created_at, :due_at, :ended_at, :hold)",
    )?;
    Ok(Inserted::New)
}

pub(super) fn replace(
    connection: &Connection,
    next: &Kept,
    result: Option<&Bytes>,
) -> rusqlite::Result<Replaced> {
    let changed = next.execute(
        connection,
        "UPDATE holds SET version = :version, state = :state, open = :open, agent = :agent,
                binding = :binding, server = :server, tool = :tool, tier = :tier,
                search = :search, created_at = :created_at, due_at = :due_at,
                ended_at = :ended_at, hold = :hold
         WHERE id = :id AND version = :version - 1",
    )?;
    if changed == 0 {
        return Ok(Replaced::Lost(by_id(connection, next.hold.id)?.map(Box::new)));
    }
    if let Some(result) = result {
        connection.execute(
            "INSERT OR REPLACE INTO results SELECT number, ? FROM holds WHERE id = ?",
            params![&**result, next.hold.id.to_string()],
        )?;
    }
    Ok(Replaced::Won)
}

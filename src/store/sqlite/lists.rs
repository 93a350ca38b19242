//! Which holds, how many, and which no longer?

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::rows::{folded, hold, micros, number, parsed, state, state_and_count};
use crate::hold::{Hold, State};
use crate::store::{Counts, Open, Page, Query};
use crate::time::At;

/// A page ends early after so much: each hold may be as large as a request, and read it is larger.
const PAGE_BYTES: usize = 16 << 20;

pub(super) fn page(connection: &Connection, query: &Query) -> rusqlite::Result<Page> {
    let (filter, mut values) = conditions(query);
    // One moment for both questions.
    let moment = connection.unchecked_transaction()?;
    let total: i64 = moment
        .prepare(&format!("SELECT count(*) FROM holds WHERE {filter}"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    values.extend([number(query.limit).into(), number(query.skip).into()]);
    let mut statement = moment.prepare(&shown(&filter, query.newest_first))?;
    let mut rows = statement.query(params_from_iter(&values))?;
    let (mut holds, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(0)?.as_str()?.len();
        if bytes > PAGE_BYTES && !holds.is_empty() {
            break;
        }
        holds.push(hold(row)?);
    }
    Ok(Page { holds, total: total.unsigned_abs() })
}

/// Finds them by the index alone, and only then reads those that are shown.
pub(super) fn shown(filter: &str, newest_first: bool) -> String {
    let order = if newest_first { "DESC" } else { "ASC" };
    format!(
        "SELECT holds.hold FROM
             (SELECT number FROM holds WHERE {filter}
              ORDER BY created_at {order}, number {order} LIMIT ? OFFSET ?) AS found
         JOIN holds USING (number)
         ORDER BY holds.created_at {order}, holds.number {order}"
    )
}

/// What the query asks for, and the values in it.
pub(super) fn conditions(query: &Query) -> (String, Vec<Value>) {
    let mut filter = String::from("true");
    let mut values: Vec<Value> = Vec::new();
    if let Some(open) = all_open_or_none(&query.states) {
        filter.push_str(if open { " AND open = 1" } else { " AND open = 0" });
    }
    if !query.states.is_empty() {
        let marks = vec!["?"; query.states.len()].join(", ");
        // The sign keeps SQLite from the index on states, which has holds in another order.
        filter.push_str(&format!(" AND +state IN ({marks})"));
        values.extend(query.states.iter().map(|state| state.name().to_owned().into()));
    }
    let tier = query.tier.map(|tier| tier.name().to_owned());
    for (column, wanted) in
        [("agent", &query.agent), ("server", &query.server), ("tool", &query.tool), ("tier", &tier)]
    {
        if let Some(wanted) = wanted {
            filter.push_str(&format!(" AND +{column} = ?"));
            values.push(wanted.clone().into());
        }
    }
    if let Some(text) = query.text.as_deref().filter(|text| !text.is_empty()) {
        // Not `LIKE`, to which `%` and `_` mean more than themselves.
        filter.push_str(" AND instr(search, ?) > 0");
        values.push(folded(text).into());
    }
    (filter, values)
}

fn all_open_or_none(states: &[State]) -> Option<bool> {
    let first = states.first()?.is_open();
    states.iter().all(|state| state.is_open() == first).then_some(first)
}

pub(super) fn counts(connection: &Connection) -> rusqlite::Result<Counts> {
    let moment = connection.unchecked_transaction()?;
    let by_state = moment
        .prepare("SELECT state, count(*) FROM holds GROUP BY state")?
        .query_map((), state_and_count)?
        .collect::<Result<_, _>>()?;
    let oldest: Option<i64> = moment.query_row(
        "SELECT min(created_at) FROM holds WHERE state = ?",
        [State::Pending.name()],
        |row| row.get(0),
    )?;
    Ok(Counts { by_state, oldest: oldest.map(|since| At::from_micros(since.unsigned_abs())) })
}

pub(super) fn due(connection: &Connection, now: At, limit: u64) -> rusqlite::Result<Vec<Hold>> {
    connection
        .prepare(
            "SELECT hold FROM holds WHERE open = 1 AND due_at <= ? AND +state <> 'executing'
             ORDER BY due_at, number LIMIT ?",
        )?
        .query_map([micros(now), number(limit)], hold)?
        .collect()
}

pub(super) fn open(connection: &Connection) -> rusqlite::Result<Vec<Open>> {
    connection
        .prepare("SELECT agent, binding, id, state FROM holds WHERE open = 1 ORDER BY number")?
        .query_map((), |row| {
            Ok(Open {
                agent: row.get(0)?,
                binding: parsed(row, 1)?,
                id: parsed(row, 2)?,
                state: state(row, 3)?,
            })
        })?
        .collect()
}

pub(super) fn past(
    connection: &Connection,
    agent: &str,
    server: &str,
    tool: &str,
) -> rusqlite::Result<Vec<(State, u64)>> {
    connection
        .prepare(
            "SELECT state, count(*) FROM holds
             WHERE agent = ? AND server = ? AND tool = ? AND open = 0 GROUP BY state",
        )?
        .query_map([agent, server, tool], state_and_count)?
        .collect()
}

/// At most so many of each.
pub(super) fn forget(
    connection: &Connection,
    results: At,
    holds: At,
    limit: u64,
) -> rusqlite::Result<u64> {
    let gone = connection.execute(
        "DELETE FROM results WHERE number IN
             (SELECT number FROM holds JOIN results USING (number) WHERE ended_at < ? LIMIT ?)",
        params![micros(results), number(limit)],
    )?;
    let gone = gone
        + connection.execute(
            "DELETE FROM holds WHERE number IN
                 (SELECT number FROM holds WHERE ended_at < ? LIMIT ?)",
            params![micros(holds), number(limit)],
        )?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

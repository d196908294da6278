//! One statement of a log, run: the same way where it is recorded and where it is applied.

use rusqlite::Connection;

use crate::error::Error;
use crate::message::Statement;
use crate::rules::{Denied, Guard, Mode};

/// Runs a statement under the rules of logs; returns how many rows it changed, triggers and foreign
/// keys included. Rows that it returns are passed over.
pub(crate) fn execute(connection: &Connection, guard: &Guard, statement: &Statement) -> Result<u64, Error> {
    let (result, denied) = guard.within(Mode::Log, || run(connection, statement));
    let sql = || statement.sql.clone();
    match (result, denied) {
        (Ok(Some(changes)), _) => Ok(changes),
        (Ok(None), _) => Err(Error::Denied { denied: Denied::Reading, sql: sql() }),
        (Err(_), Some(denied)) => Err(Error::Denied { denied, sql: sql() }),
        (Err(cause), None) => Err(Error::Statement { cause, sql: sql() }),
    }
}

/// `None` for a statement that only reads.
fn run(connection: &Connection, statement: &Statement) -> rusqlite::Result<Option<u64>> {
    // What is prepared once for a log is never found again by a host's own `prepare_cached`, nor the
    // other way round: the rules are asked when a statement is prepared.
    let marked = format!("/* longshore */ {}", statement.sql);
    let mut prepared = connection.prepare_cached(&marked)?;
    if prepared.readonly() {
        return Ok(None);
    }
    let (given, needed) = (statement.parameters.len(), prepared.parameter_count());
    if given != needed {
        return Err(rusqlite::Error::InvalidParameterCount(given, needed));
    }
    for (n, value) in statement.parameters.iter().enumerate() {
        prepared.raw_bind_parameter(n + 1, value)?;
    }
    let before = connection.total_changes();
    let mut rows = prepared.raw_query();
    while rows.next()?.is_some() {}
    Ok(Some(connection.total_changes() - before))
}

//! Where a database stands in its log, kept in the database itself.

use longshore_apply::Held;
use longshore_format::{LogId, Lsn};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Error;

/// The table: one row. Its name is refused in recorded statements.
pub(crate) const TABLE: &str = "_longshore_position";

/// How far a database is, and in which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The log it was written from.
    pub log: LogId,
    /// Where the last run that it holds ends.
    pub lsn: Lsn,
    /// The header checksum of the record that ends there, when whoever stored it knew it.
    pub crc: Option<u32>,
}

impl From<Position> for Held {
    fn from(position: Position) -> Held {
        Held { lsn: position.lsn, crc: position.crc }
    }
}

/// Makes the table, if it is not there.
pub(crate) fn create_table(connection: &Connection) -> Result<(), Error> {
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {TABLE} (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            log BLOB NOT NULL,
            lsn INTEGER NOT NULL,
            crc INTEGER
        )"
    ))?;
    Ok(())
}

pub(crate) fn has_table(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.table_exists(None, TABLE)?)
}

/// The position that a database holds; `None` if it never held one.
pub fn read_position(connection: &Connection) -> Result<Option<Position>, Error> {
    if !has_table(connection)? {
        return Ok(None);
    }
    let sql = format!("SELECT log, lsn, crc FROM {TABLE}");
    let row = connection
        .prepare(&sql)?
        .query_row([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?)))
        .optional()?;
    row.map(|(log, lsn, crc)| {
        let log = <[u8; 16]>::try_from(log).map_err(|_| Error::BadPosition)?;
        let lsn = u64::try_from(lsn).map_err(|_| Error::BadPosition)?;
        let crc = crc.map(u32::try_from).transpose().map_err(|_| Error::BadPosition)?;
        Ok(Position { log: LogId::from_bytes(log), lsn: Lsn::new(lsn), crc })
    })
    .transpose()
}

/// Stores a position. Call it inside the transaction whose run ends there: the two become durable
/// together or not at all.
pub fn store_position(connection: &Connection, position: &Position) -> Result<(), Error> {
    let lsn = i64::try_from(position.lsn.get()).map_err(|_| Error::BadPosition)?;
    let sql = format!(
        "INSERT INTO {TABLE} (only, log, lsn, crc) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (only) DO UPDATE SET log = excluded.log, lsn = excluded.lsn, crc = excluded.crc"
    );
    let mut statement = connection.prepare(&sql)?;
    statement.execute(params![&position.log.as_bytes()[..], lsn, position.crc])?;
    Ok(())
}

//! What a connection must be for statements to do the same on it.

use rusqlite::Connection;

use crate::error::Error;

/// Settings that change what a statement does, and so travel with each transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Semantics {
    pub(crate) foreign_keys: bool,
    pub(crate) recursive_triggers: bool,
}

impl Semantics {
    pub(crate) fn of(connection: &Connection) -> Result<Semantics, Error> {
        let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, bool>(0));
        Ok(Semantics { foreign_keys: read("foreign_keys")?, recursive_triggers: read("recursive_triggers")? })
    }

    /// Only outside a transaction: inside one SQLite ignores it in silence.
    pub(crate) fn set(self, connection: &Connection) -> Result<(), Error> {
        debug_assert!(connection.is_autocommit());
        connection.pragma_update(None, "foreign_keys", self.foreign_keys)?;
        connection.pragma_update(None, "recursive_triggers", self.recursive_triggers)?;
        Ok(())
    }
}

/// Refuses a connection on which LIKE means something else: the setting cannot be read, only tried.
pub(crate) fn check_like(connection: &Connection) -> Result<(), Error> {
    let folds: bool = connection.query_row("SELECT 'a' LIKE 'A'", [], |row| row.get(0))?;
    if folds { Ok(()) } else { Err(Error::CaseSensitiveLike) }
}

/// Write-ahead logging, so that readers never wait, and each commit on disk before it counts.
pub(crate) fn make_durable(connection: &Connection) -> Result<(), Error> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::JournalMode(mode));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(())
}

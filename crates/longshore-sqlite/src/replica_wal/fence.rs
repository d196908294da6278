//! SQLite's write lock, held so that nobody else writes the database.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::index;
use crate::error::Error;
use crate::shm::{Slot, WalFile};

/// A connection that holds the write lock, or for which another one does.
#[derive(Debug)]
pub(super) struct Fence {
    pub(super) file: WalFile,
    pub(super) lent: Option<WriteFence>,
}

/// SQLite's write lock, held whether a log is applied to the database at the moment or not. Clones hold the same one.
#[derive(Debug, Clone)]
pub(crate) struct WriteFence(#[expect(dead_code, reason = "it holds a lock as long as it lives")] Arc<Mutex<WalFile>>);

impl WriteFence {
    /// Takes the lock, of a database in WAL mode.
    ///
    /// # Errors
    /// As [`ReplicaDb::open`](super::ReplicaDb::open).
    pub(crate) fn put_up(path: &Path) -> Result<WriteFence, Error> {
        let other = connect(path)?;
        Ok(WriteFence::of(take_lock(connect(path)?, &other)?))
    }

    /// Of a connection that has the lock.
    pub(crate) fn of(holder: WalFile) -> WriteFence {
        WriteFence(Arc::new(Mutex::new(holder)))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if self.lent.is_none() {
            // SQLite does not give back at its close what it did not take itself. An error here means that it has no lock.
            let _no_lock = self.file.unlock(Slot::Write);
        }
    }
}

/// How long to wait for a writer that was there before the fence.
const PATIENCE_TO_OPEN: Duration = Duration::from_secs(2);

/// Takes the write lock when nobody has it and the wal-index is whole. A writer that died in the middle of its header
/// leaves one that the next reader recovers, which needs the lock itself.
pub(super) fn take_lock(connection: WalFile, other: &WalFile) -> Result<WalFile, Error> {
    let until = Instant::now() + PATIENCE_TO_OPEN;
    loop {
        if connection.try_lock(Slot::Write)? {
            if index::is_whole(&connection)? {
                return Ok(connection);
            }
            connection.unlock(Slot::Write)?;
            read_schema(other.connection())?;
        }
        if until < Instant::now() {
            return Err(Error::Written);
        }
        sleep(Duration::from_millis(5));
    }
}

/// Opens a connection and reads, so that SQLite has recovered and the wal-index is there.
pub(super) fn connect(path: &Path) -> Result<WalFile, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE_TO_OPEN)?;
    connection.pragma_update(None, "synchronous", "full")?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::JournalMode(mode));
    }
    read_schema(&connection)?;
    WalFile::new(connection)
}

fn read_schema(connection: &Connection) -> Result<(), Error> {
    Ok(connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?)
}

//! A database file as the output of a replay.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use longshore_apply::{FileOutput, Held, Plan, Rate, Sink, SinkError};
use longshore_format::Content;
use rusqlite::{Connection, OpenFlags};

use crate::error::Error;
use crate::position::read_position;
use crate::sink::{SqlSink, check_content};

/// Replays into a SQLite database file: what `sqlite:PATH` means.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOutput;

impl FileOutput for SqliteOutput {
    fn scheme(&self) -> &'static str {
        "sqlite"
    }

    fn check_content(&self, content: Content) -> Result<(), SinkError> {
        check_content("sqlite:PATH", content)
    }

    fn sink(&self, path: &Path) -> Box<dyn Sink> {
        Box::new(SqlSink::new(path))
    }

    fn held(&self, path: &Path) -> Result<Option<Held>, SinkError> {
        if !path.exists() {
            return Ok(None);
        }
        let read = || read_position(&Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?);
        match read() {
            Ok(position) => Ok(position.map(Held::from)),
            Err(error) => Err(error.for_sink(&format!("sqlite:{}", path.display()))),
        }
    }

    fn rate(&self) -> Rate {
        Rate { records: 80_000, bytes: 70 << 20 }
    }

    /// Inserts take about their payload; the write-ahead log of one group of runs comes on top.
    fn estimated_bytes(&self, plan: &Plan) -> u64 {
        plan.bytes.saturating_add(64 << 20)
    }

    /// Brings everything into the one file, so that it can be renamed, and asks SQLite whether it is
    /// sound.
    fn complete(&self, path: &Path) -> Result<(), SinkError> {
        complete(path).map_err(|error| error.for_sink(&format!("sqlite:{}", path.display())))
    }
}

fn complete(path: &Path) -> Result<(), Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Leaving WAL mode writes everything back and removes the files beside it. Whoever opens the
    // database next turns it on again.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode != "delete" {
        return Err(Error::JournalMode(mode));
    }
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Error::Check(verdict));
    }
    connection.close().map_err(|(_, error)| Error::Sqlite(error))
}

/// SQLite makes files by the umask; ours are private. What it puts beside them takes their mode.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

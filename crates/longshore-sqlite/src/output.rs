//! A database file as the output of a replay.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use longshore_apply::{Check, FileOutput, Held, Partial, Plan, Rate, Sink, SinkError};
use longshore_format::Content;
use rusqlite::{Connection, OpenFlags};

use crate::error::Error;
use crate::page_sink::PageSink;
use crate::pages::PageRecord;
use crate::position::read_position;
use crate::replica_wal::sync_directory_of;
use crate::sidecar::{Sidecar, beside};
use crate::sqlite_sink::{SqliteSink, check_content};

/// Replays into a SQLite database file: what `sqlite:PATH` means.
///
/// One made of pages stays in WAL mode, as the original is, and keeps its position in `PATH-longshore`, so that it can be
/// followed on. Whoever uses it as a database of his own deletes that file.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOutput;

impl FileOutput for SqliteOutput {
    fn scheme(&self) -> &'static str {
        "sqlite"
    }

    fn check_content(&self, content: Content) -> Result<(), SinkError> {
        check_content("sqlite:PATH", content)
    }

    fn takes_snapshot(&self, content: Content) -> bool {
        content == Content::SqlitePages
    }

    fn parts_beside(&self, path: &Path) -> Vec<PathBuf> {
        ["-wal", "-shm", "-journal"].map(|suffix| beside(path, suffix)).into()
    }

    fn sink(&self, path: &Path) -> Box<dyn Sink> {
        Box::new(SqliteSink::new(path))
    }

    fn held(&self, path: &Path) -> Result<Option<Held>, SinkError> {
        if !path.exists() {
            return Ok(None);
        }
        let held = match is_of_pages(path) {
            true => take_position_back(path).and_then(|()| PageSink::held(path)),
            false => read_held(path),
        };
        held.map_err(|error| error.for_sink(&format!("sqlite:{}", path.display())))
    }

    fn rate(&self) -> Rate {
        Rate { records: 80_000, bytes: 70 << 20 }
    }

    /// Inserts take about their payload.
    fn estimated_bytes(&self, plan: &Plan) -> u64 {
        plan.bytes.saturating_add(self.beside(plan))
    }

    fn told_len(&self, content: Content, payload: &[u8]) -> Option<u64> {
        if content != Content::SqlitePages {
            return None;
        }
        // What is the matter with one that cannot be read is said when it is applied.
        let record = PageRecord::decode(payload).ok()?;
        Some(u64::from(record.commit?.pages) * record.size.bytes() as u64)
    }

    /// The write-ahead log: of a group of runs, or of one that is larger.
    fn beside(&self, plan: &Plan) -> u64 {
        plan.largest.max(64 << 20)
    }

    /// Brings everything into the one file, so that it can be renamed, and asks SQLite whether it is
    /// sound.
    fn complete(&self, path: &Path, check: Check) -> Result<(), SinkError> {
        let completed = if is_of_pages(path) { complete_pages(path, check) } else { complete(path, check) };
        completed.map_err(|error| error.for_sink(&format!("sqlite:{}", path.display())))
    }
}

fn read_held(path: &Path) -> Result<Option<Held>, Error> {
    let position = read_position(&Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?)?;
    Ok(position.map(Held::from))
}

/// Whether the database at `path` was made of pages: then its position is in a file beside it.
fn is_of_pages(path: &Path) -> bool {
    Sidecar::path_of(path).exists() || name_to_be(path).is_some_and(|name| Sidecar::path_of(&name).exists())
}

/// Undoes the last step of [`complete_pages`], after which the database did not get its name.
fn take_position_back(path: &Path) -> Result<(), Error> {
    let Some(name) = name_to_be(path) else { return Ok(()) };
    let (here, there) = (Sidecar::path_of(path), Sidecar::path_of(&name));
    match here.exists() || name.exists() {
        true => Ok(()),
        false => std::fs::rename(&there, &here).map_err(Error::at(&there)),
    }
}

/// The name that a file gets which is not complete yet.
fn name_to_be(path: &Path) -> Option<PathBuf> {
    let name = path.with_extension("");
    (Partial::of(&name).partial() == path).then_some(name)
}

/// Brings everything into the one file and asks SQLite whether it is sound. Its mode stays; the position goes where the
/// database will be.
fn complete_pages(path: &Path, check: Check) -> Result<(), Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    look_through(&connection, check)?;
    connection.close().map_err(|(_, error)| Error::Sqlite(error))?;
    // The last one to close removes it.
    if busy || beside(path, "-wal").exists() {
        return Err(Error::Used);
    }
    let (position, name) = (Sidecar::path_of(path), name_to_be(path));
    if let (true, Some(name)) = (position.exists(), name) {
        let destination = Sidecar::path_of(&name);
        std::fs::rename(&position, &destination).map_err(Error::at(&destination))?;
        sync_directory_of(&destination)?;
    }
    Ok(())
}

fn complete(path: &Path, check: Check) -> Result<(), Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Leaving WAL mode writes everything back and removes the files beside it. Whoever opens the
    // database next turns it on again.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode != "delete" {
        return Err(Error::JournalMode(mode));
    }
    look_through(&connection, check)?;
    connection.close().map_err(|(_, error)| Error::Sqlite(error))
}

/// Asks SQLite whether the database is sound; what it finds is the error.
fn look_through(connection: &Connection, check: Check) -> Result<(), Error> {
    let pragma = match check {
        Check::None => return Ok(()),
        Check::Quick => "quick_check",
        Check::Full => "integrity_check",
    };
    // The check reads the file twice, a page at a time: mapped, that is several times as fast.
    connection.pragma_update(None, "mmap_size", i64::MAX)?;
    match verdicts(connection, pragma, check) {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(found) => Err(Error::Check(found.join("; "))),
        // It may be so damaged that SQLite cannot even look through it.
        Err(error) if is_damage(&error) => Err(Error::Check(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn verdicts(connection: &Connection, pragma: &str, check: Check) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}({SHOWN})"))?;
    let mut found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    found.retain(|verdict| verdict != "ok");
    if check == Check::Full {
        found.extend(dangling(connection)?);
    }
    Ok(found)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// The first rows that refer to what is not there.
fn dangling(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let told = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
        let (table, row, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let row = row.map_or("a row".to_owned(), |row| format!("row {row}"));
        Ok(format!("{row} of table {table} refers to a row of {parent} that is not there"))
    };
    statement.query_map([], told)?.take(SHOWN).collect()
}

/// How much of what is wrong is told.
const SHOWN: usize = 5;

/// SQLite makes files by the umask; ours are private. What it puts beside them takes their mode.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

#[cfg(test)]
mod tests;

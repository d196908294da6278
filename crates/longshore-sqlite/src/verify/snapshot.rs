//! A database as it is at one moment, read beside SQLite.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::capture::published;
use crate::error::Error;
use crate::pages::{PageHash, PageSize, WalPlace, page_hash};
use crate::replica_wal::pages_of_frames;
use crate::shm::WalFile;
use crate::sidecar::beside;
use crate::wal_format::{FRAME_HEAD_LEN, IndexHeader, frame_offset};

/// A connection that only reads.
pub(crate) struct Database {
    file: WalFile,
    path: PathBuf,
    /// Opened by itself: it carries no locks, so closing it drops none. Nobody deletes it while a connection is open.
    wal: File,
    wal_path: PathBuf,
    size: PageSize,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Database, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // The last connection to close would copy the -wal back and delete it, and with it the place that a capture finds
        // again.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Maps the wal-index, and recovers it if need be.
        drop(Reading::begin(&connection)?);
        let size = PageSize::new(connection.pragma_query_value(None, "page_size", |row| row.get(0))?)?;
        let path = PathBuf::from(connection.path().ok_or(Error::NoFile)?);
        let file = WalFile::new(connection)?;
        let mut header = [0; 20];
        file.read_database(0, &mut header)?;
        // Where a header says how files are read and written: 2 is a -wal.
        if header[18..] != [2, 2] {
            return Err(Error::JournalMode("a rollback journal's".to_owned()));
        }
        let wal_path = beside(&path, "-wal");
        let wal = File::open(&wal_path).map_err(Error::at(&wal_path))?;
        Ok(Database { file, path, wal, wal_path, size })
    }

    /// The database's own path, links followed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database as it is now, until what is returned is dropped.
    pub(super) fn snapshot(&self) -> Result<Snapshot<'_>, Error> {
        Snapshot::begin(self)
    }
}

/// The newest committed state since a read transaction began, which keeps it there to be read.
///
/// It need not be the transaction's own. While its read mark stands, nobody copies a frame beyond it into the database file,
/// and nobody begins the `-wal` anew unless all of it was in the file before, of which nobody copies anything then. So
/// whatever is published later, its pages are in the frames up to there, and the others in the file, and both stay.
pub(crate) struct Snapshot<'a> {
    database: &'a Database,
    header: IndexHeader,
    pages: u32,
    /// The newest frame of each page that has one; none if everything is in the database file, where all of it may be
    /// overwritten.
    frames: HashMap<u32, u32>,
    _reading: Reading<'a>,
}

impl Snapshot<'_> {
    fn begin(database: &Database) -> Result<Snapshot<'_>, Error> {
        let file = &database.file;
        let reading = Reading::begin(file.connection())?;
        let (header, backfilled) = settled(database)?;
        let frames = match backfilled < header.max_frame {
            true => pages_of_frames(file, header.max_frame)?.into_iter().zip(1..).collect(),
            false => HashMap::new(),
        };
        let pages = match header.pages {
            // While nothing was ever written to this -wal, its index does not know.
            0 => file.connection().pragma_query_value(None, "page_count", |row| row.get(0))?,
            pages => pages,
        };
        Ok(Snapshot { database, header, pages, frames, _reading: reading })
    }

    /// Where the `-wal` stands.
    pub(super) fn place(&self) -> WalPlace {
        self.header.place()
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.database.size
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Reads a page; `false` if there is none of that number.
    pub(crate) fn read(&self, page: u32, into: &mut [u8]) -> Result<bool, Error> {
        let Database { file, wal, wal_path, size, .. } = self.database;
        match self.frames.get(&page) {
            _ if self.pages < page => return Ok(false),
            Some(frame) => {
                let at = frame_offset(*size, *frame) + FRAME_HEAD_LEN as u64;
                wal.read_exact_at(into, at).map_err(Error::at(wal_path))?;
            }
            None => file.read_database(size.offset_of(page), into)?,
        }
        Ok(true)
    }

    /// The hash of a page, that of nothing if there is none.
    pub(super) fn hash(&self, page: u32) -> Result<PageHash, Error> {
        let mut bytes = vec![0; self.database.size.bytes()];
        Ok(match self.read(page, &mut bytes)? {
            true => page_hash(page, &bytes),
            false => PageHash::default(),
        })
    }
}

/// A read transaction.
struct Reading<'a>(&'a Connection);

impl Reading<'_> {
    /// By the one statement that looks at the file and not at the schema, which may be what is damaged.
    fn begin(connection: &Connection) -> Result<Reading<'_>, Error> {
        let reading = Reading(connection);
        connection.execute_batch("BEGIN; PRAGMA schema_version;")?;
        Ok(reading)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // It fails if there is none: it did not begin, or SQLite has ended it by itself.
        let _ended = self.0.execute_batch("ROLLBACK");
    }
}

/// What is committed, and up to which frame of the same `-wal` it is in the database file.
fn settled(database: &Database) -> Result<(IndexHeader, u32), Error> {
    loop {
        let (before, backfilled) = published(&database.file, database.size)?;
        let (after, _) = published(&database.file, database.size)?;
        // Were it begun anew between header and number, the number would be another one's.
        if before.salts == after.salts {
            return Ok((before, backfilled));
        }
    }
}

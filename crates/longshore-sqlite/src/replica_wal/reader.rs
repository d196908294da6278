//! The pages of a database, for another thread than the one that writes it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::ReplicaDb;
use crate::error::Error;
use crate::pages::PageSize;
use crate::shm::WalFile;
use crate::wal_format::{FRAME_HEAD_LEN, frame_offset};

/// The pages that were committed when it was made. It takes no lock, so that it reads also while readers are kept out, and
/// sees something else once its [`ReplicaDb`] goes on writing: whoever uses it compares what it gives.
#[derive(Debug)]
pub(crate) struct ReplicaReader {
    /// For the file alone: SQLite's own handle, because closing another one would drop SQLite's locks.
    database: WalFile,
    wal: File,
    wal_path: PathBuf,
    page_size: PageSize,
    pages: u32,
    frames: HashMap<u32, u32>,
}

impl ReplicaReader {
    pub(super) fn of(db: &ReplicaDb) -> Result<ReplicaReader, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(db.fence.file.connection().path().ok_or(Error::NoFile)?, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(ReplicaReader {
            database: WalFile::new(connection)?,
            wal: db.wal.try_clone().map_err(Error::at(&db.wal_path))?,
            wal_path: db.wal_path.clone(),
            page_size: db.page_size,
            pages: db.header.pages,
            frames: db.frames.clone(),
        })
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    pub(crate) fn read(&self, page: u32, into: &mut [u8]) -> Result<(), Error> {
        match self.frames.get(&page) {
            Some(frame) => {
                let at = frame_offset(self.page_size, *frame) + FRAME_HEAD_LEN as u64;
                self.wal.read_exact_at(into, at).map_err(Error::at(&self.wal_path))
            }
            None => self.database.read_database(self.page_size.offset_of(page), into),
        }
    }
}

//! A database made from a run that is all of it: written once, straight to its place on disk.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::pages::{Change, Form, PageHash, PageSize, page_hash};
use crate::replica_wal::sync_directory_of;
use crate::sidecar::{Sidecar, Standing, Witness, beside};
use crate::write_behind::WriteBehind;

/// A database that gets its name once it is complete: until then there is `PATH-longshore-new`, and after a crash there is
/// nothing to go on with.
#[derive(Debug)]
pub(crate) struct NewFile {
    database: PathBuf,
    path: PathBuf,
    file: WriteBehind,
    size: PageSize,
    /// Pages that come one after the other, to be written at once.
    buffer: Vec<u8>,
    /// Where they go.
    at: u64,
    /// The page of which the whole says in what mode the database is, and which is there in every state.
    first: Vec<u8>,
}

impl NewFile {
    /// Begins the database that will be at `database`.
    pub(crate) fn create(database: &Path, size: PageSize) -> Result<NewFile, Error> {
        let path = beside(database, "-longshore-new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(Error::at(&path))?;
        let file = WriteBehind::new(file).map_err(Error::at(&path))?;
        let buffer = Vec::with_capacity(WRITE_AT_ONCE + size.bytes());
        Ok(NewFile { database: database.to_owned(), path, file, size, buffer, at: 0, first: Vec::new() })
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.size
    }

    /// Writes a page; pages ascend. Those that are passed over are zeros.
    pub(crate) fn put(&mut self, change: Change<'_>) -> Result<(), Error> {
        if change.form != Form::Whole {
            return Err(Error::Pages(format!("page {} of a whole database is given as a difference", change.page)));
        }
        let offset = self.size.offset_of(change.page);
        if offset != self.at + self.buffer.len() as u64 || WRITE_AT_ONCE <= self.buffer.len() {
            self.write_out()?;
            self.at = offset;
        }
        let from = self.buffer.len();
        self.buffer.resize(from + self.size.bytes(), 0);
        let page = &mut self.buffer[from..];
        change.patch.apply(page);
        if change.page == 1 {
            self.first = page.to_vec();
        }
        Ok(())
    }

    /// Makes it durable, with its position beside it, and gives it its name. There is no database of that name.
    pub(crate) fn complete(mut self, pages: u32, standing: Standing) -> Result<Sidecar, Error> {
        // Where a header says how files are read and written: 2 is a -wal.
        if self.first.get(18..20) != Some(&[2, 2]) {
            return Err(Error::JournalMode("not said to be wal by its first page".to_owned()));
        }
        self.write_out()?;
        let len = self.size.offset_of(pages) + self.size.bytes() as u64;
        self.file.finish(len).map_err(Error::at(&self.path))?;
        let witness = Witness { page: 1, before: NO_PAGE, after: page_hash(1, &self.first) };
        let sidecar = Sidecar::create(&self.database, Standing { applied: None, witness: Some(witness), ..standing })?;
        // What a database of this name has left, SQLite would take for this one's.
        for suffix in ["-wal", "-shm", "-journal"] {
            let left = beside(&self.database, suffix);
            match std::fs::remove_file(&left) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::at(&left)(error)),
                _ => {}
            }
        }
        sync_directory_of(&self.database)?;
        std::fs::rename(&self.path, &self.database).map_err(Error::at(&self.database))?;
        sync_directory_of(&self.database)?;
        Ok(sidecar)
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let (full, len) = (std::mem::take(&mut self.buffer), self.buffer.len() as u64);
        self.buffer = self.file.write(self.at, full).map_err(Error::at(&self.path))?;
        self.at += len;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Nothing goes on with it, and whoever makes the next one removes it otherwise. A complete one has another name.
        let _removed_later = std::fs::remove_file(&self.path);
    }
}

/// Removes what a [`NewFile`] of a process that was killed has left.
pub(crate) fn remove_unfinished(database: &Path) -> Result<(), Error> {
    let path = beside(database, "-longshore-new");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::at(&path)(error)),
        _ => Ok(()),
    }
}

/// The hash of a page before there was a database: that of none.
const NO_PAGE: PageHash = PageHash(0);
const WRITE_AT_ONCE: usize = 256 << 10;

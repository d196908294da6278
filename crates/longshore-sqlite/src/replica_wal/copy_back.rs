//! Copying the `-wal` back into the database, and beginning it anew.

use std::collections::HashMap;
use std::time::Duration;

use super::{ReplicaDb, index};
use crate::error::Error;
use crate::wal_format::IndexHeader;

/// As many as SQLite lets come together by default.
pub(super) const CHECKPOINT_FRAMES: u32 = 1000;
/// A `-wal` of this length is made short again, and readers are waited for before it grows further.
const SHORTEN_FROM: u64 = 16 << 20;
/// How long to wait for them.
const PATIENCE: Duration = Duration::from_millis(50);

impl ReplicaDb {
    /// Copies back what readers allow, for whom it waits a moment; whether the database file is all of it now.
    pub(crate) fn copy_back(&mut self) -> Result<bool, Error> {
        self.checkpoint("FULL", PATIENCE)?;
        self.is_in_file()
    }

    fn is_in_file(&self) -> Result<bool, Error> {
        Ok(self.header.max_frame == index::backfilled(&self.fence.file)?)
    }

    /// Copies frames into the database if the `-wal` has grown, as far as readers allow. Whether the file is all of it by now: then
    /// [`begin_anew`](Self::begin_anew).
    pub(crate) fn copy_back_if_due(&mut self) -> Result<bool, Error> {
        let frames = self.header.max_frame;
        if frames < self.tried_at.saturating_add(CHECKPOINT_FRAMES) {
            return Ok(false);
        }
        self.tried_at = frames;
        if self.is_long()? {
            return self.copy_back();
        }
        self.checkpoint("PASSIVE", Duration::ZERO)?;
        self.is_in_file()
    }

    /// Begins the `-wal` anew once all of it is in the file, unless somebody reads from it.
    pub(crate) fn begin_anew(&mut self) -> Result<(), Error> {
        let place = self.place();
        let is_anew = match self.is_long()? {
            true => self.shorten()?,
            false => self.overwrite()?,
        };
        if is_anew {
            (self.before, self.tried_at) = (Some(place), 0);
        }
        Ok(())
    }

    /// As [`begin_anew`](Self::begin_anew), and leaves an empty file.
    pub(crate) fn empty(&mut self) -> Result<(), Error> {
        if self.shorten()? {
            (self.before, self.tried_at) = (None, 0);
        }
        Ok(())
    }

    fn is_long(&self) -> Result<bool, Error> {
        Ok(SHORTEN_FROM <= self.wal.metadata().map_err(Error::at(&self.wal_path))?.len())
    }

    /// Frames are overwritten from now on, if nobody reads them: a file that does not grow is synced in half the time.
    fn overwrite(&mut self) -> Result<bool, Error> {
        let random = self.random()?[0];
        let Some(header) = index::begin_anew(&self.fence.file, &self.header, random)? else { return Ok(false) };
        self.header = header;
        self.frames.clear();
        Ok(true)
    }

    /// Copies everything and leaves an empty `-wal`. Readers that come while nothing is committed do not use it once it is
    /// copied: waiting for those before them ends soon, unless one of them sits.
    pub(super) fn shorten(&mut self) -> Result<bool, Error> {
        let is_busy = self.checkpoint("TRUNCATE", PATIENCE)?;
        let header = index::read(&self.fence.file, self.page_size)?.ok_or(Error::Vfs("its wal-index is damaged"))?;
        if is_busy || header.max_frame != 0 {
            return Ok(false);
        }
        self.header = IndexHeader { pages: self.header.pages, ..header };
        self.frames = HashMap::new();
        Ok(true)
    }

    /// SQLite's own checkpoint; whether somebody was in its way.
    fn checkpoint(&self, mode: &str, patience: Duration) -> Result<bool, Error> {
        debug_assert!(self.open.pages.is_empty() && self.open.last.is_none(), "between transactions");
        let connection = self.checkpointer.connection();
        connection.busy_timeout(patience)?;
        Ok(connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0))?)
    }
}

//! A log that is another's from now on: nobody writes the database that it came from.

use longshore_apply::Held;

use super::view::published;
use super::{Capture, shipped};
use crate::error::Error;
use crate::page_sink::seen;
use crate::replica_wal::{WriteFence, sync_directory_of};
use crate::shm::Slot;
use crate::sidecar::{Sidecar, Standing, Written};

/// How a database was left.
pub(super) struct GaveWay {
    /// Whatever is committed is in the log, or in its tail.
    pub(super) is_all_in: bool,
    /// Nobody writes as long as it is up.
    pub(super) fence: WriteFence,
}

impl Capture {
    /// Takes the write lock from whoever writes, for good; `false` if a transaction is under way for longer than is waited at
    /// once.
    pub(super) fn keep_writers_out(&self) -> Result<bool, Error> {
        Ok(self.guard.holds(Slot::Write) || self.guard.take(Slot::Write, self.settings.lock_wait)?)
    }

    /// Lets them in again.
    pub(super) fn let_writers_in(&self) -> Result<(), Error> {
        match self.guard.holds(Slot::Write) {
            true => self.guard.unlock(Slot::Write),
            false => Ok(()),
        }
    }

    /// Leaves the lock to whoever comes next, and writes down how the database is left.
    pub(super) fn give_way(self) -> Result<GaveWay, Error> {
        debug_assert!(self.guard.holds(Slot::Write), "nobody writes");
        let is_all_in = self.leave().unwrap_or_else(|error| {
            // Without a position nobody takes it for more than it is.
            tracing::warn!(database = %self.path.display(), %error, "how it is left cannot be written down: it is replaced as a whole");
            false
        });
        self.guard.unlock(Slot::Checkpoint)?;
        let Capture { guard, settings, identity, .. } = self;
        let fence = WriteFence::of(guard);
        if let Some(database) = settings.database {
            database.hold(fence.clone(), identity);
        }
        Ok(GaveWay { is_all_in, fence })
    }

    /// Writes down how the database is left, which nobody writes any more: at the end of what was captured, or with more than
    /// any log holds. Whether it is the former.
    fn leave(&self) -> Result<bool, Error> {
        let lsn = self.shipped.lsn;
        self.log.wait_blocking(lsn, None).map_err(Error::Log)?;
        let base = Held { lsn, crc: Some(self.log.crc_at(lsn).map_err(Error::Log)?) };
        let is_all_in = !self.is_behind()?;
        let path = self.path.canonicalize().map_err(Error::at(&self.path))?;
        let mut standing = Standing::captured(self.log.id(), self.size, base);
        if is_all_in {
            self.checkpoint("PASSIVE")?;
            let (index, backfilled) = published(&self.guard, self.size)?;
            let seen = Some(seen(&path, index.place(), backfilled == index.max_frame)?);
            standing =
                Standing { applied: Some(base), written: Some(Written { seen, ..Written::default() }), ..standing };
        }
        // It is true of a log that goes on as it was, and of no other.
        shipped::forget(&self.settings.hashes)?;
        match Sidecar::open(&path)? {
            Some(mut sidecar) => sidecar.write(standing)?,
            None => {
                Sidecar::create(&path, standing)?;
                sync_directory_of(&path)?;
            }
        }
        Ok(is_all_in)
    }
}

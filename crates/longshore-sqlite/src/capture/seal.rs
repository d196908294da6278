//! Copying the `-wal` back into the database, so that it stays short, and never beyond what is in the log.

use std::time::{Duration, Instant};

use super::Capture;
use super::view::published;
use crate::error::Error;
use crate::shm::{Granted, Slot};

/// What is remembered between checkpoints.
#[derive(Debug, Default)]
pub(super) struct Seals {
    last: Option<Instant>,
    /// Since when not everything could be copied back.
    pinned: Option<Instant>,
}

impl Seals {
    pub(super) fn pinned_for(&self) -> Option<Duration> {
        self.pinned.map(|since| since.elapsed())
    }
}

/// Between two checkpoints of one `-wal`.
const PAUSE: Duration = Duration::from_millis(100);

impl Capture {
    /// Checkpoints if the `-wal` has grown enough.
    pub(super) fn seal_if_due(&mut self) -> Result<(), Error> {
        let bytes = u64::from(self.shipped.place.frame) * self.view.frame_len() as u64;
        let long = self.settings.truncate_from < self.view.file_len();
        let due = self.settings.checkpoint_from <= bytes || long || self.seals.pinned.is_some();
        if !due || self.seals.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return Ok(());
        }
        self.seals.last = Some(Instant::now());
        self.status.checkpoints += 1;
        self.copy_back()?;
        if long || self.settings.hold_from <= bytes {
            self.hold_and_finish(long)?;
        }
        let (index, backfill) = published(&self.guard, self.size)?;
        let all = index.max_frame <= backfill;
        // A writer is ahead of every checkpoint by a little; what counts is a -wal that has grown and cannot begin anew.
        let stuck = !all && self.settings.hold_from <= u64::from(index.max_frame) * self.view.frame_len() as u64;
        self.seals.pinned = if stuck { self.seals.pinned.or(Some(Instant::now())) } else { None };
        Ok(())
    }

    /// Copies back what is in the log, and holds nobody up: a read mark of ours keeps the checkpoint from going further.
    fn copy_back(&mut self) -> Result<(), Error> {
        self.reader.connection().execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
        let copied = self.copy().and_then(|_| self.checkpoint("PASSIVE"));
        self.reader.connection().execute_batch("ROLLBACK")?;
        copied
    }

    /// Holds writers up for the little that came since, so that the next one begins the `-wal` anew. An application that is
    /// at it goes first: then the next turn tries again.
    fn hold_and_finish(&mut self, truncate: bool) -> Result<(), Error> {
        // The lock itself, not a transaction: that would leave a read mark, which a TRUNCATE would have to wait for.
        let until = Instant::now() + self.settings.lock_wait;
        while !self.guard.try_lock(Slot::Write)? {
            if until <= Instant::now() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let held = Instant::now();
        let finished = self.copy().and_then(|_| self.finish_held(truncate));
        self.guard.unlock(Slot::Write)?;
        self.status.longest_hold = self.status.longest_hold.max(held.elapsed());
        finished
    }

    fn finish_held(&mut self, truncate: bool) -> Result<(), Error> {
        if !truncate {
            return self.checkpoint("PASSIVE");
        }
        self.checkpointer.grant(Granted::Both);
        let truncated = self.checkpoint("TRUNCATE");
        self.checkpointer.grant(Granted::Checkpoint);
        truncated
    }

    /// Readers that are in the way are an ordinary outcome.
    fn checkpoint(&self, mode: &str) -> Result<(), Error> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let outcome = self.checkpointer.connection().query_row(&sql, [], |_| Ok(()));
        match outcome {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
            other => Ok(other?),
        }
    }
}

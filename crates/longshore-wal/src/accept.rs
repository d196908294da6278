//! The highest epoch this node accepted: written down before anything is done on its word, and never lower again (F-113).
//!
//! The epoch of the log's own records may be lower: an upstream says that it writes a higher one before the record that
//! begins it is here, and a promotion fences this node before its first record. Were that forgotten with the process, the
//! writer of the old epoch would be believed once more.

use longshore_format::Epoch;

use crate::{Error, Result, Role, Wal};

impl Wal {
    /// The highest epoch accepted here, at least that of the last record.
    pub fn accepted_epoch(&self) -> Epoch {
        self.shared().control.look(|control| control.highest)
    }

    /// Whether it was this node that wrote in an epoch. `false` also for one so long ago that nobody remembers.
    pub fn wrote(&self, epoch: Epoch) -> bool {
        self.shared().control.look(|control| control.writers.contains(&epoch.writer))
    }

    /// Accepts an epoch. Durable when it returns, and from then on this node is no writer of a lower one, whoever opens the
    /// log. Refused with [`Error::Fenced`] if a higher one was accepted before, or this one from another writer: a number has
    /// one writer, ever.
    ///
    /// A writer steps down with it: every later append is refused as [`Error::Fenced`]. What was appended before stays, is
    /// synced as ever, and readers go on. Of either role the log's [end](Wal::end) is settled when this returns, until
    /// somebody who accepted this epoch too sends more. Waits for the disk if the
    /// epoch is news.
    pub fn accept_epoch(&self, epoch: Epoch) -> Result<()> {
        let shared = self.shared();
        shared.alive()?;
        let fenced = |accepted: Epoch| Error::Fenced { epoch: epoch.to_string(), accepted: accepted.to_string() };
        // Under this lock, so that no frames of an earlier epoch are being stored when it has returned.
        let mut appender = shared.lock(&shared.append)?;
        let own = appender.chain().life.epoch;
        if shared.settings.role == Role::Writer && own.number < epoch.number {
            // Before it is written down: once it is, nothing of the old epoch may follow.
            appender.fenced.get_or_insert(Error::Fenced { epoch: own.to_string(), accepted: epoch.to_string() });
        }
        let accepted = shared.control.raise_highest(epoch);
        drop(appender);
        if accepted != epoch {
            return Err(fenced(accepted));
        }
        // Also if it was known: whoever raised it may still be waiting for the disk.
        shared.control.sync().map_err(|error| shared.poison(error))
    }

    /// Whether this node was its log's writer until it accepted a later epoch.
    pub fn is_fenced(&self) -> bool {
        self.shared().lock(&self.shared().append).is_ok_and(|appender| appender.fenced.is_some())
    }
}

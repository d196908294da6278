//! The highest epoch this node accepted: written down before anything is done on its word, and never lower again (F-113).
//!
//! The epoch of the log's own records may be lower: an upstream says that it writes a higher one before the record that
//! begins it is here. Were that forgotten with the process, the writer of the old epoch would be believed once more.

use longshore_format::Epoch;

use crate::{Error, Result, Role, Wal};

impl Wal {
    /// The highest epoch accepted here, at least that of the last record.
    pub fn accepted_epoch(&self) -> Epoch {
        self.shared().control.look(|control| control.highest)
    }

    /// Accepts the epoch that an upstream writes. Durable when it returns, and from then on this node is no writer of a
    /// lower one, whoever opens the log. Refused with [`Error::Fenced`] if a higher one was accepted before, or this one
    /// from another writer: a number has one writer, ever.
    ///
    /// Waits for the disk if the epoch is news. For followers; a writer steps down first.
    pub fn accept_epoch(&self, epoch: Epoch) -> Result<()> {
        let shared = self.shared();
        shared.alive()?;
        if shared.settings.role == Role::Writer {
            return Err(Error::Invalid("a writer does not accept the epoch of another; open the log as a follower"));
        }
        let accepted = shared.control.raise_highest(epoch);
        if accepted != epoch {
            return Err(Error::Fenced { epoch: epoch.to_string(), accepted: accepted.to_string() });
        }
        // Also if it was known: whoever raised it may still be waiting for the disk.
        shared.control.sync().map_err(|error| shared.poison(error))
    }
}

//! Appending: mint under the lock, copy into the active segment, and nothing that waits.

use longshore_format::{Kind, Lsn};

use crate::{Result, Wal};

/// A record to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordDraft<'a> {
    /// What it is: 256 or above.
    pub kind: Kind,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> RecordDraft<'a> {
    /// A record of the first of the user's kinds.
    pub fn user(payload: &'a [u8]) -> RecordDraft<'a> {
        RecordDraft { kind: Kind::USER, payload }
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where its first record starts.
    pub start: Lsn,
    /// Where its last record ends: the position to wait for.
    pub end: Lsn,
}

impl Wal {
    /// Appends a batch as one run: all of it counts or none. It is in the log when this returns, and durable once
    /// [`Wal::durable`] has reached [`Appended::end`]; `kill -9` of the process loses nothing of it.
    ///
    /// `expect` is where the caller believes the log to end; anywhere else, nothing is appended ([`Error::WrongEnd`]),
    /// so that a retry after a lost answer cannot write twice. Never blocks on the disk: past a limit it returns
    /// [`Error::Full`] with figures, see [`Wal::wait_room`].
    ///
    /// [`Error::WrongEnd`]: crate::Error::WrongEnd
    /// [`Error::Full`]: crate::Error::Full
    pub fn append(&self, batch: &[RecordDraft<'_>], expect: Option<Lsn>) -> Result<Appended> {
        let _ = (batch, expect);
        todo!()
    }

    /// Appends a named point; returns where it ends, which is the position that the name stands for.
    pub fn mark(&self, name: &longshore_format::Name) -> Result<Lsn> {
        let _ = name;
        todo!()
    }

    /// For a follower: stores frames that an upstream sent, which start where this log ends. Order, epoch, every
    /// checksum and every link are checked first; if anything does not hold, nothing is stored.
    pub fn append_frames(&self, start: Lsn, frames: &[u8]) -> Result<Lsn> {
        let _ = (start, frames);
        todo!()
    }
}

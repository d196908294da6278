//! The lives of a log in order, and what two histories prove about each other.

use thiserror::Error;

use crate::bytes::Fields;
use crate::{EpochEntry, Lsn, SegmentSize};

/// The newest lives of a log, oldest first; never empty, at most [`EpochHistory::LIMIT`].
///
/// Starts grow strictly from entry to entry, but that a log's first record may already begin its
/// second life, which then starts where the first does. From one entry to the next either the epoch number
/// grows, or the epoch stays and the incarnation changes.
///
/// Ids are random, so one entry that two histories share proves that everything before it is the
/// same; that is why the oldest entries can be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochHistory(Vec<EpochEntry>);

/// What two histories prove about two logs. The pair is (this log, the other one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The same lives: one log's records are a prefix of the other's, unless somebody lost some.
    Same,
    /// The other log has lives that this one has not; the first of them starts at `at`. If this log
    /// ends at or before `at` it is a prefix of the other, else they part there.
    Behind {
        /// Where the first life that only the other log has starts.
        at: Lsn,
    },
    /// This log has lives that the other one has not; the first of them starts at `at`. If the other
    /// log ends at or before `at` it is a prefix of this one, else they part there.
    Ahead {
        /// Where the first life that only this log has starts.
        at: Lsn,
    },
    /// Each has lives that the other has not: they part at `at`, the smaller of the two starts.
    Forked {
        /// The last position up to which both can be the same.
        at: Lsn,
    },
    /// No entry in common: the histories prove nothing.
    Unrelated,
}

/// Why a life cannot follow the newest one of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HistoryFault {
    /// It does not start after the one before.
    #[error("a life that starts at {start} cannot follow one that starts at {newest}")]
    Start {
        /// Where the newest life starts.
        newest: Lsn,
        /// Where the refused one starts.
        start: Lsn,
    },
    /// Its epoch is lower, or has the same number and another writer.
    #[error("epoch {number} cannot follow epoch {newest}: the number must grow")]
    Epoch {
        /// The newest epoch's number.
        newest: u64,
        /// The refused one's number.
        number: u64,
    },
    /// It is the same epoch and incarnation again.
    #[error("a life must differ in epoch or incarnation from the one before")]
    Repeated,
    /// No entries, or more than there may be, or bytes missing or left over.
    #[error("a history has 1 to 64 entries of 40 bytes")]
    Length,
}

impl EpochHistory {
    /// The most entries a history keeps: the newest.
    pub const LIMIT: usize = 64;
    /// The longest encoding.
    pub const MAX_LEN: usize = 1 + EpochHistory::LIMIT * EpochEntry::LEN;

    /// The history of a log in its first life.
    pub fn new(first: EpochEntry) -> EpochHistory {
        EpochHistory(vec![first])
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.0
    }

    /// The newest life.
    pub fn current(&self) -> &EpochEntry {
        self.0.last().expect("a history is never empty")
    }

    /// Adds a life after the newest, forgetting the oldest if there are too many.
    pub fn push(&mut self, entry: EpochEntry) -> Result<(), HistoryFault> {
        may_follow(self.current(), &entry)?;
        if self.0.len() == EpochHistory::LIMIT {
            self.0.remove(0);
        }
        self.0.push(entry);
        Ok(())
    }

    /// The life that a record starting at `lsn` was written in, or which it introduced; `None` if
    /// that is before the oldest life still known.
    pub fn at(&self, lsn: Lsn) -> Option<&EpochEntry> {
        let later = self.0.partition_point(|entry| entry.start <= lsn);
        self.0[..later].last()
    }

    /// The history of the log cut at `end`: without the lives that start at or after it. `None` if
    /// none is left of those still known.
    pub fn before(&self, end: Lsn) -> Option<EpochHistory> {
        let kept = self.0.partition_point(|entry| entry.start < end);
        (kept > 0).then(|| EpochHistory(self.0[..kept].to_vec()))
    }

    /// Compares this log's history with another's.
    ///
    /// ```
    /// use longshore_format::{Epoch, EpochEntry, EpochHistory, Fork, Incarnation, Lsn, WriterId};
    ///
    /// let life = |start, number| EpochEntry {
    ///     start: Lsn::new(start),
    ///     epoch: Epoch { number, writer: WriterId::from_bytes([number as u8; 16]) },
    ///     incarnation: Incarnation::new(number),
    /// };
    /// let mut ours = EpochHistory::new(life(4096, 1));
    /// let mut theirs = ours.clone();
    /// assert_eq!(ours.fork(&theirs), Fork::Same);
    /// theirs.push(life(9000, 2))?;
    /// assert_eq!(ours.fork(&theirs), Fork::Behind { at: Lsn::new(9000) });
    /// ours.push(life(9800, 3))?;
    /// assert_eq!(ours.fork(&theirs), Fork::Forked { at: Lsn::new(9000) });
    /// # Ok::<(), longshore_format::HistoryFault>(())
    /// ```
    pub fn fork(&self, other: &EpochHistory) -> Fork {
        let shared = self.0.iter().enumerate().rev().find_map(|(ours, entry)| {
            let theirs = other.0.iter().rposition(|candidate| candidate == entry)?;
            Some((ours, theirs))
        });
        let Some((ours, theirs)) = shared else {
            return Fork::Unrelated;
        };
        match (self.0.get(ours + 1), other.0.get(theirs + 1)) {
            (None, None) => Fork::Same,
            (None, Some(next)) => Fork::Behind { at: next.start },
            (Some(next), None) => Fork::Ahead { at: next.start },
            (Some(mine), Some(yours)) => Fork::Forked { at: mine.start.min(yours.start) },
        }
    }

    /// The history as bytes: how many entries, then the entries.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.0.len() * EpochEntry::LEN);
        bytes.push(self.0.len() as u8);
        for entry in &self.0 {
            bytes.extend_from_slice(&entry.encode());
        }
        bytes
    }

    /// The history that exactly these bytes hold.
    pub fn decode(bytes: &[u8]) -> Result<EpochHistory, HistoryFault> {
        let mut fields = Fields(bytes);
        let history = EpochHistory::take(&mut fields)?;
        if fields.0.is_empty() { Ok(history) } else { Err(HistoryFault::Length) }
    }

    pub(crate) fn take(fields: &mut Fields<'_>) -> Result<EpochHistory, HistoryFault> {
        let count = fields.u8().map_or(0, usize::from);
        EpochHistory::take_entries(fields, count)
    }

    pub(crate) fn take_entries(fields: &mut Fields<'_>, count: usize) -> Result<EpochHistory, HistoryFault> {
        if count > EpochHistory::LIMIT {
            return Err(HistoryFault::Length);
        }
        let entries: Option<Vec<_>> = (0..count).map(|_| EpochEntry::take(fields)).collect();
        EpochHistory::from_entries(entries.ok_or(HistoryFault::Length)?)
    }

    /// The history of these entries, oldest first.
    pub fn from_entries(entries: Vec<EpochEntry>) -> Result<EpochHistory, HistoryFault> {
        if entries.is_empty() || entries.len() > EpochHistory::LIMIT {
            return Err(HistoryFault::Length);
        }
        entries.windows(2).try_for_each(|pair| may_follow(&pair[0], &pair[1]))?;
        Ok(EpochHistory(entries))
    }
}

/// Whether `next` can be the life after `last`.
pub(crate) fn may_follow(last: &EpochEntry, next: &EpochEntry) -> Result<(), HistoryFault> {
    // The first life needs no record, so the log's first record may already begin the second.
    let at_first_record = next.start == last.start && next.start == SegmentSize::FIRST_LSN;
    if next.start <= last.start && !at_first_record {
        return Err(HistoryFault::Start { newest: last.start, start: next.start });
    }
    if next.epoch == last.epoch {
        return match next.incarnation == last.incarnation {
            true => Err(HistoryFault::Repeated),
            false => Ok(()),
        };
    }
    if next.epoch.number <= last.epoch.number {
        return Err(HistoryFault::Epoch { newest: last.epoch.number, number: next.epoch.number });
    }
    Ok(())
}

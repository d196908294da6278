//! Records in order, as they become durable: for programs that read a log themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore_format::{Lsn, Record};
use longshore_transport::OwnedRecord;
use longshore_wal::{Ended, Reader};

use crate::error::Result;
use crate::log::Log;

/// A reader that waits for more.
///
/// Gives every record of the log from a boundary on, the log's own kinds (below 256) too, each once
/// and in order, and only what is durable here. Transactions stand in the records' flags; a program
/// that wants whole transactions only gives a [`Sink`](longshore_apply::Sink) to an applier instead.
///
/// Nothing is buffered ahead: a subscription that is not read costs nothing but the log it keeps
/// open. It does not hold back retention; when the log is trimmed past it, it ends with `TooOld`.
pub struct Subscription {
    log: Arc<Log>,
    reader: Reader,
}

impl Subscription {
    pub(crate) fn new(log: Arc<Log>, from: Lsn) -> Result<Self> {
        let reader = log.wal.reader(from)?;
        Ok(Self { log, reader })
    }

    /// Where the next record begins.
    pub fn position(&self) -> Lsn {
        self.reader.position()
    }

    /// The next record; `None` when the log was closed and all that is durable was given.
    ///
    /// Works on every executor. Cancel safe: a record is never lost by dropping the future.
    ///
    /// # Errors
    /// `TooOld` when the log was trimmed past this reader, `Corrupt` when a record is damaged,
    /// `Poisoned` when a sync failed.
    pub async fn next(&mut self) -> Result<Option<OwnedRecord>> {
        loop {
            if let Some(record) = self.ready()? {
                return Ok(Some(record));
            }
            match self.log.wal.durable().wait(self.reader.position().just_after()).await {
                Ok(_) => {}
                Err(Ended::Failed(error)) => return Err(error.into()),
                Err(_) => return Ok(None),
            }
        }
    }

    /// The next record, blocking the thread; `None` when the log was closed, or nothing came within
    /// `timeout`.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn next_blocking(&mut self, timeout: Option<Duration>) -> Result<Option<OwnedRecord>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(record) = self.ready()? {
                return Ok(Some(record));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.log.wal.durable().wait_blocking(self.reader.position().just_after(), left) {
                Ok(_) => {}
                Err(Ended::Failed(error)) => return Err(error.into()),
                Err(_) => return Ok(None),
            }
        }
    }

    /// The next record if it is there already.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn ready(&mut self) -> Result<Option<OwnedRecord>> {
        Ok(self.reader.next()?.as_ref().map(owned))
    }
}

/// Iterates, blocking the thread for what is to come; ends when the log is closed.
impl IntoIterator for Subscription {
    type Item = Result<OwnedRecord>;
    type IntoIter = Records;

    fn into_iter(self) -> Records {
        Records { subscription: self }
    }
}

/// The blocking iterator of a [`Subscription`].
pub struct Records {
    subscription: Subscription,
}

impl Iterator for Records {
    type Item = Result<OwnedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.subscription.next_blocking(None).transpose()
    }
}

/// A record with its own bytes.
pub(crate) fn owned(record: &Record<'_>) -> OwnedRecord {
    OwnedRecord {
        start: record.start,
        end: record.end,
        kind: record.kind,
        flags: record.flags,
        time: record.time,
        payload: Bytes::copy_from_slice(record.payload),
    }
}

//! Reading a log in order, up to what is durable.

use bytes::Bytes;
use longshore_format::{Chain, Lsn, Record};

use crate::Result;

/// A place in a log from which records, or frames to be shipped, are read in order.
///
/// Everything is checked on the way: checksums, links, order, and that segments join. A clone is a bookmark: it goes on
/// reading independently from the same place. Never returns what is not durable.
#[derive(Clone, Debug)]
pub struct Reader {}

/// Verbatim bytes of whole records, all of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the first record starts.
    pub start: Lsn,
    /// Where the last one ends.
    pub end: Lsn,
    /// Their bytes: borrowed from the map of a live segment, or from a pool.
    pub bytes: Bytes,
}

impl Reader {
    /// Where the next record starts.
    pub fn position(&self) -> Lsn {
        todo!()
    }

    /// The state at the position: its `link` is the checksum of the record before, and `run` the open run, if any.
    pub fn chain(&self) -> &Chain {
        todo!()
    }

    /// The next record, of the log's own kinds too; `None` at the durable end, where a later call may find more.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the reader, which no Iterator can say")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        todo!()
    }

    /// The next records as they stand in the log, about `max_bytes` of them but at least one, all of one segment.
    pub fn next_frames(&mut self, max_bytes: usize) -> Result<Option<Chunk>> {
        let _ = max_bytes;
        todo!()
    }

    /// Waits until there is something to read, or the log ends. Cancel safe.
    pub async fn ready(&self) -> Result<()> {
        todo!()
    }

    /// As [`Reader::ready`] on this thread; `false` if the timeout came first.
    pub fn ready_blocking(&self, timeout: Option<std::time::Duration>) -> Result<bool> {
        let _ = timeout;
        todo!()
    }

    /// Goes on at another boundary, forward or back.
    pub fn seek(&mut self, to: Lsn) -> Result<()> {
        let _ = to;
        todo!()
    }
}

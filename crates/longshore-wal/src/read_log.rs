//! A log opened for reading only: nothing in its directory changes, and no lock is taken.

use std::sync::Arc;

use longshore_format::{Content, Digest, EpochHistory, LogId, Lsn, SegmentSize};
use longshore_storage::Directory;

use crate::{Reader, Result, SegmentInfo, SegmentReader};

/// A log opened for reading only. A torn tail is cut in memory; beside a live owner it ends at the durable position
/// that the owner last wrote down, and [`ReadLog::refresh`] looks again.
#[derive(Clone, Debug)]
pub struct ReadLog {}

impl ReadLog {
    /// Opens the log in `dir`.
    pub fn open(dir: Arc<dyn Directory>) -> Result<ReadLog> {
        let _ = dir;
        todo!()
    }

    /// Whether another process owned the log when it was opened or last refreshed.
    pub fn has_owner(&self) -> bool {
        todo!()
    }

    /// Looks how far a live owner has come by now; returns the new end. Readers see it at once.
    pub fn refresh(&self) -> Result<Lsn> {
        todo!()
    }

    /// A reader at the boundary `from`.
    pub fn reader(&self, from: Lsn) -> Result<Reader> {
        let _ = from;
        todo!()
    }

    /// The first position.
    pub fn first(&self) -> Lsn {
        todo!()
    }

    /// The end.
    pub fn end(&self) -> Lsn {
        todo!()
    }

    /// Which log.
    pub fn id(&self) -> LogId {
        todo!()
    }

    /// What its records mean.
    pub fn content(&self) -> Content {
        todo!()
    }

    /// The size of its segments.
    pub fn segment_size(&self) -> SegmentSize {
        todo!()
    }

    /// Its lives.
    pub fn history(&self) -> EpochHistory {
        todo!()
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        todo!()
    }

    /// The digest of a sealed segment; `None` if it is not sealed or not here.
    pub fn digest(&self, base: Lsn) -> Result<Option<Digest>> {
        let _ = base;
        todo!()
    }

    /// The bytes of a segment's file.
    pub fn segment(&self, base: Lsn) -> Result<SegmentReader> {
        let _ = base;
        todo!()
    }

    /// The header checksum of the record that ends at the boundary `lsn`.
    pub fn crc_at(&self, lsn: Lsn) -> Result<u32> {
        let _ = lsn;
        todo!()
    }

    /// The boundary before the first record later than `time` (microseconds UTC).
    pub fn position_at(&self, time: u64) -> Result<Lsn> {
        let _ = time;
        todo!()
    }
}

//! The segments of a log, as others see them.

use longshore_format::{Digest, Lsn, SegmentHeader, SegmentSize};

use crate::Result;

/// How far a segment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Records are being appended.
    Active,
    /// Full; its footer is not written yet.
    Full,
    /// Full and sealed.
    Sealed,
}

/// One segment of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its base: the number in its file's name.
    pub base: Lsn,
    /// Where its last record ends, as far as this log goes; the next segment's first position if it is full.
    pub end: Lsn,
    /// How far it has come.
    pub state: SegmentState,
    /// Its digest, if it is sealed and was looked at already; [`Wal::digest`](crate::Wal::digest) looks.
    pub digest: Option<Digest>,
}

/// The bytes of one sealed segment's file, for a peer that repairs its own or begins a log from it.
#[derive(Clone, Debug)]
pub struct SegmentReader {}

impl SegmentReader {
    /// The header.
    pub fn header(&self) -> &SegmentHeader {
        todo!()
    }

    /// The size of the file.
    pub fn size(&self) -> SegmentSize {
        todo!()
    }

    /// Reads into `buf` from `offset`; fewer bytes only at the end of the file.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _ = (buf, offset);
        todo!()
    }
}

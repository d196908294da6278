//! The segments of a log, as others see them.

use std::sync::Arc;

use longshore_format::{Digest, Lsn, SegmentHeader, SegmentSize};
use longshore_storage::{Access, File};

use crate::view::View;
use crate::{Error, Result};

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
pub struct SegmentReader {
    header: SegmentHeader,
    file: Arc<dyn File>,
}

impl SegmentReader {
    pub(crate) fn open(view: &View, base: Lsn) -> Result<SegmentReader> {
        let base = view.size.base_of(base);
        let segment = view.segment_of(base)?;
        if view.sealed.get() <= base {
            return Err(Error::Beyond { lsn: base, end: view.sealed.get() });
        }
        let header = view.header(&segment, &mut view.window(&segment)?)?.clone();
        let opened = view.dir.open(&view.size.file_name(base), Access::Read);
        Ok(SegmentReader { header, file: opened.map_err(Error::io("open a segment"))? })
    }

    /// The header.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The size of the file.
    pub fn size(&self) -> SegmentSize {
        self.header.size
    }

    /// Reads into `buf` from `offset`; fewer bytes only at the end of the file.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        crate::survey::read_at(&self.file, self.header.base(), buf, offset)
    }
}

impl View {
    /// The digest of a sealed segment; `None` if it is not sealed or not here.
    pub(crate) fn digest(&self, base: Lsn) -> Result<Option<Digest>> {
        match self.get(self.size.base_of(base)) {
            Some(segment) if segment.base < self.sealed.get() => Ok(Some(self.footer(&segment)?.digest)),
            _ => Ok(None),
        }
    }
}

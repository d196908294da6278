//! A piece of a segment in memory: borrowed from its map, or read from its file into a pooled buffer.
//!
//! Every reader of a segment (readers, the sealer, recovery) looks at it through one of these, each with a limit of its
//! own beyond which it must not look.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use longshore_format::{Cursor, Lsn, RECORD_HEADER_LEN, SegmentSize, Step};
use longshore_storage::{File, RegionReader};

use crate::shared::lock;
use crate::{Error, Result};

/// How much is read from a file at once unless asked for more: cold, larger reads are no faster.
pub(crate) const READ_LEN: usize = 256 << 10;

/// How much is read at once where only headers count: what lies between those of long records is not.
pub(crate) const HEADS_LEN: usize = 4 << 10;

/// Where a segment's bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The map of a live segment; its published bytes never change.
    Map(RegionReader),
    /// Its file.
    File(Arc<dyn File>),
}

/// A piece of one segment in memory.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    base: Lsn,
    source: Source,
    pool: Arc<Pool>,
    /// Where `bytes` begin in the segment.
    offset: u64,
    bytes: Bytes,
}

impl Window {
    pub(crate) fn new(base: Lsn, source: Source, pool: Arc<Pool>) -> Window {
        Window { base, source, pool, offset: 0, bytes: Bytes::new() }
    }

    pub(crate) fn base(&self) -> Lsn {
        self.base
    }

    /// The bytes from `offset` on that are in memory already.
    pub(crate) fn held(&self, offset: u64) -> &[u8] {
        let skip = offset.checked_sub(self.offset).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.bytes.get(skip..)).unwrap_or_default()
    }

    /// The bytes from `offset` on: at least `need` of them unless `limit` or the file ends before, about `want` if they
    /// must be fetched.
    pub(crate) fn at(&mut self, offset: u64, need: usize, want: usize, limit: u64) -> Result<&[u8]> {
        let possible = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        if self.held(offset).len() < need.min(possible) {
            self.fetch(offset, want.max(need).min(possible), limit)?;
        }
        let held = self.held(offset);
        Ok(&held[..held.len().min(possible)])
    }

    /// As [`Window::at`], but looks again for what a live segment has gained meanwhile.
    pub(crate) fn fresh(&mut self, offset: u64, want: usize, limit: u64) -> Result<()> {
        let possible = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        if self.held(offset).len() < want.min(possible) {
            self.fetch(offset, want.min(possible), limit)?;
        }
        Ok(())
    }

    /// A part of what is held, as a value of its own.
    pub(crate) fn share(&self, offset: u64, len: usize) -> Bytes {
        let start = (offset - self.offset) as usize;
        self.bytes.slice(start..start + len)
    }

    fn fetch(&mut self, offset: u64, len: usize, limit: u64) -> Result<()> {
        self.bytes = match &self.source {
            Source::Map(region) => {
                let end = usize::try_from(limit).map_or(region.published(), |limit| limit.min(region.published()));
                let start = (offset as usize).min(end);
                Bytes::from_owner(region.slice(start..end))
            }
            Source::File(file) => {
                // The old buffer goes back to the pool first, if nobody else holds it.
                self.bytes = Bytes::new();
                self.pool.read(file, offset, len).map_err(|source| Error::Unreadable {
                    segment: self.base,
                    offset,
                    source: Arc::new(source),
                })?
            }
        };
        self.offset = offset;
        Ok(())
    }
}

/// Reads the record at the cursor. A record that reaches beyond `limit`, or beyond the end of the file, is
/// [`Step::Short`].
pub(crate) fn read_record<'w>(
    cursor: &mut Cursor,
    window: &'w mut Window,
    want: usize,
    limit: u64,
) -> Result<Step<'w>> {
    let size = cursor.size();
    let offset = size.offset_in(cursor.position());
    let head = window.at(offset, RECORD_HEADER_LEN, want, limit)?;
    // A record begins with its length. It is not checked yet, so it only decides how much is brought in before the
    // record is read, and that only up to what a record can have.
    let length = head.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
    let need = length.next_multiple_of(8).clamp(RECORD_HEADER_LEN, longest_record(size));
    Ok(cursor.read(window.at(offset, need, want, limit)?))
}

/// How many bytes the longest record takes.
pub(crate) fn longest_record(size: SegmentSize) -> usize {
    (RECORD_HEADER_LEN + size.max_payload()).next_multiple_of(8)
}

/// Buffers for reading files, used again and again: reading a cold log allocates nothing in the steady state.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// More buffers than this are given back to the allocator.
    const KEPT: usize = 8;

    fn read(self: &Arc<Self>, file: &Arc<dyn File>, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let mut buffer = self.take(len);
        let read = file.read_at(&mut buffer[..len], offset)?;
        Ok(Bytes::from_owner(Pooled { buffer, len: read, pool: Arc::clone(self) }))
    }

    fn take(&self, len: usize) -> Vec<u8> {
        let mut free = lock(&self.free);
        let fitting = free.iter().rposition(|buffer| len <= buffer.len());
        let buffer = fitting.map(|index| free.swap_remove(index));
        drop(free);
        buffer.unwrap_or_else(|| vec![0; len.max(READ_LEN)])
    }

    fn put(&self, buffer: Vec<u8>) {
        let mut free = lock(&self.free);
        if free.len() < Pool::KEPT {
            free.push(buffer);
        }
    }
}

/// A buffer on loan; goes back to the pool when the last slice of it is dropped.
struct Pooled {
    buffer: Vec<u8>,
    len: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.buffer));
    }
}

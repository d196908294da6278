//! A region of memory that one writer fills while many readers borrow what it has published.
//!
//! ```text
//!  0              published                        len
//!  ├──────────────────┼─────────────────────────────┤
//!  │ frozen: borrowed │ the writer's own, seen by   │
//!  │ by any reader    │ no reader                   │
//! ```
//!
//! `published` only grows. Readers load it with *acquire*, the writer stores it with *release* after the bytes, so a
//! reader that sees a position sees every byte before it. Behind the handles is a mapped file or plain heap memory; the
//! latter runs under Miri and tells its owner of every store, which is how a simulated disk sees what a real one would
//! see in the page cache.

mod memory;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use memmap2::MmapRaw;

use self::memory::Memory;

/// Told of every store into a heap region, after it: the offset and the bytes that now stand there.
pub type OnWrite = Box<dyn Fn(usize, &[u8]) + Send + Sync>;

/// Makes pairs of handles; see [`RegionWriter`] and [`RegionReader`].
#[derive(Debug)]
pub struct Region;

impl Region {
    /// A region on the heap holding `bytes`, nothing of it published. `on_write`, if given, is told of every store.
    ///
    /// ```
    /// use longshore_storage::Region;
    ///
    /// let (mut writer, reader) = Region::heap(vec![0; 16].into(), None);
    /// writer.copy_in(0, b"hello");
    /// assert_eq!(reader.published(), 0);
    /// writer.publish(5);
    /// assert_eq!(reader.bytes(0..reader.published()), b"hello");
    /// ```
    pub fn heap(bytes: Box<[u8]>, on_write: Option<OnWrite>) -> (RegionWriter, RegionReader) {
        Region::handles(Memory::heap(bytes), on_write)
    }

    pub(crate) fn map(map: MmapRaw) -> (RegionWriter, RegionReader) {
        Region::handles(Memory::map(map), None)
    }

    fn handles(memory: Memory, on_write: Option<OnWrite>) -> (RegionWriter, RegionReader) {
        let shared = Arc::new(Shared { memory, published: AtomicUsize::new(0), on_write });
        let reader = RegionReader { shared: Arc::clone(&shared) };
        (RegionWriter { shared, published: 0 }, reader)
    }
}

struct Shared {
    memory: Memory,
    /// Stored by the one writer alone (release), loaded by readers (acquire); never decreases (R3).
    published: AtomicUsize,
    on_write: Option<OnWrite>,
}

impl Shared {
    fn told_of(&self, at: usize, bytes: &[u8]) {
        if let Some(on_write) = &self.on_write {
            on_write(at, bytes);
        }
    }
}

/// The one handle that may store into a region, at or after `published` only.
pub struct RegionWriter {
    shared: Arc<Shared>,
    /// The same as `shared.published`, at hand without an atomic load.
    published: usize,
}

impl RegionWriter {
    /// The length of the region.
    #[expect(clippy::len_without_is_empty, reason = "an empty region is of no use to anybody")]
    pub fn len(&self) -> usize {
        self.shared.memory.len()
    }

    /// How many bytes are published.
    pub fn published(&self) -> usize {
        self.published
    }

    /// Borrows any bytes of the region, published or not: the writer may see its own work.
    ///
    /// # Panics
    /// If the range is not inside the region.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: stores need `&mut` of the only writer (R2), which is borrowed as long as the result lives.
        unsafe { self.shared.memory.bytes(range) }
    }

    /// Copies `bytes` to offset `at`. Readers see them once published.
    ///
    /// # Panics
    /// If `at` is below `published` or the bytes do not fit.
    #[inline]
    pub fn copy_in(&mut self, at: usize, bytes: &[u8]) {
        self.assert_unpublished(at);
        // SAFETY: the target is at or after `published`, where no reader borrows (R4); this is the only writer and it is
        // borrowed mutably, so nothing that it lent is alive and no other store runs (R2).
        unsafe { self.shared.memory.store(at, bytes) };
        self.shared.told_of(at, bytes);
    }

    /// Stores zeros over `range`.
    ///
    /// # Panics
    /// As [`RegionWriter::copy_in`].
    pub fn zero(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end, "range {range:?}");
        self.assert_unpublished(range.start);
        // SAFETY: as in `copy_in`.
        unsafe { self.shared.memory.zero(range.start, range.len()) };
        self.shared.told_of(range.start, self.bytes(range));
    }

    /// Gives everything below `to` to the readers, for ever.
    ///
    /// # Panics
    /// If `to` is below what is published or beyond the region.
    #[inline]
    pub fn publish(&mut self, to: usize) {
        assert!(self.published <= to && to <= self.len(), "publish {to} after {} of {}", self.published, self.len());
        self.published = to;
        self.shared.published.store(to, Ordering::Release);
    }

    /// Another reader of this region.
    pub fn reader(&self) -> RegionReader {
        RegionReader { shared: Arc::clone(&self.shared) }
    }

    #[inline]
    fn assert_unpublished(&self, at: usize) {
        assert!(self.published <= at, "store at {at}, below the published {}", self.published);
    }
}

/// A handle that borrows published bytes. Clones read the same region.
#[derive(Clone)]
pub struct RegionReader {
    shared: Arc<Shared>,
}

impl RegionReader {
    /// How many bytes are published now.
    #[inline]
    pub fn published(&self) -> usize {
        self.shared.published.load(Ordering::Acquire)
    }

    /// Borrows published bytes.
    ///
    /// # Panics
    /// If the range ends beyond what is published.
    #[inline]
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        let published = self.published();
        assert!(range.end <= published, "range {range:?} is not published; {published} bytes are");
        // SAFETY: the range ends at or below a loaded `published` (R4), below which nothing is stored any more (R3).
        unsafe { self.shared.memory.bytes(range) }
    }

    /// Takes published bytes as a value of its own, which keeps the region alive and copies nothing.
    ///
    /// # Panics
    /// As [`RegionReader::bytes`].
    pub fn slice(&self, range: Range<usize>) -> RegionSlice {
        let _checked = self.bytes(range.clone());
        RegionSlice { shared: Arc::clone(&self.shared), range }
    }

    /// A handle that does not keep the region alive, for a file that must know whether one of its regions still is.
    pub fn watch(&self) -> RegionWatch {
        RegionWatch { shared: Arc::downgrade(&self.shared) }
    }
}

/// Published bytes that keep their region alive.
#[derive(Clone)]
pub struct RegionSlice {
    shared: Arc<Shared>,
    /// Invariant: was at or below `published` when the slice was taken.
    range: Range<usize>,
}

impl AsRef<[u8]> for RegionSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range was published when the slice was taken (R4), and that never changes (R3).
        unsafe { self.shared.memory.bytes(self.range.clone()) }
    }
}

/// Tells whether any handle on a region is left, and how much of it is frozen (invariant R5). The default one watches
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct RegionWatch {
    shared: Weak<Shared>,
}

/// A region that still has handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    /// Its length: the file may not become shorter.
    pub len: usize,
    /// What is published of it: the file may not be written below.
    pub published: usize,
}

impl RegionWatch {
    /// The region, if any handle on it is left.
    pub fn living(&self) -> Option<Living> {
        let shared = self.shared.upgrade()?;
        Some(Living { len: shared.memory.len(), published: shared.published.load(Ordering::Acquire) })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let published = self.published.load(Ordering::Relaxed);
        f.debug_struct("Region").field("len", &self.memory.len()).field("published", &published).finish()
    }
}

impl fmt::Debug for RegionWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegionWriter").field(&self.shared).finish()
    }
}

impl fmt::Debug for RegionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegionReader").field(&self.shared).finish()
    }
}

impl fmt::Debug for RegionSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegionSlice").field(&self.range).finish()
    }
}

#[cfg(test)]
mod tests;

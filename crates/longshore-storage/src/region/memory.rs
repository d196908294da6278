//! The raw memory of a region: mapped or on the heap, freed when the last handle goes.

use std::ops::Range;
use std::ptr::NonNull;

use memmap2::MmapRaw;

/// A block of memory that several handles share. It knows nothing of `published`: whoever calls its unsafe methods
/// answers for the invariants R2 to R4 of the crate documentation.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    /// Held for its `Drop`, which unmaps.
    Map(#[expect(dead_code, reason = "keeps the map alive")] MmapRaw),
    /// Came from `Box::into_raw`.
    Heap,
}

// SAFETY: `Memory` owns its block (R1); it hands out references and takes stores only through unsafe methods, whose
// callers promise that no store overlaps a live reference, on whichever threads they are.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn heap(bytes: Box<[u8]>) -> Memory {
        let len = bytes.len();
        let base = NonNull::new(Box::into_raw(bytes).cast::<u8>()).expect("a box is never null");
        Memory { base, len, backing: Backing::Heap }
    }

    pub(super) fn map(map: MmapRaw) -> Memory {
        let base = NonNull::new(map.as_mut_ptr()).expect("a map is never at address zero");
        Memory { base, len: map.len(), backing: Backing::Map(map) }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Borrows `range`.
    ///
    /// # Safety
    /// No store may touch `range` while the result lives.
    ///
    /// # Panics
    /// If the range is not inside the block.
    pub(super) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len, "range {range:?} of a region of {} bytes", self.len);
        // SAFETY: the range is inside the block, which lives as long as `self` (R1) and was initialised when it was
        // made; the caller promises that nothing stores into it meanwhile. Only the range itself is borrowed, so a
        // store elsewhere in the block does not meet it.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.len()) }
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Safety
    /// No reference into the bytes stored to may live, and no other store may run.
    ///
    /// # Panics
    /// If the bytes do not fit.
    pub(super) unsafe fn store(&self, at: usize, bytes: &[u8]) {
        self.assert_fits(at, bytes.len());
        // SAFETY: inside the block (just asserted), which is writable as long as `self` lives (R1); `bytes` cannot
        // overlap the target, since no reference into the target lives; no other store runs, both by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(at), bytes.len()) }
    }

    /// Stores `len` zeros at `at`.
    ///
    /// # Safety
    /// As for [`Memory::store`].
    ///
    /// # Panics
    /// If they do not fit.
    pub(super) unsafe fn zero(&self, at: usize, len: usize) {
        self.assert_fits(at, len);
        // SAFETY: as in `store`; the pattern 0 is a valid `u8`.
        unsafe { std::ptr::write_bytes(self.base.as_ptr().add(at), 0, len) }
    }

    fn assert_fits(&self, at: usize, len: usize) {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(fits, "{len} bytes stored at {at} of a region of {} bytes", self.len);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Backing::Heap = self.backing {
            let block = std::ptr::slice_from_raw_parts_mut(self.base.as_ptr(), self.len);
            // SAFETY: the block came from `Box::into_raw` with this length, and no handle is left (R1).
            drop(unsafe { Box::from_raw(block) });
        }
    }
}

//! A file as a log needs it: positioned reads and writes, real allocation, durable sync, one mapped region.

use std::fmt::Debug;
use std::io;
use std::ops::Range;

use crate::{RegionReader, RegionWriter};

/// Size of the writes that [`File::zero_fill`] makes.
///
/// A file filled in larger writes sits in the page cache as large folios, and each later sync of one record appended
/// through the map writes such a folio whole (measured: 4, 64 and 1024 KiB per sync for fills of 4, 64 and 1024 KiB).
pub const ZERO_FILL_STEP: usize = 4096;

/// An open regular file. All methods take `&self`: positions are arguments, never state.
pub trait File: Send + Sync + Debug {
    /// Its length in bytes now.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads into `buf` from `offset`; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf` from `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = buf.len();
        let read = self.read_at(buf, offset)?;
        if read == wanted {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("file ends after {read} of {wanted} bytes wanted at offset {offset}"),
        ))
    }

    /// Writes all of `bytes` at `offset`, extending the file if need be. Refused with `InvalidInput` below the published
    /// part of a living region of this file. Whether it is seen through a living region is not defined.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long with blocks allocated for all of them, so that a later store through a
    /// map cannot find the disk full. New bytes are zero. When space runs out, a part may stay allocated and the file
    /// be longer than before, but shorter than `len`.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends the file (sparsely) to `len`. Refused with `InvalidInput` if a living region would lose bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes all bytes and the length durable, stores through the region included. **An error is final**: what this file
    /// holds on disk is unknown from then on, and a second call may falsely succeed. Also fails if the file became
    /// shorter than its living region or was unlinked meanwhile.
    fn sync(&self) -> io::Result<()>;

    /// Says that nobody reads it again soon: what the system keeps of it in memory can go to others. A hint, after
    /// [`sync`](File::sync).
    fn uncache(&self) {}

    /// Maps the first `len` bytes for one writer and many readers, with nothing published yet. Blocks are allocated
    /// first; a file shorter than `len`, and a second region while the first lives, are refused.
    fn map(&self, len: usize) -> io::Result<(RegionWriter, RegionReader)>;

    /// Writes zeros over `range` in steps of [`ZERO_FILL_STEP`]; see there for the reason.
    fn zero_fill(&self, range: Range<u64>) -> io::Result<()> {
        const ZEROS: [u8; ZERO_FILL_STEP] = [0; ZERO_FILL_STEP];
        let step = ZERO_FILL_STEP as u64;
        let mut at = range.start;
        while at < range.end {
            let next = ((at / step + 1) * step).min(range.end);
            self.write_all_at(&ZEROS[..(next - at) as usize], at)?;
            at = next;
        }
        Ok(())
    }
}

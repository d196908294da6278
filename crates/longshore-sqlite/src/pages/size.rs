//! How large a database's pages are.

use crate::error::Error;

/// A page size that SQLite knows: a power of two from 512 to 65536 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageSize(u8);

impl PageSize {
    /// The size whose binary logarithm is `log2`.
    pub(crate) fn from_log2(log2: u8) -> Result<PageSize, Error> {
        match log2 {
            9..=16 => Ok(PageSize(log2)),
            _ => Err(Error::Pages(format!("a page size of 2^{log2} bytes; SQLite's are 2^9 to 2^16"))),
        }
    }

    /// The size of `bytes`.
    pub(crate) fn new(bytes: u32) -> Result<PageSize, Error> {
        match bytes.is_power_of_two() {
            true => PageSize::from_log2(bytes.ilog2() as u8),
            false => Err(Error::Pages(format!("a page size of {bytes} bytes, which is no power of two"))),
        }
    }

    pub(crate) fn log2(self) -> u8 {
        self.0
    }

    pub(crate) fn bytes(self) -> usize {
        1 << self.0
    }

    /// Where a page, counted from 1, begins in the database file.
    pub(crate) fn offset_of(self, page: u32) -> u64 {
        (u64::from(page) - 1) << self.0
    }

    /// The page that SQLite locks bytes of, and never reads or writes: in a database that has it, it is left alone.
    pub(crate) fn lock_page(self) -> u32 {
        ((1 << 30) / self.bytes() + 1) as u32
    }
}

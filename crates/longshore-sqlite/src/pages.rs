//! Pages of a database as records of a log of content `sqlite-pages`.
//!
//! One transaction of the application is one run. Each record of the run carries changed pages; the last one also says how
//! large the database is now, and where in the `-wal` the transaction stood, so that position and data cannot part.
//!
//! ```text
//! payload of a record (integers are little-endian, varints are LEB128)
//!   0  version       u8   1
//!   1  flags         u8   1: a commit follows the head   2: the run is a whole image, what it does not name is gone
//!   2  page size     u8   its binary logarithm, 9 to 16
//!   3  zero          u8
//!   4  commit        24 bytes, all zero but in the last record of a run:
//!                      pages  u32   of the database from now on
//!                      salts  2 × u32, frame u32, checksum 2 × u32   where the -wal stood; all zero if it was empty
//!   …  changes       until the end, pages ascending and each at most once in a run:
//!                      page   u32
//!                      form   u8    0: against zeros   1: against the page as it was
//!                      base   u64   hash of the page as it was       ⎫ form 1 only
//!                      result u64   hash of the page as it is now    ⎭
//!                      length varint  of the patch
//!                      patch  ranges that differ: skip varint, length varint, bytes
//! ```
//!
//! A patch against zeros can be applied any number of times. One against the page as it was says by two hashes what it fits
//! and what comes of it, so that applying it twice, or to another page, is noticed and never written.

mod hash;
mod image;
mod patch;
mod record;
mod size;
mod table;

pub(crate) use self::hash::{PageHash, page_hash};
pub(crate) use self::image::ImageRun;
pub(crate) use self::patch::patch_between;
pub(crate) use self::record::{Change, Commit, Form, KIND, LONGEST_PAYLOAD, PageRecord, RunWriter, WalPlace};
pub(crate) use self::size::PageSize;
pub(crate) use self::table::{PageRun, PageRuns, PageTable};

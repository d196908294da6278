//! Where things lie in a segment, and which segment a position is in.

use std::fmt;

use crate::record::HEADER_LEN as RECORD_HEADER;
use crate::{FormatError, Lsn};

/// The size of a log's segments, fixed when the log is created: a power of two from 64 KiB to
/// 1 GiB. All arithmetic between positions, segments and offsets is here.
///
/// ```
/// use longshore_format::{Lsn, SegmentSize};
///
/// let size = SegmentSize::new(64 << 10)?;
/// assert_eq!(size.base_of(Lsn::new(70_000)), Lsn::new(65_536));
/// assert_eq!(size.offset_in(Lsn::new(70_000)), 4_464);
/// // The end of a segment's body and the beginning of the next one's are one position.
/// assert_eq!(size.normalise(Lsn::new(65_536)), Lsn::new(69_632));
/// # Ok::<(), longshore_format::FormatError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// The smallest size: for tests; settings ask for at least 1 MiB.
    pub const MIN: SegmentSize = SegmentSize(64 << 10);
    /// The default: 64 MiB. Big enough that sealing, creating and archiving are rare, small enough
    /// that the last two can be scanned when a log is opened.
    pub const DEFAULT: SegmentSize = SegmentSize(64 << 20);
    /// The greatest size.
    pub const MAX: SegmentSize = SegmentSize(1 << 30);

    /// The first segment's first record starts here: after the header.
    pub const FIRST_LSN: Lsn = Lsn::new(HEADER_LEN);

    /// The size of `bytes`, if segments may have it.
    pub const fn new(bytes: u64) -> Result<SegmentSize, FormatError> {
        let in_range = SegmentSize::MIN.get() <= bytes && bytes <= SegmentSize::MAX.get();
        if in_range && bytes.is_power_of_two() {
            Ok(SegmentSize(bytes as u32))
        } else {
            Err(FormatError::SegmentSize(bytes))
        }
    }

    /// The size in bytes.
    pub const fn get(self) -> u64 {
        self.0 as u64
    }

    /// How long the header is: the offset of the first record.
    pub const fn header_len(self) -> u64 {
        HEADER_LEN
    }

    /// How long the footer area at the end is; a multiple of 4096.
    pub const fn footer_len(self) -> u64 {
        let index = self.max_index_entries() as u64 * crate::Chain::LEN as u64;
        (index + crate::Footer::TRAILER_LEN as u64).next_multiple_of(4096)
    }

    /// The offset where the records' part ends and the footer begins.
    pub const fn body_end_offset(self) -> u64 {
        self.get() - self.footer_len()
    }

    /// How many entries the sparse index can have: one for each 64 KiB but the first.
    pub const fn max_index_entries(self) -> usize {
        (self.get() / INDEX_STRIDE) as usize - 1
    }

    /// The longest payload of one record: min(1 MiB − 32, segment / 4).
    pub const fn max_payload(self) -> usize {
        let quarter = self.0 as usize / 4;
        let absolute = (1 << 20) - RECORD_HEADER;
        if quarter < absolute { quarter } else { absolute }
    }

    /// The position of the first byte of the segment that holds `lsn`: its name.
    pub const fn base_of(self, lsn: Lsn) -> Lsn {
        Lsn::new(lsn.get() & !(self.get() - 1))
    }

    /// How far into its segment `lsn` is.
    pub const fn offset_in(self, lsn: Lsn) -> u64 {
        lsn.get() & (self.get() - 1)
    }

    /// Where the first record of the segment at `base` starts.
    pub const fn first_in(self, base: Lsn) -> Lsn {
        // A base has its low bits clear, so this cannot overflow.
        Lsn::new(self.base_of(base).get() + HEADER_LEN)
    }

    /// The base of the segment after the one at `base`, or `None` if positions end before it.
    pub const fn next_base(self, base: Lsn) -> Option<Lsn> {
        self.base_of(base).checked_add(self.get())
    }

    /// The one spelling of a position. Everything from the end of a segment's body over its footer
    /// and the next one's header up to its first record is one position: that first record's start.
    pub const fn normalise(self, lsn: Lsn) -> Lsn {
        let offset = self.offset_in(lsn);
        if offset < HEADER_LEN {
            return self.first_in(lsn);
        }
        if offset < self.body_end_offset() {
            return lsn;
        }
        match self.next_base(lsn) {
            Some(next) => self.first_in(next),
            None => lsn,
        }
    }

    /// Whether a record can start at `lsn`: aligned, inside a body, and with room for a header.
    pub const fn can_start_at(self, lsn: Lsn) -> bool {
        let offset = self.offset_in(lsn);
        HEADER_LEN <= offset && offset + RECORD_HEADER as u64 <= self.body_end_offset() && offset.is_multiple_of(8)
    }

    /// The file name of the segment at `base`: twenty digits and `.seg`.
    pub fn file_name(self, base: Lsn) -> String {
        format!("{:020}{SUFFIX}", self.base_of(base))
    }

    /// The base that a segment's file name carries; `None` if it is no segment's name.
    pub fn parse_file_name(self, name: &str) -> Option<Lsn> {
        let digits = name.strip_suffix(SUFFIX)?;
        let base = digits.parse().ok().filter(|_| digits.len() == 20)?;
        (self.offset_in(base) == 0).then_some(base)
    }
}

impl Default for SegmentSize {
    fn default() -> SegmentSize {
        SegmentSize::DEFAULT
    }
}

/// In bytes, as a plain decimal.
impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The length of a segment's header.
pub(crate) const HEADER_LEN: u64 = 4096;
/// The sparse index has an entry for each stretch of this length.
pub(crate) const INDEX_STRIDE: u64 = 64 << 10;
const SUFFIX: &str = ".seg";

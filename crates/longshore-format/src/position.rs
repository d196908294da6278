//! Positions in a log.

use std::fmt;
use std::str::FromStr;

use crate::FormatError;

/// A byte position in a log, and always a boundary: where a record ends and the next begins.
///
/// Positions of one log are comparable and dense in bytes: the segment and the offset in it fall
/// out by division ([`SegmentSize`](crate::SegmentSize)). Prints and parses as a plain decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// Before everything: "nothing yet". No record starts here.
    pub const ZERO: Lsn = Lsn(0);
    /// After everything any log can hold.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The position `bytes` into the log.
    pub const fn new(bytes: u64) -> Lsn {
        Lsn(bytes)
    }

    /// The position as a number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on, or `None` past the end of the number range.
    pub const fn checked_add(self, bytes: u64) -> Option<Lsn> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Lsn(sum)),
            None => None,
        }
    }

    /// The least position after this one: what to wait for when something beyond this is wanted. The last one of all stays.
    pub const fn just_after(self) -> Lsn {
        Lsn(self.0.saturating_add(1))
    }

    /// The position `bytes` further back, or `None` before the start of the log.
    pub const fn checked_sub(self, bytes: u64) -> Option<Lsn> {
        match self.0.checked_sub(bytes) {
            Some(rest) => Some(Lsn(rest)),
            None => None,
        }
    }

    /// How many bytes this position is past `earlier`; zero if it is not.
    pub const fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Lsn {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Lsn, FormatError> {
        // `u64::from_str` takes a leading plus sign; a position has one spelling.
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(bytes) if digits => Ok(Lsn(bytes)),
            _ => Err(FormatError::Lsn(crate::error::excerpt(text))),
        }
    }
}

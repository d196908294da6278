//! What can be wrong with a value somebody typed or a length somebody asked for.

use thiserror::Error;

use crate::ErrorKind;

/// A value that the format does not allow. Bytes that do not hold are a [`Fault`](crate::Fault),
/// a [`HeaderFault`](crate::HeaderFault) or one of their kin instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A segment size outside the range or not a power of two.
    #[error("a segment size is a power of two from 64 KiB to 1 GiB, not {0} bytes")]
    SegmentSize(u64),
    /// A name outside `[a-z0-9][a-z0-9_-]{0,62}`.
    #[error("a name is 1 to 63 of a-z 0-9 _ - and starts with a letter or digit, not {0:?}")]
    Name(String),
    /// Text that is no position.
    #[error("a position is a decimal number of bytes, not {0:?}")]
    Lsn(String),
    /// Text that is not the hexadecimal form of an id.
    #[error("expected {digits} hexadecimal digits, not {text:?}")]
    Hex {
        /// How many digits this id has.
        digits: usize,
        /// The beginning of what was there instead.
        text: String,
    },
    /// Text that names no content.
    #[error("a log's content is bytes, sql or sqlite-pages, not {0:?}")]
    Content(String),
    /// A new life that cannot follow the newest one of a history.
    #[error(transparent)]
    History(#[from] crate::HistoryFault),
    /// More of something than fits.
    #[error("at most {limit} {what} fit, not {got}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many fit.
        limit: usize,
        /// How many were given.
        got: usize,
    },
}

impl FormatError {
    /// What a program should do about it: change the value.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// The beginning of a text that may be of any length, fit for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

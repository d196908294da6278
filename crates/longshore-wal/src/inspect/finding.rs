//! What can be wrong with a segment.

use longshore_format::{Corruption, Digest, FooterFault, HeaderFault, LogId, Lsn};

/// Something about a segment that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// There is no file for a range of the log (F-031).
    #[error("the log is missing from {from} to {to}")]
    Missing {
        /// The base of the first segment that is missing.
        from: Lsn,
        /// The base of the segment where the log goes on.
        to: Lsn,
    },
    /// The name belongs to something other than a regular file (F-050).
    #[error("it is not a regular file")]
    NotAFile,
    /// The device does not give the bytes back (F-030).
    #[error("it cannot be read at offset {offset}: {cause}")]
    Unreadable {
        /// How far into the file.
        offset: u64,
        /// What the system said.
        cause: String,
    },
    /// A sealed segment's file must have its whole size (F-041).
    #[error("the file has {len} bytes, not {size}")]
    Length {
        /// How long it is.
        len: u64,
        /// How long it must be.
        size: u64,
    },
    /// The header does not hold.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The header is of another log (F-037).
    #[error("its header is of log {found}")]
    OtherLog {
        /// Which.
        found: LogId,
    },
    /// The header belongs under another name (F-035).
    #[error("its header says that it begins at {found}")]
    OtherPlace {
        /// Where.
        found: Lsn,
    },
    /// The header says another content or segment size than the control file.
    #[error("its header says another content or segment size than the log has")]
    OtherShape,
    /// The state in the header is not the one the segment before ends with (F-022, F-038).
    #[error("it does not continue the segment before it")]
    Linkage,
    /// A record is bad where it must be good, or the bytes behind the last one are not zero.
    #[error(transparent)]
    Record(#[from] Corruption),
    /// The footer is missing or does not hold, too far back for that to be a crash (F-010).
    #[error(transparent)]
    Footer(#[from] FooterFault),
    /// The footer says something else than the records do.
    #[error("its footer disagrees with its records about the {what}")]
    FooterDisagrees {
        /// About what.
        what: &'static str,
    },
    /// The bytes are not those that were sealed.
    #[error("its digest is {found}, sealed was {sealed}")]
    Digest {
        /// What the footer says.
        sealed: Digest,
        /// What the bytes give.
        found: Digest,
    },
    /// The footer names another digest of the segment before than that one has.
    #[error("it was sealed behind a segment with digest {named}, the one before it has {found}")]
    Predecessor {
        /// What the footer names.
        named: Digest,
        /// What the segment before has.
        found: Digest,
    },
    /// The sparse index is missing or wrong. No damage: it is built again from the records (F-011, F-012).
    #[error("its index is damaged and will be built again when needed")]
    Index,
}

impl Finding {
    /// Whether bytes of the log are missing or not what they were. A bad index is found, but is no damage.
    pub fn is_damage(&self) -> bool {
        *self != Finding::Index
    }

    pub(crate) fn unreadable(offset: u64, error: &std::io::Error) -> Finding {
        Finding::Unreadable { offset, cause: error.to_string() }
    }
}

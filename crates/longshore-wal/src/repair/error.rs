//! Why a segment was not repaired.

use longshore_format::{Digest, ErrorKind, Lsn, SegmentSize};

use crate::Error;
use crate::inspect::Finding;

/// Why a segment was not repaired. Nothing was replaced, unless the error comes from the last steps, which says so by
/// being [`RepairError::Log`] with an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The log itself cannot be read well enough, or is in use.
    #[error(transparent)]
    Log(#[from] Error),
    /// The number is no segment's.
    #[error("{asked} is no segment of this log; its segments begin at multiples of {size}")]
    NotASegment {
        /// What was asked for.
        asked: Lsn,
        /// The segment size.
        size: SegmentSize,
    },
    /// The segment is where the log is still being written.
    #[error("segment {base} is not sealed: what is wrong at a log's end is judged when it is opened")]
    NotSealed {
        /// Which.
        base: Lsn,
    },
    /// There is nothing to repair.
    #[error("segment {base} is intact; nothing to repair")]
    Intact {
        /// Which.
        base: Lsn,
    },
    /// The segment before is damaged too, so that nothing proves where this one continues.
    #[error("the segment before, {base}, is damaged too; repair that one first")]
    PreviousDamaged {
        /// That one.
        base: Lsn,
    },
    /// The copy could not be read.
    #[error("the copy could not be read: {0}; try another source")]
    Source(#[source] std::io::Error),
    /// The copy does not hold.
    #[error("the copy is no good: {0}; try another source")]
    BadCopy(Finding),
    /// The copy is whole, but not of these bytes.
    #[error(
        "the copy has digest {found}, this log's segment has {expected}: the histories differ, take another source"
    )]
    OtherBytes {
        /// What this log says the segment has.
        expected: Digest,
        /// What the copy has.
        found: Digest,
    },
    /// The copy does not join what comes after it here.
    #[error("the segment after does not continue the copy: the histories differ, take another source")]
    DoesNotJoin,
}

impl RepairError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RepairError::Log(error) => error.kind(),
            RepairError::NotASegment { .. } | RepairError::NotSealed { .. } | RepairError::Intact { .. } => {
                ErrorKind::Invalid
            }
            RepairError::PreviousDamaged { .. } => ErrorKind::Preflight,
            RepairError::Source(_) => ErrorKind::Unavailable,
            RepairError::BadCopy(_) => ErrorKind::Corrupt,
            RepairError::OtherBytes { .. } | RepairError::DoesNotJoin => ErrorKind::Diverged,
        }
    }
}

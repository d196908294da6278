//! What can be wrong with a record.

use std::fmt;

use crate::{HistoryFault, Lsn};

/// What is wrong with the bytes where a record should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The header does not match its checksum: torn, damaged, moved here from elsewhere, or left
    /// over from an earlier life.
    HeaderChecksum,
    /// The header holds but the payload does not match its checksum.
    PayloadChecksum,
    /// The record follows another predecessor than the one before it here.
    Link,
    /// A sound header says a length that no record here can have.
    Length(u32),
    /// The alignment bytes after the payload are not zero.
    Padding,
    /// Bits that this kind of record cannot have.
    Flags(u16),
    /// A kind of the log's that this version does not know and may not pass over.
    UnknownKind(u16),
    /// A run begins inside another, goes on without one, or is broken by what cannot stand in it.
    RunOrder,
    /// The record is older than its predecessor.
    TimeBackwards {
        /// The predecessor's time, in microseconds.
        previous: u64,
        /// This record's.
        time: u64,
    },
    /// The promise reaches back before the start of the log.
    Distance(u32),
    /// The record that begins a life does not say what it must.
    Life(LifeFault),
    /// No record can start at this position, or positions end here.
    Position,
    /// The bytes end inside the record.
    Cut,
    /// Bytes that must be zero are not: after the last record of a segment.
    NotZero,
    /// There is no record where one must be.
    Missing,
}

/// What is wrong with a record that begins a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeFault {
    /// The payload does not have the form.
    Payload,
    /// The history in it does not end with the life before and a new one that starts here.
    Linkage,
    /// The new life cannot follow the one before.
    Order(HistoryFault),
}

impl Fault {
    /// Whether a crash in the middle of writing can leave this behind.
    ///
    /// If not, the record was written like this, whole and in this place: it is corruption even in
    /// the tail, and must not be cut (F-020, F-022, F-023).
    pub const fn can_be_torn(self) -> bool {
        match self {
            Fault::HeaderChecksum
            | Fault::PayloadChecksum
            | Fault::Link
            | Fault::Padding
            | Fault::Cut
            | Fault::NotZero
            | Fault::Missing => true,
            Fault::Length(_)
            | Fault::Flags(_)
            | Fault::UnknownKind(_)
            | Fault::RunOrder
            | Fault::TimeBackwards { .. }
            | Fault::Distance(_)
            | Fault::Life(_)
            | Fault::Position => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::HeaderChecksum => write!(f, "the record header does not match its checksum"),
            Fault::PayloadChecksum => write!(f, "the payload does not match its checksum"),
            Fault::Link => write!(f, "the record does not belong after the one before it"),
            Fault::Length(length) => write!(f, "no record here can have length {length}"),
            Fault::Padding => write!(f, "the bytes after the payload are not zero"),
            Fault::Flags(bits) => write!(f, "the record has flags it cannot have: {bits:#x}"),
            Fault::UnknownKind(kind) => {
                write!(f, "record of a kind this version does not know: {kind}")
            }
            Fault::RunOrder => write!(f, "the record breaks the order of runs"),
            Fault::TimeBackwards { previous, time } => {
                write!(f, "time goes back from {previous} to {time} µs")
            }
            Fault::Distance(distance) => {
                write!(f, "the promise lies {distance} bytes back, before the log began")
            }
            Fault::Life(LifeFault::Payload) => {
                write!(f, "the record that begins a life is malformed")
            }
            Fault::Life(LifeFault::Linkage) => {
                write!(f, "the record that begins a life does not continue the one before")
            }
            Fault::Life(LifeFault::Order(fault)) => fault.fmt(f),
            Fault::Position => write!(f, "no record can start at this position"),
            Fault::Cut => write!(f, "the bytes end inside the record"),
            Fault::NotZero => write!(f, "bytes after the last record are not zero"),
            Fault::Missing => write!(f, "there is no record where one must be"),
        }
    }
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong.
    pub fault: Fault,
    /// How far the record reaches, in bytes from its start, if its header is good and so can be
    /// believed about that. A search for later records must not enter it (F-019).
    pub extent: Option<u64>,
}

/// A bad record where there must be a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment:020} is damaged at position {position}: {fault}")]
pub struct Corruption {
    /// The base of the segment: the number in its file's name.
    pub segment: Lsn,
    /// Where the bad record starts.
    pub position: Lsn,
    /// What is wrong with it.
    pub fault: Fault,
}

//! Who wrote which stretch of a log.

use std::fmt;

use crate::bytes::Fields;
use crate::{Incarnation, Lsn, WriterId};

/// A term of one writer: a number that only grows, and the random id of whoever began it, because
/// two promotions can mint one number (F-112).
///
/// Not `Ord`: of two epochs with one number and different writers neither is the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Which term this is; the first is 1.
    pub number: u64,
    /// Who began it.
    pub writer: WriterId,
}

/// Short, for people: the number and the first eight digits of the writer.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.number)?;
        self.writer.as_bytes()[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One *life* of a log: a stretch of records that one incarnation of one epoch wrote.
///
/// All its records are checked under the seed of this life. The record that introduces it (an
/// `EpochStart` or `Incarnation`) is the last one under the seed of the life before. The first life
/// of a log has no such record: it stands in the first segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EpochEntry {
    /// Where the record that introduces this life starts; for the first life, the first record.
    pub start: Lsn,
    /// The epoch.
    pub epoch: Epoch,
    /// The incarnation within the epoch.
    pub incarnation: Incarnation,
}

impl EpochEntry {
    /// How long an encoded entry is.
    pub const LEN: usize = 40;

    /// The entry as bytes: start 8, epoch number 8, writer 16, incarnation 8.
    pub fn encode(&self) -> [u8; EpochEntry::LEN] {
        let mut bytes = [0; EpochEntry::LEN];
        bytes[..8].copy_from_slice(&self.start.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.number.to_le_bytes());
        bytes[16..32].copy_from_slice(self.epoch.writer.as_bytes());
        bytes[32..].copy_from_slice(&self.incarnation.get().to_le_bytes());
        bytes
    }

    /// The entry that these bytes hold. Every value is one; what follows what is
    /// [`EpochHistory`](crate::EpochHistory)'s to say.
    pub fn decode(bytes: &[u8; EpochEntry::LEN]) -> EpochEntry {
        EpochEntry::take(&mut Fields(bytes)).expect("the array has the length of an entry")
    }

    pub(crate) fn take(fields: &mut Fields<'_>) -> Option<EpochEntry> {
        Some(EpochEntry {
            start: fields.lsn()?,
            epoch: Epoch { number: fields.u64()?, writer: WriterId::from_bytes(fields.array()?) },
            incarnation: Incarnation::new(fields.u64()?),
        })
    }
}

impl fmt::Display for EpochEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} from {}", self.epoch, self.incarnation, self.start)
    }
}

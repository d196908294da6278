//! What the checksums of a record begin with: which log, which life, which position.

use crc32fast::Hasher;

use crate::record::HEADER_LEN;
use crate::{EpochEntry, LogId, Lsn};

/// The checksum state of one life of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn of(log: LogId, life: &EpochEntry) -> Seed {
        let mut hasher = Hasher::new();
        hasher.update(log.as_bytes());
        hasher.update(&life.epoch.number.to_le_bytes());
        hasher.update(life.epoch.writer.as_bytes());
        hasher.update(&life.incarnation.get().to_le_bytes());
        Seed(hasher.finalize())
    }

    /// The state after the position, which is hashed as a 128-bit number so that all that follows
    /// comes in the 16-byte blocks crc32fast is fast on.
    #[inline]
    pub(crate) fn place(self, position: Lsn) -> Place {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(&u128::from(position.get()).to_le_bytes());
        Place(hasher.finalize())
    }
}

/// The checksum state of one position in one life of one log.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

impl Place {
    /// The checksum of the header, in which its own field counts as zero.
    #[inline]
    pub(crate) fn header_crc(self, header: &[u8; HEADER_LEN]) -> u32 {
        let mut header = *header;
        header[4..8].fill(0);
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(&header);
        hasher.finalize()
    }

    /// What the header says about a payload whose own checksum is `crc`. CRC-32 is linear, so this
    /// is as strong as hashing the place first, and the payload can be hashed before its place is
    /// known.
    #[inline]
    pub(crate) fn payload_crc(self, crc: u32) -> u32 {
        crc ^ self.0
    }
}

/// The checksum of a payload by itself, as [`Draft`](crate::Draft) takes it: hash outside the lock.
#[inline]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

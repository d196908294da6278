//! What the checksums of a record begin with: which log, which life, which position.

use crc32fast::Hasher;

use crate::record::HEADER_LEN;
use crate::{EpochEntry, LogId, Lsn};

/// The checksum state of one life of one log. Keeps a hasher rather than only its number, so that the
/// processor is asked for its features once a life, not once a record.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    hasher: Hasher,
    state: u32,
}

impl Seed {
    pub(crate) fn of(log: LogId, life: &EpochEntry) -> Seed {
        let mut hasher = Hasher::new();
        hasher.update(log.as_bytes());
        hasher.update(&life.epoch.number.to_le_bytes());
        hasher.update(life.epoch.writer.as_bytes());
        hasher.update(&life.incarnation.get().to_le_bytes());
        Seed { state: hasher.clone().finalize(), hasher }
    }

    /// The checksum of a record's header, in which its own field counts as zero: over seed,
    /// position and header, in one call because that is what costs.
    #[inline]
    pub(crate) fn header_crc(&self, position: Lsn, header: &[u8; HEADER_LEN]) -> u32 {
        let mut covered = [0; 8 + HEADER_LEN];
        covered[..8].copy_from_slice(&position.get().to_le_bytes());
        covered[8..12].copy_from_slice(&header[..4]);
        covered[16..].copy_from_slice(&header[8..]);
        let mut hasher = self.hasher.clone();
        hasher.update(&covered);
        hasher.finalize()
    }

    /// No log and no life: what is left of a header's checksum without its seed.
    pub(crate) fn none() -> Seed {
        Seed { hasher: Hasher::new(), state: 0 }
    }

    /// What this seed adds to the checksum of any header, because CRC-32 is linear: a header under
    /// this seed has the checksum it has under [`Seed::none`], XOR this. A header can so be held
    /// against many seeds at the price of one.
    pub(crate) fn share(&self) -> u32 {
        let (position, header) = (Lsn::ZERO, [0; HEADER_LEN]);
        self.header_crc(position, &header) ^ Seed::none().header_crc(position, &header)
    }

    /// What the header at `position` says about a payload whose own checksum is `crc`: masked with
    /// what the record belongs to, so that the payload can be hashed before its place is known. The
    /// header's checksum covers the result.
    #[inline]
    pub(crate) fn payload_crc(&self, position: Lsn, crc: u32) -> u32 {
        let position = position.get();
        crc ^ self.state ^ position as u32 ^ (position >> 32) as u32
    }
}

/// The checksum of a payload by itself, as [`Draft`](crate::Draft) takes it: hash outside the lock.
#[inline]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

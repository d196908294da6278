//! The state between two records.

use crate::bytes::Fields;
use crate::record::HEADER_LEN;
use crate::{EpochEntry, LogId, Lsn, SegmentSize};

/// Everything that is needed to check, or to mint, the record at `position`: it sums up all that
/// came before. Stands in each segment's header, and is an entry of the sparse index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Where the next record starts.
    pub position: Lsn,
    /// The header checksum of the record before; zero for a log's first record.
    pub link: u32,
    /// The time of the record before; zero for a log's first record.
    pub time: u64,
    /// The life the next record is checked under.
    pub life: EpochEntry,
    /// Where the open run starts, if one is open.
    pub run: Option<Lsn>,
}

impl Chain {
    /// How long an encoded chain is.
    pub const LEN: usize = 72;

    /// The state at the first record of a new log whose first life is `life`.
    pub fn first(life: EpochEntry) -> Chain {
        Chain { position: SegmentSize::FIRST_LSN, link: 0, time: 0, life, run: None }
    }

    /// The chain as bytes.
    pub fn encode(&self) -> [u8; Chain::LEN] {
        let mut bytes = [0; Chain::LEN];
        bytes[..8].copy_from_slice(&self.position.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.to_le_bytes());
        bytes[16..56].copy_from_slice(&self.life.encode());
        bytes[56..64].copy_from_slice(&self.run.unwrap_or(Lsn::ZERO).get().to_le_bytes());
        bytes[64..68].copy_from_slice(&self.link.to_le_bytes());
        bytes
    }

    /// The chain that these bytes hold, if it can be one for segments of `size`.
    pub fn decode(bytes: &[u8; Chain::LEN], size: SegmentSize) -> Option<Chain> {
        let chain = Chain::take(&mut Fields(bytes))?;
        let run_before = chain.run.is_none_or(|run| run < chain.position);
        let life_before = chain.life.start <= chain.position;
        (size.can_start_at(chain.position) && run_before && life_before).then_some(chain)
    }

    fn take(fields: &mut Fields<'_>) -> Option<Chain> {
        let position = fields.lsn()?;
        let time = fields.u64()?;
        let life = EpochEntry::take(fields)?;
        let run = Some(fields.lsn()?).filter(|run| *run != Lsn::ZERO);
        let link = fields.u32()?;
        let reserved = fields.u32()?;
        (reserved == 0).then_some(Chain { position, link, time, life, run })
    }

    /// Whether a record header at `position` is sound under this chain's life, whatever it follows.
    /// What a sparse index entry must pass before it is used (F-012).
    pub fn fits(&self, log: LogId, header: &[u8; HEADER_LEN]) -> bool {
        let seed = crate::seed::Seed::of(log, &self.life);
        let raw = crate::record::RawHeader::decode(header);
        seed.header_crc(self.position, header) == raw.crc && raw.link == self.link
    }
}

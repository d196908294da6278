//! The first 4 KiB of a segment.

use thiserror::Error;

use crate::bytes::{Fields, is_zero};
use crate::geometry::HEADER_LEN;
use crate::{Chain, Content, EpochEntry, EpochHistory, LogId, Lsn, SegmentSize};

/// What a segment says about itself and all that came before it. A pure function of log id, epoch
/// history and record bytes: primary, replica and archive hold the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which log.
    pub log: LogId,
    /// What the log's records mean.
    pub content: Content,
    /// The size of the log's segments.
    pub size: SegmentSize,
    /// The state at the segment's first record.
    pub chain: Chain,
    /// The lives up to there; the newest is the chain's.
    pub history: EpochHistory,
}

/// Why 4096 bytes are not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// All zeros: prepared, never used.
    #[error("the segment header is empty")]
    Empty,
    /// Fewer than 4096 bytes.
    #[error("the segment header is cut off")]
    Short,
    /// Something else altogether.
    #[error("this is no longshore segment")]
    Magic,
    /// Whole, and written by a later version.
    #[error("the segment was written by a newer version: format {0}, this version reads 1")]
    NewerVersion(u16),
    /// Damaged.
    #[error("the segment header does not match its checksum")]
    Checksum,
    /// Whole, but a field says what cannot be.
    #[error("the segment header has an impossible {0}")]
    Field(&'static str),
}

impl SegmentHeader {
    /// The length of a header.
    pub const LEN: usize = HEADER_LEN as usize;
    /// The version that this code writes, and the newest it reads.
    pub const VERSION: u16 = 1;

    /// Where the segment begins: the number in its file's name.
    pub fn base(&self) -> Lsn {
        self.size.base_of(self.chain.position)
    }

    /// The header as 4096 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SegmentHeader::LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&SegmentHeader::VERSION.to_le_bytes());
        bytes.push(self.content.code());
        bytes.push(self.history.entries().len() as u8);
        bytes.extend_from_slice(&(self.size.get() as u32).to_le_bytes());
        bytes.extend_from_slice(self.log.as_bytes());
        bytes.extend_from_slice(&self.base().get().to_le_bytes());
        bytes.extend_from_slice(&self.chain.encode());
        for entry in self.history.entries() {
            bytes.extend_from_slice(&entry.encode());
        }
        bytes.resize(SegmentHeader::LEN - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that the first 4096 of these bytes hold.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let bytes = bytes.first_chunk::<{ SegmentHeader::LEN }>().ok_or(HeaderFault::Short)?;
        if is_zero(bytes) {
            return Err(HeaderFault::Empty);
        }
        let (covered, crc) = bytes.split_at(SegmentHeader::LEN - 4);
        let mut fields = Fields(covered);
        if fields.take(MAGIC.len()) != Some(MAGIC) {
            return Err(HeaderFault::Magic);
        }
        if crc32fast::hash(covered).to_le_bytes() != crc {
            return Err(HeaderFault::Checksum);
        }
        match fields.u16() {
            Some(SegmentHeader::VERSION) => {}
            Some(newer) if newer > SegmentHeader::VERSION => {
                return Err(HeaderFault::NewerVersion(newer));
            }
            _ => return Err(HeaderFault::Field("version")),
        }
        decode_fields(&mut fields)
    }
}

/// The fields after magic and version, of a header whose checksum holds.
fn decode_fields(fields: &mut Fields<'_>) -> Result<SegmentHeader, HeaderFault> {
    let field = HeaderFault::Field;
    let content = fields.u8().and_then(Content::from_code).ok_or(field("content"))?;
    let lives = fields.u8().ok_or(field("history"))?;
    let size = fields.u32().and_then(|bytes| SegmentSize::new(bytes.into()).ok());
    let size = size.ok_or(field("segment size"))?;
    let log = LogId::from_bytes(fields.array().ok_or(field("log id"))?);
    let base = fields.lsn().filter(|base| size.offset_in(*base) == 0).ok_or(field("base"))?;
    let chain = fields.array().and_then(|bytes| Chain::decode(&bytes, size));
    let chain = chain.filter(|chain| chain.position == size.first_in(base)).ok_or(field("chain"))?;
    let lives_len = usize::from(lives) * EpochEntry::LEN;
    let mut lives_bytes = Fields(fields.take(lives_len).ok_or(field("history"))?);
    let history = EpochHistory::take_entries(&mut lives_bytes, lives.into())
        .ok()
        .filter(|history| *history.current() == chain.life)
        .ok_or(field("history"))?;
    if !is_zero(fields.0) {
        return Err(field("reserved part"));
    }
    Ok(SegmentHeader { log, content, size, chain, history })
}

const MAGIC: &[u8] = b"LONGSHOR";

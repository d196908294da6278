//! The end of a full segment: its seal and its sparse index.

use thiserror::Error;

use crate::bytes::{Fields, is_zero};
use crate::{Chain, Digest, FormatError, Lsn, SegmentSize};

/// What seals a full segment. Written after the segment's data is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The segment: its base.
    pub base: Lsn,
    /// How many records it has, the `Roll` at its end included.
    pub records: u64,
    /// Where the last record before the `Roll` ends, and the `Roll` starts.
    pub last: Lsn,
    /// BLAKE3 of all bytes before the footer.
    pub digest: Digest,
    /// The digest of the segment before; [`Digest::NONE`] in a log's first segment.
    pub previous: Digest,
    /// The sparse index; `None` if it is damaged or was not read. [`IndexBuilder`] makes one.
    pub index: Option<Vec<Chain>>,
}

/// Why bytes do not seal a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FooterFault {
    /// All zeros: not sealed.
    #[error("the segment has no footer")]
    Missing,
    /// Fewer bytes than the trailer has.
    #[error("the segment footer is cut off")]
    Short,
    /// Something else, or torn.
    #[error("the segment footer does not match its checksum")]
    Checksum,
    /// Whole, but a field says what cannot be.
    #[error("the segment footer has an impossible {0}")]
    Field(&'static str),
}

impl Footer {
    /// The length of the trailer: the last bytes of the segment, which hold all but the index.
    pub const TRAILER_LEN: usize = 128;

    /// The whole footer area: index, zeros, trailer.
    ///
    /// # Errors
    /// If the index has more entries than a segment of `size` can have. A missing index is written
    /// as an empty one.
    pub fn encode(&self, size: SegmentSize) -> Result<Vec<u8>, FormatError> {
        let index = self.index.as_deref().unwrap_or_default();
        let limit = size.max_index_entries();
        if index.len() > limit {
            return Err(FormatError::TooMany { what: "index entries", limit, got: index.len() });
        }
        let mut bytes = Vec::with_capacity(size.footer_len() as usize);
        for entry in index {
            bytes.extend_from_slice(&entry.encode());
        }
        let index_crc = crc32fast::hash(&bytes);
        bytes.resize(size.footer_len() as usize - Footer::TRAILER_LEN, 0);
        let trailer = bytes.len();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.base.get().to_le_bytes());
        bytes.extend_from_slice(&self.records.to_le_bytes());
        bytes.extend_from_slice(&self.last.get().to_le_bytes());
        bytes.extend_from_slice(self.digest.as_bytes());
        bytes.extend_from_slice(self.previous.as_bytes());
        bytes.extend_from_slice(&(index.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&index_crc.to_le_bytes());
        bytes.resize(size.footer_len() as usize - 4, 0);
        let crc = crc32fast::hash(&bytes[trailer..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// The footer of the segment at `base`. `bytes` are the end of its file: the whole footer area,
    /// or, for a footer without its index, at least the trailer.
    pub fn decode(bytes: &[u8], base: Lsn, size: SegmentSize) -> Result<Footer, FooterFault> {
        let (before, trailer) = bytes.split_last_chunk::<{ Footer::TRAILER_LEN }>().ok_or(FooterFault::Short)?;
        if is_zero(trailer) {
            return Err(FooterFault::Missing);
        }
        let (covered, crc) = trailer.split_at(Footer::TRAILER_LEN - 4);
        if crc32fast::hash(covered).to_le_bytes() != crc {
            return Err(FooterFault::Checksum);
        }
        let mut fields = Fields(covered);
        let mut footer = decode_trailer(&mut fields, base, size)?;
        let (Some(entries), Some(index_crc)) = (fields.u32(), fields.u32()) else {
            return Err(FooterFault::Short);
        };
        if !is_zero(fields.0) {
            return Err(FooterFault::Field("reserved part"));
        }
        if before.len() + Footer::TRAILER_LEN == size.footer_len() as usize {
            footer.index = decode_index(before, entries, index_crc, base, size);
        }
        Ok(footer)
    }
}

fn decode_trailer(fields: &mut Fields<'_>, base: Lsn, size: SegmentSize) -> Result<Footer, FooterFault> {
    let field = FooterFault::Field;
    if fields.take(MAGIC.len()) != Some(MAGIC) {
        return Err(field("magic"));
    }
    let own = |lsn: &Lsn| size.base_of(*lsn) == base && size.can_start_at(*lsn);
    Ok(Footer {
        base: fields.lsn().filter(|at| *at == base).ok_or(field("base"))?,
        records: fields.u64().ok_or(field("record count"))?,
        last: fields.lsn().filter(own).ok_or(field("last position"))?,
        digest: Digest::from_bytes(fields.array().ok_or(field("digest"))?),
        previous: Digest::from_bytes(fields.array().ok_or(field("previous digest"))?),
        index: None,
    })
}

/// The index, if it is whole and could be one of the segment at `base`.
fn decode_index(area: &[u8], entries: u32, crc: u32, base: Lsn, size: SegmentSize) -> Option<Vec<Chain>> {
    let entries = usize::try_from(entries).ok().filter(|n| *n <= size.max_index_entries())?;
    let (index, rest) = area.split_at_checked(entries * Chain::LEN)?;
    if crc32fast::hash(index) != crc || !is_zero(rest) {
        return None;
    }
    let (chunks, _) = index.as_chunks::<{ Chain::LEN }>();
    let chains: Option<Vec<_>> = chunks.iter().map(|chunk| Chain::decode(chunk, size)).collect();
    let chains = chains?;
    let own = chains.iter().all(|chain| size.base_of(chain.position) == base);
    let ascending = chains.windows(2).all(|pair| pair[0].position < pair[1].position);
    (own && ascending).then_some(chains)
}

/// Collects the sparse index of one segment while its records go by.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    size: SegmentSize,
    entries: Vec<Chain>,
    /// The first record at or after this offset gets an entry.
    due: u64,
}

impl IndexBuilder {
    /// An empty index for a segment of `size`.
    pub fn new(size: SegmentSize) -> IndexBuilder {
        IndexBuilder { size, entries: Vec::new(), due: crate::geometry::INDEX_STRIDE }
    }

    /// Call with the state before each record of the segment, in order, the `Roll` included.
    #[inline]
    pub fn observe(&mut self, before: &Chain) {
        let offset = self.size.offset_in(before.position);
        if offset >= self.due {
            self.entries.push(*before);
            self.due = (offset / crate::geometry::INDEX_STRIDE + 1) * crate::geometry::INDEX_STRIDE;
        }
    }

    /// The entries so far.
    pub fn entries(&self) -> &[Chain] {
        &self.entries
    }

    /// The index, for [`Footer::index`].
    pub fn finish(self) -> Vec<Chain> {
        self.entries
    }
}

const MAGIC: &[u8] = b"LONGSEAL";

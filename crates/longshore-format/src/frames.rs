//! Records of bytes that were checked before.

use crate::record::{HEADER_LEN, RawHeader, extent_of};
use crate::{Kind, Lsn, Record, SegmentSize};

/// The records of a contiguous slice, within one segment, that a [`Cursor`](crate::Cursor) has
/// already read through: nothing is hashed again.
///
/// Ends where the slice does. On bytes that were not checked the records are meaningless, but no
/// call panics or reads outside the slice.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    position: Lsn,
    size: SegmentSize,
    bytes: &'a [u8],
}

impl<'a> Frames<'a> {
    /// The records in `bytes`, the first of which starts at `start`.
    pub fn new(start: Lsn, size: SegmentSize, bytes: &'a [u8]) -> Frames<'a> {
        Frames { position: start, size, bytes }
    }

    /// Where the next record starts.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The bytes of the records not yet returned.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let header = RawHeader::decode(self.bytes.first_chunk::<HEADER_LEN>()?);
        let payload_len = header.payload_len()?;
        let extent = extent_of(payload_len);
        let (bytes, rest) = self.bytes.split_at_checked(usize::try_from(extent).ok()?)?;
        let start = self.position;
        let end = match header.kind {
            Kind::ROLL => self.size.first_in(self.size.next_base(start)?),
            _ => start.checked_add(extent)?,
        };
        self.bytes = rest;
        self.position = end;
        Some(Record {
            start,
            end,
            kind: header.kind,
            flags: header.flags,
            time: header.time,
            durable: header.durable(start).ok().flatten(),
            header_crc: header.crc,
            payload: &bytes[HEADER_LEN..HEADER_LEN + payload_len],
        })
    }
}

//! Records: what one looks like as bytes, once read, and before it is written.

use crate::bytes::Fields;
use crate::{EpochEntry, Flags, Kind, Lsn};

/// The length of a record's header.
pub const HEADER_LEN: usize = 32;

/// A record that was read and holds: its bytes are borrowed, not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it starts.
    pub start: Lsn,
    /// Where it ends and the next record starts: the position that stands for this record in acks,
    /// targets and output. For a `Roll`, the start of the next segment's first record.
    pub end: Lsn,
    /// What it is.
    pub kind: Kind,
    /// Its place in a run.
    pub flags: Flags,
    /// When it was written: microseconds since 1970 UTC, never less than its predecessor's.
    pub time: u64,
    /// What the writer knew to be durable on its own disk when it wrote this record, if it said so.
    pub durable: Option<Lsn>,
    /// The checksum of its header: the link that the next record carries.
    pub header_crc: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// A record without its payload, which was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the record starts.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// What it is.
    pub kind: Kind,
    /// Its place in a run.
    pub flags: Flags,
    /// When it was written: microseconds since 1970 UTC.
    pub time: u64,
    /// The checksum of its header.
    pub header_crc: u32,
    /// How long its payload is.
    pub payload_len: usize,
}

impl Head {
    /// Whether it is the last record of a run.
    pub fn is_last(&self) -> bool {
        self.flags.contains(Flags::LAST)
    }
}

impl Record<'_> {
    /// All of it but the payload.
    pub fn head(&self) -> Head {
        let Record { start, end, kind, flags, time, header_crc, payload, .. } = *self;
        Head { start, end, kind, flags, time, header_crc, payload_len: payload.len() }
    }

    /// How many bytes it takes in its segment: header, payload and alignment.
    pub fn extent(&self) -> u64 {
        extent_of(self.payload.len())
    }

    /// Whether it is the first record of a run.
    pub fn is_first(&self) -> bool {
        self.flags.contains(Flags::FIRST)
    }

    /// Whether it is the last record of a run.
    pub fn is_last(&self) -> bool {
        self.flags.contains(Flags::LAST)
    }
}

/// A record about to be minted: all but its place in the log. The payload is not here; its checksum
/// is taken beforehand, outside any lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it is.
    pub kind: Kind,
    /// Its place in a run.
    pub flags: Flags,
    /// The clock, in microseconds since 1970 UTC. The predecessor's time stands in for it if that
    /// is later.
    pub time: u64,
    /// What is durable on this disk by now: the promise.
    pub durable: Lsn,
    /// The payload's length.
    pub payload_len: usize,
    /// [`payload_crc`](crate::payload_crc) of the payload.
    pub payload_crc: u32,
    /// The life it begins, if it is an `EpochStart` or `Incarnation`; its payload must say the same.
    pub life: Option<EpochEntry>,
}

/// A minted record: what to copy where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The bytes before the payload.
    pub header: [u8; HEADER_LEN],
    /// Where the header goes.
    pub start: Lsn,
    /// Where the next record will start.
    pub end: Lsn,
    /// How many bytes it takes: header, payload, then zeros up to a multiple of eight.
    pub extent: u64,
}

/// The fields of a header, unchecked.
#[derive(Clone, Copy)]
pub(crate) struct RawHeader {
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) payload_crc: u32,
    pub(crate) link: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) distance: u32,
    pub(crate) time: u64,
}

/// The distance that promises nothing.
pub(crate) const NO_PROMISE: u32 = u32::MAX;

impl RawHeader {
    #[inline]
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> RawHeader {
        RawHeader::take(&mut Fields(bytes)).expect("the array has the length of a header")
    }

    #[inline]
    fn take(fields: &mut Fields<'_>) -> Option<RawHeader> {
        Some(RawHeader {
            length: fields.u32()?,
            crc: fields.u32()?,
            payload_crc: fields.u32()?,
            link: fields.u32()?,
            kind: Kind::new(fields.u16()?),
            flags: Flags::from_bits(fields.u16()?),
            distance: fields.u32()?,
            time: fields.u64()?,
        })
    }

    #[inline]
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.link.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.kind.get().to_le_bytes());
        bytes[18..20].copy_from_slice(&self.flags.bits().to_le_bytes());
        bytes[20..24].copy_from_slice(&self.distance.to_le_bytes());
        bytes[24..].copy_from_slice(&self.time.to_le_bytes());
        bytes
    }

    /// How long the payload is, unless the length is less than a header's.
    #[inline]
    pub(crate) fn payload_len(&self) -> Option<usize> {
        (self.length as usize).checked_sub(HEADER_LEN)
    }

    /// What the promise of a record at `start` says; `Err` if it reaches back before the log.
    #[inline]
    pub(crate) fn durable(&self, start: Lsn) -> Result<Option<Lsn>, crate::Fault> {
        if self.distance == NO_PROMISE {
            return Ok(None);
        }
        let durable = start.checked_sub(u64::from(self.distance));
        durable.map(Some).ok_or(crate::Fault::Distance(self.distance))
    }
}

/// How many bytes a record with so long a payload takes.
#[inline]
pub(crate) const fn extent_of(payload_len: usize) -> u64 {
    (HEADER_LEN as u64 + payload_len as u64).next_multiple_of(8)
}

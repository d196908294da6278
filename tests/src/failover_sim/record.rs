//! Records: every one that was ever appended anywhere, and how they go over the wire.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use longshore_format::{EpochEntry, Lsn, SegmentSize};
use longshore_protocol::Policy;

/// Which record: no two that were appended, wherever, have one.
pub(super) type Id = u32;

/// How long each of them is.
pub(super) const RECORD: usize = 16;

/// What a record is about.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Whatever a client wrote.
    Data,
    /// The first of an epoch.
    EpochStart(EpochEntry),
    /// The first after its writer came back.
    Incarnation(EpochEntry),
    /// What the log promises from here on.
    Policy(Rc<Policy>),
}

/// One record. It knows the one before, as its link does.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) before: Option<Id>,
    /// When it was written, by the wall clock of its writer: nothing is decided by it.
    pub(super) time: u64,
    pub(super) what: What,
    crc: u32,
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<Record>);

impl Records {
    pub(super) fn mint(&mut self, before: Option<Id>, time: u64, what: What) -> Id {
        let id = self.0.len() as Id;
        let crc = (self.crc(before) ^ id.wrapping_add(1)).wrapping_mul(2_654_435_761).rotate_left(11);
        self.0.push(Record { before, time, what, crc });
        id
    }

    pub(super) fn get(&self, id: Id) -> &Record {
        &self.0[id as usize]
    }

    /// The header checksum of a record, or what the first of a log links to.
    pub(super) fn crc(&self, id: Option<Id>) -> u32 {
        id.map_or(7, |id| self.get(id).crc)
    }

    /// Whether a writer begins another life with it.
    pub(super) fn begins_a_life(&self, id: Id) -> bool {
        matches!(self.get(id).what, What::Incarnation(_))
    }

    /// Whether an epoch begins with it.
    pub(super) fn begins_an_epoch(&self, id: Id) -> bool {
        matches!(self.get(id).what, What::EpochStart(_))
    }
}

/// Where the record with this number begins in its log.
pub(super) fn lsn(index: usize) -> Lsn {
    Lsn::new(SegmentSize::FIRST_LSN.get() + (index * RECORD) as u64)
}

/// How many records end at or before this position.
pub(super) fn index(at: Lsn) -> usize {
    at.get().saturating_sub(SegmentSize::FIRST_LSN.get()) as usize / RECORD
}

pub(super) fn encode(ids: &[Id]) -> Bytes {
    let mut bytes = BytesMut::zeroed(ids.len() * RECORD);
    for (id, frame) in ids.iter().zip(bytes.chunks_mut(RECORD)) {
        frame[..4].copy_from_slice(&id.to_le_bytes());
    }
    bytes.freeze()
}

pub(super) fn decode(bytes: &[u8]) -> impl Iterator<Item = Id> {
    bytes.chunks(RECORD).map(|frame| Id::from_le_bytes(frame[..4].try_into().expect("four bytes")))
}

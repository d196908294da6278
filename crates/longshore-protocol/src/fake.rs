//! A log of made-up records for tests: every record is 100 bytes long, and its checksum covers the one before.

use std::convert::Infallible;
use std::time::Duration;

use longshore_format::{Content, Epoch, EpochEntry, EpochHistory, Incarnation, LogId, Lsn, SegmentSize, WriterId};

use crate::{Hello, Holding, Limits, LogState, NodeId, Offer, Peer, Reception, SessionId};

pub(crate) const START: u64 = 4096;
pub(crate) const RECORD: u64 = 100;

#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) log: LogId,
    pub(crate) history: EpochHistory,
    pub(crate) first: Lsn,
    pub(crate) writes: bool,
    /// The checksum of the record that ends at `START + RECORD * index`.
    pub(crate) crcs: Vec<u32>,
}

/// A life: epoch number, writer, incarnation, and how many records it has.
pub(crate) type Life = (u64, u8, u64, usize);

impl Fake {
    pub(crate) fn new(lives: &[Life]) -> Self {
        Self::salted(lives, usize::MAX, 0)
    }

    /// The same, but records from `from` on have other bytes for every other `salt`.
    pub(crate) fn salted(lives: &[Life], from: usize, salt: u32) -> Self {
        let mut crcs = vec![7u32];
        let mut history: Option<EpochHistory> = None;
        for (number, writer, incarnation, records) in lives {
            let entry = EpochEntry {
                start: lsn(crcs.len() - 1),
                epoch: epoch(*number, *writer),
                incarnation: Incarnation::new(*incarnation),
            };
            match &mut history {
                Some(history) => history.push(entry).unwrap(),
                None => history = Some(EpochHistory::new(entry)),
            }
            for _ in 0..*records {
                let previous = *crcs.last().unwrap();
                let bytes = if from < crcs.len() { salt } else { 0 };
                crcs.push(
                    previous
                        .wrapping_mul(2_654_435_761)
                        .wrapping_add(1 + *incarnation as u32)
                        .wrapping_add(bytes)
                        .rotate_left(11),
                );
            }
        }
        Self { log: LogId::from_bytes([1; 16]), history: history.unwrap(), first: lsn(0), writes: true, crcs }
    }

    pub(crate) fn holding(&self) -> Holding {
        Holding {
            log: self.log,
            content: Content::Bytes,
            segment_size: SegmentSize::MIN,
            history: self.history.clone(),
            accepted: self.history.current().epoch,
            first: self.first,
            end: self.end(),
            last_crc: *self.crcs.last().unwrap(),
            lost: None,
            applied: None,
        }
    }

    /// The checksum of the record that ends exactly at `at`, if one does.
    pub(crate) fn crc_at(&self, at: Lsn) -> Option<u32> {
        if at < self.first || self.end() < at {
            return None;
        }
        self.boundary(at).ok().filter(|(boundary, _)| *boundary == at).map(|(_, crc)| crc)
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello { node: node("eu-west"), offer: Offer::ours(), holding: self.holding() }
    }
}

impl LogState for Fake {
    type Error = Infallible;

    fn log(&self) -> LogId {
        self.log
    }
    fn content(&self) -> Content {
        Content::Bytes
    }
    fn segment_size(&self) -> SegmentSize {
        SegmentSize::MIN
    }
    fn history(&self) -> &EpochHistory {
        &self.history
    }
    fn accepted(&self) -> Epoch {
        self.history.current().epoch
    }
    fn first(&self) -> Lsn {
        self.first
    }
    fn end(&self) -> Lsn {
        lsn(self.crcs.len() - 1)
    }
    fn writes(&self) -> bool {
        self.writes
    }
    fn boundary(&self, at: Lsn) -> Result<(Lsn, u32), Infallible> {
        assert!(self.first <= at && at <= self.end(), "{at} is out of the log");
        let index = ((at.get() - START) / RECORD) as usize;
        Ok((lsn(index), self.crcs[index]))
    }
}

/// Where the record with this number begins.
pub(crate) fn lsn(record: usize) -> Lsn {
    Lsn::new(START + RECORD * record as u64)
}

pub(crate) fn epoch(number: u64, writer: u8) -> Epoch {
    Epoch { number, writer: WriterId::from_bytes([writer; 16]) }
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

pub(crate) fn peer(name: &str) -> Peer {
    Peer { node: node(name), region: None, may_promote: false }
}

pub(crate) fn reception(replica: &Fake) -> Reception {
    Reception::new(replica.hello(), peer("eu-west"), &Offer::ours(), SessionId(1), Limits::default(), secs(0)).unwrap()
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

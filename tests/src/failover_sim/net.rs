//! Links that are cut in either direction, and what is under way on them.

use std::collections::{BTreeMap, VecDeque};

use longshore_format::Epoch;
use longshore_protocol::{ToReplica, ToUpstream, Witness};

use super::shape::NODES;

/// Which stream, of all that ever were.
pub(super) type StreamId = u64;

/// Which way on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// One stream between two nodes, and what is under way on it. Like a connection of TCP it keeps the order, and after a
/// loss brings nothing more; each end finds out by itself.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) replica: usize,
    pub(super) upstream: usize,
    /// What is under way; `None` is the end of the stream.
    pub(super) up: VecDeque<Option<ToUpstream>>,
    pub(super) down: VecDeque<Option<ToReplica>>,
    pub(super) up_lost: bool,
    pub(super) down_lost: bool,
}

impl Stream {
    pub(super) fn from(&self, way: Way) -> usize {
        match way {
            Way::Up => self.replica,
            Way::Down => self.upstream,
        }
    }

    pub(super) fn to(&self, way: Way) -> usize {
        match way {
            Way::Up => self.upstream,
            Way::Down => self.replica,
        }
    }

    pub(super) fn lose(&mut self, way: Way) {
        match way {
            Way::Up => self.up_lost = true,
            Way::Down => self.down_lost = true,
        }
    }

    pub(super) fn is_lost(&self, way: Way) -> bool {
        match way {
            Way::Up => self.up_lost,
            Way::Down => self.down_lost,
        }
    }
}

/// A question or an answer on its own: any number of them are under way, in any order, and each may come twice.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) what: Said,
}

#[derive(Debug, Clone)]
pub(super) enum Said {
    /// How is it with you? With the number of the attempt that asks.
    Survey(u64),
    Surveyed(u64, Box<Witness>),
    /// Believe nobody before this epoch from here on.
    Fence(Epoch),
    /// It was accepted.
    Fenced(Box<Witness>),
    /// It was not: that one was accepted before.
    Refused {
        asked: Epoch,
        accepted: Epoch,
    },
}

/// Who reaches whom, and all streams.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) streams: BTreeMap<StreamId, Stream>,
    opened: StreamId,
    cut: [[bool; NODES]; NODES],
    /// Who does not reach the store that holds the lease.
    pub(super) store_cut: [bool; NODES],
}

impl Net {
    pub(super) fn open(&mut self, replica: usize, upstream: usize) -> StreamId {
        self.opened += 1;
        let (up, down) = Default::default();
        let stream = Stream { replica, upstream, up, down, up_lost: false, down_lost: false };
        self.streams.insert(self.opened, stream);
        self.opened
    }

    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to]
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] = true;
    }

    pub(super) fn mend(&mut self) {
        self.cut = Default::default();
        self.store_cut = Default::default();
    }
}

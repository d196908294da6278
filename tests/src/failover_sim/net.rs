//! Links that are cut in either direction, and what is under way on them.

use std::collections::{BTreeMap, VecDeque};

use longshore_format::Epoch;
use longshore_protocol::{ToReplica, ToUpstream, Witness};

use super::clock::{MILLI, Moment, SECOND};
use super::shape::NODES;
use super::world::{Event, Step, World};

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
    /// Whether its hello has come: it has one.
    pub(super) greeted: bool,
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
        let stream = Stream { replica, upstream, up, down, greeted: false, up_lost: false, down_lost: false };
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

impl World {
    /// The next message of a stream arrives, or does not.
    pub(super) fn arrives(&mut self, id: StreamId, way: Way) -> Step {
        let Some(stream) = self.net.streams.get(&id) else { return Ok(()) };
        let (from, to) = (stream.from(way), stream.to(way));
        if stream.is_lost(way) {
            return Ok(());
        }
        if !self.net.reaches(from, to) {
            if self.rng.one_in(2) {
                self.tally.held_up += 1;
                let again = self.rng.within(SECOND / 4..4 * SECOND);
                self.schedule(self.at + again, Event::Stream(id, way));
            } else {
                self.tally.lost += 1;
                self.net.streams.get_mut(&id).expect("it was there").lose(way);
            }
            return Ok(());
        }
        if self.nodes[to].up && self.at < self.nodes[to].asleep_until {
            let until = self.nodes[to].asleep_until;
            self.schedule(until, Event::Stream(id, way));
            return Ok(());
        }
        let overtakes = self.calm.is_none() && self.rng.one_in(100);
        let stream = self.net.streams.get_mut(&id).expect("it was there");
        match way {
            Way::Up => {
                let second = usize::from(overtakes && 1 < stream.up.len());
                self.tally.reordered += second as u64;
                let Some(message) = stream.up.remove(second) else { return Ok(()) };
                self.hear_replica(to, id, message)
            }
            Way::Down => {
                let second = usize::from(overtakes && 1 < stream.down.len());
                self.tally.reordered += second as u64;
                let Some(message) = stream.down.remove(second) else { return Ok(()) };
                self.hear_upstream(to, id, message)
            }
        }
    }

    pub(super) fn send_up(&mut self, id: StreamId, message: Option<ToUpstream>) {
        for _ in 0..self.times() {
            if let Some(stream) = self.net.streams.get_mut(&id) {
                stream.up.push_back(message.clone());
            }
            let delay = self.delay();
            self.schedule(self.at + delay, Event::Stream(id, Way::Up));
        }
    }

    pub(super) fn send_down(&mut self, id: StreamId, message: Option<ToReplica>) {
        for _ in 0..self.times() {
            if let Some(stream) = self.net.streams.get_mut(&id) {
                stream.down.push_back(message.clone());
            }
            let delay = self.delay();
            self.schedule(self.at + delay, Event::Stream(id, Way::Down));
        }
    }

    pub(super) fn call(&mut self, from: usize, to: usize, what: Said) {
        for _ in 0..self.times() {
            let delay = self.delay();
            if self.net.reaches(from, to) {
                self.schedule(self.at + delay, Event::Call(Call { from, to, what: what.clone() }));
            } else {
                self.tally.lost += 1;
            }
        }
    }

    /// How often a message arrives.
    pub(super) fn times(&mut self) -> u64 {
        let twice = u64::from(self.calm.is_none() && self.rng.one_in(150));
        self.tally.repeated += twice;
        1 + twice
    }

    pub(super) fn delay(&mut self) -> Moment {
        if self.calm.is_none() && self.rng.one_in(40) {
            self.tally.slow += 1;
            return self.rng.within(SECOND..10 * SECOND);
        }
        self.rng.within(MILLI..40 * MILLI)
    }
}

//! A follower's log beside the primary that it follows: frames shipped verbatim, by map and by `pwrite`, both crashing.

use bytes::Bytes;
use longshore_format::Lsn;
use longshore_wal::{Chunk, Error, Reader, Role, SegmentState, Wal};

use super::downs::LYING;
use super::ledger::Expected;
use super::node::{Node, Step, Stop, broken};
use super::primary::{CRASHES, OPERATIONS, Primary};
use super::{Tally, Violation};
use crate::sim_rng::Rng;

/// One history of a follower's log.
pub(super) fn run(rng: &mut Rng) -> Result<Tally, Violation> {
    let mut follower = Follower::new(rng).map_err(|stop| Violation { what: format!("{stop:?}"), trace: Vec::new() })?;
    match follower.history(rng) {
        Ok(()) => Ok(follower.tallied()),
        Err(stop) => Err(follower.violation(stop)),
    }
}

/// A follower and its upstream.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) primary: Primary,
    pub(super) node: Node,
    /// Reads the upstream's log from where the follower's ends.
    feed: Option<Reader>,
}

impl Follower {
    /// A primary with some records, open, and a follower of it, closed.
    pub(super) fn new(rng: &mut Rng) -> Step<Follower> {
        let mut primary = Primary::new(rng)?;
        primary.node.try_open()?;
        primary.append(rng)?;
        primary.node.sync()?;
        if rng.one_in(4) {
            // It comes late: the log's beginning may be gone.
            while primary.node.boundaries() < 3 {
                primary.append(rng)?;
                primary.node.sync()?;
                primary.node.read()?;
                while primary.node.seal()? {}
            }
            primary.retain()?;
        }
        let spec = match primary.node.wal().start_point() {
            Ok(spec) => spec,
            Err(error) => return broken(format!("start point: {error}")),
        };
        let node = Node::new("follower", Role::Follower, rng, |dir, _| {
            Wal::create_follower(dir, &spec)?;
            Ok((spec.header.size, spec.header.chain.position))
        })?;
        primary.replica = Some(spec.header.chain.position);
        Ok(Follower { primary, node, feed: None })
    }

    pub(super) fn violation(self, stop: Stop) -> Violation {
        let mut violation = self.primary.violation(stop);
        violation.trace.extend(self.node.trace);
        violation
    }

    pub(super) fn tallied(self) -> Tally {
        let mut tally = self.node.tallied();
        tally += self.primary.node.tallied();
        Tally { seeds: 1, ..tally }
    }

    fn history(&mut self, rng: &mut Rng) -> Step {
        self.node.open(rng)?;
        let mut crashes = 0;
        while crashes < CRASHES || self.node.tally.workload_operations < OPERATIONS {
            match self.life(rng) {
                Ok(()) | Err(Stop::Down) => {}
                broken => return broken,
            }
            self.feed = None;
            self.node.crash(rng)?;
            self.node.open(rng)?;
            crashes += 1;
        }
        self.finish(rng)
    }

    fn life(&mut self, rng: &mut Rng) -> Step {
        let sync_one_in = *rng.pick(&[2, 4, 10, 1000]);
        if rng.one_in(6) {
            self.node.disk.arm_sync(rng.below(20), *rng.pick(&LYING));
        }
        if rng.one_in(3) {
            self.node.disk.power_off_after(rng.below(300));
        }
        self.ship(rng)?;
        for _ in 0..20 + rng.below(12) {
            self.operation(rng, sync_one_in)?;
        }
        Ok(())
    }

    pub(super) fn operation(&mut self, rng: &mut Rng, sync_one_in: u64) -> Step {
        self.node.tally.workload_operations += 1;
        match rng.below(20) {
            0..6 => self.upstream(rng)?,
            6..13 => drop(self.ship(rng)?),
            13 => self.ship_badly(rng)?,
            14 => self.say_where_upstream_ends(rng),
            15..17 => drop(self.node.prepare_piece()?),
            17 => drop(self.node.seal()?),
            18 if rng.one_in(2) => self.node.retain(None)?,
            18 => self.node.pass_time(rng),
            _ => self.close_and_open(rng)?,
        }
        self.node.check_noticed()?;
        if rng.one_in(sync_one_in) {
            self.node.sync()?;
            self.node.check_noticed()?;
            self.node.read()?;
        }
        Ok(())
    }

    /// The upstream writes, or crashes and comes back: never behind what it has shipped.
    fn upstream(&mut self, rng: &mut Rng) -> Step {
        // It may close and open its log, which ends every reader.
        self.feed = None;
        self.primary.replica = Some(self.node.ledger.acked());
        let operations = rng.within(1..5);
        let lived = self.primary.life(rng, operations).and_then(|()| self.primary.node.sync());
        match lived {
            Ok(()) => return self.primary.node.read(),
            Err(Stop::Down) => {}
            broken => return broken,
        }
        self.feed = None;
        self.primary.crash(rng)?;
        self.primary.node.open(rng)?;
        self.check_behind()
    }

    fn check_behind(&self) -> Step {
        let (ahead, end) = (self.node.ledger.reach(), self.primary.node.ledger.end());
        if end < ahead {
            return broken(format!("the upstream lost what it shipped: it ends at {end}, its follower at {ahead}"));
        }
        Ok(())
    }

    /// Ships one chunk; `false` if there is nothing to ship.
    pub(super) fn ship(&mut self, rng: &mut Rng) -> Step<bool> {
        let max = *rng.pick(&[1, 600, 4000, 4000, 20_000, 1 << 20]);
        let Some(chunk) = self.chunk(max)? else {
            return Ok(false);
        };
        let stored = self
            .node
            .with_room("append frames", |wal| wal.append_frames(wal.accepted_epoch(), chunk.start, &chunk.bytes));
        let stored = match stored {
            Ok(stored) => stored,
            // Whatever happened, part of it may be there.
            Err(stop) => {
                self.expect(&chunk);
                return Err(stop);
            }
        };
        let Some(end) = stored else {
            self.feed = None;
            return Ok(true);
        };
        self.node.note(|| format!("stored {}..{}", chunk.start, chunk.end));
        if end != chunk.end || self.node.wal().end() != end {
            return broken(format!("frames {}..{} ended at {end}", chunk.start, chunk.end));
        }
        self.expect(&chunk);
        Ok(true)
    }

    fn expect(&mut self, chunk: &Chunk) {
        let set = self.primary.node.ledger.set();
        let first = set.partition_point(|seen| seen.start < chunk.start);
        for seen in set[first..].iter().take_while(|seen| seen.end <= chunk.end) {
            self.node.ledger.appended(Expected::exactly(seen));
        }
    }

    /// The upstream's next frames, as a feed would read them.
    fn chunk(&mut self, max: usize) -> Step<Option<Chunk>> {
        self.catch_primary(|primary| primary.node.read())?;
        let end = self.node.wal().end();
        if self.feed.as_ref().is_none_or(|feed| feed.position() != end) {
            match self.primary.node.wal().reader(end) {
                Ok(feed) => self.feed = Some(feed),
                Err(error) => return broken(format!("no feed from {end}: {error}")),
            }
        }
        let feed = self.feed.as_mut().expect("just made");
        feed.next_frames(max).map_err(|error| Stop::Broken(format!("feed: {error}")))
    }

    fn catch_primary(&mut self, act: impl FnOnce(&mut Primary) -> Step) -> Step {
        match act(&mut self.primary) {
            Err(Stop::Down) => broken("the upstream went down in a read"),
            outcome => outcome,
        }
    }

    /// Frames that do not hold, or do not fit, are refused as a whole (F-090, F-092, F-098, F-103).
    fn ship_badly(&mut self, rng: &mut Rng) -> Step {
        let Some(chunk) = self.chunk(3000)? else {
            return Ok(());
        };
        self.feed = None;
        let end = self.node.wal().end();
        let mut bytes = chunk.bytes.to_vec();
        let start = match rng.below(4) {
            0 => {
                let at = rng.index(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
                chunk.start
            }
            1 => {
                bytes.truncate(bytes.len() - 1 - rng.index(24));
                chunk.start
            }
            2 => Lsn::new(chunk.start.get() + 8 * (1 + rng.below(1000))),
            _ => Lsn::new(chunk.start.get() - 8 * (1 + rng.below(100))),
        };
        if bytes.len() == chunk.bytes.len() && self.node.size.normalise(start) == end && bytes == *chunk.bytes {
            return Ok(()); // another name of the same position
        }
        match self.node.wal().append_frames(self.node.wal().accepted_epoch(), start, &Bytes::from(bytes)) {
            Err(Error::BadFrame { .. } | Error::OutOfOrder { .. }) if self.node.wal().end() == end => {
                self.node.tally.frames_refused += 1;
                Ok(())
            }
            Err(Error::Full(_)) => Ok(()),
            Err(error) => Err(self.node.judge(&error, "bad frames")),
            Ok(end) => broken(format!("frames that do not hold were stored up to {end}")),
        }
    }

    /// Near its upstream's end a follower maps its segment; far behind it writes it with `pwrite`.
    fn say_where_upstream_ends(&mut self, rng: &mut Rng) {
        let end = self.primary.node.wal().end();
        let ahead = if rng.one_in(2) { 0 } else { 10 * self.node.size.get() };
        self.node.wal().set_upstream_end(Lsn::new(end.get() + ahead));
    }

    fn close_and_open(&mut self, rng: &mut Rng) -> Step {
        if !rng.one_in(6) {
            return Ok(());
        }
        self.feed = None;
        self.node.close()?;
        if rng.one_in(2) {
            self.node.disk.power_cut();
        }
        self.node.try_open()
    }

    /// After the last crash: everything is fetched, and the files of both are equal.
    fn finish(&mut self, rng: &mut Rng) -> Step {
        self.feed = None;
        self.primary.node.calm(rng)?;
        self.primary.open_run = None;
        self.node.calm(rng)?;
        self.check_behind()?;
        while self.primary.node.boundaries() < 2 {
            self.primary.append(rng)?;
            self.primary.node.sync()?;
            self.primary.node.read()?;
        }
        self.primary.node.sync()?;
        while self.ship(rng)? {
            if rng.one_in(3) {
                self.node.sync()?;
            }
        }
        self.node.sync()?;
        self.node.read()?;
        if self.node.ledger.end() != self.primary.node.ledger.end() {
            let (here, there) = (self.node.ledger.end(), self.primary.node.ledger.end());
            return broken(format!("everything was shipped, but the follower ends at {here}, the upstream at {there}"));
        }
        for node in [&mut self.primary.node, &mut self.node] {
            while node.seal()? {}
            node.check_sealed()?;
        }
        self.compare()?;
        self.node.damage_a_copy(rng)
    }

    /// Sealed segments are the same files here and there.
    fn compare(&mut self) -> Step {
        let theirs = self.primary.node.wal().segments();
        for segment in self.node.wal().segments() {
            let sealed = |state: SegmentState| state == SegmentState::Sealed;
            let there = theirs.iter().any(|other| other.base == segment.base && sealed(other.state));
            if !there || !sealed(segment.state) {
                continue;
            }
            if self.node.segment_bytes(segment.base) != self.primary.node.segment_bytes(segment.base) {
                return broken(format!("segment {} differs between follower and upstream", segment.base));
            }
            self.node.tally.segments_compared += 1;
        }
        Ok(())
    }
}

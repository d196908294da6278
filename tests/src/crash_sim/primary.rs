//! A primary's log: batches, runs, marks, and everything else that a writer does.

use std::time::Duration;

use longshore_format::{Flags, Kind, Lsn, Name, SegmentSize};
use longshore_wal::{CreateSpec, Error, RecordDraft, Role, Run, SlotAck, Wal};

use super::downs::LYING;
use super::ledger::Expected;
use super::node::{Node, Step, Stop, broken};
use super::source::Source;
use super::{Tally, Violation};
use crate::sim_disk::SyncFault;
use crate::sim_rng::Rng;

/// How many times a history crashes.
pub(super) const CRASHES: u64 = 6;
/// How many operations it has at least.
pub(super) const OPERATIONS: u64 = 100;

/// One history of a primary's log.
pub(super) fn run(rng: &mut Rng) -> Result<Tally, Violation> {
    let mut primary = Primary::new(rng).map_err(|stop| Violation { what: format!("{stop:?}"), trace: Vec::new() })?;
    match primary.history(rng) {
        Ok(()) => Ok(Tally { seeds: 1, ..primary.node.tallied() }),
        Err(stop) => Err(primary.violation(stop)),
    }
}

/// A primary and what it writes.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) node: Node,
    pub(super) source: Source,
    /// A run that a crash interrupts: it is dropped when the process is gone.
    pub(super) open_run: Option<Run>,
    /// Up to where a replica has acknowledged, if there is one: what it needs is kept.
    pub(super) replica: Option<Lsn>,
    /// Whether somebody else opens its directory for reading now and then.
    pub(super) watched: bool,
    /// Whether it crashes inside runs of its own accord.
    pub(super) interrupts_runs: bool,
}

impl Primary {
    pub(super) fn new(rng: &mut Rng) -> Step<Primary> {
        let size = smallest();
        let node = Node::new("primary", Role::Writer, rng, |dir, environment| {
            let spec = CreateSpec { segment_size: size, ..CreateSpec::default() };
            Wal::create(dir, environment, &spec)?;
            Ok((size, size.first_in(Lsn::ZERO)))
        })?;
        Ok(Primary::of(node, Source::draw(rng, size.max_payload())))
    }

    pub(super) fn of(node: Node, source: Source) -> Primary {
        Primary { node, source, open_run: None, replica: None, watched: false, interrupts_runs: true }
    }

    pub(super) fn violation(self, stop: Stop) -> Violation {
        let what = match stop {
            Stop::Broken(what) => what,
            Stop::Down => "the machine is down, and nobody expected it".to_owned(),
        };
        Violation { what, trace: self.node.trace }
    }

    fn history(&mut self, rng: &mut Rng) -> Step {
        // Seldom: it reads the whole log each time.
        self.watched = rng.one_in(20);
        self.node.open(rng)?;
        let mut crashes = 0;
        while crashes < CRASHES || self.node.tally.workload_operations < OPERATIONS {
            let operations = rng.within(17..29);
            match self.life(rng, operations) {
                Ok(()) | Err(Stop::Down) => {}
                broken => return broken,
            }
            self.crash(rng)?;
            self.node.open(rng)?;
            crashes += 1;
        }
        self.finish(rng)
    }

    /// A number of operations, or until something stops them.
    pub(super) fn life(&mut self, rng: &mut Rng, operations: u64) -> Step {
        let sync_one_in = *rng.pick(&[2, 4, 4, 10, 1000]);
        if rng.one_in(6) {
            self.node.disk.arm_sync(rng.below(20), *rng.pick(&LYING));
        } else if rng.one_in(10) {
            self.node.disk.arm_sync(rng.below(20), SyncFault::Slow(Duration::from_secs(30)));
        }
        if rng.one_in(3) {
            self.node.disk.power_off_after(rng.below(400));
        }
        // What a log promises when it opens is that it can go on.
        self.append(rng)?;
        for _ in 0..operations {
            self.operation(rng, sync_one_in)?;
        }
        Ok(())
    }

    /// One operation of the workload.
    pub(super) fn operation(&mut self, rng: &mut Rng, sync_one_in: u64) -> Step {
        self.node.tally.workload_operations += 1;
        match rng.below(20) {
            0..11 => self.append(rng)?,
            11..13 => self.run(rng)?,
            13 => self.mark()?,
            14 => self.append_elsewhere()?,
            15..17 => drop(self.node.prepare_piece()?),
            17 => drop(self.node.seal()?),
            18 => self.node.read()?,
            _ => match rng.below(12) {
                0 => self.node.limit(),
                1 => self.close_and_open(rng)?,
                2 => self.node.prepare_without_files()?,
                3..6 => self.retain()?,
                _ => self.node.pass_time(rng),
            },
        }
        self.node.check_noticed()?;
        if self.watched && rng.one_in(4) {
            self.node.read_beside()?;
        }
        if rng.one_in(sync_one_in) {
            self.node.sync()?;
            self.node.check_noticed()?;
            self.node.read()?;
        }
        Ok(())
    }

    /// Appends a batch, which is a run.
    pub(super) fn append(&mut self, rng: &mut Rng) -> Step {
        let len = 1 + rng.below(2 * self.source.batch - 1).min(self.source.batch * 2);
        let before = self.node.ledger.user_records();
        let payloads: Vec<Vec<u8>> = (0..len).map(|nth| self.source.payload(before + nth)).collect();
        let kind = Kind::new(256 + rng.below(3) as u16);
        let batch: Vec<RecordDraft<'_>> = payloads.iter().map(|payload| RecordDraft { kind, payload }).collect();
        let expect = rng.one_in(2).then(|| self.node.wal().end());
        let Some(appended) = self.node.with_room("append", |wal| wal.append(&batch, expect))? else {
            return Ok(());
        };
        let (end, crc) = (self.node.wal().end(), self.node.wal().last_crc());
        self.node.note(|| format!("appended {len} records: {}..{}", appended.start, appended.end));
        if appended.end != end {
            return broken(format!("an append ended at {}, the log at {end}", appended.end));
        }
        for (nth, payload) in payloads.iter().enumerate() {
            let last = nth + 1 == payloads.len();
            let mut expected = Expected::user(kind, place(nth == 0, last), payload);
            expected.start = (nth == 0).then_some(appended.start);
            expected.end = last.then_some(appended.end);
            expected.header_crc = last.then_some(crc);
            self.node.ledger.appended(expected);
        }
        Ok(())
    }

    fn mark(&mut self) -> Step {
        let name = Name::new("here").expect("a good name");
        let Some(end) = self.node.with_room("mark", |wal| wal.mark(&name))? else {
            return Ok(());
        };
        let expected = Expected { flags: Flags::SINGLE, end: Some(end), ..Expected::of_log(Kind::MARK) };
        self.node.ledger.appended(expected);
        self.node.note(|| format!("marked {end}"));
        Ok(())
    }

    /// An append that expects the log to end elsewhere appends nothing.
    fn append_elsewhere(&mut self) -> Step {
        let (wal, end) = (self.node.wal(), self.node.wal().end());
        let wrong = Lsn::new(end.get() + 8);
        match wal.append(&[RecordDraft::user(b"elsewhere")], Some(wrong)) {
            Err(Error::WrongEnd { .. }) if wal.end() == end => Ok(()),
            Err(error) if wal.end() == end => Err(self.node.judge(&error, "append elsewhere")),
            outcome => broken(format!("an append at {wrong} of a log that ends at {end}: {outcome:?}")),
        }
    }

    pub(super) fn retain(&mut self) -> Step {
        if let Some(durable) = self.replica {
            let ack = SlotAck { durable, applied: durable };
            let name = Name::new("replica").expect("a good name");
            if let Err(error) = self.node.wal().ack(&name, ack) {
                return Err(self.node.judge(&error, "ack"));
            }
        }
        self.node.retain(self.replica)
    }

    fn close_and_open(&mut self, rng: &mut Rng) -> Step {
        self.node.unlimit();
        self.node.close()?;
        if rng.one_in(2) {
            self.node.disk.power_cut();
        }
        self.node.try_open()
    }

    pub(super) fn crash(&mut self, rng: &mut Rng) -> Step {
        self.node.crash(rng)?;
        self.open_run = None;
        Ok(())
    }

    /// After the last crash: the log still works, closes cleanly, and opens cleanly.
    fn finish(&mut self, rng: &mut Rng) -> Step {
        self.node.calm(rng)?;
        while self.node.boundaries() < 2 {
            self.append(rng)?;
            self.node.sync()?;
            self.node.read()?;
        }
        while self.node.seal()? {}
        self.node.close()?;
        let end = self.node.ledger.acked();
        self.node.try_open()?;
        if self.node.wal().end() != end {
            return broken(format!("closed at {end}, opened at {}", self.node.wal().end()));
        }
        self.node.check_sealed()?;
        self.node.damage_a_copy(rng)
    }
}

/// The flags of a record of a run.
pub(super) fn place(first: bool, last: bool) -> Flags {
    let flag = |set: bool, flag: Flags| if set { flag } else { Flags::NONE };
    flag(first, Flags::FIRST) | flag(last, Flags::LAST)
}

/// The smallest segments that the format knows.
pub(super) fn smallest() -> SegmentSize {
    SegmentSize::new(64 << 10).expect("the smallest size")
}

//! A primary's log: batches, runs, marks, and everything else that a writer does.

use std::time::Duration;

use longshore_format::{Flags, Kind, Lsn, Name, SegmentSize};
use longshore_wal::{CreateSpec, Error, RecordDraft, Role, Run, Wal};

use super::ledger::Expected;
use super::node::{LYING, Node, Step, Stop, broken};
use super::source::Source;
use super::{Tally, Violation};
use crate::sim_disk::SyncFault;
use crate::sim_rng::Rng;

/// How many times a history crashes.
pub(super) const CRASHES: u64 = 6;

/// One history of a primary's log.
pub(super) fn run(rng: &mut Rng) -> Result<Tally, Violation> {
    let mut primary = Primary::new(rng).map_err(|stop| Violation {
        what: format!("{stop:?}"),
        trace: Vec::new(),
    })?;
    match primary.history(rng) {
        Ok(()) => Ok(Tally {
            seeds: 1,
            ..primary.node.tallied()
        }),
        Err(stop) => Err(primary.violation(stop)),
    }
}

/// A primary and what it writes.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) node: Node,
    pub(super) source: Source,
    /// A run that a crash interrupts: it is dropped when the process is gone.
    open_run: Option<Run>,
}

impl Primary {
    pub(super) fn new(rng: &mut Rng) -> Step<Primary> {
        let size = smallest();
        let node = Node::new("primary", Role::Writer, rng, |dir, environment| {
            let spec = CreateSpec {
                segment_size: size,
                ..CreateSpec::default()
            };
            Wal::create(dir, environment, &spec)?;
            Ok((size, size.first_in(Lsn::ZERO)))
        })?;
        Ok(Primary::of(node, Source::draw(rng, size.max_payload())))
    }

    pub(super) fn of(node: Node, source: Source) -> Primary {
        Primary {
            node,
            source,
            open_run: None,
        }
    }

    pub(super) fn violation(self, stop: Stop) -> Violation {
        let what = match stop {
            Stop::Broken(what) => what,
            Stop::Down => "the machine is down, and nobody expected it".to_owned(),
        };
        Violation {
            what,
            trace: self.node.trace,
        }
    }

    fn history(&mut self, rng: &mut Rng) -> Step {
        self.node.open(rng)?;
        for crash in 0..CRASHES {
            let operations = rng.within(17..29);
            match self.life(rng, operations) {
                Ok(()) | Err(Stop::Down) => {}
                broken => return broken,
            }
            if crash == CRASHES - 1 && self.node.boundaries() < 2 {
                self.cross_boundaries(rng)?;
            }
            self.crash(rng)?;
            self.node.open(rng)?;
        }
        self.finish(rng)
    }

    /// A number of operations, or until something stops them.
    pub(super) fn life(&mut self, rng: &mut Rng, operations: u64) -> Step {
        let sync_one_in = *rng.pick(&[2, 4, 4, 10, 1000]);
        if rng.one_in(6) {
            self.node.disk.arm_sync(rng.below(20), *rng.pick(&LYING));
        } else if rng.one_in(10) {
            self.node
                .disk
                .arm_sync(rng.below(20), SyncFault::Slow(Duration::from_secs(30)));
        }
        if rng.one_in(3) {
            self.node.disk.power_off_after(rng.below(400));
        }
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
            15..17 => drop(self.node.prepare()?),
            17 => drop(self.node.seal()?),
            18 => self.node.read()?,
            _ if rng.one_in(12) => self.node.limit(),
            _ if rng.one_in(6) => self.close_and_open(rng)?,
            _ => self.node.pass_time(rng),
        }
        self.node.check_noticed()?;
        if rng.one_in(sync_one_in) {
            self.node.sync()?;
            self.node.check_noticed()?;
            self.node.read()?;
        }
        Ok(())
    }

    /// Appends a batch, which is a run.
    pub(super) fn append(&mut self, rng: &mut Rng) -> Step {
        let len = 1 + rng
            .below(2 * self.source.batch - 1)
            .min(self.source.batch * 2);
        let before = self.node.ledger.user_records();
        let payloads: Vec<Vec<u8>> = (0..len)
            .map(|nth| self.source.payload(before + nth))
            .collect();
        let kind = Kind::new(256 + rng.below(3) as u16);
        let batch: Vec<RecordDraft<'_>> = payloads
            .iter()
            .map(|payload| RecordDraft { kind, payload })
            .collect();
        let expect = rng.one_in(2).then(|| self.node.wal().end());
        let Some(appended) = self
            .node
            .with_room("append", |wal| wal.append(&batch, expect))?
        else {
            return Ok(());
        };
        let (end, crc) = (self.node.wal().end(), self.node.wal().last_crc());
        self.node.note(|| {
            format!(
                "appended {len} records: {}..{}",
                appended.start, appended.end
            )
        });
        if appended.end != end {
            return broken(format!(
                "an append ended at {}, the log at {end}",
                appended.end
            ));
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

    /// A run of several appends: finished, dropped, or interrupted by a crash.
    pub(super) fn run(&mut self, rng: &mut Rng) -> Step {
        let Some(mut run) = self.node.with_room("begin", |wal| wal.begin())? else {
            return Ok(());
        };
        let appends = rng.below(6);
        for nth in 0..appends {
            if !self.append_to(&mut run, nth == 0)? {
                // No room on the disk: the run is given up, and its abort needs the room that is back by now.
                return self.drop_run(run, nth > 0);
            }
            if rng.one_in(4) {
                self.node.sync()?;
                self.node.check_noticed()?;
                self.node.read()?;
            }
        }
        match rng.below(6) {
            0 => {
                self.open_run = Some(run);
                self.node.note(|| "crash inside a run".to_owned());
                Err(Stop::Down)
            }
            1..3 => self.drop_run(run, appends > 0),
            _ => self.finish_run(run, appends == 0),
        }
    }

    fn append_to(&mut self, run: &mut Run, first: bool) -> Step<bool> {
        let payload = self.source.payload(self.node.ledger.user_records());
        let Some(end) = self
            .node
            .with_room("append to a run", |_| run.append(Kind::USER, &payload))?
        else {
            return Ok(false);
        };
        let mut expected = Expected::user(Kind::USER, place(first, false), &payload);
        expected.end = Some(end);
        self.node.ledger.appended(expected);
        Ok(true)
    }

    fn finish_run(&mut self, run: Run, first: bool) -> Step {
        let payload = self.source.payload(self.node.ledger.user_records());
        match run.finish(Kind::USER, &payload) {
            Ok(end) => {
                let mut expected = Expected::user(Kind::USER, place(first, true), &payload);
                expected.end = Some(end);
                self.node.ledger.appended(expected);
                self.node.note(|| format!("finished a run at {end}"));
                Ok(())
            }
            // It took the run with it.
            Err(Error::Full(_)) => {
                self.aborted(!first);
                Ok(())
            }
            Err(error) => Err(self.node.judge(&error, "finish a run")),
        }
    }

    fn drop_run(&mut self, run: Run, has_records: bool) -> Step {
        drop(run);
        self.aborted(has_records);
        Ok(())
    }

    fn aborted(&mut self, has_records: bool) {
        if has_records {
            self.node.ledger.appended(Expected::of_log(Kind::ABORT));
        }
        self.node
            .note(|| format!("gave up a run, with records: {has_records}"));
    }

    fn mark(&mut self) -> Step {
        let name = Name::new("here").expect("a good name");
        let Some(end) = self.node.with_room("mark", |wal| wal.mark(&name))? else {
            return Ok(());
        };
        let expected = Expected {
            flags: Flags::SINGLE,
            end: Some(end),
            ..Expected::of_log(Kind::MARK)
        };
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
            outcome => broken(format!(
                "an append at {wrong} of a log that ends at {end}: {outcome:?}"
            )),
        }
    }

    fn close_and_open(&mut self, rng: &mut Rng) -> Step {
        self.node.unlimit();
        self.node.close()?;
        if rng.one_in(2) {
            self.node.disk.power_cut();
        }
        self.node.try_open()
    }

    fn cross_boundaries(&mut self, rng: &mut Rng) -> Step {
        if !self.node.is_open() || self.node.disk.is_off() {
            self.node.restart(rng);
            self.open_run = None;
            self.node.try_open()?;
        }
        self.node.disk.keep_power();
        self.node.disk.disarm_sync();
        while self.node.boundaries() < 2 {
            self.append(rng)?;
            self.node.sync()?;
            self.node.read()?;
        }
        Ok(())
    }

    pub(super) fn crash(&mut self, rng: &mut Rng) -> Step {
        self.node.crash(rng)?;
        self.open_run = None;
        Ok(())
    }

    /// After the last crash: the log still works, closes cleanly, and opens cleanly.
    fn finish(&mut self, rng: &mut Rng) -> Step {
        self.node.disk.keep_power();
        self.node.disk.disarm_sync();
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
            return broken(format!(
                "closed at {end}, opened at {}",
                self.node.wal().end()
            ));
        }
        self.node.check_sealed()?;
        self.node.damage_a_copy(rng)
    }
}

/// The flags of a record of a run.
fn place(first: bool, last: bool) -> Flags {
    let flag = |set: bool, flag: Flags| if set { flag } else { Flags::NONE };
    flag(first, Flags::FIRST) | flag(last, Flags::LAST)
}

/// The smallest segments that the format knows.
pub(super) fn smallest() -> SegmentSize {
    SegmentSize::new(64 << 10).expect("the smallest size")
}

//! One log on its own simulated disk: opened, checked, crashed, and opened again.

use std::sync::Arc;

use longshore_format::{Kind, Lsn, SegmentSize};
use longshore_storage::{Directory, Environment};
use longshore_wal::{Filling, Reader, Recovery, Retention, Role, Settings, Wal};

use super::Tally;
use super::downs::LYING;
use super::ledger::{Expected, Ledger};
use crate::sim_disk::SimDisk;
use crate::sim_env::SimEnvironment;
use crate::sim_rng::Rng;

/// The directory of the log, below the disk's top.
pub(super) const LOG: &str = "log";

/// Why a life of a log ended before its operations were done.
#[derive(Debug)]
pub(super) enum Stop {
    /// The machine or the log is down, for a reason that the simulator gave it: crash and go on.
    Down,
    /// A promise was broken.
    Broken(String),
}

/// The result of a step.
pub(super) type Step<T = ()> = Result<T, Stop>;

pub(super) fn broken<T>(what: impl Into<String>) -> Step<T> {
    Err(Stop::Broken(what.into()))
}

/// A log, its disk and what it must hold.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) disk: SimDisk,
    pub(super) environment: SimEnvironment,
    pub(super) size: SegmentSize,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    pub(super) trace: Vec<String>,
    pub(super) settings: Settings,
    pub(super) open: Option<Open>,
    pub(super) sync_errors_at_open: u64,
    /// The disk is almost full.
    pub(super) limited: bool,
}

/// What is there while a log is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) wal: Wal,
    /// A segment that is being prepared.
    pub(super) filling: Option<Filling>,
    /// Stands behind the last record of the ledger that is set.
    pub(super) reader: Reader,
}

impl Node {
    /// A node with a log that `create` makes, closed.
    pub(super) fn new(
        name: &'static str,
        role: Role,
        rng: &mut Rng,
        create: impl FnOnce(Arc<dyn Directory>, &dyn Environment) -> longshore_wal::Result<(SegmentSize, Lsn)>,
    ) -> Step<Node> {
        let environment = SimEnvironment::new(rng.next_u64());
        let disk = SimDisk::new(rng.next_u64(), environment.clone());
        let root = disk.root();
        let dir = root.subdir(LOG).and_then(|dir| root.sync().map(|()| dir));
        let dir = dir.map_err(|error| Stop::Broken(format!("no directory: {error}")))?;
        let (size, first) = create(dir, &environment).map_err(|error| Stop::Broken(format!("create: {error}")))?;
        let keep_bytes = *rng.pick(&[u64::MAX, u64::MAX, 0, 70_000]);
        let retention = Retention { keep_bytes, ..Retention::default() };
        let settings = Settings { role, prepared: 1 + rng.index(2), retention, ..Settings::default() };
        let ledger = Ledger::new(size, first, role == Role::Writer);
        Ok(Node { ledger, settings, ..Node::on(disk, environment, name, size) })
    }

    /// A node with a log that somebody made on `disk`, closed.
    pub(super) fn on(disk: SimDisk, environment: SimEnvironment, name: &'static str, size: SegmentSize) -> Node {
        let ledger = Ledger::new(size, size.first_in(Lsn::ZERO), true);
        let (tally, trace, settings) = (Tally::default(), Vec::new(), Settings::default());
        Node {
            name,
            disk,
            environment,
            size,
            ledger,
            tally,
            trace,
            settings,
            open: None,
            sync_errors_at_open: 0,
            limited: false,
        }
    }

    /// The same log with another future, closed; its disk stands as this one's does.
    pub(super) fn twin(&self, seed: u64) -> Node {
        let (disk, environment) = (self.disk.fork(seed), self.environment.clone());
        let (ledger, trace, settings) = (self.ledger.clone(), self.trace.clone(), self.settings.clone());
        Node { ledger, trace, settings, ..Node::on(disk, environment, self.name, self.size) }
    }

    /// The open log.
    pub(super) fn wal(&self) -> &Wal {
        &self.open.as_ref().expect("the log is open").wal
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{}: {}", self.name, line());
        self.trace.push(line);
    }

    /// Where the log's directory is, as the process now running sees it.
    pub(super) fn directory(&self) -> Step<Arc<dyn Directory>> {
        self.disk.root().open_subdir(LOG).map_err(|error| Stop::Broken(format!("no directory: {error}")))
    }

    /// Opens the log, crashing now and then on the way, and checks everything that it holds.
    pub(super) fn open(&mut self, rng: &mut Rng) -> Step {
        loop {
            if rng.one_in(3) {
                self.disk.power_off_after(rng.below(80));
            } else if rng.one_in(12) {
                self.disk.arm_sync(rng.below(6), *rng.pick(&LYING));
            }
            match self.try_open() {
                Ok(()) => break,
                Err(Stop::Down) => {
                    self.tally.recoveries_crashed += 1;
                    self.restart(rng);
                }
                broken => return broken,
            }
        }
        // An armed fault that is still to come hits the life that begins now, or is taken back.
        if rng.one_in(2) {
            self.disk.keep_power();
            self.disk.disarm_sync();
        }
        Ok(())
    }

    /// Opens the log once; `Down` if a fault of the disk came in between.
    pub(super) fn try_open(&mut self) -> Step {
        self.sync_errors_at_open = self.disk.stats().sync_errors;
        self.ledger.opening();
        let opened = Wal::open(self.directory_or_down()?, Arc::new(self.environment.clone()), self.settings.clone());
        let (wal, recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(self.judge(&error, "open")),
        };
        self.note(|| format!("opened: {recovery:?}"));
        self.check_open(wal, &recovery)
    }

    pub(super) fn directory_or_down(&self) -> Step<Arc<dyn Directory>> {
        self.disk.root().open_subdir(LOG).map_err(|_| Stop::Down)
    }

    fn check_open(&mut self, wal: Wal, recovery: &Recovery) -> Step {
        self.tally.tails_cut += u64::from(recovery.cut_bytes > 0);
        if recovery.clean {
            self.tally.clean_opens += 1;
        } else {
            self.tally.recoveries += 1;
        }
        if let Some(lost) = recovery.lost {
            return broken(format!("says that it lost acknowledged bytes up to {lost}"));
        }
        if recovery.end < recovery.known_durable {
            return broken(format!("ends before what it knows to be durable: {recovery:?}"));
        }
        self.check_zeros(wal.end())?;
        let mut reader = match wal.reader(wal.first()) {
            Ok(reader) => reader,
            Err(error) => return Err(self.judge(&error, "reader")),
        };
        if !self.ledger.may_begin_at(wal.first()) {
            return broken(format!("the log begins at {}", wal.first()));
        }
        let mut recheck = self.ledger.recheck(wal.first());
        loop {
            match reader.next() {
                Ok(Some(record)) => self.ledger.reread(&mut recheck, &record).map_err(Stop::Broken)?,
                Ok(None) => break,
                Err(error) => return Err(self.judge(&error, "read all")),
            }
        }
        self.ledger.rechecked(recheck).map_err(Stop::Broken)?;
        if self.ledger.end() < recovery.end {
            return broken(format!("kept up to {}, serves only up to {}", recovery.end, self.ledger.end()));
        }
        // What the writer appends first, unless it is durable and was read already.
        if self.settings.role == Role::Writer && self.ledger.end() == recovery.end {
            if !recovery.clean {
                self.ledger.appended(Expected::of_log(Kind::INCARNATION));
            } else if self.ledger.ends_in_run() {
                self.ledger.appended(Expected::of_log(Kind::ABORT));
            }
        }
        self.ledger.acknowledge(wal.durable().get());
        self.open = Some(Open { wal, reader, filling: None });
        Ok(())
    }

    /// After an open, the segment that will be written on is zero from the log's end to its footer (F-016).
    fn check_zeros(&self, end: Lsn) -> Step {
        let base = self.size.base_of(end);
        let path = format!("{LOG}/{}", self.size.file_name(base));
        let bytes = self.disk.read(&path).unwrap_or_default();
        let body = self.size.offset_in(end) as usize..bytes.len().min(self.size.body_end_offset() as usize);
        let stale = bytes.get(body.clone()).unwrap_or_default().iter().position(|byte| *byte != 0);
        match stale {
            Some(at) => broken(format!("{path} is not zero at {} behind the end", body.start + at)),
            None => Ok(()),
        }
    }

    /// How many segment boundaries the log has crossed.
    pub(super) fn boundaries(&self) -> u64 {
        let base = |lsn| self.size.base_of(lsn);
        base(self.ledger.end()).since(base(self.ledger.first())) / self.size.get()
    }

    /// Adds up what happened here.
    pub(super) fn tallied(mut self) -> Tally {
        self.tally.boundaries_crossed += self.boundaries();
        self.tally.records_set += self.ledger.set().len() as u64;
        self.tally.records_dropped += self.ledger.dropped;
        self.tally.disk += self.disk.stats();
        self.tally
    }
}

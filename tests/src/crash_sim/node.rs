//! One log on its own simulated disk: opened, checked, crashed, and opened again.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::{ErrorKind, Kind, Lsn, SegmentSize};
use longshore_storage::{Directory, Environment};
use longshore_wal::{Error, Full, Reader, Recovery, Retention, Role, Settings, Wal};

use super::Tally;
use super::ledger::{Expected, Ledger};
use crate::sim_disk::{SimDisk, SyncFault};
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
    settings: Settings,
    open: Option<Open>,
    sync_errors_at_open: u64,
    /// The disk is almost full.
    limited: bool,
}

/// What is there while a log is open.
#[derive(Debug)]
struct Open {
    wal: Wal,
    /// Stands behind the last record of the ledger that is set.
    reader: Reader,
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

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
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

    fn directory_or_down(&self) -> Step<Arc<dyn Directory>> {
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
        if !recovery.clean && self.settings.role == Role::Writer && self.ledger.end() == recovery.end {
            self.ledger.appended(Expected::of_log(Kind::INCARNATION));
        }
        self.ledger.acknowledge(wal.durable().get());
        self.open = Some(Open { wal, reader });
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

    /// Reads what became durable; the ledger must explain it, and it must be all that was acknowledged.
    pub(super) fn read(&mut self) -> Step {
        let open = self.open.as_mut().expect("the log is open");
        let error = loop {
            match open.reader.next() {
                Ok(Some(record)) => self.ledger.read(&record).map_err(Stop::Broken)?,
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = error {
            return Err(self.judge(&error, "read"));
        }
        if self.ledger.end() < self.ledger.acked() {
            let (acked, end) = (self.ledger.acked(), self.ledger.end());
            return broken(format!("acknowledged up to {acked}, but readers get only up to {end}"));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Step {
        let outcome = self.wal().sync_once();
        self.note(|| format!("sync: {outcome:?}"));
        match outcome {
            Ok(lsn) => {
                if lsn < self.wal().end() {
                    return broken(format!("synced up to {lsn} of {}", self.wal().end()));
                }
                self.ledger.acknowledge(lsn);
                Ok(())
            }
            Err(error) => Err(self.judge(&error, "sync")),
        }
    }

    /// Prepares one segment, or finds that none is wanted or has room.
    pub(super) fn prepare(&mut self) -> Step<bool> {
        let outcome = self.wal().prepare_once();
        self.note(|| format!("prepare: {outcome:?}"));
        outcome.map_err(|error| self.judge(&error, "prepare"))
    }

    /// Trims what nobody needs: a consumer may need all from `needed` on.
    pub(super) fn retain(&mut self, needed: Option<Lsn>) -> Step {
        // What goes unread is never checked.
        self.read()?;
        let keep = self.settings.retention.keep_bytes;
        let durable = self.wal().durable().get();
        if let Some(wished) = durable.checked_sub(keep) {
            self.ledger.may_trim(needed.unwrap_or(wished).min(wished));
        }
        let outcome = self.wal().retain();
        self.note(|| format!("retain: {outcome:?}"));
        match outcome {
            Ok(trimmed) if self.ledger.may_begin_at(trimmed.first) => {
                self.tally.segments_trimmed += trimmed.segments as u64;
                Ok(())
            }
            Ok(trimmed) => broken(format!("trimmed up to {}", trimmed.first)),
            Err(error) => Err(self.judge(&error, "retain")),
        }
    }

    /// Prepares a segment while the process has too many open files: an error that passes (F-067).
    pub(super) fn prepare_without_files(&mut self) -> Step {
        const EMFILE: i32 = 24;
        self.disk.arm_open(EMFILE);
        let outcome = self.wal().prepare_once();
        self.disk.disarm_open();
        self.note(|| format!("prepare without files: {outcome:?}"));
        match outcome {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Unavailable && self.wal().failure().is_none() => Ok(()),
            Err(error) => Err(self.judge(&error, "prepare without files")),
        }
    }

    /// Leaves almost no space: appends go on into what is prepared and are then refused, until there is space again.
    pub(super) fn limit(&mut self) {
        self.disk.set_capacity(self.disk.used() + 30_000);
        self.limited = true;
        self.note(|| "the disk is almost full".to_owned());
    }

    pub(super) fn unlimit(&mut self) {
        self.disk.set_capacity(u64::MAX);
        self.limited = false;
    }

    pub(super) fn seal(&mut self) -> Step<bool> {
        let outcome = self.wal().seal_once();
        self.note(|| format!("seal: {outcome:?}"));
        outcome.map_err(|error| self.judge(&error, "seal"))
    }

    /// Does something that the log may refuse as full, making room until it goes. `None` if the disk has no room.
    pub(super) fn with_room<T>(
        &mut self,
        what: &str,
        mut act: impl FnMut(&Wal) -> longshore_wal::Result<T>,
    ) -> Step<Option<T>> {
        for _ in 0..12 {
            match act(self.wal()) {
                Ok(value) => return Ok(Some(value)),
                Err(Error::Full(full)) => {
                    self.note(|| format!("{what}: {full}"));
                    self.make_room(&full)?;
                }
                Err(error) => return Err(self.judge(&error, what)),
            }
        }
        if self.limited {
            self.tally.full_disks += 1;
            self.unlimit();
            return Ok(None);
        }
        broken(format!("{what}: still full after every step that makes room"))
    }

    fn make_room(&mut self, _full: &Full) -> Step {
        self.sync()?;
        while self.seal()? {}
        self.prepare()?;
        Ok(())
    }

    /// Says whether an error is explained by what the simulator did to the disk.
    pub(super) fn judge(&mut self, error: &Error, what: &str) -> Stop {
        self.note(|| format!("{what} failed: {error}"));
        if self.disk.is_off() {
            return Stop::Down;
        }
        if self.disk.stats().sync_errors > self.sync_errors_at_open {
            return match self.check_stopped() {
                Ok(()) => Stop::Down,
                Err(stop) => stop,
            };
        }
        Stop::Broken(format!("{what}: {error}"))
    }

    /// After a failed sync the log takes nothing more: the second sync would lie (F-063).
    pub(super) fn check_stopped(&mut self) -> Step {
        let Some(open) = &self.open else {
            return Ok(());
        };
        self.tally.logs_poisoned += 1;
        // It may have moved before that sync failed; from now on it stands.
        let durable = open.wal.durable().get();
        if let Ok(lsn) = open.wal.sync_once() {
            return broken(format!("a sync after a failed one says {lsn}"));
        }
        if open.wal.failure().is_none() {
            return broken("a sync failed, and the log does not say so");
        }
        let draft = longshore_wal::RecordDraft::user(b"late");
        if self.settings.role == Role::Writer && open.wal.append(&[draft], None).is_ok() {
            return broken("a sync failed, and the log takes another record");
        }
        if open.wal.durable().get() != durable {
            return broken("a sync failed, and the durable position moved");
        }
        Ok(())
    }

    /// After an operation that succeeded: no sync may have failed unnoticed (F-064).
    pub(super) fn check_noticed(&mut self) -> Step {
        if self.disk.stats().sync_errors > self.sync_errors_at_open && !self.disk.is_off() {
            self.check_stopped()?;
            return Err(Stop::Down);
        }
        Ok(())
    }

    /// Ends the life of the open log, in the way that chance and the state of the machine have it.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Step {
        self.tally.crashes += 1;
        let healthy = !self.disk.is_off() && self.disk.stats().sync_errors == self.sync_errors_at_open;
        if self.is_open() && healthy && rng.one_in(3) {
            self.damage_a_copy(rng)?;
        }
        let killed = self.restart(rng);
        let durable = self.ledger.maybe();
        if killed && healthy && durable > 0 && rng.one_in(2) {
            // `kill -9` loses nothing that was appended: open without any fault and see.
            let dropped = self.ledger.dropped;
            self.try_open()?;
            if self.ledger.dropped > dropped {
                return broken(format!("a kill lost {} appended records", self.ledger.dropped - dropped));
            }
            self.restart(rng);
        }
        Ok(())
    }

    /// From here on no more faults; a log that is down for one is opened again.
    pub(super) fn calm(&mut self, rng: &mut Rng) -> Step {
        let down = self.disk.is_off() || self.disk.stats().sync_errors > self.sync_errors_at_open;
        if down {
            self.restart(rng);
        }
        self.disk.keep_power();
        self.disk.disarm_sync();
        self.unlimit();
        if self.is_open() { Ok(()) } else { self.try_open() }
    }

    /// Kills the process or cuts the power; says whether it was a kill.
    pub(super) fn restart(&mut self, rng: &mut Rng) -> bool {
        // Whoever waited for a position was told it when it was reached, whatever failed after that.
        if let Some(open) = &self.open {
            self.ledger.acknowledge(open.wal.durable().get());
        }
        let kill = !self.disk.is_off() && rng.one_in(4);
        if kill {
            self.disk.kill();
        } else {
            self.disk.power_cut();
        }
        self.note(|| if kill { "killed".to_owned() } else { "power cut".to_owned() });
        // Only now: what a dropped handle still wants to do finds that its process is gone.
        self.open = None;
        self.disk.disarm_sync();
        self.unlimit();
        kill
    }

    /// Closes the log in order.
    pub(super) fn close(&mut self) -> Step {
        let outcome = self.wal().close();
        self.note(|| format!("close: {outcome:?}"));
        if let Err(error) = outcome {
            return Err(self.judge(&error, "close"));
        }
        self.ledger.acknowledge(self.wal().durable().get());
        self.check_noticed()?;
        self.open = None;
        Ok(())
    }

    /// Lets time go by, and the wall clock step now and then (F-082).
    pub(super) fn pass_time(&mut self, rng: &mut Rng) {
        self.environment.advance(Duration::from_millis(rng.below(400)));
        if rng.one_in(6) {
            let day = 86_400_000_000;
            self.environment.step_wall(rng.below(2 * day) as i64 - day as i64);
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

/// The ways in which a sync fails.
pub(super) const LYING: [SyncFault; 3] = [SyncFault::MarkedClean, SyncFault::Reverted, SyncFault::NoSpace];

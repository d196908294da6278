//! The steps of an open log, each checked against the ledger.

use std::time::Duration;

use longshore_format::{ErrorKind, Lsn};
use longshore_wal::{Error, Wal};

use super::node::{Node, Open, Step, Stop, broken};
use crate::sim_rng::Rng;

impl Node {
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

    /// Fills a piece of a segment, or finds that none is due or has room.
    pub(super) fn prepare_piece(&mut self) -> Step<bool> {
        let Open { wal, filling, .. } = self.open.as_mut().expect("the log is open");
        let outcome = wal.prepare_ahead(filling);
        self.note(|| format!("prepare: {outcome:?}"));
        outcome.map_err(|error| self.judge(&error, "prepare"))
    }

    /// Prepares all that is due.
    pub(super) fn prepare(&mut self) -> Step {
        while self.prepare_piece()? {}
        Ok(())
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
        let Open { wal, filling, .. } = self.open.as_mut().expect("the log is open");
        if let Some(begun) = filling.take() {
            wal.give_back(begun);
        }
        let outcome = wal.prepare_ahead(filling);
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
                    self.make_room()?;
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

    fn make_room(&mut self) -> Step {
        self.sync()?;
        while self.seal()? {}
        self.prepare()?;
        Ok(())
    }

    /// Closes the log in order.
    pub(super) fn close(&mut self) -> Step {
        let Open { wal, filling, .. } = self.open.as_mut().expect("the log is open");
        if let Some(begun) = filling.take() {
            wal.give_back(begun);
        }
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
}

//! Truncation of a log to a fork, the power failing at each point: the log is whole or ends at the fork, never between,
//! and the tail is whole in either case.

use std::sync::Arc;

use longshore_storage::{Directory, Environment};
use longshore_wal::{ReadLog, Role, Settings, Wal, set_aside};

use super::ledger::Seen;
use super::node::{LOG, Node, Step, Stop, broken};
use super::primary::Primary;
use crate::sim_rng::Rng;

impl Primary {
    /// Truncates this open log at a boundary drawn from `rng`, with the power failing after `point` operations; whether
    /// it failed. The log goes on afterwards.
    pub(super) fn truncate(&mut self, rng: &mut Rng, point: u64) -> Step<bool> {
        self.node.read()?;
        self.node.close()?;
        let set = self.node.ledger.set();
        let fork = rng.pick(&set[..set.len() - 1]).end;
        self.node.note(|| format!("truncate to {fork}"));
        let dir = self.node.directory()?;
        let environment: Arc<dyn Environment> = Arc::new(self.node.environment.clone());
        self.node.disk.power_off_after(point);
        let outcome = set_aside(&dir, &environment, fork);
        self.node.note(|| format!("set aside: {outcome:?}"));
        let crashed = self.node.disk.is_off();
        if let (Err(error), false) = (&outcome, crashed) {
            return broken(format!("set aside: {error}"));
        }
        self.node.disk.power_cut();
        let decided = self.node.peek()?.is_none_or(|end| end == fork);
        if !decided && outcome.is_ok() {
            return broken(format!("truncated to {fork}, and then it was not"));
        }
        if decided {
            let tail = self.node.ledger.cut_at(fork);
            self.node.try_open()?;
            self.node.check_aside(&tail)?;
        } else {
            self.node.try_open()?;
        }
        Ok(crashed)
    }
}

impl Node {
    /// Opens a copy of the disk: where the log ends, or `None` if opening finished a truncation.
    fn peek(&self) -> Step<Option<longshore_format::Lsn>> {
        let copy = self.disk.fork(0);
        let dir = copy.root().open_subdir(LOG).map_err(|error| Stop::Broken(error.to_string()))?;
        let settings = Settings { role: Role::Follower, ..Settings::default() };
        match Wal::open(dir, Arc::new(self.environment.clone()), settings) {
            Ok((_, recovery)) => Ok((!recovery.finished_truncation).then_some(recovery.end)),
            Err(error) => broken(format!("open after a truncation: {error}")),
        }
    }

    /// The records that were cut are to be read from the log that was set aside.
    fn check_aside(&self, tail: &[Seen]) -> Step {
        let places = self.disk.names(&format!("{LOG}/diverged"));
        let [place] = &places[..] else { return broken(format!("one tail is set aside, not {places:?}")) };
        let dir: Arc<dyn Directory> =
            match self.disk.root().open_subdir(LOG).and_then(|dir| dir.open_subdir("diverged")) {
                Ok(diverged) => diverged.open_subdir(place).map_err(|error| Stop::Broken(error.to_string()))?,
                Err(error) => return broken(error.to_string()),
            };
        let read = || -> longshore_wal::Result<Vec<Seen>> {
            let log = ReadLog::open(dir)?;
            let mut reader = log.reader(log.first())?;
            let mut records = Vec::new();
            while let Some(record) = reader.next()? {
                records.push(Seen::of(&record));
            }
            Ok(records)
        };
        match read() {
            Ok(records) if records.ends_with(tail) => Ok(()),
            Ok(records) => broken(format!("the tail has {} records, {} were cut", records.len(), tail.len())),
            // A tail that begins where a segment would leaves nothing to set aside.
            Err(_) if tail.is_empty() => Ok(()),
            Err(error) => broken(format!("the tail cannot be read: {error}")),
        }
    }
}

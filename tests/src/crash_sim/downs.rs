//! How a log goes down, and what it must do then.

use longshore_wal::{Error, RecordDraft, Role};

use super::node::{Node, Step, Stop, broken};
use crate::sim_disk::SyncFault;
use crate::sim_rng::Rng;

/// The ways in which a sync fails.
pub(super) const LYING: [SyncFault; 3] = [SyncFault::MarkedClean, SyncFault::Reverted, SyncFault::NoSpace];

impl Node {
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
        let draft = RecordDraft::user(b"late");
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
}

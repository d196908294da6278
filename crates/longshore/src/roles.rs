//! A log that changes hands: closed in one role, and opened in the other under the same name.
//!
//! Whoever holds the log as it was gets `Closed` or `Fenced` from then on; streams of it end, and are opened again.

use std::sync::Arc;

use longshore_format::{Epoch, Name};
use longshore_wal::{Promotion, Role, Wal};

use crate::error::Result;
use crate::event::Event;
use crate::log::Log;
use crate::node::Node;

impl Node {
    /// Becomes the writer of a log that this node follows, in an epoch that it accepted. Whether it may was decided before. If
    /// it fails the log is open again as it was.
    pub(crate) fn begin_epoch(&self, name: &Name, promotion: &Promotion) -> Result<Arc<Log>> {
        self.close_log(name)?;
        let promoted = self.open_by(name.as_str(), |dir, env, settings| Wal::promote(dir, env, settings, promotion));
        let log = match promoted {
            Ok(log) => log,
            Err(error) => {
                self.open_by(name.as_str(), Wal::open_in_role)?;
                return Err(error);
            }
        };
        self.sinks().start(&log)?;
        let position = log.wal.history().current().start;
        self.events().raise(Event::Promoted { log: name.clone(), epoch: promotion.epoch.to_string(), position });
        if let Some(why) = log.without_database() {
            self.events().raise(Event::Warning { message: format!("log {name}: {why}") });
        }
        Ok(log)
    }

    /// Accepts an epoch for a log, whatever this node is to it. A writer stops; its log stays open for reading, and is offered
    /// to whoever accepted the same epoch, until [`follow_on`](Self::follow_on).
    pub(crate) fn accept_epoch(&self, log: &Log, epoch: Epoch) -> Result<()> {
        let (was_fenced, before) = (log.wal.is_fenced(), log.wal.accepted_epoch());
        let mut are_out = true;
        if !was_fenced && before.number < epoch.number {
            // What an application has committed by then is in the log, and nothing after: none of it is lost if the log is not.
            are_out = log.applying.hold_writers();
        }
        let accepted = log.wal.accept_epoch(epoch);
        if !log.wal.is_fenced() {
            log.applying.release_writers();
        }
        if !was_fenced && log.wal.is_fenced() {
            self.events().raise(Event::Fenced { log: log.name.clone(), epoch: epoch.to_string() });
        }
        if before != log.wal.accepted_epoch() {
            let current = log.wal.history().current().epoch;
            self.memory().accepts(&log.name, log.wal.accepted_epoch(), before, current);
            if !are_out {
                self.memory().note_left_open(&log.name, log.wal.accepted_epoch());
            }
            self.accepted().send_modify(|counts| *counts.entry(log.name.clone()).or_default() += 1);
        }
        // Waits are refused from here on, and streams from an earlier epoch's writer end.
        log.standing.wake();
        Ok(accepted?)
    }

    /// A log that was written here and is fenced, as one that follows; any other as it is.
    pub(crate) fn follow_on(&self, log: Arc<Log>) -> Result<Arc<Log>> {
        if log.wal.role() == Role::Follower || !log.wal.is_fenced() {
            return Ok(log);
        }
        let name = log.name.clone();
        if self.get(&name).is_some_and(|open| Arc::ptr_eq(&open, &log)) {
            self.close_log(&name)?;
        }
        // Else somebody else did the same meanwhile.
        drop(log);
        let log = self.open_by(name.as_str(), Wal::open_in_role)?;
        self.sinks().start(&log)?;
        Ok(log)
    }
}

//! A snapshot that a restore begins with.

use std::path::PathBuf;

use longshore_apply::{Held, LogFacts, Sink};
use longshore_format::{ErrorKind, LogId};

use crate::error::{Error, Result};
use crate::seeding;
use crate::snapshot::SnapshotHead;

/// A snapshot in a file, of the log that is restored.
#[derive(Debug, Clone)]
pub(super) struct Seed {
    path: PathBuf,
    head: SnapshotHead,
}

impl Seed {
    pub(super) fn open(path: PathBuf, log: LogId) -> Result<Seed> {
        let head = SnapshotHead::of(&path)?;
        if head.log != log {
            let reason = format!("snapshot {} is of another log, {}; remove it", path.display(), head.log);
            return Err(Error::Refused { kind: ErrorKind::Diverged, reason, at: None });
        }
        Ok(Seed { path, head })
    }

    /// What an output holds that was given it.
    pub(super) fn held(&self) -> Held {
        Held { lsn: self.head.lsn, crc: Some(self.head.link) }
    }

    /// Gives it to an output that holds nothing.
    pub(super) fn apply(&self, sink: &mut dyn Sink, facts: &LogFacts, go_on: impl FnMut() -> bool) -> Result<()> {
        seeding::apply(sink, facts, &self.path, go_on)
    }
}

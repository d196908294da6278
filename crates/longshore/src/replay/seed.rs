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
    /// How long the file is.
    pub(super) len: u64,
}

impl Seed {
    pub(super) fn open(path: PathBuf, log: LogId) -> Result<Seed> {
        let head = SnapshotHead::of(&path)?;
        if head.log != log {
            let reason = format!("snapshot {} is of another log, {}; remove it", path.display(), head.log);
            return Err(Error::Refused { kind: ErrorKind::Diverged, reason, at: None });
        }
        let len = path.metadata().map_err(|error| Error::io("read a snapshot", &path, error))?.len();
        Ok(Seed { path, head, len })
    }

    /// What an output holds that was given it.
    pub(super) fn held(&self) -> Held {
        Held { lsn: self.head.lsn, crc: Some(self.head.link) }
    }

    /// Gives it to an output that holds nothing.
    pub(super) fn apply(&self, sink: &mut dyn Sink, facts: &LogFacts, go_on: impl FnMut(u64) -> bool) -> Result<()> {
        seeding::apply(sink, facts, &self.path, go_on)
    }
}

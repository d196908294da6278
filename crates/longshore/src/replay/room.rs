//! Whether there is room for what a replay makes, before it makes any of it.

use std::io;
use std::path::Path;

use longshore_apply::{Partial, Plan};
use longshore_format::ErrorKind;
use longshore_storage::{Directory, FsDirectory};
use longshore_wal::ReadLog;

use super::Output;
use super::output::parent;
use crate::error::{Error, Result};

/// Disk that is needed, about, and disk that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes needed. A database that was longer before its last transaction takes more meanwhile.
    pub needed: u64,
    /// Bytes free.
    pub free: u64,
    /// Whether files can be made there, as far as the system says.
    pub writable: bool,
}

/// What is free in a directory, and whether files can be made there.
pub(super) fn space_at(dir: &Path) -> io::Result<(u64, bool)> {
    let dir = FsDirectory::open(dir)?;
    Ok((dir.free_space()?, dir.is_writable()))
}

impl Output {
    /// Refuses a file that cannot be made where it is to be, before anything is done for it.
    ///
    /// # Errors
    /// `Preflight`, naming the directory.
    pub fn check_writable(&self) -> Result<()> {
        let Output::File { path, .. } = self else { return Ok(()) };
        match space_at(parent(path)) {
            Ok((_, false)) => {
                let dir = std::path::absolute(parent(path)).unwrap_or(parent(path).to_owned());
                let reason = format!(
                    "no file can be made in {}; make it writable, or name another output: nothing was changed",
                    dir.display()
                );
                Err(Error::Refused { kind: ErrorKind::Preflight, reason, at: None })
            }
            // What is not there is told of when its room is looked at.
            _ => Ok(()),
        }
    }

    /// About what a file takes that begins with a snapshot of `before` bytes, and what there is for it. Without the log nothing
    /// says how long it will be.
    pub(super) fn room(&self, plan: &Plan, before: u64, log: Option<&ReadLog>) -> Result<Option<Room>> {
        let Output::File { format, path } = self else { return Ok(None) };
        let (free, writable) = space_at(parent(path)).map_err(|error| {
            let reason = format!("{}: {error}; make the directory, or name another output", self.label());
            Error::Refused { kind: ErrorKind::Preflight, reason, at: None }
        })?;
        let told = match (log, plan.last) {
            (Some(log), Some(last)) => {
                log.reader(last.record)?.next()?.and_then(|record| format.told_len(log.content(), record.payload))
            }
            _ => None,
        };
        // What an interrupted replay has left is part of it.
        let there = || Partial::of(path).partial().metadata().map_or(0, |partial| partial.len());
        let needed = match told {
            Some(len) => len.max(before).saturating_sub(there()).saturating_add(format.beside(plan)),
            None => format.estimated_bytes(plan).saturating_add(before),
        };
        Ok(Some(Room { needed, free, writable }))
    }

    pub(super) fn check_room(&self, plan: &Plan, before: u64, log: &ReadLog) -> Result<Option<Room>> {
        let (Output::File { path, .. }, Some(room)) = (self, self.room(plan, before, Some(log))?) else {
            return Ok(None);
        };
        let Room { needed, free, .. } = room;
        if needed <= free {
            return Ok(Some(room));
        }
        let parent = parent(path);
        let reason = format!(
            "{} needs about {needed} bytes and {} has {free} free; free space or name another disk: nothing was \
             written there",
            self.label(),
            parent.display(),
        );
        Err(Error::Refused { kind: ErrorKind::Preflight, reason, at: None })
    }
}

//! The directory where a log lies that is to go on: one process at a time is at work there.

use std::path::Path;

use longshore::ErrorKind;
use longshore_format::Name;
use longshore_storage::{Directory, FsDirectory, Lock};

use super::archived;
use super::continued::{Continue, GoOn};
use crate::failure::Failure;
use crate::sinks::SinkSpec;

impl Continue {
    /// Makes the data directory, as an agent would, and in it the one where the log lies meanwhile, for this process alone.
    pub(super) fn claim(&self, go_on: &GoOn<'_>) -> Result<(), Failure> {
        if !self.is_asked() || go_on.alone.get().is_some() {
            return Ok(());
        }
        let _first = go_on.alone.set(lock(go_on.scratch, go_on.log)?);
        Ok(())
    }

    /// Removes what a restore has left that was killed after its output had got its name, unless it goes on.
    pub(super) fn clear(&self, log: &str, into: &SinkSpec) {
        let Some(scratch) = self.scratch(log) else { return };
        // Of another process that works there nothing is taken, not even its lock for a moment.
        if !archived::is_left(&scratch, into) {
            return;
        }
        let _alone = match FsDirectory::open(&scratch).and_then(|dir| dir.lock_by(LOCK)) {
            Ok(alone) if self.pending(log).is_none() => alone,
            _ => return,
        };
        archived::clear(&scratch, into);
    }
}

fn lock(scratch: &Path, log: &Name) -> Result<Box<dyn Lock>, Failure> {
    let failed = |error| Failure::file("cannot take", scratch, &error);
    loop {
        let made = FsDirectory::create(scratch).map_err(failed)?;
        match made.lock_by(LOCK) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                let what = format!("another process restores log {log} there: {error}");
                return Err(Failure::new(ErrorKind::Busy, what).next("wait for its end, or end it and run this again"));
            }
            // Whoever had it is done, and has just removed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            locked => {
                let lock = locked.map_err(failed)?;
                if made.intact().map_err(failed)? {
                    return Ok(lock);
                }
            }
        }
    }
}

/// No log can be called so.
const LOCK: &str = "replay.lock";

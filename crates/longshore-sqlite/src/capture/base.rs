//! Up to where a log is known to hold what an application wrote, for a database that it was applied to before.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_apply::Held;
use longshore_format::{LogId, Lsn};

use super::Capture;
use crate::error::Error;
use crate::sidecar::{Sidecar, Standing};

/// The position of a database that an application writes: where it began to, or any later place up to which all of the log came
/// from it. It must be one that the log still has at the next start.
#[derive(Debug)]
pub(super) struct Base {
    sidecar: Sidecar,
    raised: Instant,
}

/// How often it is raised at least where anything was captured.
const RAISE: Duration = Duration::from_secs(60);

impl Base {
    /// `None` where no log was ever applied.
    pub(super) fn of(database: &Path, log: LogId) -> Result<Option<Base>, Error> {
        let resolved = database.canonicalize().map_err(Error::at(database))?;
        let is_one = |standing: &Standing| standing.log != log || standing.base().is_some();
        let sidecar = Sidecar::open(&resolved)?.filter(|sidecar| is_one(sidecar.standing()));
        Ok(sidecar.map(|sidecar| Base { sidecar, raised: Instant::now() }))
    }

    /// Zero where it is a position of another log.
    fn lsn(&self, log: LogId) -> Lsn {
        let standing = self.sidecar.standing();
        if standing.log == log { standing.intent.lsn } else { Lsn::ZERO }
    }
}

impl Capture {
    /// Raises the position before the log is trimmed beyond it.
    pub(super) fn raise_base_if_due(&mut self) -> Result<(), Error> {
        let Some(base) = &self.base else { return Ok(()) };
        let grown = self.shipped.lsn.since(base.lsn(self.log.id()));
        let is_due = self.log.segment_size().get() / 2 <= grown || 0 < grown && RAISE <= base.raised.elapsed();
        if is_due { self.raise_base() } else { Ok(()) }
    }

    /// Raises it to what was captured last.
    pub(super) fn raise_base(&mut self) -> Result<(), Error> {
        let (lsn, log) = (self.shipped.lsn, self.log.id());
        let Some(base) = self.base.as_mut().filter(|base| base.lsn(log) != lsn) else { return Ok(()) };
        self.log.wait_blocking(lsn, None).map_err(Error::Log)?;
        let held = Held { lsn, crc: Some(self.log.crc_at(lsn).map_err(Error::Log)?) };
        base.sidecar.write(Standing::captured(self.log.id(), self.size, held))?;
        base.raised = Instant::now();
        Ok(())
    }
}

//! Runs: transactions of several appends.

use longshore_format::{Flags, Kind, Lsn, payload_crc};

use crate::append::{check_record, extent};
use crate::{Error, Result, Wal};

/// An open run. Nothing else can be appended until it is finished; dropping it ends it with an `Abort`, and none of it
/// counts.
///
/// The newest record is held back until the next one, or the end, decides whether it is the last.
#[derive(Debug)]
#[must_use = "dropping a run aborts it"]
pub struct Run {
    wal: Wal,
    held: Option<(Kind, Vec<u8>)>,
    began: bool,
    finished: bool,
    /// Where its newest record ends, or where it began.
    end: Lsn,
}

impl Wal {
    /// Begins a run; fails with [`Error::RunOpen`] while another is open.
    pub fn begin(&self) -> Result<Run> {
        let shared = self.shared();
        let mut appender = shared.lock(&shared.append)?;
        appender.may_mint(shared)?;
        appender.no_run()?;
        appender.in_run = true;
        let end = appender.position();
        drop(appender);
        Ok(Run { wal: self.clone(), held: None, began: false, finished: false, end })
    }
}

impl Run {
    /// Adds a record. On an error nothing was added and the run stays open: wait for room and try again, or drop it.
    pub fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        check_record(self.wal.shared(), kind, payload)?;
        self.put(Flags::NONE)?;
        self.held = Some((kind, payload.to_vec()));
        Ok(())
    }

    /// Ends the run, which makes it count; returns where it ends, the position to wait for. On an error the run stays open.
    /// A run of no records leaves nothing in the log.
    pub fn finish(&mut self) -> Result<Lsn> {
        self.put(Flags::LAST)?;
        self.finished = true;
        self.close(false)?;
        Ok(self.end)
    }

    fn put(&mut self, last: Flags) -> Result<()> {
        let Some((kind, payload)) = &self.held else { return Ok(()) };
        let shared = self.wal.shared();
        let first = if self.began { Flags::NONE } else { Flags::FIRST };
        let crc = payload_crc(payload);
        let mut appender = shared.lock(&shared.append)?;
        appender.may_mint(shared)?;
        appender.admit(shared, extent(payload.len()))?;
        appender.mint(shared, *kind, first | last, payload, crc, None)?;
        self.end = appender.publish(shared);
        drop(appender);
        self.held = None;
        self.began = true;
        Ok(())
    }

    /// Lets others append again.
    fn close(&self, abort: bool) -> Result<()> {
        let shared = self.wal.shared();
        let mut appender = shared.lock(&shared.append)?;
        appender.in_run = false;
        if abort && appender.may_mint(shared).is_ok() && appender.chain().run.is_some() {
            // Its place was kept free, so this needs no segment and no limit applies.
            appender.mint(shared, Kind::ABORT, Flags::NONE, &[], payload_crc(&[]), None)?;
            appender.publish(shared);
        }
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.finished {
            // A log that failed or was closed meanwhile needs no abort: opening it again appends one.
            let _stopped: Result<(), Error> = self.close(true);
        }
    }
}

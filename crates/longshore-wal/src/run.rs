//! Runs: transactions of several appends.

use longshore_format::{Kind, Lsn};

use crate::{Result, Wal};

/// An open run. Nothing else can be appended until it is finished; dropping it ends it with an `Abort`, and none of it
/// counts.
#[derive(Debug)]
#[must_use = "dropping a run aborts it"]
pub struct Run {}

impl Wal {
    /// Begins a run; fails with `RunOpen` while another is open.
    pub fn begin(&self) -> Result<Run> {
        todo!()
    }
}

impl Run {
    /// Appends one record of the run. On an error the run stays open: try again, finish, or drop it.
    pub fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<Lsn> {
        let _ = (kind, payload);
        todo!()
    }

    /// Appends the last record, which makes the whole run count; returns where it ends.
    pub fn finish(self, kind: Kind, payload: &[u8]) -> Result<Lsn> {
        let _ = (kind, payload);
        todo!()
    }
}

//! The measurements: longshore beside the raw limit of this machine.
//!
//! A raw row is a file `bench/raw_*.rs` of at most 60 lines that uses no longshore crate. Ours and
//! raw run in turn, so that whatever else the machine does falls on both; the median is reported.
//! Absolute figures move from run to run and from disk to disk: compare within a report only.

mod agents;
pub(crate) mod archive;
pub(crate) mod commit;
mod confirmed;
mod handover;
mod many_segments;
pub(crate) mod measure;
pub(crate) mod place;
pub(crate) mod progress;
pub(crate) mod raw_append;
mod raw_commit;
mod raw_copy;
mod raw_hash;
pub(crate) mod raw_sqlite;
pub(crate) mod raw_sync;
pub(crate) mod raw_tls;
pub(crate) mod report;
pub(crate) mod ship;
mod slow_store;
pub(crate) mod sqlite;
pub(crate) mod wal;
pub(crate) mod worker;

use std::path::PathBuf;

use progress::Progress;

/// How a measurement is to be made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// A directory of its own on the disk to be measured.
    pub(crate) dir: PathBuf,
    /// Runs of each row.
    pub(crate) runs: usize,
    /// The part of the full amount of data.
    pub(crate) scale: f64,
    /// Whom to tell.
    pub(crate) progress: Progress,
}

impl Plan {
    /// Counts the runs of a row, telling what is measured.
    pub(crate) fn runs<'p>(&'p self, what: &'p str) -> impl Iterator<Item = usize> + 'p {
        self.progress.runs(what, self.runs)
    }

    /// `full` scaled down, at least `least`.
    pub(crate) fn amount(&self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(least)
    }
}

/// The size of a record's payload in every row.
pub(crate) const RECORD: usize = 1024;

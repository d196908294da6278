//! Figures: how full the log is and how fast its disk syncs.

use std::time::Duration;

use crate::{Full, Wal};

/// How close the log is to refusing appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes that wait to be synced.
    pub unsynced: u64,
    /// How many may.
    pub unsynced_limit: u64,
    /// Bytes of disk the log takes, prepared segments included.
    pub disk_used: u64,
    /// How many it may, if limited.
    pub disk_limit: Option<u64>,
    /// Bytes that unprivileged processes can still allocate there.
    pub disk_free: u64,
    /// How many segments are ready to be filled after the active one.
    pub prepared: usize,
    /// Why an append of one small record would be refused now, if so.
    pub full: Option<Full>,
}

/// How syncs went since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// How many there were.
    pub count: u64,
    /// How long all took together.
    pub total: Duration,
    /// How long the longest took.
    pub longest: Duration,
    /// How long the last took.
    pub last: Duration,
    /// How many bytes they made durable.
    pub bytes: u64,
    /// How many took at most 2^i µs, for i from 0; the last bucket holds the rest. Not cumulative.
    pub histogram: [u64; 24],
}

impl Wal {
    /// How close the log is to refusing appends.
    pub fn pressure(&self) -> Pressure {
        todo!()
    }

    /// How syncs went since the log was opened.
    pub fn sync_stats(&self) -> SyncStats {
        todo!()
    }
}

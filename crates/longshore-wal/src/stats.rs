//! Figures: how full the log is and how fast its disk syncs.

use std::time::Duration;

use crate::append::{RESERVE, Refusal};
use crate::{Error, Full, Result, Role, Wal};

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
    /// Bytes that unprivileged processes can still allocate there; `None` if the system does not say.
    pub disk_free: Option<u64>,
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
    /// How many took less than 2^i µs but not less than half of that; the last bucket holds the rest. Not cumulative.
    pub histogram: [u64; SyncStats::BUCKETS],
}

impl SyncStats {
    /// How many buckets the histogram has: the last but one ends at 4.2 s.
    pub const BUCKETS: usize = 24;

    pub(crate) fn note(&mut self, took: Duration, bytes: u64) {
        self.count += 1;
        self.total += took;
        self.longest = self.longest.max(took);
        self.last = took;
        self.bytes += bytes;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.histogram[bucket.min(SyncStats::BUCKETS - 1)] += 1;
    }
}

impl Wal {
    /// How close the log is to refusing appends.
    pub fn pressure(&self) -> Pressure {
        let shared = self.shared();
        let end = shared.end();
        let full = match shared.refusal(end, SMALL) {
            Some(Refusal::Full(full)) => Some(full),
            _ => None,
        };
        Pressure {
            unsynced: end.since(shared.view.synced.get()),
            unsynced_limit: shared.settings.unsynced_limit,
            disk_used: shared.disk_used(),
            disk_limit: shared.settings.disk_limit,
            disk_free: shared.view.dir.free_space().ok(),
            prepared: shared.spares.lock().map_or(0, |spares| spares.len()),
            full,
        }
    }

    /// How syncs went since the log was opened.
    pub fn sync_stats(&self) -> SyncStats {
        self.shared().stats.lock().map_or_else(|_| SyncStats::default(), |stats| *stats)
    }

    /// Waits until an append of `bytes` would not be refused as [`Full`], or the log ends. Cancel safe. Needs the threads
    /// of [`Wal::start`].
    pub async fn wait_room(&self, bytes: u64) -> Result<()> {
        let shared = self.shared();
        loop {
            let listener = shared.room.listen();
            if self.has_room(bytes)? {
                return Ok(());
            }
            listener.await;
        }
    }

    /// As [`Wal::wait_room`] on this thread, which syncs if nobody is at it; `false` if the timeout came first.
    pub fn wait_room_blocking(&self, bytes: u64, timeout: Option<Duration>) -> Result<bool> {
        let shared = self.shared();
        let deadline = timeout.map(|timeout| shared.env.monotonic().saturating_add(timeout));
        loop {
            let listener = shared.room.listen();
            if self.has_room(bytes)? || shared.help_sync()? && self.has_room(bytes)? {
                return Ok(true);
            }
            match deadline.map(|deadline| deadline.saturating_sub(shared.env.monotonic())) {
                None => listener.wait(),
                Some(Duration::ZERO) => return Ok(false),
                Some(left) => {
                    let _ = listener.wait_for(left);
                }
            }
        }
    }

    fn has_room(&self, bytes: u64) -> Result<bool> {
        let shared = self.shared();
        shared.alive()?;
        let bytes = match shared.settings.role {
            Role::Writer => bytes,
            // Frames fill a segment to its end, and what a writer keeps free of it is there.
            Role::Follower => bytes.min(shared.view.size.body_end_offset() - shared.view.size.header_len() - RESERVE),
        };
        match shared.refusal(shared.end(), bytes) {
            None => Ok(true),
            Some(Refusal::Full(_)) => Ok(false),
            Some(Refusal::NeverFits) => Err(Error::Invalid("a batch fits into one segment; append a run instead")),
        }
    }
}

/// About one small record.
const SMALL: u64 = 256;

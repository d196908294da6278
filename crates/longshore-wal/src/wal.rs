//! The handle of an open log.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Content, Digest, EpochHistory, LogId, Lsn, SegmentSize};
use longshore_storage::{Directory, Environment};

use crate::{Events, FollowerSpec, Reader, Recovery, Result, Role, SegmentInfo, SegmentReader, Settings, Watermark};

/// An open log. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Wal {}

impl Wal {
    /// Opens the log in `dir`: takes its lock, finishes what an earlier process left, cuts a torn tail, and, for the
    /// writer after anything but a clean close, begins a new incarnation. Its cost does not grow with the log.
    pub fn open(dir: Arc<dyn Directory>, env: Arc<dyn Environment>, settings: Settings) -> Result<(Wal, Recovery)> {
        let _ = (dir, env, settings);
        todo!()
    }

    /// Which log.
    pub fn id(&self) -> LogId {
        todo!()
    }

    /// What its records mean.
    pub fn content(&self) -> Content {
        todo!()
    }

    /// The size of its segments.
    pub fn segment_size(&self) -> SegmentSize {
        todo!()
    }

    /// What this process does with it.
    pub fn role(&self) -> Role {
        todo!()
    }

    /// Its lives, the one that is written now last.
    pub fn history(&self) -> EpochHistory {
        todo!()
    }

    /// The first position.
    pub fn first(&self) -> Lsn {
        todo!()
    }

    /// Where the last appended record ends, durable or not.
    pub fn end(&self) -> Lsn {
        todo!()
    }

    /// The header checksum of the last appended record; zero in an empty log.
    pub fn last_crc(&self) -> u32 {
        todo!()
    }

    /// Up to where everything is durable on this disk.
    pub fn durable(&self) -> &Watermark {
        todo!()
    }

    /// Up to where every segment is sealed: the base of the first that is not. Moves at each seal.
    pub fn sealed(&self) -> &Watermark {
        todo!()
    }

    /// What this node acknowledged and lost, until it has it again.
    pub fn lost(&self) -> Option<Lsn> {
        todo!()
    }

    /// Waits until `lsn` is durable, and helps: if no sync is running this thread does it.
    pub fn wait_blocking(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<Lsn> {
        let _ = (lsn, timeout);
        todo!()
    }

    /// Waits until `lsn` is durable. Needs the threads of [`Wal::start`]. Cancel safe.
    pub async fn wait(&self, lsn: Lsn) -> Result<Lsn> {
        let _ = lsn;
        todo!()
    }

    /// Waits until an append of about `bytes` would not be refused as [`Full`](crate::Full), or the log ends. Cancel safe.
    pub async fn wait_room(&self, bytes: u64) -> Result<()> {
        let _ = bytes;
        todo!()
    }

    /// As [`Wal::wait_room`] on this thread; `false` if the timeout came first.
    pub fn wait_room_blocking(&self, bytes: u64, timeout: Option<Duration>) -> Result<bool> {
        let _ = (bytes, timeout);
        todo!()
    }

    /// For a follower: where the upstream's log ends. While that is more than a segment ahead, segments are written with
    /// `pwrite` into unfilled files rather than mapped.
    pub fn set_upstream_end(&self, end: Lsn) {
        let _ = end;
        todo!()
    }

    /// Makes all that was appended durable with one sync per file; returns up to where. An error is final.
    pub fn sync_once(&self) -> Result<Lsn> {
        todo!()
    }

    /// Prepares one segment if one is wanted; `false` if none is, or there is no space.
    pub fn prepare_once(&self) -> Result<bool> {
        todo!()
    }

    /// Goes on with the seal of the oldest unsealed segment; `false` if there is nothing to do now.
    pub fn seal_once(&self) -> Result<bool> {
        todo!()
    }

    /// A reader at the boundary `from`.
    pub fn reader(&self, from: Lsn) -> Result<Reader> {
        let _ = from;
        todo!()
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        todo!()
    }

    /// The digest of a sealed segment; `None` if it is not sealed or not here.
    pub fn digest(&self, base: Lsn) -> Result<Option<Digest>> {
        let _ = base;
        todo!()
    }

    /// The bytes of a sealed segment's file.
    pub fn segment(&self, base: Lsn) -> Result<SegmentReader> {
        let _ = base;
        todo!()
    }

    /// Where a new follower's log would begin: the first segment kept here.
    pub fn start_point(&self) -> Result<FollowerSpec> {
        todo!()
    }

    /// The header checksum of the record that ends at the durable boundary `lsn`; fails with
    /// [`NotABoundary`](crate::Error::NotABoundary), [`TooOld`](crate::Error::TooOld) or [`Beyond`](crate::Error::Beyond).
    pub fn crc_at(&self, lsn: Lsn) -> Result<u32> {
        let _ = lsn;
        todo!()
    }

    /// The boundary before the first record later than `time` (microseconds UTC).
    pub fn position_at(&self, time: u64) -> Result<Lsn> {
        let _ = time;
        todo!()
    }

    /// What an operator should hear about.
    pub fn events(&self) -> &Events {
        todo!()
    }

    /// Why the log is stopped, if it is.
    pub fn failure(&self) -> Option<crate::Error> {
        todo!()
    }

    /// The directory.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        todo!()
    }

    /// Closes in order: aborts an open run, syncs, and marks the log clean, so that the next open need not look at its
    /// tail. Every other handle gets `Closed` from then on. Stop the threads first.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
}

//! The service that replicas follow logs through.

use std::ops::Range;

use bytes::Bytes;
use longshore_format::{Content, Digest, Epoch, EpochHistory, LogId, Lsn, Policy, SegmentSize};
use longshore_protocol::{Name, NodeId, ToReplica, ToUpstream};

use crate::{Caller, Channel, Error, async_trait};

/// The upstream's end of a replication stream: it sends frames and hears acks.
pub type UpstreamEnd = Channel<ToReplica, ToUpstream>;

/// What an agent offers to its replicas. Every log named in a call is one that the caller may replicate.
#[async_trait]
pub trait ReplicationService: Send + Sync + 'static {
    /// The logs that the caller may replicate.
    async fn logs(&self, caller: &Caller) -> Result<Vec<LogSummary>, Error>;

    /// What the caller needs to create its copy of a log.
    async fn describe(&self, caller: &Caller, log: &Name) -> Result<LogDescription, Error>;

    /// Serves one stream until it ends. The first message in the channel is the caller's `Hello`.
    ///
    /// The channel ends with an error when the caller loses its grant or the agent stops. What is
    /// returned as an error reaches the replica as the stream's status.
    async fn stream(&self, caller: Caller, log: Name, channel: UpstreamEnd) -> Result<(), Error>;

    /// The segments held, oldest first.
    async fn segments(&self, caller: &Caller, log: &Name) -> Result<Vec<Segment>, Error>;

    /// Opens one sealed segment's file for sending.
    async fn fetch_segment(&self, caller: &Caller, log: &Name, base: Lsn) -> Result<SegmentFile, Error>;

    /// Opens a snapshot for sending: the one that was begun at `resume`, from there on, or another from its beginning.
    ///
    /// # Errors
    /// `Preflight` when this agent has nothing to make one of.
    async fn snapshot(&self, caller: &Caller, log: &Name, resume: Option<SnapshotPlace>) -> Result<Snapshot, Error>;

    /// Tells the next records of the outline that was begun at `resume`, or the first ones of another snapshot's: no more than
    /// `most` of them, and at least one unless there are no more.
    ///
    /// # Errors
    /// `Preflight` when this agent has nothing to make a snapshot of, `Corrupt` when no whole record begins there.
    async fn snapshot_outline(
        &self,
        caller: &Caller,
        log: &Name,
        resume: Option<SnapshotPlace>,
        most: usize,
    ) -> Result<SnapshotOutline, Error>;

    /// Opens parts of the snapshot at `position` for sending, one after the other; they ascend, none is empty, and together they
    /// are no longer than a number can say.
    ///
    /// # Errors
    /// `NotFound` when there is no snapshot at that position any more, `Invalid` when it is shorter.
    async fn snapshot_ranges(
        &self,
        caller: &Caller,
        log: &Name,
        position: Lsn,
        ranges: Vec<Range<u64>>,
    ) -> Result<crate::BoxStream<Bytes>, Error>;
}

/// A log as a replica sees it before it follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// The log's name.
    pub name: Name,
    /// The log's id.
    pub id: LogId,
    /// What its records hold.
    pub content: Content,
    /// The size of its segment files.
    pub segment_size: SegmentSize,
    /// The oldest position held.
    pub first: Lsn,
    /// The end of what is durable.
    pub durable: Lsn,
    /// Whether a slot is kept for the caller.
    pub has_slot: bool,
    /// The highest epoch accepted there; `None` from an agent of an earlier version.
    pub accepted: Option<Epoch>,
    /// Whether the agent writes the log.
    pub writes: bool,
    /// The nodes that the log comes through, that agent first and the writer last; empty while it follows nobody who follows
    /// the writer.
    pub path: Vec<NodeId>,
}

impl LogSummary {
    /// The longest path: deeper cascades are not told apart from loops.
    pub const MAX_PATH: usize = 16;
}

/// What a new replica needs to create its copy of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDescription {
    /// The log in brief.
    pub summary: LogSummary,
    /// The header of the oldest segment held, as it stands in its file.
    pub header: Bytes,
    /// The digest of the segment before that one, `Digest::NONE` if the log begins with it: the footer of the
    /// oldest segment names it, so that a copy is byte-identical.
    pub before: Digest,
    /// The lives of the log up to its end.
    pub history: EpochHistory,
    /// The newest policies that came before that segment, oldest first, each with where its record ends.
    pub policies: Vec<(Lsn, Policy)>,
}

/// One segment as the upstream holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub base: Lsn,
    /// The end of its last record.
    pub end: Lsn,
    /// Present once it is sealed.
    pub seal: Option<Seal>,
}

/// What a sealed segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// BLAKE3 over its header and everything before its footer.
    pub digest: Digest,
}

/// A sealed segment's file on its way.
pub struct SegmentFile {
    /// The file's length.
    pub len: u64,
    /// The digest in its footer.
    pub digest: Digest,
    /// The bytes in order; chunks of 256 KiB to 1 MiB travel best, and none may be larger than 1 MiB.
    pub chunks: crate::BoxStream<Bytes>,
}

/// How far a snapshot was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// Of the log: everything up to here is in it.
    pub position: Lsn,
    /// Bytes of its file that are there.
    pub offset: u64,
}

/// A snapshot on its way.
pub struct Snapshot {
    /// Of the log, and where in the file the chunks begin.
    pub place: SnapshotPlace,
    /// The whole file's length.
    pub len: u64,
    /// The bytes in order; chunks of 256 KiB to 1 MiB travel best, and none may be larger than 1 MiB.
    pub chunks: crate::BoxStream<Bytes>,
}

/// A part of what a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOutline {
    /// Of the log, and where in the file the first of the records begins.
    pub place: SnapshotPlace,
    /// The whole file's length.
    pub len: u64,
    /// Records one after the other; none once all are told.
    pub records: Vec<RecordOutline>,
}

impl SnapshotOutline {
    /// The most records that are told at once.
    pub const MOST: usize = 4096;
    /// The most parts of a snapshot that are asked for at once.
    pub const MOST_RANGES: usize = 4096;
}

/// A record of a snapshot, as it is told without sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOutline {
    /// Bytes of its payload.
    pub len: u32,
    /// The first half of the payload's BLAKE3 hash.
    pub digest: [u8; 16],
}

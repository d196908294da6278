//! The sidecar service: append to a log and read it.

use std::time::Duration;

use bytes::Bytes;
use longshore_format::{Content, Flags, Kind, LogId, Lsn, SegmentSize};
use longshore_protocol::{Ack, Durability, Name, NodeId, Region};

use crate::{BoxStream, Caller, Error, async_trait};

/// Records on their way to a reader, in order, a batch at a time.
///
/// An empty batch is sent as a sign of life. Batches of 64 KiB to 1 MiB travel best.
pub type RecordBatches = BoxStream<Vec<OwnedRecord>>;

/// What an agent offers to programs in any language.
#[async_trait]
pub trait LogService: Send + Sync + 'static {
    /// Creates a log.
    async fn create(&self, caller: &Caller, request: Create) -> Result<LogId, Error>;

    /// Appends a batch as one run, and waits if asked to.
    async fn append(&self, caller: &Caller, request: Append) -> Result<Appended, Error>;

    /// Reads records in order.
    async fn read(&self, caller: &Caller, request: Read) -> Result<RecordBatches, Error>;

    /// Waits until `position` is as safe as asked, for at most `timeout`. Returns what is.
    async fn wait(
        &self,
        caller: &Caller,
        log: &Name,
        position: Lsn,
        durability: &Durability,
        timeout: Duration,
    ) -> Result<Lsn, Error>;

    /// Where the log and its replicas are.
    async fn positions(&self, caller: &Caller, log: &Name) -> Result<Positions, Error>;

    /// Writes a named point into the log.
    async fn mark(&self, caller: &Caller, log: &Name, name: &Name) -> Result<Lsn, Error>;
}

/// A request to create a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The new log's name.
    pub log: Name,
    /// What its records will hold.
    pub content: Content,
    /// The size of its segment files.
    pub segment_size: SegmentSize,
}

/// A request to append a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The log.
    pub log: Name,
    /// The records of the run, at least one.
    pub records: Vec<Draft>,
    /// Refuse unless the log ends exactly here.
    pub expect: Option<Lsn>,
    /// How safe the records must be before the answer.
    pub wait: Option<Durability>,
    /// How long to wait at most.
    pub timeout: Duration,
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The user's kind.
    pub kind: Kind,
    /// The record's bytes.
    pub payload: Bytes,
}

/// Where a batch was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where its first record begins.
    pub start: Lsn,
    /// Where its last record ends.
    pub end: Lsn,
}

/// A request to read. Targets are in the one grammar of targets; it is the service that resolves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The log.
    pub log: Name,
    /// Where to begin; the oldest record when absent.
    pub start: Option<String>,
    /// Where to stop; what is durable at the time of the call when absent.
    pub end: Option<String>,
    /// Leave out what `end` names itself.
    pub exclusive: bool,
    /// Go on with new records as they become durable.
    pub follow: bool,
}

/// A record with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Where it begins.
    pub start: Lsn,
    /// Where it ends: its position.
    pub end: Lsn,
    /// The log's own below 256, the user's from there on.
    pub kind: Kind,
    /// Where it stands in its run. Only `FIRST` and `LAST` travel.
    pub flags: Flags,
    /// Microseconds UTC.
    pub time: u64,
    /// The record's bytes.
    pub payload: Bytes,
}

/// Where a log and its replicas are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// The oldest position held.
    pub first: Lsn,
    /// The end of what was appended.
    pub end: Lsn,
    /// The end of what is durable here.
    pub durable: Lsn,
    /// The replicas with a slot.
    pub replicas: Vec<ReplicaPosition>,
}

/// Where one replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPosition {
    /// Its identity.
    pub replica: NodeId,
    /// Its region, when the grants name one.
    pub region: Option<Region>,
    /// Whether it is connected now.
    pub connected: bool,
    /// What it last acknowledged.
    pub ack: Ack,
}

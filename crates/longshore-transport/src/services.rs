//! What an agent offers over the network, as traits in plain types.
//!
//! The server checks certificate and role before it calls any of these, so that an implementation sees
//! only callers who may do what they ask. Where a call names no log, it filters with `Caller::may`.

mod admin;
mod log;
mod promotion;
mod replication;

pub use admin::{
    AdminService, Forget, Forgettable, Forgotten, Lag, LeaseHolder, LeaseStatus, Limits, LimitsChange, LogStatus,
    ReignStatus, ReplicaStatus, SinkStatus, Status, StoreStatus, TailStatus, UpstreamStatus,
};
pub use log::{
    Append, Appended, Create, Draft, LogService, OwnedRecord, Positions, Read, RecordBatches, ReplicaPosition,
};
pub use promotion::{FenceState, Loss, NodeReport, Promote, Promoted, PromotionService, Standing, Surveyed};
pub use replication::{
    LogDescription, LogSummary, RecordOutline, ReplicationService, Seal, Segment, SegmentFile, Snapshot,
    SnapshotOutline, SnapshotPlace, UpstreamEnd,
};

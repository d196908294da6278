//! Making a new log.

use std::sync::Arc;

use longshore_format::{Content, Digest, LogId, SegmentHeader, SegmentSize};
use longshore_storage::{Directory, Environment};

use crate::{Result, Wal};

/// What a new log is to be.
#[derive(Clone, Debug, Default)]
pub struct CreateSpec {
    /// Its identity; drawn at random unless given.
    pub log: Option<LogId>,
    /// What its records mean.
    pub content: Content,
    /// The size of its segments.
    pub segment_size: SegmentSize,
}

/// Where a follower's new log begins, as its upstream says ([`Wal::start_point`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerSpec {
    /// The header of the first segment it will hold.
    pub header: SegmentHeader,
    /// The digest of the segment before that one; [`Digest::NONE`] if there is none.
    pub before: Digest,
}

impl Wal {
    /// Creates a log in an empty directory (foreign files do not matter). Durable when it returns.
    pub fn create(dir: Arc<dyn Directory>, env: &dyn Environment, spec: &CreateSpec) -> Result<LogId> {
        let _ = (dir, env, spec);
        todo!()
    }

    /// Creates a follower's log that begins where the upstream's does. Durable when it returns.
    pub fn create_follower(dir: Arc<dyn Directory>, spec: &FollowerSpec) -> Result<()> {
        let _ = (dir, spec);
        todo!()
    }
}

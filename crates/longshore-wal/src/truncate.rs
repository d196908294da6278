//! Truncation to a fork: the tail is set aside as a log of its own, and nothing is edited.

use std::sync::Arc;

use longshore_format::Lsn;
use longshore_storage::{Directory, Environment};

use crate::Result;

/// A tail that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The directory below the log's that holds it as a log of its own, for [`ReadLog`](crate::ReadLog).
    pub place: String,
    /// Where the two part: the log ends here now.
    pub from: Lsn,
    /// Where the tail ended.
    pub to: Lsn,
}

/// Cuts a closed log to end at the boundary `fork`, moving the old files to `diverged/…`. Crashing at any point is
/// harmless: the next open finishes it.
pub fn set_aside(dir: &Arc<dyn Directory>, env: &Arc<dyn Environment>, fork: Lsn) -> Result<SetAside> {
    let _ = (dir, env, fork);
    todo!()
}

//! A whole database at one position of its log, for a replica that the log no longer reaches.

pub(crate) mod file;
mod offered;

pub(crate) use file::{SnapshotHead, SnapshotReader};
pub(crate) use offered::{Offered, path_of};

//! What opening a log found and did.

use longshore_format::Lsn;

/// What opening a log found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the log had been closed in order. If not, its tail was checked, and what is kept was made durable again.
    pub clean: bool,
    /// Where the log ended after that, before this open appended anything.
    pub end: Lsn,
    /// What was known durable beforehand, by this node's own word.
    pub known_durable: Lsn,
    /// How many bytes of a torn tail were cut; zero if it was whole.
    pub cut_bytes: u64,
    /// The file in the log's directory that keeps them.
    pub cut_file: Option<String>,
    /// A follower lost bytes that it had acknowledged: up to here.
    pub lost: Option<Lsn>,
    /// A truncation that an earlier process began was finished.
    pub finished_truncation: bool,
}

//! A whole database at one position of its log: where a replica begins that the log no longer reaches.

use longshore_format::Lsn;

/// Makes images of the database that a log is of. An adapter implements it, and a node offers them to
/// replicas.
pub trait Snapshotter: Send + Sync {
    /// Begins an image of the database as it is about now. The log holds everything up to its position, durably.
    ///
    /// # Errors
    /// Whatever keeps it from doing so; the replica that asked is told, and asks again.
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError>;
}

/// A database as it was at one position of its log, as one run of records of that log's content.
pub trait DatabaseImage: Send {
    /// The end of the last run that is in it.
    fn position(&self) -> Lsn;

    /// The payload of the next record, at most as long as the log's records may be; `None` after the last.
    ///
    /// # Errors
    /// Whatever keeps it from being read; the image is then of no use.
    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError>;
}

/// Why an image could not be made.
pub type SnapshotError = Box<dyn std::error::Error + Send + Sync>;

//! The two threads of an open log: one syncs, the other prepares, seals and trims.

use crate::Wal;

/// The running threads of a log. Dropping it stops and joins them; a panic in one poisons the log.
#[derive(Debug)]
#[must_use = "dropping this stops the threads"]
pub struct Threads {}

impl Wal {
    /// Starts the threads.
    ///
    /// # Panics
    /// If they run already, or the system cannot start a thread.
    pub fn start(&self) -> Threads {
        todo!()
    }
}

impl Threads {
    /// Stops the threads after the step they are in, and joins them. What is appended stays to be synced by
    /// [`Wal::close`].
    pub fn stop(self) {
        todo!()
    }
}

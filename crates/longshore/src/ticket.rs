//! What `append` hands back: a position, and the waits for it.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::Lsn;
use longshore_protocol::Durability;

use crate::error::Result;
use crate::log::Log;

/// An append that was accepted, not yet confirmed by anybody.
///
/// A ticket can be dropped without losing anything: the records are in the log. It can be waited for
/// any number of times, at different levels, from several threads. Dropping a wait's future loses
/// nothing either.
#[derive(Clone)]
pub struct Ticket {
    log: Arc<Log>,
    start: Lsn,
    position: Lsn,
}

impl Ticket {
    pub(crate) fn new(log: Arc<Log>, start: Lsn, position: Lsn) -> Self {
        Self { log, start, position }
    }

    /// Where the first record begins.
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// The position of the append: where its last record ends.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Waits without a deadline until the position is as safe as asked; answers the position that is.
    ///
    /// Works on every executor and keeps none busy.
    ///
    /// # Errors
    /// `Poisoned` when a sync failed, `Unavailable` when the log was closed meanwhile, `Invalid` at once when this node archives
    /// into fewer stores than `archived:N` asks for.
    pub async fn wait(&self, durability: Durability) -> Result<Lsn> {
        self.log.wait(self.position, &durability).await
    }

    /// Waits, blocking the thread, at most `timeout`.
    ///
    /// # Errors
    /// `Unconfirmed` after the timeout: the records are in the log and must not be appended again,
    /// but may be waited for again. Otherwise as [`Ticket::wait`].
    pub fn wait_blocking(&self, durability: Durability, timeout: Duration) -> Result<Lsn> {
        self.log.wait_blocking(self.position, &durability, timeout)
    }

    /// Waits, blocking the thread, for what the log's `AckPolicy` asks for, as long as it allows.
    ///
    /// # Errors
    /// As [`Ticket::wait_blocking`].
    pub fn confirm_blocking(&self) -> Result<Lsn> {
        let policy = self.log.policy();
        self.wait_blocking(policy.durability.clone(), policy.timeout)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("start", &self.start).field("position", &self.position).finish_non_exhaustive()
    }
}

//! A database that a log goes into while this node follows it, and comes from while this node writes it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use longshore_apply::{Sink, Snapshotter};
use longshore_format::Name;
use longshore_wal::Wal;

use crate::error::{Error, Result};
use crate::node::{Node, parse_name};
use crate::replica::{OfferSnapshots, SinkFor};

/// Begins to capture a database into a log that this node writes, once all of the log is in it. Called again after a while when
/// it fails. It may block.
pub type OpenCapture = Arc<dyn Fn(&Name, &Wal) -> Result<Arc<dyn Captured>, Error> + Send + Sync>;

/// Lists the copies that were kept of what a database held and no log does, before it was replaced.
pub type ListKept = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Opens a sink that a log is applied to.
pub type OpenSinkOf = Arc<dyn Fn(&Wal) -> Result<Box<dyn Sink>> + Send + Sync>;

/// What a sink's database can do besides.
#[derive(Clone)]
pub(crate) struct Ways {
    pub(crate) capture: OpenCapture,
    pub(crate) kept: ListKept,
}

/// A database that is captured into a log which this node writes.
pub trait Captured: Debug + Send + Sync {
    /// The log is about to accept a later epoch: keeps writers out of the database and appends what is committed, so that
    /// nothing is left behind. For a moment at most; whoever cannot be kept out by then is later. Whether nothing is: `false`
    /// where a transaction is still under way, and what it commits will be in no log.
    fn hold(&self) -> bool;

    /// The log did not accept one: lets writers in again. Once it has, they are kept out without this being asked.
    fn release(&self);

    /// Waits until everything that was committed before the call is in the log, at most so long.
    ///
    /// # Errors
    /// Why it is not.
    fn catch_up(&self, timeout: Duration) -> Result<()>;

    /// Why nobody can write the database, if that is so; for people.
    fn problem(&self) -> Option<String>;

    /// Makes snapshots of it.
    fn snapshotter(&self) -> Arc<dyn Snapshotter>;

    /// Whether it has ended.
    fn has_ended(&self) -> bool;

    /// Appends the last of what is committed and ends, or says what ended it before. Of a log that accepted a later epoch it
    /// appends nothing, and goes on to keep writers out until the sink does, or the next capture begins. A second call does
    /// nothing.
    fn end(&self) -> Result<()>;
}

/// A database that a log goes into and comes from.
pub struct BothWays {
    /// How it was written, such as `sqlite:PATH`.
    pub label: String,
    /// Opens the sink, again whenever a passing failure may be over.
    pub open: OpenSinkOf,
    /// What makes snapshots of what the sink has made; `None` for a log of a content that is not captured either.
    pub offer: OfferSnapshots,
    /// Captures it while this node writes the log.
    pub capture: OpenCapture,
    /// Lists what was kept of it.
    pub kept: ListKept,
}

impl Node {
    /// From now on a log is applied to a database while this node follows it, and captured from it while this node writes it;
    /// which it is follows the log's role. `log` may stay away when there is one log only.
    ///
    /// # Errors
    /// `Invalid` when `log` is not a name, `Unavailable` when the system starts no more threads.
    pub fn keep(&self, log: Option<&str>, database: BothWays) -> Result<()> {
        let log = log.map(|name| parse_name("log", name)).transpose()?;
        let BothWays { label, open, offer, capture, kept } = database;
        self.sinks().add(SinkFor { log, label, open, offer: Some(offer), ways: Some(Ways { capture, kept }) });
        for log in self.logs() {
            self.sinks().start(&log)?;
        }
        Ok(())
    }
}

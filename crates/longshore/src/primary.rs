//! The writer of one log, embedded in a program.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_apply::Source;
use longshore_format::{Content, Kind, LogId, Lsn, Name};
use longshore_protocol::Durability;
use longshore_transport::{LogStatus, Positions};
use longshore_wal::{Pressure, Reader, RecordDraft, Run, Wal};

use crate::error::Result;
use crate::event::Events;
use crate::log::Log;
use crate::node::{Node, parse_name};
use crate::server::Server;
use crate::settings::Settings;
use crate::subscribe::Subscription;
use crate::ticket::Ticket;

/// The writer of one log under a data directory.
///
/// Everything here but [`serve`](Primary::serve) works without a runtime: a primary that is not
/// served starts a few plain threads (one that syncs, one that prepares segments, one that keeps
/// house) and no tokio. Clones share the log. When the last one is dropped without
/// [`close`](Primary::close) the log is as safe as after `kill -9`: all that was confirmed is there.
///
/// ```
/// use longshore::{Content, Durability, Primary, Settings};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir()?;
/// # let data_dir = dir.path();
/// let primary = Primary::create(data_dir, "orders", Content::Bytes, &Settings::default())?;
/// let ticket = primary.append(&["first", "second"])?;
/// ticket.wait_blocking(Durability::LOCAL, Duration::from_secs(10))?;
///
/// let first = primary.subscribe(primary.first())?.next_blocking(None)?.expect("it is durable");
/// assert_eq!(&first.payload[..], b"first");
/// primary.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Primary {
    node: Node,
    log: Arc<Log>,
}

impl Primary {
    /// Creates a log and opens it for writing. The data directory is made if it is not there.
    ///
    /// # Errors
    /// `Busy` when a log of that name exists; `Invalid` for a name or setting that cannot be.
    pub fn create(data_dir: impl AsRef<Path>, log: &str, content: Content, settings: &Settings) -> Result<Self> {
        let node = Node::primary(data_dir, settings)?;
        let log = node.create(log, content, None)?;
        Ok(Self { node, log })
    }

    /// Opens a log for writing, and recovers it if it was not closed.
    ///
    /// A log that is not there is never created in its place: an unmounted volume must not look like
    /// an empty log (F-049). Create it once, when the program is set up.
    ///
    /// # Errors
    /// `NotFound` when there is no such log, `Busy` while another process holds it, `Corrupt` when
    /// it is damaged below what was known durable.
    pub fn open(data_dir: impl AsRef<Path>, log: &str, settings: &Settings) -> Result<Self> {
        let node = Node::primary(data_dir, settings)?;
        let log = node.open(log)?;
        Ok(Self { node, log })
    }

    pub(crate) fn of(node: Node, log: Arc<Log>) -> Self {
        Self { node, log }
    }

    /// Appends payloads as one run: an applier gives its sink all of them or none.
    ///
    /// Never waits for the disk or a replica; wait on the ticket.
    ///
    /// # Errors
    /// `Full` past the unsynced or disk limit: nothing was appended, try again when it has drained.
    /// `Invalid` for an empty batch or a payload above the limit; `Poisoned` after a failed sync.
    pub fn append(&self, payloads: &[impl AsRef<[u8]>]) -> Result<Ticket> {
        let drafts: Vec<_> = payloads.iter().map(|payload| RecordDraft::user(payload.as_ref())).collect();
        self.log.append(&drafts, None)
    }

    /// Appends records of the user's kinds, 256 and up, as one run, and only if the log ends at
    /// `expect`, so that a retry after a lost answer cannot write twice.
    ///
    /// # Errors
    /// As [`Primary::append`]; `Preflight` when the log does not end at `expect`, which is named.
    pub fn append_records(&self, records: &[RecordDraft<'_>], expect: Option<Lsn>) -> Result<Ticket> {
        self.log.append(records, expect)
    }

    /// Begins a run that is appended to record by record. Dropping it aborts it.
    ///
    /// Runs never interleave: while it is open, other appends are refused as `Unavailable`.
    ///
    /// # Errors
    /// As [`Primary::append`]; `Unavailable` while another transaction is open.
    pub fn begin(&self) -> Result<Transaction> {
        self.log.may_append()?;
        let run = self.log.wal.begin()?;
        Ok(Transaction { log: Arc::clone(&self.log), run })
    }

    /// Writes a named point into the log, to which a replay can later return. Where a database is captured into the log, what
    /// was committed there before the call comes before the mark, which may take some milliseconds.
    ///
    /// # Errors
    /// `Invalid` for a name outside `[a-z0-9][a-z0-9_-]{0,62}`, `Unavailable` when what was committed cannot be captured within
    /// five seconds; otherwise as [`Primary::append`].
    pub fn mark(&self, name: &str) -> Result<Ticket> {
        self.log.mark(&parse_name("mark", name)?)
    }

    /// The log as an applier reads it, for instance to bring a host database up to the log's end.
    pub fn source(&self) -> impl Source<Records = Reader> + Clone + use<> {
        self.log.wal.clone()
    }

    /// The log itself, for a source that appends by its own means, such as the capture of a database.
    pub fn wal(&self) -> &Wal {
        &self.log.wal
    }

    /// The ticket of a position from before, for instance from the last life of the program.
    pub fn ticket(&self, position: Lsn) -> Ticket {
        Ticket::new(Arc::clone(&self.log), position, position)
    }

    /// Reads records from a boundary on, in order, and then waits for new ones.
    ///
    /// # Errors
    /// `TooOld` names the first position still held.
    pub fn subscribe(&self, from: Lsn) -> Result<Subscription> {
        Subscription::new(Arc::clone(&self.log), from)
    }

    /// The log's name.
    pub fn name(&self) -> &Name {
        &self.log.name
    }

    /// The log's id, the same in every copy.
    pub fn id(&self) -> LogId {
        self.log.wal.id()
    }

    /// What its records hold.
    pub fn content(&self) -> Content {
        self.log.wal.content()
    }

    /// The oldest position held.
    pub fn first(&self) -> Lsn {
        self.log.wal.first()
    }

    /// Where the log ends, durable or not.
    pub fn end(&self) -> Lsn {
        self.log.wal.end()
    }

    /// Where what is durable here ends.
    pub fn durable(&self) -> Lsn {
        self.log.wal.durable().get()
    }

    /// The position up to which the log is as safe as asked, now.
    pub fn reached(&self, durability: &Durability) -> Lsn {
        self.log.reached(durability)
    }

    /// Where the log and each of its replicas are, by stage and region, connected or not.
    pub fn positions(&self) -> Positions {
        self.log.positions()
    }

    /// How near `append` is to answering `Full`.
    pub fn pressure(&self) -> Pressure {
        self.log.pressure()
    }

    /// All that is known of the log and its replicas.
    pub fn status(&self) -> LogStatus {
        self.log.status()
    }

    /// What happened, each event once, among all who take them.
    pub fn events(&self) -> Events {
        self.node.events()
    }

    /// The node this log belongs to, for its other logs and for serving them together.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Listens for replicas and other clients as the settings say, without serving them yet.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// `Busy` when the address is taken, `Preflight` or `Denied` when certificates cannot be used.
    pub async fn listen(&self) -> Result<Server> {
        self.node.listen().await
    }

    /// Serves replicas and other clients until `shutdown` completes: then takes no more appends,
    /// syncs, ships what is durable for as long as the settings allow, and closes the log (F-078).
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// As [`Primary::listen`].
    pub async fn serve(&self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        self.listen().await?.run(shutdown).await
    }

    /// Syncs and closes the log. Waiters for what is not durable then get `Unavailable`.
    ///
    /// # Errors
    /// `Poisoned` when the last sync failed.
    pub fn close(&self) -> Result<()> {
        self.node.close()
    }

    /// Waits, blocking the thread, until all that was appended is durable here.
    ///
    /// # Errors
    /// As [`Ticket::wait_blocking`].
    pub fn sync(&self, timeout: Duration) -> Result<Lsn> {
        self.log.wait_blocking(self.end(), &Durability::LOCAL, timeout)
    }
}

/// A run that is appended to record by record. Dropping it aborts it: no applier ever sees any of it.
#[must_use = "dropping a transaction aborts it"]
pub struct Transaction {
    log: Arc<Log>,
    run: Run,
}

impl Transaction {
    /// Adds a payload.
    ///
    /// # Errors
    /// As [`Primary::append`]. Nothing was added and the transaction stays open: try again, or drop it.
    pub fn append(&mut self, payload: impl AsRef<[u8]>) -> Result<()> {
        self.append_as(Kind::USER, payload)
    }

    /// Adds a record of one of the user's kinds.
    ///
    /// # Errors
    /// As [`Transaction::append`].
    pub fn append_as(&mut self, kind: Kind, payload: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.run.append(kind, payload.as_ref())?)
    }

    /// Ends the transaction, which makes all of it count.
    ///
    /// # Errors
    /// As [`Primary::append`]. The transaction stays open: try again, or drop it.
    pub fn finish(&mut self) -> Result<Ticket> {
        let position = self.run.finish()?;
        Ok(Ticket::new(Arc::clone(&self.log), position, position))
    }
}

//! A counter service that keeps its state in redb, with a log of its own records beside it.
//!
//! ```text
//! cargo run -p longshore --example redb -- /tmp/counters
//! ```
//!
//! The log's content is bytes that mean something to this program alone: a counter's name and what was
//! added to it. One [`Sink`] applies them, on start to the service's own database and on a replica to
//! its copy. A [`Snapshotter`] says what the counters are, so that nobody needs the log from its beginning.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore::apply::{Applier, Failure, Held, LogFacts, RunEnd, Sink, SinkError, Source, Step, Target};
use longshore::format::Record;
use longshore::{Content, DatabaseImage, Durability, ErrorKind, Lsn, Primary, Settings, SnapshotError, Snapshotter};
use redb::{Database, Range, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
/// One row: where the database stands in the log. Written in the same transaction as the counters.
const POSITION: TableDefinition<(), u64> = TableDefinition::new("position");
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let temporary = std::env::temp_dir().join(format!("longshore-counters-{}", std::process::id()));
    let home = std::env::args().nth(1).map_or(temporary, PathBuf::from);
    std::fs::create_dir_all(&home)?;

    let log = open_log(&home)?;
    // On start the database is brought up to the log: the last run may have ended between the two.
    bring_up(log.source(), &home.join("counters.redb"))?;
    let database = Arc::new(Database::create(home.join("counters.redb"))?);
    // For replicas and archives that do not reach back to the log's beginning, or are not to.
    log.node().offer_snapshots("counters", Arc::new(Snapshots { database: Arc::clone(&database) }))?;
    for (name, by) in [("visits", 1), ("bytes", 512), ("visits", 1)] {
        add(&database, &log, name, by)?;
    }
    println!("visits: {}", counter(&database, "visits")?);
    // What a replica does with its copy of the log.
    bring_up(log.source(), &home.join("replica.redb"))?;
    let replica = Database::open(home.join("replica.redb"))?;
    assert_eq!(counter(&replica, "visits")?, counter(&database, "visits")?);
    println!("the replica agrees");
    Ok(log.close()?)
}

fn open_log(home: &Path) -> Result<Primary, longshore::Error> {
    match Primary::open(home.join("log"), "counters", &Settings::default()) {
        Err(error) if error.kind() == ErrorKind::NotFound && !home.join("counters.redb").exists() => {
            Primary::create(home.join("log"), "counters", Content::Bytes, &Settings::default())
        }
        log => log,
    }
}

/// The one order: change, append, wait, position, commit.
pub(crate) fn add(database: &Database, log: &Primary, name: &str, by: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let transaction = database.begin_write()?;
    let record = [&by.to_le_bytes()[..], name.as_bytes()].concat();
    apply(&transaction, &record)?;
    let ticket = log.append(&[record])?;
    ticket.wait_blocking(Durability::LOCAL, PATIENCE)?;
    store(&transaction, ticket.position())?;
    Ok(transaction.commit()?)
}

pub(crate) fn counter(database: &Database, name: &str) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let counters = database.begin_read()?.open_table(COUNTERS)?;
    Ok(counters.get(name)?.map_or(0, |value| value.value()))
}

/// What a record means.
fn apply(transaction: &WriteTransaction, record: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (by, name) = record.split_first_chunk().ok_or("too short")?;
    let mut counters = transaction.open_table(COUNTERS)?;
    let name = std::str::from_utf8(name)?;
    let before = counters.get(name)?.map_or(0, |value| value.value());
    counters.insert(name, before + u64::from_le_bytes(*by))?;
    Ok(())
}

fn store(transaction: &WriteTransaction, position: Lsn) -> Result<(), redb::Error> {
    transaction.open_table(POSITION)?.insert((), position.get())?;
    Ok(())
}

fn bring_up(source: impl Source, path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let sink = RedbSink::create(path)?;
    let mut applier = Applier::open(source, sink, Target::LATEST)?;
    while applier.step()? != Step::Idle {}
    applier.finish()?;
    Ok(())
}

/// One redb transaction per run of the log.
pub(crate) struct RedbSink {
    database: Database,
    run: Option<WriteTransaction>,
    held: Option<Lsn>,
}

impl RedbSink {
    pub(crate) fn create(path: &Path) -> Result<RedbSink, redb::Error> {
        Ok(RedbSink { database: Database::create(path)?, run: None, held: None })
    }
}

impl Sink for RedbSink {
    fn name(&self) -> String {
        "redb".to_owned()
    }

    fn takes_image(&self, content: Content) -> bool {
        content == Content::Bytes
    }

    fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
        let transaction = self.database.begin_write().map_err(unavailable)?;
        let position = transaction.open_table(POSITION).map_err(unavailable)?;
        self.held = position.get(()).map_err(unavailable)?.map(|lsn| Lsn::new(lsn.value()));
        Ok(self.held.map(|lsn| Held { lsn, crc: None }))
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        self.run = Some(self.database.begin_write().map_err(unavailable)?);
        Ok(())
    }

    /// Counters that all begin at zero again.
    fn begin_image(&mut self) -> Result<(), SinkError> {
        self.begin()?;
        let run = self.run.as_ref().expect("it has just begun");
        run.delete_table(COUNTERS).map(drop).map_err(unavailable)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let run = self.run.as_ref().expect("a run begins before its records");
        apply(run, record.payload).map_err(|error| SinkError::new(Failure::Refused, error.to_string()))
    }

    fn commit(&mut self, end: &RunEnd) -> Result<(), SinkError> {
        let run = self.run.take().expect("a run begins before it ends");
        store(&run, end.lsn).map_err(unavailable)?;
        run.commit().map_err(unavailable)?;
        self.held = Some(end.lsn);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(()) // A commit of redb is durable.
    }

    fn durable(&self) -> Option<Lsn> {
        self.held
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What the counters are, at the position that stands beside them.
pub(crate) struct Snapshots {
    pub(crate) database: Arc<Database>,
}

impl Snapshotter for Snapshots {
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
        let transaction = self.database.begin_read()?;
        let position = transaction.open_table(POSITION)?.get(())?.ok_or("there are no counters yet")?;
        let counters = transaction.open_table(COUNTERS)?.range::<&str>(..)?;
        Ok(Box::new(Image { position: Lsn::new(position.value()), counters }))
    }
}

/// Each counter as one record: to an empty database all of it is added.
struct Image {
    position: Lsn,
    counters: Range<'static, &'static str, u64>,
}

impl DatabaseImage for Image {
    fn position(&self) -> Lsn {
        self.position
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let Some(counter) = self.counters.next() else { return Ok(None) };
        let (name, value) = counter?;
        Ok(Some([&value.value().to_le_bytes()[..], name.value().as_bytes()].concat()))
    }
}

fn unavailable(error: impl std::fmt::Display) -> SinkError {
    SinkError::new(Failure::Unavailable, format!("redb: {error}; free space or check the disk, then try again"))
}

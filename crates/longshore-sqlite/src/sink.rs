//! SQL records into a database, with their position in the same transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_apply::{Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use longshore_format::{Content, LogId, Lsn, Record};
use rusqlite::{Connection, OpenFlags};

use crate::error::Error;
use crate::execute::execute;
use crate::message::{Assembler, Statement};
use crate::position::{Position, create_table, has_table, read_position, store_position};
use crate::rules::Guard;
use crate::settings::{Semantics, check_like, make_durable};

/// A SQLite database that a log of content `sql` is applied to, each run exactly once.
///
/// Runs that come together are committed together, in one SQLite transaction with the position of the
/// last one: a reader sees whole runs, and after a crash position and data agree. The database is in WAL
/// mode with `synchronous=FULL`, so readers never wait for the applier. Nobody else may write to it: a
/// statement that changes another number of rows than it did on the primary stops the sink.
pub struct SqlSink {
    path: PathBuf,
    beside_host: bool,
    database: Option<Database>,
}

struct Database {
    name: String,
    connection: Connection,
    guard: Guard,
    log: LogId,
    semantics: Semantics,
    /// The run that is being given; `None` between runs.
    run: Option<Run>,
    /// Whether a transaction of SQLite is open, for one run or several.
    open: bool,
    /// What the open transaction will hold once it is committed.
    committed: Option<Position>,
    durable: Option<Position>,
}

#[derive(Default)]
struct Run {
    /// Whether its savepoint is there.
    begun: bool,
    statements: u64,
    parts: Assembler,
}

impl SqlSink {
    /// A sink for the database file at `path`, made with mode 0600 if it is not there.
    ///
    /// A database that has tables but was never written from a log is refused: what the log would do
    /// to it is not what it did on the primary.
    pub fn new(path: impl AsRef<Path>) -> SqlSink {
        SqlSink { path: path.as_ref().to_owned(), beside_host: false, database: None }
    }

    /// A sink for a host's own database, which may have been there before its log.
    pub(crate) fn beside_host(path: impl AsRef<Path>) -> SqlSink {
        SqlSink { beside_host: true, ..SqlSink::new(path) }
    }

    fn connect(&self) -> Result<Connection, Error> {
        crate::output::create_private(&self.path).map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::StorageFull => rusqlite::ffi::SQLITE_FULL,
                _ => rusqlite::ffi::SQLITE_CANTOPEN,
            };
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        make_durable(&connection)?;
        check_like(&connection)?;
        if !has_table(&connection)? {
            let tables = "SELECT EXISTS (SELECT 1 FROM sqlite_schema)";
            if !self.beside_host && connection.query_row(tables, [], |row| row.get(0))? {
                return Err(Error::NotOurs);
            }
            create_table(&connection)?;
        }
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    }

    fn start(&self, log: LogId) -> Result<Database, Error> {
        let mut connection = self.connect()?;
        let durable = read_position(&connection)?;
        match durable {
            Some(Position { log: held, lsn, .. }) if held != log => {
                return Err(Error::OtherLog { held, lsn, asked: log });
            }
            _ => {}
        }
        let semantics = Semantics::of(&connection)?;
        let guard = Guard::install(&mut connection)?;
        let (name, committed) = (self.name(), durable);
        Ok(Database { name, connection, guard, log, semantics, run: None, open: false, committed, durable })
    }

    fn database(&mut self) -> &mut Database {
        self.database.as_mut().expect("a sink is opened before anything else")
    }
}

impl Sink for SqlSink {
    fn name(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        if log.content != Content::Sql {
            let message = format!(
                "{} is to hold a log of content sql, this one holds {}; apply it with SqliteSink, jsonl:PATH or exec:CMD",
                self.name(),
                log.content
            );
            return Err(SinkError::new(Failure::Content, message));
        }
        let database = self.start(log.id).map_err(|error| error.for_sink(&self.name()))?;
        let held = database.durable.map(Held::from);
        self.database = Some(database);
        Ok(held)
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        self.database().run = Some(Run::default());
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let database = self.database();
        database.apply(record).map_err(|error| {
            let statement = database.run.as_ref().map_or(0, |run| run.statements);
            database.forget_run();
            let failure = error.failure();
            let place = format!(
                "{}: statement {statement} of the transaction, in the record that ends at {}",
                database.name, record.end
            );
            SinkError::new(failure, format!("{place}: {error}"))
        })
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        let database = self.database();
        let result = database.end_run(run);
        result.map_err(|error| {
            database.forget_run();
            error.for_sink(&database.name)
        })
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        let database = self.database();
        database.sync().map_err(|error| error.for_sink(&database.name))
    }

    fn durable(&self) -> Option<Lsn> {
        self.database.as_ref().and_then(|database| database.durable).map(|position| position.lsn)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let database = self.database();
        if database.run.is_some() {
            database.forget_run();
        }
        self.sync()
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let handle = self.database.as_ref()?.connection.get_interrupt_handle();
        Some(Box::new(move || handle.interrupt()))
    }
}

impl Database {
    fn apply(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let run = self.run.as_mut().expect("a run begins before its records");
        let (semantics, statements) = run.parts.take(record.payload)?;
        if !run.begun {
            self.begin_run(semantics)?;
        }
        for statement in statements {
            self.run.as_mut().expect("it has begun").statements += 1;
            self.execute(&statement)?;
        }
        Ok(())
    }

    fn execute(&self, statement: &Statement) -> Result<(), Error> {
        let here = execute(&self.connection, &self.guard, statement)?;
        match statement.changes {
            Some(there) if there != here => Err(Error::OtherChanges { here, there, sql: statement.sql.clone() }),
            _ => Ok(()),
        }
    }

    /// A savepoint per run, in a transaction that may hold several: a run that fails takes no other
    /// with it. Settings can only change between transactions.
    fn begin_run(&mut self, semantics: Semantics) -> Result<(), Error> {
        if semantics != self.semantics {
            self.sync()?;
            semantics.set(&self.connection)?;
            self.semantics = semantics;
        }
        if !self.open {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.open = true;
            self.check_alone()?;
        }
        self.connection.execute_batch("SAVEPOINT longshore_run")?;
        self.run.as_mut().expect("a run begins").begun = true;
        Ok(())
    }

    /// The write lock is ours now; was it always, since we looked last?
    fn check_alone(&self) -> Result<(), Error> {
        let held = read_position(&self.connection)?;
        let lsn = |position: Option<Position>| position.map(|position| position.lsn);
        if held == self.durable { Ok(()) } else { Err(Error::Moved { ours: lsn(self.durable), theirs: lsn(held) }) }
    }

    fn end_run(&mut self, end: &RunEnd) -> Result<(), Error> {
        let run = self.run.as_mut().expect("a run begins before it ends");
        run.parts.finish()?;
        if !run.begun {
            let semantics = self.semantics;
            self.begin_run(semantics)?;
        }
        self.connection.execute_batch("RELEASE longshore_run")?;
        self.run = None;
        self.committed = Some(Position { log: self.log, lsn: end.lsn, crc: Some(end.crc) });
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        debug_assert!(self.run.as_ref().is_none_or(|run| !run.begun), "sync stands between runs");
        let (true, Some(position)) = (self.open, self.committed) else { return Ok(()) };
        let stored =
            store_position(&self.connection, &position).and_then(|()| Ok(self.connection.execute_batch("COMMIT")?));
        if stored.is_err() {
            self.forget_transaction();
            return stored;
        }
        self.open = false;
        self.durable = self.committed;
        Ok(())
    }

    /// Undoes the run that failed, and keeps those before it if SQLite has kept them.
    fn forget_run(&mut self) {
        let begun = self.run.take().is_some_and(|run| run.begun);
        if !begun && self.open && self.committed != self.durable {
            return;
        }
        let undo = "ROLLBACK TO longshore_run; RELEASE longshore_run";
        let kept = begun && !self.connection.is_autocommit() && self.connection.execute_batch(undo).is_ok();
        if !kept || self.committed == self.durable {
            self.forget_transaction();
        }
    }

    fn forget_transaction(&mut self) {
        if !self.connection.is_autocommit() {
            // If this fails too, SQLite rolls back when the connection closes.
            let _closed_later = self.connection.execute_batch("ROLLBACK");
        }
        self.open = false;
        self.committed = self.durable;
    }
}

/// How long to wait for another writer's transaction before saying so.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A log's statements are few and come again and again.
const STATEMENTS_CACHED: usize = 256;

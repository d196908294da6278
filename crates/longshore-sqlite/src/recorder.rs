//! A host's transactions, recorded as they run.

use std::path::PathBuf;

use longshore_apply::Source;
use longshore_format::{LogId, Lsn};
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{Connection, OptionalExtension, ToSql};

use crate::bring_up::bring_up;
use crate::error::Error;
use crate::execute::execute;
use crate::message::{Batch, MAX_PAYLOAD, Statement, owned};
use crate::position::{Position, create_table, read_position, store_position};
use crate::rules::{Guard, Mode};
use crate::settings::{Semantics, check_like, make_durable};

/// A database connection whose writes all go through recorded transactions.
///
/// It owns the connection: an unrecorded write would never reach a replica, so [`reader`](Self::reader)
/// gives it out for reading only, and SQLite's authorizer enforces that. Set the connection up (busy
/// timeout, foreign keys, functions) before handing it over. Write-ahead logging and `synchronous=FULL`
/// are turned on: the database must be as durable as the log beside it.
pub struct Recorder {
    connection: Connection,
    guard: Guard,
    log: LogId,
    semantics: Semantics,
    max_payload: usize,
    behind: bool,
}

/// A transaction that is being recorded. Dropping it rolls it back.
pub struct Recording<'r> {
    transaction: Transaction<'r>,
    batch: Batch,
    broken: bool,
}

/// A transaction that is complete but for its commit: append [`payloads`](Self::payloads) as one run,
/// wait until it is durable, then [`commit`](Self::commit).
///
/// Dropping it rolls the database back, and the recorder then refuses to begin until it has
/// [caught up](Recorder::catch_up) with the log: nobody can know whether the run is in it. If it
/// certainly is not, say so with [`discard`](Self::discard).
#[must_use = "append the payloads, then commit"]
pub struct Recorded<'r> {
    transaction: Transaction<'r>,
    payloads: Vec<Vec<u8>>,
}

/// Rolls back unless it was committed.
struct Transaction<'r> {
    recorder: &'r mut Recorder,
    open: bool,
}

impl Recorder {
    /// Takes a connection to a database beside the log `log`.
    ///
    /// [Bring the database up](bring_up) to the log first, or [`catch_up`](Self::catch_up): after a
    /// crash the log may be ahead of it.
    pub fn new(mut connection: Connection, log: LogId) -> Result<Recorder, Error> {
        make_durable(&connection)?;
        check_like(&connection)?;
        create_table(&connection)?;
        match read_position(&connection)? {
            Some(Position { log: held, lsn, .. }) if held != log => {
                return Err(Error::OtherLog { held, lsn, asked: log });
            }
            _ => {}
        }
        let semantics = Semantics::of(&connection)?;
        let guard = Guard::install(&mut connection)?;
        guard.set(Mode::Read);
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(Recorder { connection, guard, log, semantics, max_payload: MAX_PAYLOAD, behind: false })
    }

    /// Makes records of up to `bytes`, which must be what the log takes. Default 256 KiB, which every
    /// log with segments of at least 1 MiB takes.
    pub fn with_max_payload(mut self, bytes: usize) -> Recorder {
        self.max_payload = bytes.max(1024);
        self
    }

    /// The connection, for reading: a write through it is refused.
    pub fn reader(&self) -> &Connection {
        &self.connection
    }

    /// The position that the database holds.
    pub fn position(&self) -> Result<Option<Position>, Error> {
        self.guard.own(|| read_position(&self.connection))
    }

    /// Begins a transaction. Waits for other writers as long as the connection's busy timeout says.
    pub fn begin(&mut self) -> Result<Recording<'_>, Error> {
        if self.behind {
            return Err(Error::Behind);
        }
        self.own("BEGIN IMMEDIATE")?;
        let batch = Batch::with(self.semantics, self.max_payload);
        let transaction = Transaction { recorder: self, open: true };
        Ok(Recording { transaction, batch, broken: false })
    }

    /// Applies what the log has beyond the stored position, and returns what the database then holds.
    ///
    /// Call it when an append failed in a way that leaves open whether the run is in the log, once
    /// the log is open again and durable to its end.
    pub fn catch_up(&mut self, source: impl Source) -> Result<Option<Lsn>, Error> {
        let path = self.connection.path().filter(|path| !path.is_empty()).map(PathBuf::from);
        let position = bring_up(source, path.ok_or(Error::NoFile)?)?;
        self.behind = false;
        Ok(position)
    }

    /// Gives the connection back, without any rules on it.
    pub fn into_connection(mut self) -> Result<Connection, Error> {
        self.connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
        Ok(self.connection)
    }

    fn own(&self, sql: &str) -> Result<(), Error> {
        self.guard.own(|| Ok(self.connection.execute_batch(sql)?))
    }
}

impl<'r> Recording<'r> {
    /// Runs a statement and records it; returns how many rows it changed, triggers and foreign keys
    /// included. Rows that it returns are dropped. Parameters are `rusqlite::params![…]`.
    ///
    /// After an error the transaction stands as before the statement, unless SQLite could not undo
    /// it: then only beginning again is possible.
    pub fn execute(&mut self, sql: &str, parameters: &[&dyn ToSql]) -> Result<u64, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let Recorder { connection, guard, .. } = &*self.transaction.recorder;
        let parameters = parameters.iter().map(|value| owned(&value.to_sql()?)).collect::<Result<_, Error>>()?;
        let mut statement = Statement { sql: sql.to_owned(), parameters, changes: None };
        let before = connection.total_changes();
        match execute(connection, guard, &statement) {
            Ok(changes) => {
                statement.changes = Some(changes);
                // It is executed: if it cannot be recorded as well, nothing of this can be kept.
                self.batch.add(statement).inspect_err(|_| self.broken = true)?;
                Ok(changes)
            }
            Err(error) => {
                self.broken = connection.total_changes() != before || connection.is_autocommit();
                Err(error)
            }
        }
    }

    /// The connection, for reading what this transaction has written so far.
    pub fn reader(&self) -> &Connection {
        &self.transaction.recorder.connection
    }

    /// Ends the recording: what remains is to append, to wait, and to commit.
    pub fn record(self) -> Result<Recorded<'r>, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        if self.batch.is_empty() {
            return Err(Error::Nothing);
        }
        self.transaction.check_deferred_keys()?;
        Ok(Recorded { transaction: self.transaction, payloads: self.batch.into_payloads() })
    }

    /// Rolls the transaction back.
    pub fn roll_back(self) {}
}

impl Recorded<'_> {
    /// What to append to the log, as one run.
    pub fn payloads(&self) -> &[Vec<u8>] {
        &self.payloads
    }

    /// Stores `position`, where the run ends in the log, and commits: only once the run is durable in
    /// the log here.
    ///
    /// An error leaves the database where it was and the log ahead of it: the recorder must
    /// [catch up](Recorder::catch_up).
    pub fn commit(mut self, position: Lsn) -> Result<(), Error> {
        let recorder = &*self.transaction.recorder;
        let held = recorder.position()?.map_or(Lsn::ZERO, |held| held.lsn);
        if position <= held {
            return Err(Error::Backwards { lsn: position, held });
        }
        let position = Position { log: recorder.log, lsn: position, crc: None };
        recorder.guard.own(|| store_position(&recorder.connection, &position))?;
        recorder.own("COMMIT")?;
        self.transaction.open = false;
        Ok(())
    }

    /// Rolls the transaction back, because the run is certainly not in the log: the append was
    /// refused with nothing written.
    pub fn discard(mut self) {
        self.transaction.roll_back();
    }
}

impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        self.transaction.recorder.behind |= self.transaction.open;
    }
}

impl Transaction<'_> {
    /// A deferred foreign key is only checked by COMMIT, which is too late: the run would be in the
    /// log. Its whole check is slow, so it is made only where a schema has such keys.
    fn check_deferred_keys(&self) -> Result<(), Error> {
        let Recorder { connection, guard, semantics, .. } = &*self.recorder;
        if !semantics.foreign_keys {
            return Ok(());
        }
        guard.own(|| {
            let deferred = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE sql LIKE '%DEFERRED%')";
            if !connection.query_row(deferred, [], |row| row.get::<_, bool>(0))? {
                return Ok(());
            }
            let violation = connection.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).optional()?;
            violation.map_or(Ok(()), |table| Err(Error::ForeignKey { table }))
        })
    }

    fn roll_back(&mut self) {
        if std::mem::take(&mut self.open) && !self.recorder.connection.is_autocommit() {
            // If even this fails, SQLite rolls back when the connection closes.
            let _closed_later = self.recorder.own("ROLLBACK");
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.roll_back();
    }
}

/// A host's statements are few and come again and again.
const STATEMENTS_CACHED: usize = 128;

//! What can go wrong beside a database.

use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use longshore_apply::{Failure, SinkError};
use longshore_format::{ErrorKind, LogId, Lsn};
use rusqlite::ErrorCode;
use thiserror::Error;

use crate::rules::Denied;

/// An error of a database beside a log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// SQLite itself.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A statement that may not be in a log.
    #[error("refused: {denied}; statement: {}", excerpt(sql))]
    Denied {
        /// Why.
        denied: Denied,
        /// The statement.
        sql: String,
    },
    /// A statement that SQLite did not execute.
    #[error("{}; statement: {}", reason(cause), excerpt(sql))]
    Statement {
        /// What SQLite said.
        cause: rusqlite::Error,
        /// The statement.
        sql: String,
    },
    /// A statement changed another number of rows than where it was recorded.
    #[error(
        "a statement changed {here} rows here and {there} where it was recorded: this database is no longer equal to \
         the primary's; restore it from the log; statement: {}",
        excerpt(sql)
    )]
    OtherChanges {
        /// Rows here.
        here: u64,
        /// Rows where it was recorded.
        there: u64,
        /// The statement.
        sql: String,
    },
    /// A payload is no SQL record.
    #[error(
        "not a SQL record: {0}; append what a Recorder made, or a SqlTransaction message of proto/longshore/v1/sql.proto"
    )]
    Message(String),
    /// A payload is no record of pages.
    #[error("not a record of pages: {0}; take the log from another copy, or run the version that wrote it")]
    Pages(String),
    /// The log does not hold pages.
    #[error("the log holds {content}, not sqlite-pages; create one with `longshore init --content sqlite-pages`")]
    NotPages {
        /// What it holds.
        content: longshore_format::Content,
    },
    /// The database cannot be captured as it is.
    #[error("{0}")]
    Unfit(crate::check::Finding),
    /// Another process holds the checkpoint lock.
    #[error(
        "{by} holds the checkpoint lock of the database; stop the other agent that captures it, or wait for its checkpoint"
    )]
    Guarded {
        /// Who.
        by: crate::capture::Holder,
    },
    /// A page does not fit into a record.
    #[error("pages of {page} bytes do not fit into the log's records; create a log with larger segments")]
    SegmentsTooSmall {
        /// The database's page size.
        page: usize,
    },
    /// The file under the database's name is another one.
    #[error(
        "{} was replaced by another file, of which nothing is captured; if it is meant to be there start again with --replaced, \
         then it takes the place of the one before everywhere; if not, restore that from the log by `longshore replay`",
        path.display()
    )]
    Replaced {
        /// The database.
        path: std::path::PathBuf,
    },
    /// What is under the database's name is not what was captured.
    #[error(
        "{0} is not the database that was captured up to {end}: {why}; nothing of it is shipped: if it is meant to be there \
         start once with --replaced, then it takes the place of the one before everywhere; if not, move it away with its -wal \
         and -shm, and bring back what the log holds: longshore replay --from DATA_DIR --log LOG --to lsn:{end} --into sqlite:{0}",
        path.display()
    )]
    OtherFile {
        /// The database.
        path: PathBuf,
        /// What tells.
        why: &'static str,
        /// Where the log ends.
        end: Lsn,
    },
    /// The wal-index changes too fast, or a writer died in the middle of it.
    #[error("the wal-index of the database is not stable; it is attached to again, which recovers it")]
    Unstable,
    /// A committed frame does not hold.
    #[error(
        "the -wal of the database is damaged: frame {frame} {what}; check the database with PRAGMA integrity_check"
    )]
    BrokenWal {
        /// Counted from 1.
        frame: u32,
        /// What about it.
        what: &'static str,
    },
    /// What was committed is not known to be in the log yet.
    #[error("not captured in time; the transaction is durable in the database: wait again, do not commit again")]
    NotCaptured,
    /// The log that is captured into.
    #[error("{0}")]
    Log(longshore_wal::Error),
    /// The connection's VFS cannot be worked with.
    #[error("SQLite's VFS cannot be used: {0}; open the database through the default one, on a local disk")]
    Vfs(&'static str),
    /// A statement is larger than one may be.
    #[error("a statement of {len} bytes with its parameters is too large, the limit is {max}; split it")]
    TooLarge {
        /// Its encoded size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The transaction would break a deferred foreign key, which is only found when it commits.
    #[error("a row of table {table} refers to nothing; mend it before the transaction is recorded")]
    ForeignKey {
        /// The table of the referring row.
        table: String,
    },
    /// The database holds a position of another log.
    #[error("the database holds position {lsn} of log {held}, not of log {asked}; name the log it was written from")]
    OtherLog {
        /// The log it holds.
        held: LogId,
        /// How far.
        lsn: Lsn,
        /// The log that was to be applied.
        asked: LogId,
    },
    /// The database has tables, but was never written from a log.
    #[error("the database has tables of its own and no position of a log; apply into a new file")]
    NotOurs,
    /// The position table does not hold a position.
    #[error("the stored position is damaged; restore the database from the log")]
    BadPosition,
    /// Somebody else moved the position.
    #[error("another process applies to this database: it moved from {ours:?} to {theirs:?}; stop one of the two")]
    Moved {
        /// Where this process left it.
        ours: Option<Lsn>,
        /// Where it is now.
        theirs: Option<Lsn>,
    },
    /// LIKE was made case sensitive, which replicas do not know.
    #[error("PRAGMA case_sensitive_like is on; turn it off, replicas run with it off")]
    CaseSensitiveLike,
    /// The database cannot use write-ahead logging.
    #[error("the journal mode is {0}, not wal; use a database file on a local disk")]
    JournalMode(String),
    /// A statement failed and left a part of itself behind.
    #[error(
        "a statement failed and left a part of itself behind (OR FAIL, OR ROLLBACK or RAISE); begin the transaction again"
    )]
    Broken,
    /// An earlier transaction may be in the log and is not in the database.
    #[error("the log may be ahead of the database since an append that was not followed by its commit; catch up first")]
    Behind,
    /// A position before the one that is stored.
    #[error("position {lsn} is not after {held}, which the database holds; pass the position that append returned")]
    Backwards {
        /// What was given.
        lsn: Lsn,
        /// What is stored.
        held: Lsn,
    },
    /// There was nothing to record.
    #[error("the transaction changed nothing; drop it instead of recording it")]
    Nothing,
    /// The database is in memory and cannot be opened again.
    #[error("the database has no file; a database beside a log needs one")]
    NoFile,
    /// Applying the log.
    #[error(transparent)]
    Apply(#[from] longshore_apply::Error),
    /// A page is not what the log changes.
    #[error("page {page} is not what the log changes at position {position}: {ADVICE_PARTED}")]
    OtherBase {
        /// The page, counted from 1.
        page: u32,
        /// Where the record ends that changes it.
        position: Lsn,
    },
    /// The log goes on with pages of another size.
    #[error("its pages are of {here} bytes and the log goes on with pages of {there}: {ADVICE_PARTED}")]
    OtherPageSize {
        /// Bytes of its pages.
        here: usize,
        /// Bytes of the log's.
        there: usize,
    },
    /// There is a database, and nothing that says how far it is.
    #[error(
        "the database has no position file {} beside it, so it was not made by a log or has lost its position; if it is the \
         application's own, which this log comes from, do not delete it: run `longshore primary --sqlite` with it and \
         --upstream, which follows whoever writes the log now; else apply into a new file, or delete it to have it restored \
         anew", position.display()
    )]
    NoPosition {
        /// Where it was looked for.
        position: PathBuf,
    },
    /// The position file is not this database's, or an older one.
    #[error("the database is at none of the positions that {} says: {ADVICE_PARTED}", position.display())]
    OtherPosition {
        /// The position file.
        position: PathBuf,
    },
    /// There is a position and a file without a byte.
    #[error(
        "{} is empty, and a log was applied to it: delete it, to have it restored anew, or mount the volume that it is on",
        path.display()
    )]
    Emptied {
        /// The database.
        path: PathBuf,
    },
    /// Somebody else wrote the database.
    #[error(
        "{} holds what the log does not, for it was written while this node did not write the log, or on a branch that ended; \
         it takes nothing but a whole database: have this node follow one that has it, until the database is replaced", path.display()
    )]
    Astray {
        /// The database.
        path: PathBuf,
    },
    /// What no log holds would have been overwritten.
    #[error(
        "{} holds what no log does and is to be replaced: a copy that is kept of it needs {needed} bytes and {free} are free; \
         nothing was changed: free space there, or move the database away if nobody needs what it holds", path.display()
    )]
    NoRoomToKeep {
        /// The database.
        path: PathBuf,
        /// Bytes of the copy.
        needed: u64,
        /// Bytes free on its volume.
        free: u64,
    },
    /// The first run changes a database that is not there.
    #[error(
        "the log changes pages of a database that is not here, and does not begin with all of it; restore from a snapshot"
    )]
    NoImage,
    /// The log is not a whole database and what became of it.
    #[error(
        "the log begins at {first} and holds no whole image of the database, so it does not say what every page is; \
         compare with a copy of the log that reaches further back"
    )]
    NoImageKept {
        /// Where it begins.
        first: Lsn,
    },
    /// The database was written, and the log does not say so.
    #[error(
        "the database is ahead of the log, which ends at {end}: it was written while nobody captured it{}; start the agent, \
         which compares and ships the difference, then verify again", differing(*page)
    )]
    AheadOfLog {
        /// Where the log ends.
        end: Lsn,
        /// A page that differs, where nothing else says that the database was written.
        page: Option<u32>,
    },
    /// A replica's database is further than the log.
    #[error(
        "the database holds position {held} and the log ends at {end}; name the data directory of the agent that applies \
         to it"
    )]
    BeyondLog {
        /// How far the database is, or may be.
        held: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// Somebody writes to a replica.
    #[error("another process writes to the database; stop it, only the log may write here")]
    Written,
    /// Somebody reads a database that is not complete.
    #[error("another process has the database open; close it, then try again")]
    Used,
    /// A file beside the database, or the database while it is made.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite's own check of the restored file.
    #[error("the restored database does not hold: {0}; references that lead nowhere may have been so in the original")]
    Check(String),
}

impl Error {
    /// What a program should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Apply(error) => error.kind(),
            Error::Log(error) => error.kind(),
            Error::NotCaptured => ErrorKind::Unconfirmed,
            _ => self.failure().kind(),
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        match self {
            Error::Denied { .. }
            | Error::Message(_)
            | Error::Pages(_)
            | Error::TooLarge { .. }
            | Error::Nothing
            | Error::Broken => Failure::Refused,
            Error::ForeignKey { .. } | Error::Backwards { .. } => Failure::Refused,
            Error::Sqlite(error) => failure_of(error, Failure::Unavailable),
            // It worked where it was recorded.
            Error::Statement { cause, .. } => failure_of(cause, Failure::Diverged),
            Error::OtherChanges { .. } | Error::OtherLog { .. } => Failure::Diverged,
            Error::NotOurs
            | Error::NotPages { .. }
            | Error::Unfit(_)
            | Error::SegmentsTooSmall { .. }
            | Error::Vfs(_)
            | Error::CaseSensitiveLike
            | Error::JournalMode(_)
            | Error::NoFile => Failure::Unusable,
            Error::OtherBase { .. } | Error::OtherPageSize { .. } | Error::OtherPosition { .. } => Failure::Diverged,
            Error::NoPosition { .. } => Failure::Unusable,
            Error::NoImage => Failure::Refused,
            Error::Astray { .. } | Error::OtherFile { .. } | Error::Emptied { .. } => Failure::Diverged,
            Error::NoRoomToKeep { .. } => Failure::Full,
            Error::NoImageKept { .. } => Failure::Unusable,
            Error::AheadOfLog { .. } | Error::BeyondLog { .. } => Failure::Unavailable,
            Error::Written | Error::Used => Failure::Busy,
            Error::Io { source, .. } => match source.kind() {
                IoKind::StorageFull | IoKind::QuotaExceeded | IoKind::FileTooLarge => Failure::Full,
                IoKind::NotFound | IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem | IoKind::NotADirectory => {
                    Failure::Unusable
                }
                _ => Failure::Unavailable,
            },
            Error::BadPosition => Failure::Corrupt,
            Error::Moved { .. } => Failure::Busy,
            Error::Guarded { .. } => Failure::Busy,
            Error::Replaced { .. } | Error::Unstable | Error::NotCaptured | Error::Log(_) => Failure::Unavailable,
            Error::BrokenWal { .. } => Failure::Corrupt,
            Error::Behind => Failure::Unavailable,
            Error::Check(_) => Failure::Check,
            Error::Apply(_) => Failure::Unavailable,
        }
    }

    /// What turns an I/O error at `path` into one of ours.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io { path: path.to_owned(), source }
    }

    pub(crate) fn for_sink(self, sink: &str) -> SinkError {
        SinkError::new(self.failure(), format!("{sink}: {self}"))
    }
}

/// Of a database whose `-wal` does not say whether it was written.
fn differing(page: Option<u32>) -> String {
    page.map_or_else(String::new, |page| format!(", or page {page} is damaged, which PRAGMA integrity_check may tell"))
}

const ADVICE_PARTED: &str = "it is no longer equal to the primary's; delete it, with its -wal, -shm and -longshore files, \
                             to have it restored anew";

fn failure_of(error: &rusqlite::Error, otherwise: Failure) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        Some(ErrorCode::DiskFull) => Failure::Full,
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => Failure::Unavailable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Failure::Corrupt,
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Failure::Unusable,
        Some(ErrorCode::OperationInterrupted) => Failure::Interrupted,
        _ => otherwise,
    }
}

/// What SQLite said, without the statement, which follows.
fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// Enough of a statement to know it again; never its parameters, which may be secret.
fn excerpt(sql: &str) -> String {
    const SHOWN: usize = 120;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

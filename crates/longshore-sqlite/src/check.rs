//! What would not work about a database, in plain words, and how to mend it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::Error;
use crate::shm::{Slot, WalFile};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, and somebody may be sorry one day.
    Warn,
    /// The database cannot be captured like this.
    Refuse,
}

/// Something about a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { severity, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.mend)
    }
}

/// Looks at a database without changing it: what stands in the way of capturing it comes first. Nothing is found where
/// nothing is wrong but the notes.
pub fn check(path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(finding) = look(path, &mut findings) {
        findings.push(finding);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Refuses a database that cannot be captured as it is, without changing it.
///
/// # Errors
/// [`Error::Unfit`] with the first finding of [`check`] that refuses it.
pub fn must_be_fit(path: &Path) -> Result<(), Error> {
    let refused = check(path).into_iter().find(|finding| finding.severity == Severity::Refuse);
    refused.map_or(Ok(()), |finding| Err(Error::Unfit(finding)))
}

fn look(path: &Path, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        Finding::new(
            Severity::Refuse,
            format!("{shown} cannot be looked at: {error}"),
            "check the path and its permissions",
        )
    })?;
    if !metadata.is_file() {
        return Err(Finding::new(Severity::Refuse, format!("{shown} is no file"), "name the database's file itself"));
    }
    check_place(path, findings)?;
    let connection = open(path)?;
    check_mode(path, &connection)?;
    if is_old(rusqlite::version_number()) {
        let what = format!("this program's SQLite {} can corrupt a database when a -wal is reset", rusqlite::version());
        findings.push(Finding::new(Severity::Warn, what, "link 3.51.3 or later"));
    }
    let connection = WalFile::new(connection).map_err(|error| {
        Finding::new(Severity::Refuse, error.to_string(), "open the database on a local disk through SQLite's own VFS")
    })?;
    match connection.try_lock(Slot::Checkpoint) {
        Ok(true) => drop(connection.unlock(Slot::Checkpoint)),
        Ok(false) => findings.push(Finding::new(
            Severity::Warn,
            "somebody holds the checkpoint lock: a checkpoint that is running, or another shipper (longshore itself, litestream)",
            "stop the other shipper; one database has one",
        )),
        Err(error) => return Err(Finding::new(Severity::Refuse, error.to_string(), "look at the -shm file's permissions")),
    }
    findings.push(Finding::new(
        Severity::Note,
        "what the application sets on its own connections cannot be seen from here",
        "give it a busy timeout of some seconds, synchronous=FULL or NORMAL (with OFF a power cut can damage its database), \
         SQLite 3.51.3 or later, and never locking_mode=EXCLUSIVE",
    ));
    Ok(())
}

/// File systems on which SQLite's locks and shared memory do not work between processes, or nothing survives.
fn check_place(path: &Path, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let concern = longshore_storage::FsDirectory::open(directory)
        .and_then(|directory| longshore_storage::Directory::medium(&directory))
        .map(|medium| medium.concern())
        .unwrap_or(None);
    match concern {
        Some(longshore_storage::Concern::Refuse(concern)) => Err(Finding::new(
            Severity::Refuse,
            format!("{} is on a file system that cannot be used: {concern}", path.display()),
            "move the database to a local disk",
        )),
        Some(longshore_storage::Concern::Warn(concern)) => {
            findings.push(Finding::new(Severity::Warn, concern, "move the database to a local disk"));
            Ok(())
        }
        None => Ok(()),
    }
}

fn open(path: &Path) -> Result<Connection, Finding> {
    let refuse = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => Finding::new(
            Severity::Refuse,
            format!("{} is no SQLite database", path.display()),
            "name the database's file",
        ),
        Some(rusqlite::ErrorCode::DatabaseBusy) => Finding::new(
            Severity::Refuse,
            format!("{} is locked: {error}", path.display()),
            "an application in locking_mode=EXCLUSIVE lets nobody else in; set it to NORMAL, or wait until it is done",
        ),
        _ => Finding::new(
            Severity::Refuse,
            format!("{} cannot be opened: {error}", path.display()),
            "this user needs to read and write the database, its -wal, its -shm and their directory",
        ),
    };
    let open = || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // Looking changes nothing: the last connection that closes would copy the -wal back and remove it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let _: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok(connection)
    };
    let connection = open().map_err(refuse)?;
    match connection.is_readonly("main") {
        Ok(false) => Ok(connection),
        _ => Err(Finding::new(
            Severity::Refuse,
            format!("{} can only be read", path.display()),
            "this user needs to write it: checkpoints are made from here",
        )),
    }
}

fn check_mode(path: &Path, connection: &Connection) -> Result<(), Finding> {
    let mode: rusqlite::Result<String> = connection.pragma_query_value(None, "journal_mode", |row| row.get(0));
    match mode.as_deref() {
        Ok("wal") => Ok(()),
        other => Err(Finding::new(
            Severity::Refuse,
            format!("{} is in journal mode {}", path.display(), other.unwrap_or("unknown")),
            format!("turn on WAL mode, it stays on: sqlite3 {} 'PRAGMA journal_mode=wal'", path.display()),
        )),
    }
}

/// Before 3.51.3 two connections that reset a `-wal` at the same moment could lose what was written.
fn is_old(version: i32) -> bool {
    version < 3_051_003
}

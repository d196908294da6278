//! A database of an application, its log, and a replica that the log is applied to.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this module")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longshore_apply::{Applier, Step, Target};
use longshore_format::{Content, SegmentSize};
use longshore_sqlite::{Capture, CaptureSettings, CaptureStep, Error, SqliteSink};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, Settings, Threads, Wal};
use rusqlite::{Connection, params};

/// A database, a log, and a replica of it.
pub struct Rig {
    pub place: tempfile::TempDir,
    pub log: Wal,
    _threads: Threads,
}

impl Rig {
    pub fn new() -> Rig {
        let place = tempfile::tempdir().unwrap();
        let directory = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
        let segment_size = SegmentSize::new(1 << 20).unwrap();
        let spec = CreateSpec { content: Content::SqlitePages, segment_size, ..CreateSpec::default() };
        Wal::create(directory.clone(), &SystemEnvironment, &spec).unwrap();
        let (log, _) = Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap();
        let threads = log.start();
        Rig { place, log, _threads: threads }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The application's connection.
    pub fn app(&self) -> Connection {
        let db = Connection::open(self.at("app.db")).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db
    }

    pub fn settings(&self) -> CaptureSettings {
        CaptureSettings::new(self.at("app.pages"))
    }

    pub fn attach(&self) -> Capture {
        self.try_attach(self.settings()).unwrap()
    }

    pub fn try_attach(&self, settings: CaptureSettings) -> Result<Capture, Error> {
        Capture::attach(&self.at("app.db"), self.log.clone(), settings)
    }

    /// Applies all of the log to the replica.
    pub fn apply(&self) {
        self.apply_to("replica.db");
    }

    pub fn apply_to(&self, name: &str) {
        self.log.wait_blocking(self.log.end(), None).unwrap();
        let sink = SqliteSink::new(self.at(name));
        let mut applier = Applier::open(self.log.clone(), sink, Target::LATEST).unwrap();
        while applier.step().unwrap() != Step::Idle {}
        applier.finish().unwrap();
    }

    /// Applies the log and compares everything that SQL can see.
    pub fn assert_equal(&self, app: &Connection) {
        self.apply();
        let replica = Connection::open(self.at("replica.db")).unwrap();
        let verdict: String = replica.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        assert_same(&contents(&replica), &contents(app));
    }
}

/// Equal, or the first line that differs, cut to what fits a screen.
pub fn assert_same(theirs: &[String], ours: &[String]) {
    let at = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    let line = |lines: &[String]| lines.get(at).map(|line| line.chars().take(100).collect::<String>());
    let (there, here) = (line(theirs), line(ours));
    assert!(theirs == ours, "line {at} of {} is {there:?}, and {here:?} in the database itself", ours.len());
}

/// Schema and rows, as text.
pub fn contents(db: &Connection) -> Vec<String> {
    let mut lines = Vec::new();
    let mut schema = db.prepare("SELECT name, type, coalesce(sql, '') FROM sqlite_schema ORDER BY name").unwrap();
    let objects: Vec<(String, String, String)> =
        schema.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect();
    for (name, kind, sql) in objects {
        lines.push(format!("{kind} {name} {sql}"));
        if kind != "table" {
            continue;
        }
        let mut rows = db.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            lines.push(format!("{:?}", (0..columns).map(|n| row.get_ref(n).unwrap()).collect::<Vec<_>>()));
        }
    }
    lines
}

/// Steps until nothing new is committed.
pub fn drain(capture: &mut Capture) -> u64 {
    let mut transactions = 0;
    while let CaptureStep::Captured(more) = capture.step().unwrap() {
        transactions += more;
    }
    transactions
}

pub fn items(db: &Connection, count: usize, len: usize) {
    db.execute_batch("CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
    for n in 0..count {
        db.execute("INSERT INTO items (body) VALUES (?1)", params![vec![(n % 251) as u8; len]]).unwrap();
    }
}

//! A disk that is full or fails, under a database that is captured and under its log.
//!
//! The application hears of it from SQLite, as without longshore; what it was told is committed is in the log afterwards, and
//! nothing else is. Needs what [`BadDisk`] needs; says so and passes over itself where that is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use longshore_apply::{Applier, Step, Target};
use longshore_format::{Content, ErrorKind, SegmentSize};
use longshore_sqlite::{CaptureReport, CaptureSettings, Capturing, Error, SqliteSink};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_testkit::bad_disk::BadDisk;
use longshore_testkit::process::{PATIENCE, until};
use longshore_wal::{CreateSpec, Settings, Threads, Wal};
use rusqlite::{Connection, ErrorCode, params};

/// An application's database in one directory, its log in another.
struct Rig {
    database: PathBuf,
    place: PathBuf,
    app: Connection,
    log: Wal,
    _threads: Threads,
    /// Numbers of the rows that the application was told are committed.
    committed: Vec<i64>,
    next: i64,
}

impl Rig {
    fn new(place: &Path, database: &Path, log: &Path) -> Rig {
        let database = database.join("app.db");
        let app = Connection::open(&database).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; PRAGMA synchronous=full; CREATE TABLE t (n INTEGER, body BLOB);")
            .unwrap();
        app.busy_timeout(PATIENCE).unwrap();
        let directory = Arc::new(FsDirectory::create(log.join("log")).unwrap());
        let segment_size = SegmentSize::new(1 << 20).unwrap();
        let spec = CreateSpec { content: Content::SqlitePages, segment_size, ..CreateSpec::default() };
        Wal::create(directory.clone(), &SystemEnvironment, &spec).unwrap();
        let (log, _) = Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap();
        let threads = log.start();
        Rig { database, place: place.to_owned(), app, log, _threads: threads, committed: Vec::new(), next: 0 }
    }

    /// Starts to capture; the channel tells each time why it paused.
    fn capture(&self, checkpoint_from: u64) -> (Capturing, Receiver<ErrorKind>) {
        let settings = CaptureSettings { checkpoint_from, ..CaptureSettings::new(self.place.join("app.pages")) };
        let (paused, pauses) = channel();
        let report = move |report: CaptureReport<'_>| match report {
            CaptureReport::Paused(error) => drop(paused.send(error.kind())),
            CaptureReport::Stopped(error) => panic!("it is not to stop: {error}"),
            _ => {}
        };
        let capturing = Capturing::start(&self.database, self.log.clone(), settings, report).unwrap();
        (capturing, pauses)
    }

    fn insert(&mut self, len: usize) -> Result<(), ErrorCode> {
        self.next += 1;
        // Nothing that a difference of pages could make short.
        let inserted =
            self.app.execute("INSERT INTO t VALUES (?1, randomblob(?2))", params![self.next, len as i64]).map(drop);
        if inserted.is_ok() {
            self.committed.push(self.next);
        }
        inserted.map_err(|error| error.sqlite_error_code().expect("SQLite says what it is"))
    }

    /// Everything that was committed arrives, and nothing else.
    fn assert_arrives(&self, capturing: &Capturing) {
        self.log.wait_blocking(capturing.catch_up(PATIENCE).unwrap(), None).unwrap();
        let path = self.place.join("replica.db");
        let mut applier = Applier::open(self.log.clone(), SqliteSink::new(&path), Target::LATEST).unwrap();
        while applier.step().unwrap() != Step::Idle {}
        applier.finish().unwrap();
        let replica = Connection::open(path).unwrap();
        let verdict: String = replica.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        assert_eq!(numbers(&replica), self.committed);
        assert_eq!(numbers(&self.app), self.committed);
    }
}

fn numbers(db: &Connection) -> Vec<i64> {
    let mut select = db.prepare("SELECT n FROM t ORDER BY n").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn disk(place: &Path, test: &str) -> Option<BadDisk> {
    BadDisk::new(place).inspect_err(|why| eprintln!("SKIPPED {test}: {why}")).ok()
}

const OFTEN: u64 = 64 << 10;
const SELDOM: u64 = 1 << 30;

#[test]
fn an_application_whose_wal_has_no_space_is_told_so_by_sqlite_and_captured_on() {
    for checkpoint_from in [OFTEN, SELDOM] {
        let place = tempfile::tempdir().unwrap();
        let Some(disk) = disk(place.path(), "a full disk under the -wal") else { return };
        let mut rig = Rig::new(place.path(), disk.path(), place.path());
        let (capturing, _pauses) = rig.capture(checkpoint_from);
        for _ in 0..10 {
            rig.insert(20_000).unwrap();
        }
        rig.assert_arrives(&capturing);

        disk.fill();
        // What it commits before it is told shares the last free blocks of the file.
        let refused = (0..1000).find_map(|_| rig.insert(100_000).err());
        assert_eq!(refused, Some(ErrorCode::DiskFull));
        assert_eq!(rig.insert(1_000_000), Err(ErrorCode::DiskFull));

        disk.empty();
        for _ in 0..10 {
            rig.insert(100_000).unwrap();
        }
        rig.assert_arrives(&capturing);
        capturing.stop().unwrap();
    }
}

#[test]
fn a_checkpoint_that_finds_no_space_is_made_once_there_is_some() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = disk(place.path(), "a full disk under a checkpoint") else { return };
    let mut rig = Rig::new(place.path(), disk.path(), place.path());
    let (capturing, _pauses) = rig.capture(SELDOM);
    for _ in 0..10 {
        rig.insert(20_000).unwrap();
    }
    capturing.stop().unwrap();
    // All that was committed is in the -wal, and the database file has to grow for it.
    disk.fill();
    let (capturing, pauses) = rig.capture(OFTEN);
    assert_eq!(pauses.recv_timeout(PATIENCE), Ok(ErrorKind::Full));
    disk.empty();
    rig.insert(100_000).unwrap();
    rig.assert_arrives(&capturing);
    // Asked of the name: opening the file here would drop locks.
    let len = || std::fs::metadata(&rig.database).unwrap().len();
    until("the checkpoint to be tried again", Instant::now() + PATIENCE, || (200_000 < len()).then_some(()));
    capturing.stop().unwrap();
}

#[test]
fn an_application_whose_wal_cannot_be_written_is_told_so_by_sqlite_and_captured_on() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = disk(place.path(), "a failing disk under the -wal") else { return };
    let mut rig = Rig::new(place.path(), disk.path(), place.path());
    let (capturing, _pauses) = rig.capture(SELDOM);
    for _ in 0..20 {
        rig.insert(20_000).unwrap();
    }
    rig.assert_arrives(&capturing);
    // All of it is in the database file, so that blocks of the -wal hold nothing that a failing disk could lose.
    capturing.stop().unwrap();
    let busy: bool = rig.app.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0)).unwrap();
    assert!(!busy);
    let (capturing, _pauses) = rig.capture(SELDOM);

    disk.fail_writes_to(&rig.database.with_file_name("app.db-wal"));
    for _ in 0..3 {
        assert_eq!(rig.insert(100_000), Err(ErrorCode::SystemIoFailure));
    }
    disk.heal();
    for _ in 0..10 {
        rig.insert(100_000).unwrap();
    }
    rig.assert_arrives(&capturing);
    capturing.stop().unwrap();
}

#[test]
fn while_the_disk_of_the_log_is_full_the_application_goes_on_and_its_transactions_arrive_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = disk(place.path(), "a full disk under the log") else { return };
    let mut rig = Rig::new(place.path(), place.path(), disk.path());
    let (capturing, _pauses) = rig.capture(OFTEN);
    rig.insert(1000).unwrap();
    rig.assert_arrives(&capturing);

    disk.fill();
    // Never busy for long: a capture that waits holds nobody up.
    rig.app.busy_timeout(Duration::from_secs(2)).unwrap();
    for _ in 0..80 {
        rig.insert(100_000).unwrap();
    }
    let waits = capturing.catch_up(Duration::from_secs(1));
    assert!(matches!(waits, Err(Error::NotCaptured)), "there is no space for all that in the log: {waits:?}");
    for _ in 0..20 {
        rig.insert(100_000).unwrap();
    }
    disk.empty();
    rig.assert_arrives(&capturing);
    capturing.stop().unwrap();
}

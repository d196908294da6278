//! Databases in use, compared with their log: equal however busy they are, and found out by one byte.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_apply::{Applier, Step, Target};
use longshore_format::{Content, ErrorKind, SegmentSize};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, ReadLog, Settings, Threads, Wal};
use rusqlite::{Connection, params};

use super::expected::Expected;
use super::snapshot::Database;
use super::{Pace, PagesVerdict, check_paced, check_pages};
use crate::error::Error;
use crate::{Capture, CaptureSettings, CaptureStep, Capturing, SqliteSink};

/// A database, its log, and a replica of it.
struct Rig {
    place: tempfile::TempDir,
    log: Option<(Wal, Threads)>,
}

impl Rig {
    fn new(page_size: u32) -> Rig {
        let place = tempfile::tempdir().unwrap();
        let directory = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
        let segment_size = SegmentSize::new(1 << 20).unwrap();
        let spec = CreateSpec { content: Content::SqlitePages, segment_size, ..CreateSpec::default() };
        Wal::create(directory, &SystemEnvironment, &spec).unwrap();
        let mut rig = Rig { place, log: None };
        rig.open_log();
        let app = rig.app();
        app.execute_batch(&format!("PRAGMA page_size={page_size}; PRAGMA journal_mode=wal;")).unwrap();
        app.execute_batch("CREATE TABLE items (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
        rig
    }

    fn open_log(&mut self) {
        let directory = Arc::new(FsDirectory::open(self.at("log")).unwrap());
        let (log, _) = Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap();
        let threads = log.start();
        self.log = Some((log, threads));
    }

    /// Nobody owns the log from now on.
    fn close_log(&mut self) {
        let (log, threads) = self.log.take().unwrap();
        log.wait_blocking(log.end(), None).unwrap();
        drop(threads);
        drop(log);
    }

    fn log(&self) -> Wal {
        self.log.as_ref().unwrap().0.clone()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn app(&self) -> Connection {
        let app = Connection::open(self.at("app.db")).unwrap();
        app.busy_timeout(Duration::from_secs(10)).unwrap();
        app
    }

    fn capture(&self) -> Capture {
        Capture::attach(&self.at("app.db"), self.log(), CaptureSettings::new(self.at("app.pages"))).unwrap()
    }

    /// Applies the log to the replica.
    fn apply(&self) {
        let log = self.log();
        log.wait_blocking(log.end(), None).unwrap();
        let mut applier = Applier::open(log, SqliteSink::new(self.at("copy.db")), Target::LATEST).unwrap();
        while applier.step().unwrap() != Step::Idle {}
        applier.finish().unwrap();
    }

    fn check(&self, database: &str) -> Result<PagesVerdict, Error> {
        check_pages(&self.at(database), &self.read_log(), |_| {})
    }

    /// As many pieces as there can be.
    fn check_in_pieces(&self, database: &str) -> (PagesVerdict, u32) {
        let pace = Pace { compare: Duration::from_millis(1), pause: Duration::from_millis(5), ..Pace::default() };
        let mut pieces = 0;
        let verdict = check_paced(&self.at(database), &self.read_log(), &pace, |_| pieces += 1).unwrap();
        (verdict, pieces)
    }

    fn read_log(&self) -> ReadLog {
        ReadLog::open(Arc::new(FsDirectory::open(self.at("log")).unwrap())).unwrap()
    }
}

fn insert(app: &Connection, count: usize, len: usize) {
    for n in 0..count {
        app.execute("INSERT INTO items (body) VALUES (?1)", params![vec![(n % 251) as u8; len]]).unwrap();
    }
}

fn drain(capture: &mut Capture) {
    while capture.step().unwrap() != CaptureStep::Idle {}
}

/// A thread that does something again and again, until it is dropped.
struct Again(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Again {
    fn and_again(mut work: impl FnMut() + Send + 'static) -> Again {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                work();
            }
        });
        Again(stop, Some(thread))
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

/// An application that inserts, changes and deletes all the time.
fn busy(app: Connection) -> Again {
    app.pragma_update(None, "synchronous", "off").unwrap();
    let mut n = 0;
    Again::and_again(move || {
        n += 1;
        insert(&app, 1, 3000);
        app.execute("UPDATE items SET body = randomblob(500) WHERE id % 97 = ?1", params![n % 97]).unwrap();
        if n % 50 == 0 {
            app.execute("DELETE FROM items WHERE id % 3 = 0", []).unwrap();
        }
    })
}

#[test]
fn a_primary_whose_writer_never_pauses_holds() {
    let rig = Rig::new(4096);
    insert(&rig.app(), 3000, 1000);
    let settings = CaptureSettings { checkpoint_from: 1 << 20, ..CaptureSettings::new(rig.at("app.pages")) };
    let capturing = Capturing::start(rig.at("app.db"), rig.log(), settings, |_| {}).unwrap();
    let writing = busy(rig.app());
    let (first, mut last, mut most) = (rig.log().end(), rig.log().end(), 0);
    for _ in 0..4 {
        for (verdict, pieces) in [(rig.check("app.db").unwrap(), 0), rig.check_in_pieces("app.db")] {
            assert!(verdict.holds() && !verdict.is_replica, "{verdict:?}");
            assert!(last <= verdict.position, "it never goes back: {verdict:?}");
            (last, most) = (verdict.position, most.max(pieces));
        }
    }
    assert!(first < last, "it moves on");
    assert!(1 < most, "some took more than a snapshot");
    assert!(0 < capturing.status().checkpoints, "the -wal was copied back meanwhile");
    drop(writing);
    capturing.stop().unwrap();
}

#[test]
fn a_replica_that_is_being_applied_to_holds_and_is_the_same_database() {
    let rig = Rig::new(4096);
    insert(&rig.app(), 1000, 1000);
    let mut capture = rig.capture();
    rig.apply();
    let mut applier = Applier::open(rig.log(), SqliteSink::new(rig.at("copy.db")), Target::LATEST).unwrap();
    let applying = Again::and_again(move || {
        applier.step().unwrap();
    });
    let writing = busy(rig.app());
    let capturing = Again::and_again(move || {
        capture.step().unwrap();
    });
    for _ in 0..4 {
        for verdict in [rig.check("copy.db").unwrap(), rig.check_in_pieces("copy.db").0] {
            assert!(verdict.holds() && verdict.is_replica, "{verdict:?}");
        }
    }
    drop((writing, capturing, applying));
    rig.apply();
    drain(&mut rig.capture());
    rig.apply();
    let (primary, replica) = (rig.check("app.db").unwrap(), rig.check("copy.db").unwrap());
    assert_eq!(PagesVerdict { is_replica: true, ..primary }, replica);
}

/// Changes one byte of a page of the file. By another process: closing a descriptor of ours would drop the locks of this one.
fn flip(database: &Path, page: u32, page_size: u32) {
    let at = (page - 1) * page_size + page_size / 2;
    let script = format!("printf X | dd of='{}' bs=1 seek={at} conv=notrunc status=none", database.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn one_byte_that_changed_behind_sqlite_is_found_and_named_on_both_sides() {
    let mut rig = Rig::new(4096);
    let app = rig.app();
    insert(&app, 200, 1000);
    app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    app.execute("UPDATE items SET body = 'x' WHERE id = 1", []).unwrap();
    let capture = rig.capture();
    rig.apply();
    capture.detach().unwrap();
    for owned in [true, false] {
        if !owned {
            rig.close_log();
        }
        for database in ["app.db", "copy.db"] {
            assert!(rig.check(database).unwrap().holds(), "{database}");
            flip(&rig.at(database), 30, 4096);
            let verdict = rig.check(database).unwrap();
            assert_eq!((verdict.differing, &verdict.first_differing[..]), (1, &[30][..]), "{database}");
            restore(&rig.at(database), 30);
        }
    }
}

/// Undoes [`flip`]: the bytes in the middle of such a page are all the same.
fn restore(database: &Path, page: u32) {
    let at = (page - 1) * 4096 + 2048;
    let path = database.display();
    let script = format!(
        "dd if='{path}' bs=1 skip={} count=1 status=none | dd of='{path}' bs=1 seek={at} conv=notrunc status=none",
        at - 1
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn a_database_ahead_of_its_log_is_told_from_a_damaged_one() {
    let mut rig = Rig::new(4096);
    let app = rig.app();
    insert(&app, 100, 1000);
    rig.capture().detach().unwrap();
    rig.close_log();
    let ahead = |rig: &Rig| {
        let error = rig.check("app.db").unwrap_err();
        assert!(matches!(error, Error::AheadOfLog { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        error.to_string()
    };
    insert(&app, 1, 10);
    assert!(ahead(&rig).contains("start the agent"), "further on in the same -wal");
    app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert!(ahead(&rig).contains("start the agent"), "copied back");
    insert(&app, 1, 10);
    ahead(&rig);
    app.close().unwrap();
    assert!(ahead(&rig).contains("start the agent"), "the -wal is gone");
    // What the message says to do.
    rig.open_log();
    rig.capture().detach().unwrap();
    assert!(rig.check("app.db").unwrap().holds());
}

#[test]
fn any_page_size_and_a_database_that_shrank_hold() {
    for size in [512, 4096, 65536] {
        let rig = Rig::new(size);
        let app = rig.app();
        insert(&app, 300, 2000);
        let mut capture = rig.capture();
        let mut pages = Vec::new();
        for work in ["DELETE FROM items WHERE id > 40", "VACUUM", "INSERT INTO items (body) VALUES (zeroblob(700000))"]
        {
            app.execute_batch(work).unwrap();
            drain(&mut capture);
            rig.apply();
            let (primary, replica) = (rig.check("app.db").unwrap(), rig.check("copy.db").unwrap());
            assert!(primary.holds(), "{size} after {work}: {primary:?}");
            pages.push(primary.pages);
            assert_eq!(PagesVerdict { is_replica: true, ..primary }, replica, "{size} after {work}");
        }
        assert!(pages[1] < pages[0] && pages[1] < pages[2], "{pages:?}");
    }
}

/// What nobody reads from the `-wal` any more is overwritten at once, and what somebody reads in the file is not.
#[test]
fn a_snapshot_stays_as_it_is_while_the_wal_begins_anew() {
    let rig = Rig::new(4096);
    let app = rig.app();
    for copied_back in [true, false, true] {
        insert(&app, 100, 1000);
        if copied_back {
            app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }
        let database = Database::open(&rig.at("app.db")).unwrap();
        let snapshot = database.snapshot().unwrap();
        let hashes = || (1..=snapshot.pages()).map(|page| snapshot.hash(page).unwrap()).collect::<Vec<_>>();
        let before = hashes();
        for _ in 0..3 {
            app.execute("UPDATE items SET body = randomblob(900)", []).unwrap();
            let _busy = app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
        assert!(before == hashes(), "copied back: {copied_back}");
        drop(snapshot);
        let after = database.snapshot().unwrap();
        assert!(before != (1..=after.pages()).map(|page| after.hash(page).unwrap()).collect::<Vec<_>>());
    }
}

#[test]
fn what_a_run_changes_is_compared_again() {
    let rig = Rig::new(4096);
    let app = rig.app();
    insert(&app, 100, 1000);
    let mut capture = rig.capture();
    let (database, log) = (Database::open(&rig.at("app.db")).unwrap(), rig.read_log());
    let mut expected = Expected::begin(&log).unwrap();
    let end = |rig: &Rig| {
        rig.log().wait_blocking(rig.log().end(), None).unwrap();
        rig.log().sync_control().unwrap();
        log.refresh().unwrap()
    };
    expected.follow_to(end(&rig), &mut |_| {}).unwrap();
    assert!(expected.look(&database.snapshot().unwrap(), Duration::from_secs(60)).unwrap());
    let (done, pages) = expected.done();
    assert_eq!(done, pages);
    app.execute("UPDATE items SET body = 'x' WHERE id = 50", []).unwrap();
    drain(&mut capture);
    expected.follow_to(end(&rig), &mut |_| {}).unwrap();
    assert!((1..pages).contains(&expected.done().0), "{:?}", expected.done());
    assert!(expected.look(&database.snapshot().unwrap(), Duration::from_secs(60)).unwrap());
    assert!(expected.verdict(false).unwrap().holds());
}

#[test]
fn nothing_of_the_database_changes_and_its_wal_stays() {
    let mut rig = Rig::new(4096);
    let app = rig.app();
    insert(&app, 100, 1000);
    rig.capture().detach().unwrap();
    rig.close_log();
    app.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    app.close().unwrap();
    let bytes = || ["app.db", "app.db-wal"].map(|name| std::fs::read(rig.at(name)).unwrap());
    let before = bytes();
    assert!(rig.check("app.db").unwrap().holds());
    assert!(before == bytes());
}

#[test]
fn a_log_that_does_not_reach_back_to_an_image_is_told() {
    let mut rig = Rig::new(4096);
    rig.close_log();
    assert!(matches!(rig.check("app.db"), Err(Error::NoImageKept { .. })));
}

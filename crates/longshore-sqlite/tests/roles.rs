//! A database whose log changes hands: what is applied before it is captured, who is kept out, what is kept.

mod rig;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_apply::{Applier, Sink, Step, Target};
use longshore_format::{Content, Epoch, Lsn, SegmentSize, WriterId};
use longshore_sqlite::{Capture, CaptureReport, CaptureSettings, Capturing, Error, LogDatabase, SqliteSink};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, Promotion, Retention, Settings, Threads, Wal};
use rig::{assert_same, contents, drain};
use rusqlite::{Connection, ErrorCode};

/// A node's log, which is opened again in other roles.
struct Node {
    place: tempfile::TempDir,
    log: Option<(Wal, Threads)>,
}

impl Node {
    fn new() -> Node {
        let place = tempfile::tempdir().unwrap();
        let spec = CreateSpec {
            content: Content::SqlitePages,
            segment_size: SegmentSize::new(1 << 20).unwrap(),
            ..CreateSpec::default()
        };
        let mut node = Node { place, log: None };
        Wal::create(node.directory(), &SystemEnvironment, &spec).unwrap();
        node.open(|directory| Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap().0);
        node
    }

    fn directory(&self) -> Arc<FsDirectory> {
        Arc::new(FsDirectory::create(self.at("log")).unwrap())
    }

    fn open(&mut self, open: impl FnOnce(Arc<FsDirectory>) -> Wal) {
        if let Some((log, threads)) = self.log.take() {
            threads.stop();
            log.close().unwrap();
        }
        let log = open(self.directory());
        let threads = log.start();
        self.log = Some((log, threads));
    }

    fn log(&self) -> Wal {
        self.log.as_ref().unwrap().0.clone()
    }

    /// Another node was promoted.
    fn fence(&self, number: u64) {
        self.log().accept_epoch(epoch(number)).unwrap();
    }

    /// Begins an epoch here.
    fn promote(&mut self, number: u64) {
        let promotion = Promotion { epoch: epoch(number), policies: Vec::new() };
        let environment = Arc::new(SystemEnvironment);
        self.open(|directory| Wal::promote(directory, environment, Settings::default(), &promotion).unwrap().0);
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn app(&self, name: &str) -> Connection {
        let db = Connection::open(self.at(name)).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db
    }

    fn settings(&self) -> CaptureSettings {
        CaptureSettings::new(self.at("app.pages"))
    }

    fn attach(&self, name: &str) -> Result<Capture, Error> {
        Capture::attach(&self.at(name), self.log(), self.settings())
    }

    /// Captures `other.db`, as if that were at another node.
    fn capture_other(&self) {
        let elsewhere = CaptureSettings::new(self.at("other.pages"));
        drain(&mut Capture::attach(&self.at("other.db"), self.log(), elsewhere).unwrap());
    }

    /// Applies the log to a database.
    fn apply(&self, sink: impl Sink) -> Result<(), longshore_apply::Error> {
        self.log().wait_blocking(self.log().end(), None).unwrap();
        let mut applier = Applier::open(self.log(), sink, Target::LATEST)?;
        while applier.step()? != Step::Idle {}
        applier.finish().map(drop)
    }

    /// A database that the log makes by itself.
    fn replay(&self) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        self.apply(SqliteSink::new(place.path().join("replayed.db"))).unwrap();
        contents(&Connection::open(place.path().join("replayed.db")).unwrap())
    }
}

fn epoch(number: u64) -> Epoch {
    Epoch { number, writer: WriterId::from_bytes([number as u8; 16]) }
}

fn insert(db: &Connection, body: &str) -> rusqlite::Result<usize> {
    db.execute("INSERT INTO t (body) VALUES (?1)", [body])
}

fn rows(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.query_row("SELECT group_concat(body) FROM (SELECT body FROM t ORDER BY id)", [], |row| row.get(0)).unwrap()
}

fn is_busy(outcome: &rusqlite::Result<usize>) -> bool {
    outcome.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not happen");
        std::thread::yield_now();
    }
}

/// A sink that notes how it leaves the copy.
fn noted(node: &Node) -> SqliteSink {
    SqliteSink::of(Arc::new(LogDatabase::new(node.at("copy.db")))).held_against(node.log())
}

/// A log with rows of an application, and a copy of the database at the first of them.
fn with_a_copy_behind() -> Node {
    let node = Node::new();
    let app = node.app("app.db");
    app.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body)").unwrap();
    let mut capture = node.attach("app.db").unwrap();
    insert(&app, "one").unwrap();
    drain(&mut capture);
    node.apply(noted(&node)).unwrap();
    for body in ["two", "three"] {
        insert(&app, body).unwrap();
        drain(&mut capture);
    }
    capture.detach().unwrap();
    node
}

#[test]
fn a_copy_that_lacks_some_of_the_log_is_given_that_before_it_is_captured() {
    let mut node = with_a_copy_behind();
    assert_eq!(rows(&node.at("copy.db")), "one");
    node.promote(2);
    let mut capture = node.attach("copy.db").unwrap();
    // Of what the log holds nothing is reverted, and nothing of it is in the log twice.
    assert_eq!(rows(&node.at("copy.db")), "one,two,three");
    assert_eq!(drain(&mut capture), 0);
    let copy = node.app("copy.db");
    insert(&copy, "four").unwrap();
    assert_eq!(drain(&mut capture), 1);
    assert_eq!(capture.status().resyncs, 0);
    assert_same(&node.replay(), &contents(&copy));
    capture.detach().unwrap();

    // As one that is captured it goes on where it was, also after a kill.
    insert(&copy, "five").unwrap();
    let mut capture = node.attach("copy.db").unwrap();
    insert(&copy, "six").unwrap();
    drain(&mut capture);
    drop(capture);
    insert(&copy, "seven").unwrap();
    let mut capture = node.attach("copy.db").unwrap();
    drain(&mut capture);
    assert_same(&node.replay(), &contents(&copy));
}

/// Nobody keeps writers out of a copy while its agent is stopped. Found or not, it is the database once its node is promoted before
/// anybody could send it a whole one.
#[test]
fn what_somebody_wrote_into_a_copy_becomes_a_run_before_the_log_goes_on() {
    for is_found in [false, true] {
        let mut node = with_a_copy_behind();
        node.apply(noted(&node)).unwrap();
        insert(&node.app("copy.db"), "stray").unwrap();
        if is_found {
            let refused = node.apply(noted(&node)).unwrap_err();
            assert!(matches!(refused, longshore_apply::Error::SinkAstray { .. }), "{refused}");
            assert_eq!(rows(&node.at("copy.db-longshore-kept-1")), "one,two,three,stray");
        }
        node.promote(2);
        let mut capture = node.attach("copy.db").unwrap();
        assert_eq!(capture.status().resyncs, 1);
        let copy = node.app("copy.db");
        insert(&copy, "four").unwrap();
        drain(&mut capture);
        assert_eq!(rows(&node.at("copy.db")), "one,two,three,stray,four");
        assert_same(&node.replay(), &contents(&copy));
    }
}

/// The rest of the log cannot be applied to pages that it does not know.
#[test]
fn a_copy_behind_that_somebody_wrote_is_kept_and_made_anew_from_the_log() {
    let mut node = with_a_copy_behind();
    insert(&node.app("copy.db"), "stray").unwrap();
    node.promote(2);
    let mut capture = node.attach("copy.db").unwrap();
    assert_eq!(rows(&node.at("copy.db-longshore-kept-1")), "one,stray");
    assert_eq!(rows(&node.at("copy.db")), "one,two,three");
    let copy = node.app("copy.db");
    insert(&copy, "four").unwrap();
    assert_eq!(drain(&mut capture), 1);
    assert_eq!(capture.status().resyncs, 0);
    assert_same(&node.replay(), &contents(&copy));
}

/// To go back in time under the same log.
#[test]
fn a_copy_without_its_position_is_shipped_as_it_is_once_somebody_says_so() {
    let mut node = with_a_copy_behind();
    node.promote(2);
    std::fs::remove_file(node.at("copy.db-longshore")).unwrap();
    let error = node.attach("copy.db").map(drop).unwrap_err();
    assert!(matches!(error, Error::OtherFile { .. }), "{error}");
    let meant = CaptureSettings { replaced: true, ..node.settings() };
    drain(&mut Capture::attach(&node.at("copy.db"), node.log(), meant).unwrap());
    let copy = node.app("copy.db");
    assert_eq!(rows(&node.at("copy.db")), "one");
    assert_same(&node.replay(), &contents(&copy));
}

/// A node that never captured any, promoted beside a database that an application has just made.
#[test]
fn a_database_that_was_never_the_log_s_is_not_shipped_over_it() {
    let mut node = with_a_copy_behind();
    let app = node.app("app.db");
    app.execute_batch("INSERT INTO t (body) VALUES (hex(randomblob(20000)))").unwrap();
    node.attach("app.db").unwrap().detach().unwrap();
    node.promote(2);
    std::fs::remove_file(node.settings().hashes).unwrap();
    // With the same schema, as its application makes one.
    let fresh = node.app("fresh.db");
    fresh.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body)").unwrap();
    let end = node.log().end();
    let error = node.attach("fresh.db").map(drop).unwrap_err();
    assert!(matches!(error, Error::OtherFile { .. }), "{error}");
    assert_eq!(node.log().end(), end);
    // Of the one that was, what was noted may be lost.
    insert(&app, "four").unwrap();
    let mut capture = node.attach("app.db").unwrap();
    drain(&mut capture);
    assert_same(&node.replay(), &contents(&app));
}

/// The data directory came back from a backup, the database did not.
#[test]
fn a_database_that_is_ahead_of_its_log_is_not_made_anew_from_it() {
    let mut node = with_a_copy_behind();
    node.promote(2);
    let mut capture = node.attach("copy.db").unwrap();
    let (log, backup) = (node.at("log"), node.at("backup"));
    node.log().wait_blocking(node.log().end(), None).unwrap();
    std::fs::create_dir(&backup).unwrap();
    for file in std::fs::read_dir(&log).unwrap().map(|file| file.unwrap().file_name()) {
        std::fs::copy(log.join(&file), backup.join(&file)).unwrap();
    }
    let copy = node.app("copy.db");
    insert(&copy, "four").unwrap();
    drain(&mut capture);
    capture.detach().unwrap();
    node.open(|_| {
        std::fs::remove_dir_all(&log).unwrap();
        std::fs::rename(&backup, &log).unwrap();
        let directory = Arc::new(FsDirectory::create(&log).unwrap());
        Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap().0
    });
    let error = node.attach("copy.db").map(drop).unwrap_err();
    assert!(matches!(error, Error::Astray { .. }), "{error}");
    assert_eq!(rows(&node.at("copy.db")), "one,two,three,four");
}

#[test]
fn a_copy_of_another_log_begins_one_of_its_own() {
    let (of, node) = (with_a_copy_behind(), Node::new());
    for suffix in ["", "-longshore"] {
        std::fs::copy(of.at(&format!("copy.db{suffix}")), node.at(&format!("copy.db{suffix}"))).unwrap();
    }
    let copy = node.app("copy.db");
    for body in ["two", "three"] {
        // The second time as one that is captured into this log.
        let mut capture = node.attach("copy.db").unwrap();
        insert(&copy, body).unwrap();
        drain(&mut capture);
        drop(capture);
        assert_same(&node.replay(), &contents(&copy));
    }
}

#[test]
fn nobody_writes_a_copy_between_the_sink_that_made_it_and_its_capture() {
    let mut node = with_a_copy_behind();
    let database = Arc::new(LogDatabase::new(node.at("new.db")));
    node.apply(SqliteSink::of(Arc::clone(&database))).unwrap();
    let app = node.app("new.db");
    app.busy_timeout(Duration::ZERO).unwrap();
    assert!(is_busy(&insert(&app, "of nobody")), "the sink is gone");
    node.promote(2);
    let settings = CaptureSettings { database: Some(database), ..node.settings() };
    let mut capture = Capture::attach(&node.at("new.db"), node.log(), settings).unwrap();
    insert(&app, "four").unwrap();
    assert_eq!(drain(&mut capture), 1);
    assert_same(&node.replay(), &contents(&app));
}

/// All of it is read when it is captured, which may take long.
#[test]
fn an_application_writes_while_a_copy_is_still_looked_at() {
    for is_settled in [false, true] {
        let mut node = with_a_copy_behind();
        let app = node.app("app.db");
        let mut capture = node.attach("app.db").unwrap();
        let rows = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
                    INSERT INTO t (body) SELECT hex(randomblob(500)) FROM n";
        app.execute_batch(rows).unwrap();
        drain(&mut capture);
        capture.detach().unwrap();
        let database = Arc::new(LogDatabase::new(node.at("new.db")));
        node.apply(SqliteSink::of(Arc::clone(&database))).unwrap();
        node.promote(2);
        let copy = node.app("new.db");
        if is_settled {
            copy.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        }
        copy.busy_timeout(Duration::ZERO).unwrap();
        let writer = std::thread::spawn(move || {
            let mut written = 0;
            eventually(|| {
                written += usize::from(insert(&copy, "meanwhile").is_ok());
                written == 500
            });
            copy
        });
        let settings = CaptureSettings { database: Some(database), ..node.settings() };
        let mut capture = Capture::attach(&node.at("new.db"), node.log(), settings).unwrap();
        let at_once = drain(&mut capture);
        let copy = writer.join().unwrap();
        assert_eq!(at_once + drain(&mut capture), 500);
        assert_same(&node.replay(), &contents(&copy));
    }
}

#[test]
fn a_captured_database_is_not_shipped_over_what_another_node_wrote_meanwhile() {
    let mut node = with_a_copy_behind();
    node.promote(2);
    let copy = node.app("copy.db");
    // Killed while it captures.
    drop(node.attach("copy.db").unwrap());
    // What another node wrote in its epoch, as far as this log is concerned.
    node.promote(3);
    let other = node.app("app.db");
    insert(&other, "of another").unwrap();
    std::fs::remove_file(node.at("app.db-longshore")).ok();
    drain(&mut node.attach("app.db").unwrap());
    node.promote(4);
    let end = node.log().end();
    let mut capture = node.attach("copy.db").unwrap();
    assert_eq!(node.log().end(), end);
    assert_same(&contents(&other), &contents(&copy));
    assert_eq!(rows(&node.at("copy.db-longshore-kept-1")), "one,two,three");
    insert(&copy, "and goes on").unwrap();
    assert_eq!(drain(&mut capture), 1);
    assert_same(&node.replay(), &contents(&copy));
}

/// A capture of `app.db` that keeps the lock in a database of the log.
fn captured(node: &Node) -> (Arc<LogDatabase>, Connection, Capturing) {
    let app = node.app("app.db");
    app.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body)").unwrap();
    insert(&app, "one").unwrap();
    app.busy_timeout(Duration::ZERO).unwrap();
    let database = Arc::new(LogDatabase::of_an_application(node.at("app.db")));
    let capturing = capture(node, &database);
    (database, app, capturing)
}

fn capture(node: &Node, database: &Arc<LogDatabase>) -> Capturing {
    let settings = CaptureSettings { database: Some(Arc::clone(database)), ..node.settings() };
    let report = |report: CaptureReport<'_>| assert!(!matches!(report, CaptureReport::Stopped(_)), "{report:?}");
    Capturing::start(node.at("app.db"), node.log(), settings, report).unwrap()
}

#[test]
fn once_the_log_is_another_s_nobody_writes_and_a_held_one_leaves_nothing_behind() {
    let mut node = Node::new();
    let (database, app, capturing) = captured(&node);
    insert(&app, "two").unwrap();
    assert!(capturing.hold(Duration::from_secs(10)));
    assert!(is_busy(&insert(&app, "too late")));
    node.fence(2);
    capturing.release();
    eventually(|| capturing.status().fenced);
    assert!(is_busy(&insert(&app, "too late")), "also once it was released");
    capturing.stop().unwrap();
    assert!(is_busy(&insert(&app, "too late")), "also when the capture has ended");
    assert_eq!(rows(&node.at("app.db")), "one,two", "who reads is let in");

    // The log follows, and is applied from where the database is.
    node.open(|directory| Wal::open_in_role(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap().0);
    let end = node.log().end();
    let mut sink = SqliteSink::of(Arc::clone(&database));
    let held = sink.open(&longshore_apply::Source::facts(&node.log())).unwrap().unwrap();
    assert_eq!(Some(held.lsn), Some(end));
    assert!(!sink.is_astray() && is_busy(&insert(&app, "too late")));
    sink.finish().unwrap();
    drop(sink);
    assert!(is_busy(&insert(&app, "too late")), "also between two sinks");
    assert!(!node.at("app.db-longshore-kept-1").exists());

    // It is written here again.
    node.promote(3);
    let capturing = capture(&node, &database);
    insert(&app, "three").unwrap();
    let at = capturing.catch_up(Duration::from_secs(10)).unwrap();
    assert!(end < at && capturing.status().resyncs == 0);
    capturing.stop().unwrap();
    assert_same(&node.replay(), &contents(&app));
}

#[test]
fn writers_are_let_in_again_where_the_log_stays() {
    let node = Node::new();
    let (_database, app, capturing) = captured(&node);
    assert!(capturing.hold(Duration::from_secs(10)));
    assert!(is_busy(&insert(&app, "held")));
    capturing.release();
    app.busy_timeout(Duration::from_secs(10)).unwrap();
    insert(&app, "two").unwrap();
    capturing.catch_up(Duration::from_secs(10)).unwrap();
    capturing.stop().unwrap();
    assert_same(&node.replay(), &contents(&app));
}

/// A transaction is under way when the log is fenced: it commits into the file, and into no log.
#[test]
fn what_no_log_holds_is_kept_before_it_is_replaced_and_read_by_nobody_until_then() {
    let mut node = Node::new();
    let (database, app, capturing) = captured(&node);
    capturing.catch_up(Duration::from_secs(10)).unwrap();
    app.execute_batch("BEGIN IMMEDIATE").unwrap();
    insert(&app, "under way").unwrap();
    assert!(!capturing.hold(Duration::from_millis(50)), "a transaction is not interrupted");
    node.fence(2);
    app.execute_batch("COMMIT").unwrap();
    eventually(|| capturing.status().fenced);
    assert!(is_busy(&insert(&app, "too late")));
    capturing.stop().unwrap();

    node.open(|directory| Wal::open_in_role(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap().0);
    let refused = node.apply(SqliteSink::of(Arc::clone(&database))).unwrap_err();
    assert!(matches!(refused, longshore_apply::Error::SinkAstray { .. }), "{refused}");
    let kept = node.at("app.db-longshore-kept-1");
    assert_eq!(rows(&kept), "one,under way");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kept).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let facts = longshore_apply::Source::facts(&node.log());
    let mut sink = SqliteSink::of(Arc::clone(&database));
    assert_eq!(sink.open(&facts).unwrap(), None);
    assert!(
        sink.is_astray() && sink.held_image().unwrap().is_some(),
        "it says what it holds, so that the rest alone is sent"
    );
    assert!(app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).is_err(), "nobody reads it");
    assert!(!node.at("app.db-longshore-kept-2").exists(), "nothing was written since");
    // It takes all of a database, as the log's first run is.
    give_first_run(&node, &mut sink);
    assert!(!sink.is_astray());
    drop(sink);
    assert_eq!(rows(&node.at("app.db")), "one");
    node.apply(SqliteSink::of(Arc::clone(&database))).unwrap();
    assert!(is_busy(&insert(&app, "too late")));
    assert_same(&node.replay(), &contents(&app));
}

fn give_first_run(node: &Node, sink: &mut SqliteSink) {
    use longshore_apply::RunEnd;
    let mut reader = node.log().reader(Lsn::ZERO).unwrap();
    sink.begin_image().unwrap();
    let (mut first, mut records) = (None, 0);
    while let Some(record) = reader.next().unwrap() {
        if !record.kind.is_user() {
            continue;
        }
        sink.record(&record).unwrap();
        let start = *first.get_or_insert(record.start);
        records += 1;
        if record.flags.contains(longshore_format::Flags::LAST) {
            let end = RunEnd { start, lsn: record.end, crc: record.header_crc, time: record.time, records };
            sink.commit(&end).unwrap();
            break;
        }
    }
    sink.sync().and_then(|()| sink.finish()).unwrap();
}

/// A database that holds what no log does, in a log that another node wrote meanwhile and this one does now: nobody is left who
/// could send a whole one.
fn promoted_while_astray() -> (Node, Arc<LogDatabase>, Connection, Connection) {
    let mut node = Node::new();
    let (database, app, capturing) = captured(&node);
    capturing.stop().unwrap();
    node.fence(2);
    node.open(|directory| Wal::open_in_role(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap().0);
    insert(&app, "in no log").unwrap();
    let refused = node.apply(SqliteSink::of(Arc::clone(&database))).unwrap_err();
    assert!(matches!(refused, longshore_apply::Error::SinkAstray { .. }), "{refused}");
    // What the other wrote, as far as this log is concerned.
    node.promote(3);
    let other = node.app("other.db");
    other.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body)").unwrap();
    insert(&other, "of another").unwrap();
    node.capture_other();
    node.promote(4);
    (node, database, app, other)
}

#[test]
fn where_its_node_writes_the_log_what_no_log_holds_is_kept_and_the_rest_is_made_anew_from_the_log() {
    let (node, database, app, _other) = promoted_while_astray();
    let settings = CaptureSettings { database: Some(database), ..node.settings() };
    let mut capture = Capture::attach(&node.at("app.db"), node.log(), settings).unwrap();
    assert_eq!(rows(&node.at("app.db-longshore-kept-1")), "one,in no log");
    assert!(!node.at("app.db-longshore-kept-2").exists());
    assert_eq!(rows(&node.at("app.db")), "of another");
    app.busy_timeout(Duration::from_secs(10)).unwrap();
    insert(&app, "of the first again").unwrap();
    assert_eq!(drain(&mut capture), 1);
    assert_same(&node.replay(), &contents(&app));
}

#[test]
fn it_stays_as_it_is_where_the_log_was_trimmed_beyond_every_image() {
    let (node, database, app, other) = promoted_while_astray();
    for _ in 0..4 {
        other.execute_batch("INSERT INTO t (body) VALUES (randomblob(1 << 20))").unwrap();
    }
    node.capture_other();
    let (log, first) = (node.log(), node.log().first());
    log.wait_blocking(log.end(), None).unwrap();
    log.set_retention(Retention { keep_bytes: 0, ..log.retention() });
    eventually(|| {
        log.retain().unwrap();
        first.since(Lsn::ZERO) + (2 << 20) < log.first().since(Lsn::ZERO)
    });
    let settings = CaptureSettings { database: Some(Arc::clone(&database)), ..node.settings() };
    let end = log.end();
    let refused = Capture::attach(&node.at("app.db"), node.log(), settings).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Astray { .. }), "{refused}");
    assert_eq!(log.end(), end);
    assert!(is_busy(&insert(&app, "too late")), "nobody writes what nobody captures");
    assert_eq!(rows(&node.at("app.db-longshore-kept-1")), "one,in no log");
}

/// Fenced, and promoted again before anybody else wrote: what was written meanwhile is the difference.
#[test]
fn what_was_written_while_nobody_wrote_the_log_is_captured_once_it_is_written_here_again() {
    for (is_applied, restarts) in [(false, false), (false, true), (true, true)] {
        let mut node = Node::new();
        let (mut database, app, capturing) = captured(&node);
        app.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&app, "under way").unwrap();
        node.fence(2);
        app.execute_batch(if is_applied { "ROLLBACK" } else { "COMMIT" }).unwrap();
        eventually(|| capturing.status().fenced);
        capturing.stop().unwrap();
        if restarts {
            database = Arc::new(LogDatabase::of_an_application(node.at("app.db")));
        }
        if is_applied {
            let environment = Arc::new(SystemEnvironment);
            node.open(|directory| Wal::open_in_role(directory, environment, Settings::default()).unwrap().0);
            node.apply(SqliteSink::of(database)).unwrap();
            database = Arc::new(LogDatabase::of_an_application(node.at("app.db")));
        }
        if restarts {
            insert(&app, "while no agent ran").unwrap();
        }
        node.promote(3);
        let capturing = capture(&node, &database);
        app.busy_timeout(Duration::from_secs(10)).unwrap();
        insert(&app, "two").unwrap();
        capturing.catch_up(Duration::from_secs(10)).unwrap();
        capturing.stop().unwrap();
        assert_same(&node.replay(), &contents(&app));
        assert!(!node.at("app.db-longshore-kept-1").exists());
    }
}

/// While no agent runs nobody keeps an application out.
#[test]
fn a_database_that_was_written_while_nobody_kept_writers_out_is_astray() {
    for closes in [false, true] {
        let mut node = Node::new();
        let (database, app, capturing) = captured(&node);
        let mut app = Some(app);
        assert!(capturing.hold(Duration::from_secs(10)));
        node.fence(2);
        eventually(|| capturing.status().fenced);
        capturing.stop().unwrap();
        node.open(|directory| {
            Wal::open_in_role(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap().0
        });
        let left = || Arc::new(LogDatabase::of_an_application(node.at("app.db")));
        node.apply(SqliteSink::of(database)).unwrap();
        // The agent ends and begins again; nobody wrote, whether the application closes its database or not.
        if closes {
            app.take().unwrap().close().unwrap();
            assert!(!node.at("app.db-wal").exists());
        }
        node.apply(SqliteSink::of(left())).unwrap();
        assert!(!node.at("app.db-longshore-kept-1").exists());
        let app = app.unwrap_or_else(|| node.app("app.db"));
        app.busy_timeout(Duration::from_secs(10)).unwrap();
        insert(&app, "two").unwrap();
        if closes {
            app.close().unwrap();
        }
        // Where it cannot be kept it is not replaced.
        std::fs::create_dir(node.at("app.db-longshore-kept-new")).unwrap();
        let refused = node.apply(SqliteSink::of(left())).unwrap_err();
        assert!(refused.to_string().contains("-longshore-kept-new"), "{refused}");
        assert_eq!(rows(&node.at("app.db")), "one,two");
        std::fs::remove_dir(node.at("app.db-longshore-kept-new")).unwrap();
        let refused = node.apply(SqliteSink::of(left())).unwrap_err();
        assert!(matches!(refused, longshore_apply::Error::SinkAstray { .. }), "{refused}");
        assert_eq!(rows(&node.at("app.db-longshore-kept-1")), "one,two");
    }
}

/// What was written down in an earlier reign may be of a branch that ended. It is gone before the copy says that it is captured,
/// so that it is not believed where the agent dies before it writes that down anew.
#[test]
fn hashes_of_an_earlier_reign_are_not_believed() {
    let (mut node, another) = (with_a_copy_behind(), Node::new());
    node.promote(2);
    let position = std::fs::read(node.at("copy.db-longshore")).unwrap();
    std::fs::remove_file(node.at("copy.db-longshore")).unwrap();
    let holder = Capture::attach(&node.at("copy.db"), another.log(), another.settings()).unwrap();
    std::fs::write(node.at("copy.db-longshore"), position).unwrap();
    assert!(node.at("app.pages").exists());
    let settings = CaptureSettings { attach_within: Duration::ZERO, ..node.settings() };
    let failed = Capture::attach(&node.at("copy.db"), node.log(), settings).map(drop).unwrap_err();
    assert!(matches!(failed, Error::Guarded { .. }), "{failed}");
    assert_eq!(rows(&node.at("copy.db")), "one,two,three", "it is captured from here on");
    assert!(!node.at("app.pages").exists());
    drop(holder);
    let mut capture = node.attach("copy.db").unwrap();
    let copy = node.app("copy.db");
    insert(&copy, "four").unwrap();
    drain(&mut capture);
    assert_same(&node.replay(), &contents(&copy));
}

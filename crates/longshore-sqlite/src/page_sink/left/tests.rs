use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use longshore_apply::{Held, Sink};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::log_database::LogDatabase;
use crate::page_sink::{PageSink, State};
use crate::points::watch;
use crate::testing::{FACTS, Log, Primary, crash};

/// A primary, and a database that its log is applied to.
struct Place {
    dir: TempDir,
    primary: Primary,
    log: Log,
}

impl Place {
    /// With an application's database, which was replaced by a whole one.
    fn of_an_application(page_bytes: u32) -> (Place, PageSink) {
        let dir = tempfile::tempdir().unwrap();
        let mut primary = Primary::new(dir.path(), page_bytes);
        let app = Connection::open(dir.path().join("replica.db")).unwrap();
        let sql = format!("PRAGMA page_size = {page_bytes}; PRAGMA journal_mode = wal; CREATE TABLE mine (x)");
        app.execute_batch(&sql).unwrap();
        app.close().unwrap();
        let whole = primary.run("CREATE TABLE t (id INTEGER PRIMARY KEY, body)");
        let mut place = Place { dir, primary, log: Log::new() };
        let mut sink = opened(&place.replica());
        assert!(sink.is_astray());
        place.log.give(&mut sink, &whole).unwrap();
        sink.sync().unwrap();
        (place, sink)
    }

    fn replica(&self) -> PathBuf {
        self.dir.path().join("replica.db")
    }

    fn apply(&mut self, sink: &mut PageSink, sql: &str) {
        let run = self.primary.run(sql);
        self.log.give(sink, &run).unwrap();
        sink.sync().unwrap();
    }
}

fn opened(path: &Path) -> PageSink {
    let mut sink = PageSink::of(Arc::new(LogDatabase::of_an_application(path)));
    sink.open(&FACTS).unwrap();
    sink
}

fn frames(sink: &PageSink) -> u32 {
    match &sink.open.as_ref().unwrap().state {
        State::There { group, .. } => group.frames(),
        _ => panic!("it is there"),
    }
}

fn held(sink: &PageSink) -> Option<Held> {
    sink.open.as_ref().unwrap().durable
}

/// Some hundred frames.
fn fill(place: &mut Place, sink: &mut PageSink, page_bytes: u32) {
    place.apply(
        sink,
        &format!(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 150)
             INSERT OR REPLACE INTO t SELECT i, randomblob({}) FROM n",
            page_bytes / 4 * 3
        ),
    );
}

/// The process is killed, and with the last one that has it open the index of the `-wal` goes, which is made anew from the file.
#[test]
fn whatever_moment_it_is_killed_at_it_is_known_again() {
    // Of a thousand frames, at which it begins anew, and so long by then that it is made short.
    for page_bytes in [1024, 16384] {
        let (mut place, mut sink) = Place::of_an_application(page_bytes);
        let points: Rc<RefCell<Vec<String>>> = Rc::default();
        for _round in 0..2 {
            while frames(&sink) < 750 {
                fill(&mut place, &mut sink, page_bytes);
            }
            let (reached, dir, replica) = (Rc::clone(&points), place.dir.path().to_owned(), place.replica());
            watch(Some(Box::new(move |point| {
                let mut reached = reached.borrow_mut();
                reached.push(point.to_owned());
                let copy = dir.join("copy");
                crash(&replica, &copy);
                let sink = opened(&copy.join("replica.db"));
                assert!(!sink.is_astray(), "nobody wrote it: {reached:?}, with pages of {page_bytes} bytes");
                drop(sink);
                std::fs::remove_dir_all(&copy).unwrap();
            })));
            while frames(&sink) != 0 {
                fill(&mut place, &mut sink, page_bytes);
            }
            place.apply(&mut sink, "INSERT INTO t (body) VALUES (1)");
            watch(None);
        }
        for point in POINTS {
            assert!(points.borrow().iter().any(|reached| reached == point), "{point} in {:?}", points.borrow());
        }
        sink.finish().unwrap();
        drop(sink);
        assert_eq!(held(&opened(&place.replica())), place.log.held);
    }
}

const POINTS: [&str; 6] = [
    "an intent is written",
    "the -wal has another header",
    "frames are written",
    "a group is committed",
    "the -wal is copied back",
    "the -wal begins anew",
];

/// A reader that has it open keeps the index of its `-wal`, whoever is killed.
#[test]
fn a_wal_that_has_begun_anew_and_was_not_written_is_known_again() {
    for page_bytes in [1024, 16384] {
        let (mut place, mut sink) = Place::of_an_application(page_bytes);
        let reader = Connection::open(place.replica()).unwrap();
        reader.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        loop {
            fill(&mut place, &mut sink, page_bytes);
            if frames(&sink) == 0 {
                break;
            }
        }
        for _killed in 0..2 {
            drop(sink);
            sink = opened(&place.replica());
            assert!(!sink.is_astray());
            assert_eq!(held(&sink), place.log.held);
            // And where the index goes after all.
            let copy = place.dir.path().join("copy");
            crash(&place.replica(), &copy);
            assert!(!opened(&copy.join("replica.db")).is_astray());
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
}

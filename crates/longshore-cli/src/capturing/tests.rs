//! What an agent makes of its captures: which it begins, which end it, and what is measured of them.

use std::sync::mpsc::channel;
use std::time::Instant;

use longshore::{Content, Durability, Kind, Settings};
use metrics_exporter_prometheus::PrometheusBuilder;
use rusqlite::Connection;

use super::*;

struct Site {
    dir: tempfile::TempDir,
    node: Node,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::primary(dir.path().join("data"), &Settings::default()).unwrap();
        node.create_log("app", Content::SqlitePages).unwrap();
        Site { dir, node }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn write(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS rows (id)").unwrap();
        connection
    }

    fn database(&self) -> Arc<Database> {
        Database::of_an_application(&self.path(), &self.node, "app", self.dir.path(), Meant::TheSame).unwrap()
    }

    fn next(&self, database: &Database) -> Result<Arc<dyn Captured>, longshore::Error> {
        let log = self.node.log("app").unwrap();
        database.next(log.name(), log.wal())
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_person_must_look_at_ends_the_agent_whoever_looks_first() {
    let site = Site::new();
    drop(site.write());
    let database = site.database();
    let first = site.next(&database).unwrap();
    for ending in ["", "-wal", "-shm"] {
        let _none = std::fs::remove_file(format!("{}{ending}", site.path().display()));
    }
    until("the capture to end", || first.has_ended());
    let error = first.end().unwrap_err();
    drop(site.write());
    assert!(site.next(&database).is_err(), "another is begun, and nobody hears of the first");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failure = runtime.block_on(failed(&[database]));
    assert_eq!((failure.kind(), failure.message()), (error.kind(), &*error.to_string()));
}

#[test]
fn a_mark_comes_after_what_was_committed_before_it() {
    let site = Site::new();
    let writer = site.write();
    let database = site.database();
    database.keep(&site.node, Some("app")).unwrap();
    let primary = site.node.log("app").unwrap();
    until("the capture to begin", || primary.status().sinks.iter().any(|sink| sink.captured));
    for number in 0..20 {
        let mut read = primary.wal().reader(primary.end()).unwrap();
        writer.execute("INSERT INTO rows VALUES (?)", [number]).unwrap();
        primary
            .mark(&format!("row-{number}"))
            .unwrap()
            .wait_blocking(Durability::LOCAL, Duration::from_secs(30))
            .unwrap();
        let first = read.next().unwrap().unwrap();
        assert_eq!(first.kind, Kind::USER, "the mark came before row {number}");
    }
}

#[test]
fn a_capture_that_ended_keeps_its_counts_and_nothing_else() {
    let site = Site::new();
    let _writer = site.write();
    let database = site.database();
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let measured = |name: &str| {
        metrics::with_local_recorder(&recorder, || look(std::slice::from_ref(&database)));
        let text = handle.render();
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("longshore_capture_{name}{{log=\"app\"}} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<f64>().unwrap()
    };
    assert!(0.0 < measured("wal_bytes"));
    let pages = measured("pages_total");
    database.running().unwrap().end().unwrap();
    for name in ["wal_bytes", "pinned_seconds", "longest_hold_seconds", "fenced", "paused"] {
        assert_eq!(measured(name), 0.0, "{name}");
    }
    assert!(0.0 < pages && pages <= measured("pages_total"));
}

#[test]
fn who_looks_for_long_keeps_nobody_from_looking_while_it_is_ended() {
    let site = Site::new();
    let _writer = site.write();
    let capture = site.database().running().unwrap();
    let (looks, hear) = channel();
    let (go_on, waits) = channel::<()>();
    let (slow, ends, other) = (Arc::clone(&capture), Arc::clone(&capture), capture);
    let slow = std::thread::spawn(move || {
        slow.look(|_| {
            looks.send(()).unwrap();
            waits.recv()
        })
    });
    hear.recv().unwrap();
    let ends = std::thread::spawn(move || ends.end());
    let (saw, hear) = channel();
    std::thread::spawn(move || {
        until("the capture to be taken", || other.status().is_none());
        saw.send(())
    });
    hear.recv_timeout(Duration::from_secs(10)).expect("whoever asks how it goes is told");
    ends.join().unwrap().unwrap();
    go_on.send(()).unwrap();
    slow.join().unwrap();
}

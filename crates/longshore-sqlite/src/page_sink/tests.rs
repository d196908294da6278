mod conforms;
mod crashes;
mod equal;
mod images;
mod measures;
mod readers;
mod refused;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use longshore_apply::conformance::{self, Subject};
use longshore_apply::{DatabaseImage, Snapshotter};
use longshore_format::ErrorKind;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::*;
use crate::ReplicaSnapshotter;
use crate::pages::{Commit, Form, KIND, PageSize, RunWriter, WalPlace, patch_between};
use crate::testing::{FACTS, Log, MAX_PAYLOAD, Payloads, Primary, crash, dump, run_between};

struct Place {
    dir: TempDir,
    primary: Primary,
    log: Log,
}

impl Place {
    fn new(page_bytes: u32) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let primary = Primary::new(dir.path(), page_bytes);
        Place { dir, primary, log: Log::new() }
    }

    fn replica(&self) -> PathBuf {
        self.dir.path().join("replica.db")
    }

    fn sink(&self) -> PageSink {
        self.sink_of(PageSink::new(self.replica()))
    }

    fn sink_of(&self, mut sink: PageSink) -> PageSink {
        assert_eq!(sink.open(&FACTS).unwrap(), self.log.held);
        sink
    }

    /// A primary with a table of a counter and rows that sum up to it, and a replica of it.
    fn counting(page_bytes: u32) -> (Place, PageSink) {
        let mut place = Place::new(page_bytes);
        let mut sink = place.sink();
        place.apply(
            &mut sink,
            "CREATE TABLE counter (n); INSERT INTO counter VALUES (0);
             CREATE TABLE t (id INTEGER PRIMARY KEY, n, pad); CREATE INDEX by_n ON t (n)",
        );
        (place, sink)
    }

    /// One transaction, applied and durable.
    fn apply(&mut self, sink: &mut PageSink, sql: &str) {
        let run = self.primary.run(sql);
        self.give(sink, &run);
        sink.sync().unwrap();
    }

    fn give(&mut self, sink: &mut PageSink, run: &[Vec<u8>]) {
        self.log.give(sink, run).unwrap();
    }

    fn check_equal(&self) {
        let replica = Connection::open(self.replica()).unwrap();
        assert!(dump(&replica) == dump(&self.primary.db), "the dumps differ");
    }

    /// Page for page, once nobody has the replica open.
    fn check_same_pages(&self) {
        self.check_equal();
        let size = PageSize::new(self.primary.db.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap());
        let (bytes, ours, theirs) =
            (size.unwrap().bytes(), std::fs::read(self.replica()).unwrap(), self.primary.image());
        assert_eq!(ours.len(), theirs.len());
        for (number, (ours, theirs)) in (1..).zip(ours.chunks(bytes).zip(theirs.chunks(bytes))) {
            assert_eq!(page_hash(number, ours), page_hash(number, theirs), "page {number}");
        }
    }
}

/// What the counter says after `n`.
fn count(n: u64) -> String {
    format!(
        "UPDATE counter SET n = {n}; INSERT INTO t (n, pad) VALUES ({n}, hex(randomblob(300)));
         UPDATE t SET n = n + 1, pad = hex(randomblob(20)) WHERE id = abs(random()) % {n} + 1;
         DELETE FROM t WHERE id IN (SELECT id FROM t WHERE {n} % 40 = 0 ORDER BY random() LIMIT 30);
         UPDATE t SET n = n + (SELECT counter.n FROM counter) - (SELECT sum(n) FROM t)
         WHERE id = (SELECT max(id) FROM t)"
    )
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn commit(pages: u32) -> Commit {
    Commit { pages, place: WalPlace::default() }
}

fn sink_at(path: &Path) -> PageSink {
    let mut sink = PageSink::new(path);
    sink.open(&FACTS).unwrap();
    sink
}

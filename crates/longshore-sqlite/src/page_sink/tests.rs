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
use crate::pages::{Form, PageSize, RunWriter, WalPlace, patch_between};
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

#[test]
fn a_replica_equals_its_primary_at_every_page_size() {
    for bytes in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        let (mut place, mut sink) = Place::counting(bytes);
        for n in 1..60 {
            let run = place.primary.run(&count(n));
            place.give(&mut sink, &run);
            if n % 7 == 0 {
                sink.sync().unwrap();
                place.check_equal();
            }
        }
        sink.finish().unwrap();
        drop(sink);
        place.check_same_pages();
    }
}

#[test]
fn a_replica_follows_schema_changes_vacuum_and_shrinking() {
    let (mut place, mut sink) = Place::counting(1024);
    for n in 1..300 {
        let run = place.primary.run(&count(n));
        place.give(&mut sink, &run);
    }
    sink.sync().unwrap();
    place.apply(&mut sink, "CREATE TABLE more AS SELECT * FROM t; ALTER TABLE more ADD COLUMN extra DEFAULT 5");
    place.check_equal();
    let before = place.primary.image().len();
    place.primary.db.execute_batch("DELETE FROM t WHERE id > 10; DROP TABLE more; VACUUM").unwrap();
    let run = place.primary.ship();
    assert!(place.primary.image().len() * 2 < before, "it shrank");
    place.give(&mut sink, &run);
    sink.sync().unwrap();
    place.check_equal();
    // And grows again, in one group with another shrink.
    let run = place.primary.run("CREATE TABLE big AS SELECT zeroblob(70000) AS x, t.* FROM t");
    place.give(&mut sink, &run);
    place.primary.db.execute_batch("DROP TABLE big; VACUUM").unwrap();
    let run = place.primary.ship();
    place.give(&mut sink, &run);
    let run = place.primary.run("CREATE TABLE big AS SELECT zeroblob(70000) AS x, t.* FROM t");
    place.give(&mut sink, &run);
    sink.finish().unwrap();
    place.check_equal();
    drop(sink);
    place.check_same_pages();
}

#[test]
fn auto_vacuum_full_text_and_large_blobs_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::new(dir.path(), 4096);
    primary.db.execute_batch("PRAGMA auto_vacuum = 1; VACUUM").unwrap();
    let mut place = Place { dir, primary, log: Log::new() };
    let mut sink = place.sink();
    place.apply(&mut sink, "CREATE VIRTUAL TABLE notes USING fts5(body); CREATE TABLE blobs (x)");
    for n in 0..30 {
        place.apply(&mut sink, &format!("INSERT INTO notes VALUES ('anchor {n} rope'), ('sail {n} mast')"));
    }
    place.apply(&mut sink, "INSERT INTO blobs VALUES (randomblob(10 << 20)), (zeroblob(10 << 20))");
    place.apply(&mut sink, "DELETE FROM notes WHERE notes MATCH 'sail'; INSERT INTO notes (notes) VALUES ('optimize')");
    place.check_equal();
    let found: i64 = Connection::open(place.replica())
        .unwrap()
        .query_row("SELECT count(*) FROM notes WHERE notes MATCH 'anchor'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, 30);
    place.apply(&mut sink, "DELETE FROM blobs WHERE rowid = 1");
    sink.finish().unwrap();
    drop(sink);
    place.check_same_pages();
}

#[test]
fn readers_see_whole_transactions_and_never_go_back() {
    let (mut place, mut sink) = Place::counting(4096);
    let path = place.replica();
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Some open anew each time, some stay, one sits in each transaction for a while.
        for kind in 0..3 {
            let (path, stop, reads) = (&path, &stop, &reads);
            scope.spawn(move || {
                let open = || {
                    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
                    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
                    db
                };
                let (mut db, mut last) = (open(), 0);
                while !stop.load(Ordering::Relaxed) {
                    if kind == 0 {
                        db = open();
                    }
                    let transaction = db.unchecked_transaction().unwrap();
                    let one = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
                    let n = one("SELECT n FROM counter");
                    if kind == 2 {
                        std::thread::sleep(std::time::Duration::from_millis(30));
                    }
                    assert_eq!(one("SELECT coalesce(sum(n), 0) FROM t NOT INDEXED"), n, "a sum of one transaction");
                    assert_eq!(one("SELECT coalesce(sum(n), 0) FROM t INDEXED BY by_n"), n, "its index, too");
                    assert!(last <= n, "{last}, then {n}");
                    last = n;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let stopping = Stop(&stop);
        for n in 1..1500 {
            let run = place.primary.run(&count(n));
            place.give(&mut sink, &run);
            if n % 3 == 0 {
                sink.sync().unwrap();
            }
        }
        sink.finish().unwrap();
        drop(stopping);
    });
    assert!(reads.load(Ordering::Relaxed) > 50);
    place.check_equal();
    let wal = std::fs::metadata(crate::sidecar::beside(&place.replica(), "-wal")).unwrap().len();
    assert!(wal < 32 << 20, "the -wal stays bounded while readers come and go: {wal}");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_stray_writer_is_told_that_the_database_is_busy() {
    let (mut place, mut sink) = Place::counting(4096);
    let stray = Connection::open(place.replica()).unwrap();
    stray.busy_timeout(std::time::Duration::ZERO).unwrap();
    for n in 1..4 {
        place.apply(&mut sink, &count(n));
        for sql in ["BEGIN IMMEDIATE", "INSERT INTO counter VALUES (7)", "PRAGMA journal_mode = delete", "VACUUM"] {
            let error = stray.query_row(sql, [], |_| Ok(())).unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{sql}: {error}");
        }
        // A checkpoint of theirs may copy, and not begin the -wal anew.
        stray.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    place.check_equal();
    let busy = PageSink::new(place.replica()).open(&FACTS).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "nor is there a second sink: {busy}");
    drop(sink);
    stray.execute_batch("INSERT INTO counter VALUES (7)").expect("afterwards it is an ordinary database");
}

/// A process that is killed leaves some moment of the files; wherever that is, the next one goes on.
#[test]
fn a_crash_at_any_step_leaves_a_position_that_fits() {
    let (mut place, mut sink) = Place::counting(4096);
    for n in 1..5 {
        place.apply(&mut sink, &count(n));
    }
    let before = (place.log.clone(), place.primary.image());
    let sidecar_before = std::fs::read(Sidecar::path_of(&place.replica())).unwrap();
    let wal = crate::sidecar::beside(&place.replica(), "-wal");
    let wal_before = std::fs::metadata(&wal).unwrap().len();
    // Two runs in one group, one page of which goes there and back.
    let runs = [place.primary.run(&count(5)), place.primary.run(&count(6))];
    for run in &runs {
        place.give(&mut sink, run);
    }
    sink.sync().unwrap();
    let wal_after = std::fs::metadata(&wal).unwrap().len();
    assert!(wal_before + 3 * 4120 <= wal_after);
    let expected = dump(&place.primary.db);

    // Intent or not, and as much of the transaction as you like.
    let mut seen = [0, 0];
    let cuts = (wal_before..wal_after).step_by(1373).chain([wal_after - 1, wal_after]);
    for (number, (cut, has_intent)) in cuts.flat_map(|cut| [(cut, true), (cut, false)]).enumerate() {
        if !has_intent && cut == wal_after {
            continue; // The order forbids it; see the next test.
        }
        let copy = place.dir.path().join(format!("crash{number}"));
        crash(&place.replica(), &copy);
        let copy = copy.join("replica.db");
        std::fs::File::options().write(true).open(crate::sidecar::beside(&copy, "-wal")).unwrap().set_len(cut).unwrap();
        if !has_intent {
            std::fs::write(Sidecar::path_of(&copy), &sidecar_before).unwrap();
        }
        let mut sink = PageSink::new(&copy);
        let held = sink.open(&FACTS).unwrap();
        let is_after = has_intent && cut == wal_after;
        assert_eq!(held, if is_after { place.log.held } else { before.0.held }, "cut at {cut}, intent {has_intent}");
        seen[usize::from(is_after)] += 1;
        if !is_after {
            let mut log = before.0.clone();
            for run in &runs {
                log.give(&mut sink, run).unwrap();
            }
            sink.finish().unwrap();
        }
        assert!(dump(&Connection::open(&copy).unwrap()) == expected);
    }
    assert!(seen[0] > 4 && seen[1] == 1, "{seen:?}");
}

#[test]
fn a_position_that_is_older_than_the_database_is_noticed_and_nothing_written() {
    let (mut place, mut sink) = Place::counting(4096);
    let path = Sidecar::path_of(&place.replica());
    place.apply(&mut sink, &count(1));
    let old = std::fs::read(&path).unwrap();
    for n in 2..5 {
        place.apply(&mut sink, &count(n));
    }
    sink.finish().unwrap();
    drop(sink);
    let (before, new) = (std::fs::read(place.replica()).unwrap(), std::fs::read(&path).unwrap());
    std::fs::write(&path, &old).unwrap();
    let error = PageSink::new(place.replica()).open(&FACTS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(error.to_string().contains("delete it"), "{error}");

    std::fs::remove_file(&path).unwrap();
    let error = PageSink::new(place.replica()).open(&FACTS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert!(error.to_string().contains("replica.db-longshore"), "{error}");

    std::fs::write(&path, [0; 8192]).unwrap();
    assert_eq!(PageSink::new(place.replica()).open(&FACTS).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(before == std::fs::read(place.replica()).unwrap());
    std::fs::write(&path, &new).unwrap();
    place.sink();
}

#[test]
fn a_difference_of_another_page_is_refused_with_the_place_and_never_written() {
    let (mut place, mut sink) = Place::counting(4096);
    place.apply(&mut sink, &count(1));
    let lost = place.primary.run(&count(2));
    let next = place.primary.run(&count(3));
    let before = dump(&Connection::open(place.replica()).unwrap());
    let mut log = place.log.clone();
    let error = log.give(&mut sink, &next).unwrap_err();
    assert_eq!(error.failure(), Failure::Diverged);
    let message = error.to_string();
    for part in ["replica.db", "page ", &format!("position {}", log.at), "delete it"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    sink.sync().unwrap();
    assert!(dump(&Connection::open(place.replica()).unwrap()) == before);
    // The runs in their order are still taken, also twice.
    for run in [&lost, &lost, &next, &next] {
        place.give(&mut sink, run);
    }
    sink.finish().unwrap();
    place.check_equal();
}

#[test]
fn a_run_larger_than_memory_is_one_transaction() {
    for fails in [false, true] {
        let mut place = Place::new(4096);
        let mut sink = place.sink_of(PageSink::new(place.replica()).with_limit(32));
        place.apply(&mut sink, "CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (0, 0)");
        let small = place.primary.run("UPDATE t SET x = 1");
        let before = dump(&place.primary.db);
        let large = place.primary.run("UPDATE t SET x = 2; INSERT INTO t (x) SELECT randomblob(9000) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50]')");
        assert!(large.len() > 3);
        place.give(&mut sink, &small);
        let reader = Connection::open(place.replica()).unwrap();
        if fails {
            let held = place.log.held;
            let mut log = place.log.clone();
            log.begin(&mut sink, &large[..large.len() - 1]).unwrap();
            let group = match &sink.open.as_ref().unwrap().state {
                State::There { group, .. } => group,
                _ => unreachable!(),
            };
            assert!(group.waiting() <= 33, "memory is bounded: {}", group.waiting());
            assert!(dump(&reader) == before, "nobody sees a part of it");
            let copy = place.dir.path().join("crash");
            crash(&place.replica(), &copy);
            assert_eq!(PageSink::new(copy.join("replica.db")).open(&FACTS).unwrap(), held);
            assert!(dump(&Connection::open(copy.join("replica.db")).unwrap()) == before);
            // The run that comes instead is taken, whatever is left of that one.
            log.begin(&mut sink, &[b"no record".to_vec()]).unwrap_err();
            sink.sync().unwrap();
            assert_eq!(sink.durable(), held.map(|held| held.lsn));
        }
        place.give(&mut sink, &large);
        assert_eq!(sink.durable(), place.log.held.map(|held| held.lsn), "a large one is durable at once");
        assert!(dump(&reader) == dump(&place.primary.db));
        place.apply(&mut sink, "DELETE FROM t WHERE id % 2 = 1");
        sink.finish().unwrap();
        drop((sink, reader));
        place.check_same_pages();
    }
}

#[test]
fn a_whole_database_replaces_what_differs_under_readers() {
    let (mut place, mut sink) = Place::counting(1024);
    for n in 1..100 {
        place.apply(&mut sink, &count(n));
    }
    let reader = Connection::open(place.replica()).unwrap();
    let transaction = reader.unchecked_transaction().unwrap();
    let before = dump(&transaction);
    // Changes that the replica is never given, both ways: longer, then shorter.
    for sql in ["CREATE TABLE u AS SELECT randomblob(90000) AS x", "DROP TABLE u; DELETE FROM t WHERE id > 50; VACUUM"]
    {
        place.primary.db.execute_batch(sql).unwrap();
        let run = place.primary.ship_whole();
        place.give(&mut sink, &run);
        sink.sync().unwrap();
        place.check_equal();
        assert!(dump(&transaction) == before, "a reader keeps what it saw");
    }
    drop(transaction);
    let frames = match &sink.open.as_ref().unwrap().state {
        State::There { group, .. } => group.frames(),
        _ => unreachable!(),
    };
    let run = place.primary.ship_whole();
    place.give(&mut sink, &run);
    sink.finish().unwrap();
    match &sink.open.as_ref().unwrap().state {
        State::There { group, .. } => assert_eq!(group.frames(), frames, "equal pages are not written"),
        _ => unreachable!(),
    }
    drop((reader, sink));
    place.check_same_pages();
}

#[test]
fn what_a_sink_cannot_take_is_refused_with_what_to_do() {
    let (mut place, mut sink) = Place::counting(4096);
    sink.finish().unwrap();
    drop(sink);
    let other = LogFacts { id: LogId::from_bytes([8; 16]), ..FACTS };
    let error = PageSink::new(place.replica()).open(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
    for content in [Content::Sql, Content::Bytes] {
        let error = PageSink::new(place.replica()).open(&LogFacts { content, ..FACTS }).unwrap_err();
        assert_eq!(error.failure(), Failure::Content);
        assert!(error.to_string().contains("SqliteSink"), "{error}");
    }
    let image = place.primary.image();
    let mut sink = place.sink();
    let wrong: [(Payloads, ErrorKind, &str); 5] = [
        (run_between(None, &image, PageSize::new(2048).unwrap()), ErrorKind::Diverged, "delete it"),
        (
            vec![RunWriter::changes(PageSize::new(4096).unwrap(), MAX_PAYLOAD).finish(commit(0))],
            ErrorKind::Invalid,
            "no page",
        ),
        (vec![b"".to_vec()], ErrorKind::Invalid, "shorter"),
        (vec![beyond()], ErrorKind::Invalid, "page 9"),
        (vec![beyond(), beyond()], ErrorKind::Invalid, "after the last"),
    ];
    for (run, kind, part) in wrong {
        let error = place.log.clone().give(&mut sink, &run).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    let error = Log::new().give(&mut sink_at(&place.dir.path().join("none.db")), &[beyond()]).unwrap_err();
    assert!(error.to_string().contains("does not begin with all of it"), "{error}");
    place.apply(&mut sink, &count(1));
    place.check_equal();
}

fn sink_at(path: &Path) -> PageSink {
    let mut sink = PageSink::new(path);
    sink.open(&FACTS).unwrap();
    sink
}

fn commit(pages: u32) -> Commit {
    Commit { pages, place: WalPlace::default() }
}

/// A run that changes a page beyond its own end.
fn beyond() -> Vec<u8> {
    let mut writer = RunWriter::changes(PageSize::new(4096).unwrap(), MAX_PAYLOAD);
    writer.add(9, Form::Whole, &patch_between(&[0; 4096], &[1; 4096]));
    writer.finish(commit(2))
}

#[test]
fn a_position_without_a_database_means_nothing() {
    let (mut place, mut sink) = Place::counting(4096);
    place.apply(&mut sink, &count(1));
    // What a crash leaves when somebody deletes the database alone: its -wal must not come back in the next one.
    let copy = place.dir.path().join("crash");
    crash(&place.replica(), &copy);
    let copy = copy.join("replica.db");
    std::fs::remove_file(&copy).unwrap();
    let mut sink = PageSink::new(&copy);
    assert_eq!(sink.open(&FACTS).unwrap(), None);
    place.primary.db.execute_batch("DROP TABLE t").unwrap();
    Log::new().give(&mut sink, &place.primary.ship_whole()).unwrap();
    sink.finish().unwrap();
    assert!(dump(&Connection::open(&copy).unwrap()) == dump(&place.primary.db));
}

/// SQLite would find the frame from before, and an overflow page may well be nothing but zeros.
#[test]
fn a_page_of_zeros_that_comes_again_after_a_shrink_is_zeros() {
    let (mut place, mut sink) = Place::counting(4096);
    let size = PageSize::new(4096).unwrap();
    let last = (place.primary.image().len() / 4096) as u32;
    let run = |change: Option<u8>, pages| {
        let mut writer = RunWriter::changes(size, MAX_PAYLOAD);
        if let Some(byte) = change {
            writer.add(last + 1, Form::Whole, &patch_between(&[0; 4096], &[byte; 4096]));
        }
        vec![writer.finish(commit(pages))]
    };
    for run in [run(Some(7), last + 1), run(None, last), run(Some(0), last + 1)] {
        place.give(&mut sink, &run);
        sink.sync().unwrap();
    }
    sink.finish().unwrap();
    drop(sink);
    let bytes = std::fs::read(place.replica()).unwrap();
    assert_eq!(bytes.len(), 4096 * (last as usize + 1));
    assert!(bytes[4096 * last as usize..].iter().all(|byte| *byte == 0));
}

/// The suite's numbers, as rows of a primary whose transactions come when a run is complete.
struct Numbers {
    dir: TempDir,
    primary: Arc<Mutex<Images>>,
}

/// The images of a database that holds the numbers below `n`.
struct Images {
    db: Connection,
    path: PathBuf,
    next: u64,
    images: HashMap<u64, Vec<u8>>,
}

/// Keeps a run's numbers until it is complete.
struct Translating {
    sink: PageSink,
    primary: Arc<Mutex<Images>>,
    run: Vec<(u64, Lsn, Lsn)>,
}

impl Images {
    fn of(&mut self, n: u64) -> Vec<u8> {
        while self.next < n {
            self.db.execute("INSERT INTO numbers VALUES (?1)", [self.next as i64]).unwrap();
            self.next += 1;
        }
        let (db, path) = (&self.db, &self.path);
        let image = self.images.entry(n).or_insert_with(|| {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            std::fs::read(path).unwrap()
        });
        image.clone()
    }
}

impl Translating {
    fn payloads(&self) -> Payloads {
        let (first, last) = (self.run[0].0, self.run.last().unwrap().0);
        let mut primary = self.primary.lock().unwrap();
        let before = (first > 0).then(|| primary.of(first));
        run_between(before.as_deref(), &primary.of(last + 1), PageSize::new(4096).unwrap())
    }
}

impl Sink for Translating {
    fn name(&self) -> String {
        self.sink.name()
    }
    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        self.sink.open(log)
    }
    fn begin(&mut self) -> Result<(), SinkError> {
        self.run.clear();
        self.sink.begin()
    }
    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let number = u64::from_le_bytes(record.payload.try_into().unwrap());
        self.run.push((number, record.start, record.end));
        Ok(())
    }
    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        for payload in &self.payloads() {
            let (_, start, end) = self.run[0];
            let flags = longshore_format::Flags::NONE;
            let record = Record { start, end, kind: KIND, flags, time: 1, durable: None, header_crc: 0, payload };
            self.sink.record(&record)?;
        }
        self.sink.commit(run)
    }
    fn sync(&mut self) -> Result<(), SinkError> {
        self.sink.sync()
    }
    fn durable(&self) -> Option<Lsn> {
        self.sink.durable()
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(run) = self.run.last().filter(|_| self.sink.open.as_ref().unwrap().run.page == 0)
            && self.primary.lock().unwrap().next <= run.0
        {
            // Ended inside a run: the part that came is given as far as it goes.
            let payload = &self.payloads()[0];
            let (_, start, end) = self.run[0];
            let flags = longshore_format::Flags::NONE;
            self.sink.record(&Record {
                start,
                end,
                kind: KIND,
                flags,
                time: 1,
                durable: None,
                header_crc: 0,
                payload,
            })?;
        }
        self.sink.finish()
    }
}

impl Subject for Numbers {
    fn sink(&mut self) -> Box<dyn Sink> {
        let sink = PageSink::new(self.dir.path().join("replica.db"));
        Box::new(Translating { sink, primary: self.primary.clone(), run: Vec::new() })
    }
    fn content(&self) -> Content {
        Content::SqlitePages
    }
    fn foreign_content(&self) -> Option<Content> {
        Some(Content::Sql)
    }
    fn payload(&self, n: u64) -> Vec<u8> {
        n.to_le_bytes().to_vec()
    }
    fn stored(&mut self) -> Vec<u64> {
        let path = self.dir.path().join("replica.db");
        let Ok(db) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return Vec::new() };
        let mut numbers = db.prepare("SELECT n FROM numbers ORDER BY rowid").unwrap();
        numbers.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|n| n.unwrap() as u64).collect()
    }
}

#[test]
fn a_database_of_pages_conforms() {
    conformance::check(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("primary.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA journal_mode=wal; PRAGMA synchronous=off; CREATE TABLE numbers (n INTEGER UNIQUE)")
            .unwrap();
        let images = Images { db, path, next: 0, images: HashMap::new() };
        Numbers { dir, primary: Arc::new(Mutex::new(images)) }
    });
}

/// `cargo test -p longshore-sqlite --lib -- --ignored --nocapture how_fast`
#[test]
#[ignore = "measures"]
fn how_fast_small_transactions_are_applied() {
    let (mut place, mut sink) = Place::counting(4096);
    let rows = format!("SELECT 0, hex(randomblob(300)) FROM json_each('[{}1]')", "1,".repeat(20_000));
    place.apply(&mut sink, &format!("INSERT INTO t (n, pad) {rows}"));
    for group in [1, 10, 100] {
        let small = |n| format!("UPDATE t SET n = n + 1 WHERE id = {n} * 17; UPDATE counter SET n = {n}");
        let runs: Vec<Payloads> = (1..1000).map(|n| place.primary.run(&small(n))).collect();
        let begun = std::time::Instant::now();
        for (n, run) in (1..).zip(&runs) {
            place.give(&mut sink, run);
            if n % group == 0 {
                sink.sync().unwrap();
            }
        }
        sink.sync().unwrap();
        let rate = runs.len() as f64 / begun.elapsed().as_secs_f64();
        println!("groups of {group}: {rate:.0} transactions/s");
    }
}

/// Beside `cp` and a sync of the same database.
#[test]
#[ignore = "measures"]
fn how_fast_a_whole_database_is_restored() {
    let mut place = Place::new(4096);
    place.primary.db.execute_batch("CREATE TABLE t (x)").unwrap();
    for _ in 0..40 {
        place.primary.db.execute("INSERT INTO t VALUES (randomblob(10 << 20))", []).unwrap();
    }
    let run = place.primary.ship_whole();
    let time = |work: &mut dyn FnMut()| {
        let begun = std::time::Instant::now();
        work();
        begun.elapsed()
    };
    for _ in 0..3 {
        let copy = place.dir.path().join("copy.db");
        let copied = time(&mut || {
            std::fs::copy(place.dir.path().join("primary.db"), &copy).unwrap();
            std::fs::File::open(&copy).unwrap().sync_all().unwrap();
        });
        std::fs::remove_file(&copy).unwrap();
        let partial = place.dir.path().join("restored.db.partial");
        let restored = time(&mut || {
            let mut sink = sink_at(&partial);
            Log::new().give(&mut sink, &run).unwrap();
            sink.finish().unwrap();
        });
        let completed = time(&mut || {
            longshore_apply::FileOutput::complete(&crate::SqliteOutput, &partial, longshore_apply::Check::Quick)
                .unwrap();
        });
        std::fs::remove_file(&partial).unwrap();
        println!("cp and sync {copied:?}, restored {restored:?}, checked {completed:?}");
    }
}

/// What the other process of the next test does: reads until it is killed, and says on what it insists.
#[test]
#[ignore = "is run by the next test"]
fn another_process() {
    let Some(path) = std::env::var_os("LONGSHORE_TEST_REPLICA") else { return };
    let db = Connection::open(path).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let mut last = 0;
    println!("\nready");
    loop {
        let transaction = db.unchecked_transaction().unwrap();
        let one = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let n = one("SELECT n FROM counter");
        assert_eq!((one("SELECT sum(n) FROM t NOT INDEXED"), one("SELECT sum(n) FROM t INDEXED BY by_n")), (n, n));
        assert!(last <= n, "{last}, then {n}");
        last = n;
        drop(transaction);
        if n % 5 == 0 {
            db.busy_timeout(std::time::Duration::ZERO).unwrap();
            let error = db.execute_batch("INSERT INTO counter VALUES (1)").unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
            db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        }
        println!("{n}");
    }
}

/// Their locks are another matter than those of connections in one process.
#[test]
fn another_process_reads_whole_transactions_and_cannot_write() {
    use std::io::{BufRead, BufReader};
    let (mut place, mut sink) = Place::counting(4096);
    place.apply(&mut sink, &count(1));
    for round in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["page_sink::tests::another_process", "--exact", "--ignored", "--nocapture"])
            .env("LONGSHORE_TEST_REPLICA", place.replica())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "ready"), "it has begun");
        let (from, to) = (2 + round * 200, 202 + round * 200);
        for n in from..to {
            let run = place.primary.run(&count(n));
            place.give(&mut sink, &run);
            sink.sync().unwrap();
        }
        assert!(lines.any(|line| line == (to - 1).to_string()), "it saw the last one, and nothing wrong before");
        // In whatever it is doing, with whatever lock it has.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    sink.finish().unwrap();
    drop(sink);
    place.check_same_pages();
}

/// The runs of a directory with a file for each payload, and the log as it is after each.
fn runs_in(directory: &Path) -> Vec<Payloads> {
    let payload = |run: usize, n: usize| std::fs::read(directory.join(format!("{run}.{n}"))).ok();
    let run = |run| (0..).map_while(|n| payload(run, n)).collect::<Payloads>();
    (0..).map(run).take_while(|run| !run.is_empty()).collect()
}

/// Which run follows the one that ends at what a sink holds.
fn after(held: Option<Held>, runs: &[Payloads], log: &mut Log) -> usize {
    let mut at = 0;
    while log.held != held {
        log.pass(&runs[at]);
        at += 1;
    }
    at
}

/// What the next test kills.
#[test]
#[ignore = "is run by the next test"]
fn a_process_that_applies() {
    let Some(directory) = std::env::var_os("LONGSHORE_TEST_RUNS") else { return };
    let (runs, mut log) = (runs_in(directory.as_ref()), Log::new());
    let mut sink = PageSink::new(Path::new(&directory).join("replica.db")).with_limit(40);
    let held = sink.open(&FACTS).unwrap();
    println!("\nready");
    let next = after(held, &runs, &mut log);
    for (n, run) in runs.iter().enumerate().skip(next) {
        log.give(&mut sink, run).unwrap();
        if n % 3 != 0 {
            sink.sync().unwrap();
        }
        println!("{n}");
    }
    sink.finish().unwrap();
    println!("finished");
}

/// The order of what is written: whenever it is killed, its position fits what it holds.
#[test]
fn a_process_that_is_killed_at_any_moment_holds_what_it_says() {
    use std::io::{BufRead, BufReader};
    let mut place = Place::new(4096);
    let directory = place.dir.path().join("runs");
    std::fs::create_dir(&directory).unwrap();
    let mut runs = vec![place.primary.run(
        "CREATE TABLE counter (n); INSERT INTO counter VALUES (0);
         CREATE TABLE t (id INTEGER PRIMARY KEY, n, pad); CREATE INDEX by_n ON t (n)",
    )];
    for n in 1..600 {
        let large = if n % 50 == 7 { "; UPDATE t SET pad = hex(randomblob(500))" } else { "" };
        runs.push(place.primary.run(&format!("{}{large}", count(n))));
    }
    for (number, run) in runs.iter().enumerate() {
        for (n, payload) in run.iter().enumerate() {
            std::fs::write(directory.join(format!("{number}.{n}")), payload).unwrap();
        }
    }
    let replica = directory.join("replica.db");
    let (mut kills, mut seed) = (0, 7_u64);
    loop {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["page_sink::tests::a_process_that_applies", "--exact", "--ignored", "--nocapture"])
            .env("LONGSHORE_TEST_RUNS", &directory)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "ready"), "it has begun");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_finished = lines.by_ref().take((seed >> 33) as usize % 40).any(|line| line == "finished");
        // And some moment after that line.
        let spins = (seed >> 40) % 60_000;
        (0..spins).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        child.wait().unwrap();
        let held = PageSink::held(&replica).unwrap();
        let next = after(held, &runs, &mut Log::new());
        if is_finished {
            assert_eq!(next, runs.len());
            break;
        }
        kills += 1;
        let Some(expected) = next.checked_sub(1) else { continue };
        let db = Connection::open(&replica).unwrap();
        let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(one("SELECT n FROM counter"), expected as i64, "after {kills} kills");
        assert_eq!(one("SELECT coalesce(sum(n), 0) FROM t"), expected as i64);
        dump(&db);
    }
    assert!(kills > 15, "{kills}");
    std::fs::rename(&replica, place.replica()).unwrap();
    place.check_same_pages();
}

/// The database that an image makes, and what its counter says.
fn made_of(image: &mut dyn DatabaseImage) -> i64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seeded.db");
    let mut sink = PageSink::new(&path);
    sink.open(&FACTS).unwrap();
    let mut log = Log { at: image.position(), held: None };
    let mut payloads = Payloads::new();
    while let Some(payload) = image.next_payload().unwrap() {
        assert!(payload.len() <= MAX_PAYLOAD);
        payloads.push(payload);
    }
    log.give(&mut sink, &payloads).unwrap();
    sink.finish().unwrap();
    let db = Connection::open(&path).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let (n, sum) = db
        .query_row("SELECT n, (SELECT coalesce(sum(n), 0) FROM t) FROM counter", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .unwrap();
    assert_eq!(n, sum, "a sum of one transaction");
    n
}

#[test]
fn a_snapshot_of_a_replica_is_exactly_its_position_while_it_is_applied_to() {
    let (mut place, mut sink) = Place::counting(4096);
    let snapshotter = ReplicaSnapshotter::new(place.replica(), MAX_PAYLOAD);
    let counted = Mutex::new(HashMap::from([(place.log.at, 0)]));
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut image = snapshotter.begin().unwrap();
                let position = image.position();
                let n = made_of(&mut *image);
                assert_eq!(counted.lock().unwrap().get(&position), Some(&n), "at {position}");
                taken.fetch_add(1, Ordering::Relaxed);
            }
        });
        let stopping = Stop(&stop);
        let mut n = 0;
        while n < 400 || taken.load(Ordering::Relaxed) < 20 {
            n += 1;
            let run = place.primary.run(&count(n));
            // Noted before anybody can see it.
            let mut after = place.log.clone();
            after.pass(&run);
            counted.lock().unwrap().insert(after.at, n as i64);
            place.give(&mut sink, &run);
            if n % 3 == 0 {
                sink.sync().unwrap();
            }
        }
        drop(stopping);
    });
    sink.finish().unwrap();
    // One that nobody takes to its end ends, too, and a database that is not there is an error.
    drop(snapshotter.begin().unwrap());
    assert!(ReplicaSnapshotter::new(place.dir.path().join("none.db"), MAX_PAYLOAD).begin().is_err());
}

/// F-095: what it holds is of a branch that died. Readers wait until it is what the log says again, further back than it was.
#[test]
fn who_reads_while_it_is_withheld_waits_for_what_replaces_it() {
    let (mut place, mut sink) = Place::counting(4096);
    let mut log = place.log.clone();
    place.log.at = Lsn::new(1 << 20);
    place.apply(&mut sink, "INSERT INTO t VALUES (1, 1, 'dead'), (2, 2, 'dead')");
    let before = Connection::open(place.replica()).unwrap();
    before.execute_batch("BEGIN").unwrap();
    let count = |db: &Connection| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(&before), 2);
    sink.withhold().unwrap();
    assert_eq!(count(&before), 2, "a transaction that has begun keeps what it sees");
    before.execute_batch("COMMIT").unwrap();
    sink.withhold().unwrap();

    let (sender, receiver) = std::sync::mpsc::channel();
    let path = place.replica();
    let reader = std::thread::spawn(move || {
        let db = Connection::open(path).unwrap();
        sender.send(()).unwrap();
        count(&db)
    });
    receiver.recv().unwrap();
    let State::There { group, .. } = &sink.open.as_ref().unwrap().state else { panic!("it is there") };
    assert!(group.database().keep_readers_out().unwrap(), "nobody reads any more");
    place.primary.run("DELETE FROM t; INSERT INTO t VALUES (3, 3, 'alive')");
    log.give(&mut sink, &place.primary.ship_whole()).unwrap();
    sink.sync().unwrap();
    assert_eq!(reader.join().unwrap(), 1, "what was withheld was never seen");
    assert_eq!(count(&before), 1);
    assert!(log.held.unwrap().lsn < place.log.held.unwrap().lsn, "it went back");
    sink.finish().unwrap();
    drop(sink);
    assert_eq!(PageSink::new(place.replica()).open(&FACTS).unwrap(), log.held);
    place.check_equal();
}

#[test]
fn a_sink_that_is_dropped_while_it_is_withheld_lets_readers_in() {
    let (place, mut sink) = Place::counting(4096);
    // SQLite gives nothing back while this process has the database open.
    let reader = Connection::open(place.replica()).unwrap();
    reader.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
    sink.withhold().unwrap();
    drop(sink);
    assert!(dump(&reader) == dump(&place.primary.db));
}

/// The records of an image, as they come.
fn records(image: &mut dyn DatabaseImage) -> Payloads {
    std::iter::from_fn(|| image.next_payload().unwrap()).collect()
}

/// Whether the database stands in its file or in its `-wal`, and whether or not anybody may read it.
#[test]
fn what_is_held_is_the_image_that_a_snapshot_would_be() {
    let (mut place, mut sink) = Place::counting(4096);
    assert!(PageSink::new(place.dir.path().join("none.db")).open(&FACTS).unwrap().is_none());
    let rows = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO t SELECT i, i, randomblob(200) FROM n";
    place.apply(&mut sink, rows);
    let snapshotter = ReplicaSnapshotter::new(place.replica(), MAX_PAYLOAD);
    for reopened in [false, true] {
        if reopened {
            drop(sink);
            sink = place.sink();
        }
        let expected = records(&mut *snapshotter.begin().unwrap());
        assert!(8 < expected.len());
        let mut held = sink.held_image().unwrap().unwrap();
        assert_eq!(held.position(), place.log.held.unwrap().lsn);
        assert!(records(&mut *held) == expected);
        // Begun before and after nobody can read it any more, and on another thread.
        let mut before = sink.held_image().unwrap().unwrap();
        sink.withhold().unwrap();
        let mut after = sink.held_image().unwrap().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(records(&mut *before) == expected && records(&mut *after) == expected));
        });
        drop((before, after));
        place.apply(&mut sink, "UPDATE counter SET n = n + 1");
    }
    // The fence stands: no lock went with what was read.
    let writer = Connection::open(place.replica()).unwrap();
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(writer.execute_batch("INSERT INTO counter VALUES (7)").is_err());
    drop((writer, sink));
    place.check_same_pages();
}

#[test]
fn an_image_that_is_held_but_for_a_page_writes_that_page_alone() {
    let (mut place, mut sink) = Place::counting(4096);
    let rows = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO t SELECT i, i, randomblob(200) FROM n";
    place.apply(&mut sink, rows);
    sink.finish().unwrap();
    let State::There { group, .. } = &sink.open.as_ref().unwrap().state else { panic!("it is there") };
    let (before, pages) = (group.frames(), group.pages());
    place.primary.run("UPDATE t SET pad = zeroblob(200) WHERE id = 1500");
    let whole = place.primary.ship_whole();
    place.give(&mut sink, &whole);
    sink.sync().unwrap();
    let State::There { group, .. } = &sink.open.as_ref().unwrap().state else { panic!("it is there") };
    assert!(100 < pages && group.frames() - before <= 3, "{} frames for {pages} pages", group.frames() - before);
    drop(sink);
    place.check_same_pages();
}

//! SQL records into a database.

mod support;

use longshore_apply::conformance::{self, Subject};
use longshore_apply::{Applier, JsonLinesFile, Sink, Source, Step, Target};
use longshore_format::{Content, ErrorKind, Flags, Kind, LogId};
use longshore_sqlite::{Batch, SqlSink, read_position};
use rusqlite::{Connection, params};
use support::{MemoryLog, Place};
use tempfile::TempDir;

struct Database(TempDir);

impl Subject for Database {
    fn sink(&mut self) -> Box<dyn Sink> {
        Box::new(SqlSink::new(self.0.path().join("replica.db")))
    }
    fn content(&self) -> Content {
        Content::Sql
    }
    fn foreign_content(&self) -> Option<Content> {
        Some(Content::SqlitePages)
    }
    fn payload(&self, n: u64) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.push("CREATE TABLE IF NOT EXISTS numbers (n INTEGER UNIQUE)", vec![]).unwrap();
        batch.push("INSERT INTO numbers VALUES (?1)", vec![(n as i64).into()]).unwrap();
        batch.into_payloads().remove(0)
    }
    fn stored(&mut self) -> Vec<u64> {
        let db = Connection::open(self.0.path().join("replica.db")).unwrap();
        let Ok(mut numbers) = db.prepare("SELECT n FROM numbers ORDER BY rowid") else { return Vec::new() };
        numbers.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|n| n.unwrap() as u64).collect()
    }
}

#[test]
fn a_sqlite_database_conforms() {
    conformance::check(|| Database(tempfile::tempdir().unwrap()));
}

#[test]
fn content_that_is_not_sql_is_refused_with_the_sinks_that_take_it() {
    let place = Place::new();
    let log = MemoryLog::of_content(Content::Bytes);
    let error = Applier::open(log, SqlSink::new(place.path("x.db")), Target::LATEST).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("jsonl:PATH or exec:CMD"), "{error}");
    assert!(!place.path("x.db").exists(), "and nothing is made");
}

#[test]
fn every_kind_of_value_arrives_as_it_was() {
    let place = Place::new();
    let mut host = place.host();
    let blob: Vec<u8> = (0..=255).collect();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (a, b, c, d, e, f)", params![]).unwrap();
        let sql = "INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        tx.execute(sql, params![i64::MIN, f64::MIN_POSITIVE, "ünï\u{1F600}", blob, None::<i64>, true]).unwrap();
        tx.execute(sql, params![i64::MAX, f64::INFINITY, "", Vec::<u8>::new(), -0.0, 0.1 + 0.2]).unwrap();
        tx.execute("INSERT INTO t (a) VALUES (:named), (@other)", params!["x", "y"]).unwrap();
    });
    place.replicate("replica.db").unwrap();
    assert_eq!(place.dump("replica.db"), place.dump("host.db"));
}

/// Larger than any record: runs of many records, statements of many records, both.
#[test]
fn transactions_and_statements_of_any_size_arrive_whole() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)", params![]).unwrap();
    });
    for len in [0, 1, 16_000, 16_340, 16_350, 16_352, 16_368, 16_384, 16_400, 32_768, 100_000, 3_000_000] {
        place.transact(&mut host, |tx| {
            tx.execute("INSERT INTO t (body) VALUES ('before')", params![]).unwrap();
            tx.execute("INSERT INTO t (body) VALUES (?1)", params![vec![0xa5_u8; len]]).unwrap();
            tx.execute("UPDATE t SET body = substr(hex(body), 1, 9) WHERE id % 7 = 0", params![]).unwrap();
        });
    }
    place.transact(&mut host, |tx| {
        for n in 0..5_000 {
            tx.execute("INSERT INTO t (body) VALUES (?1)", params![n]).unwrap();
        }
    });
    place.replicate("replica.db").unwrap();
    assert!(place.dump("replica.db") == place.dump("host.db"));
}

/// A cascade that the host runs and the replica does not would part them in silence.
#[test]
fn foreign_keys_and_recursive_triggers_follow_the_host() {
    for setup in [
        "PRAGMA foreign_keys = on",
        "PRAGMA foreign_keys = on; PRAGMA recursive_triggers = on",
        "PRAGMA foreign_keys = off",
    ] {
        let place = Place::new();
        let mut host = place.host_with(setup);
        place.transact(&mut host, |tx| {
            tx.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)", params![]).unwrap();
            tx.execute(
                "CREATE TABLE child (id INTEGER PRIMARY KEY, of REFERENCES parent ON DELETE CASCADE)",
                params![],
            )
            .unwrap();
            tx.execute("CREATE TABLE n (x)", params![]).unwrap();
            tx.execute(
                "CREATE TRIGGER again AFTER INSERT ON n WHEN new.x < 5 BEGIN INSERT INTO n VALUES (new.x + 1); END",
                params![],
            )
            .unwrap();
            tx.execute("INSERT INTO parent VALUES (1), (2)", params![]).unwrap();
            tx.execute("INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)", params![]).unwrap();
        });
        place.transact(&mut host, |tx| {
            tx.execute("DELETE FROM parent WHERE id = 1", params![]).unwrap();
            tx.execute("INSERT INTO n VALUES (1)", params![]).unwrap();
        });
        drop(host);
        let mut plain = place.host_with("PRAGMA foreign_keys = off");
        place.transact(&mut plain, |tx| {
            tx.execute("INSERT INTO child VALUES (9, 999)", params![]).unwrap();
        });
        place.replicate("replica.db").unwrap();
        assert_eq!(place.dump("replica.db"), place.dump("host.db"), "{setup}");
    }
}

/// F-106: by statement and position, and nothing before it is lost.
#[test]
fn a_database_that_is_no_longer_equal_stops_by_statement_and_position() {
    let check = |spoil: &str, words: &str| {
        let place = Place::new();
        let mut host = place.host();
        place.transact(&mut host, |tx| {
            tx.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)", params![]).unwrap();
            tx.execute("INSERT INTO t VALUES (1, 'x'), (2, 'y')", params![]).unwrap();
        });
        place.replicate("replica.db").unwrap();
        Connection::open(place.path("replica.db")).unwrap().execute_batch(spoil).unwrap();
        let good = place.transact(&mut host, |tx| {
            tx.execute("INSERT INTO t VALUES (3, 'z')", params![]).unwrap();
        });
        let bad = place.transact(&mut host, |tx| {
            tx.execute("INSERT INTO t VALUES (10, ?1)", params!["secret parameter"]).unwrap();
            tx.execute("UPDATE t SET a = upper(a) WHERE id < 3", params![]).unwrap();
        });
        let error = place.replicate("replica.db").unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Diverged, "{text}");
        assert!(text.contains(words) && text.contains(&format!("from {good} to {bad}")), "{text}");
        assert!(text.contains("statement ") && !text.contains("secret"), "{text}");
        let db = Connection::open(place.path("replica.db")).unwrap();
        assert_eq!(read_position(&db).unwrap().unwrap().lsn, good, "the run before it is kept");
        let dump = place.dump("replica.db").concat();
        assert!(dump.contains("Integer(3)") && !dump.contains("secret"), "and nothing of the bad one: {dump}");
    };
    check("DELETE FROM t WHERE id = 1", "changed 1 rows here and 2 where it was recorded");
    check("INSERT INTO t VALUES (10, 'mine')", "UNIQUE constraint failed");
    check("ALTER TABLE t RENAME COLUMN a TO b", "no such column: a");
}

#[test]
fn what_is_no_sql_record_is_a_poison_record() {
    for (payloads, words) in [
        (vec![b"\xff\xff".to_vec()], "not a SQL record"),
        (vec![vec![0x0a, 0x00]], "a statement is empty"),
        (part(b"x", false), "the run ends inside a statement"),
        (part(b"\x0a\x05x", true), "not a SQL record"),
        ([part(b"x", false), whole("CREATE TABLE t (a)")].concat(), "stands between the parts"),
    ] {
        let place = Place::new();
        place.append(&["CREATE TABLE good (a)"]);
        place.log.run(&payloads);
        let error = place.replicate("replica.db").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(place.dump("replica.db").len(), 1, "what came before is kept");
    }
}

fn part(bytes: &[u8], ends: bool) -> Vec<Vec<u8>> {
    let mut payload = vec![0x12, bytes.len() as u8];
    payload.extend_from_slice(bytes);
    payload.extend_from_slice(if ends { &[0x18, 1] } else { &[] });
    vec![payload]
}

fn whole(sql: &str) -> Vec<Vec<u8>> {
    let mut batch = Batch::new();
    batch.push(sql, Vec::new()).unwrap();
    batch.into_payloads()
}

/// A statement that would need gigabytes once decoded is refused before it is.
#[test]
fn a_statement_with_more_parameters_than_sqlite_knows_is_refused_before_it_is_decoded() {
    let place = Place::new();
    let bomb = [0x12, 0x00].repeat(4_000);
    let mut payloads = Vec::new();
    for n in 0..20 {
        let mut payload = vec![0x12];
        payload.extend_from_slice(&[0xc0, 0x3e]);
        payload.extend_from_slice(&bomb);
        payload.extend_from_slice(if n == 19 { &[0x18, 1] } else { &[] });
        payloads.push(payload);
    }
    place.log.run(&payloads);
    let error = place.replicate("replica.db").unwrap_err();
    assert!(error.to_string().contains("more than 32766 parameters"), "{error}");
}

#[test]
fn readers_of_the_replica_see_whole_transactions_and_never_go_back() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, amount)", params![]).unwrap();
        tx.execute("INSERT INTO account VALUES (1, 1000), (2, 0)", params![]).unwrap();
    });
    place.replicate("replica.db").unwrap();
    for _ in 0..500 {
        place.transact(&mut host, |tx| {
            tx.execute("UPDATE account SET amount = amount - 1 WHERE id = 1", params![]).unwrap();
            tx.execute("UPDATE account SET amount = amount + 1 WHERE id = 2", params![]).unwrap();
        });
    }
    let path = place.path("replica.db");
    let (done, stop) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let db = Connection::open(path).unwrap();
        let (mut reads, mut last) = (0, 0);
        loop {
            let ended = stop.try_recv().is_err_and(|error| error == std::sync::mpsc::TryRecvError::Disconnected);
            let sql = "SELECT (SELECT amount FROM account WHERE id = 1), (SELECT amount FROM account WHERE id = 2)";
            let (a, b): (i64, i64) = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            assert_eq!(a + b, 1000);
            assert!(b >= last);
            (reads, last) = (reads + 1, b);
            if ended {
                return (reads, last);
            }
        }
    });
    let mut applier = Applier::open(place.log.clone(), SqlSink::new(place.path("replica.db")), Target::LATEST).unwrap();
    while applier.step().unwrap() != Step::Idle {}
    applier.finish().unwrap();
    drop(done);
    let (reads, last) = reader.join().unwrap();
    assert_eq!(last, 500);
    assert!(reads > 0);
}

#[test]
fn a_database_of_somebody_else_or_of_another_log_is_refused() {
    let place = Place::new();
    place.append(&["CREATE TABLE t (a)"]);
    Connection::open(place.path("theirs.db")).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let error = place.replicate("theirs.db").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight, "{error}");
    assert_eq!(place.dump("theirs.db").len(), 1);

    place.replicate("ours.db").unwrap();
    let facts = longshore_apply::LogFacts { id: LogId::from_bytes([8; 16]), content: Content::Sql };
    let error = SqlSink::new(place.path("ours.db")).open(&facts).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(error.to_string().contains("name the log it was written from"), "{error}");

    std::fs::write(place.path("text.db"), "this is no database, though it is long enough to be read as one").unwrap();
    assert_eq!(place.replicate("text.db").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(place.replicate("no/such/dir.db").unwrap_err().kind(), ErrorKind::Preflight);
}

#[test]
fn two_appliers_on_one_database_do_not_apply_anything_twice() {
    let place = Place::new();
    place.append(&["CREATE TABLE t (a UNIQUE)"]);
    place.replicate("replica.db").unwrap();
    place.append(&["INSERT INTO t VALUES (1)"]);
    let open = || Applier::open(place.log.clone(), SqlSink::new(place.path("replica.db")), Target::LATEST).unwrap();
    let (mut first, mut second) = (open(), open());
    while first.step().unwrap() != Step::Idle {}
    let error = loop {
        match second.step() {
            Ok(step) => assert_ne!(step, Step::Idle),
            Err(error) => break error,
        }
    };
    assert!(error.is_passing() && error.to_string().contains("another process applies"), "{error}");
}

#[test]
fn a_run_that_was_aborted_and_a_log_of_sql_as_json_lines_both_work() {
    let place = Place::new();
    place.append(&["CREATE TABLE t (a)"]);
    place.log.record(Kind::USER, Flags::FIRST, &whole("DROP TABLE t")[0]);
    place.log.record(Kind::ABORT, Flags::NONE, b"");
    place.replicate("replica.db").unwrap();
    assert_eq!(place.dump("replica.db").len(), 1);
    let mut applier =
        Applier::open(place.log.clone(), JsonLinesFile::new(place.path("x.jsonl")), Target::LATEST).unwrap();
    while applier.step().unwrap() != Step::Idle {}
    assert_eq!(applier.finish().unwrap().applied, place.log.end());
}

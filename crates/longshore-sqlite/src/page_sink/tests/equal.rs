//! What a database holds that a log was applied to.

use super::*;

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

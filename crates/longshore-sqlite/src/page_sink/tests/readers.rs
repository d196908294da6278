//! Who reads meanwhile, and who would write.

use super::*;

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
            .args(["page_sink::tests::readers::another_process", "--exact", "--ignored", "--nocapture"])
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

//! Databases of applications that know nothing of longshore, captured and applied elsewhere.

mod rig;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_sqlite::{Capture, CaptureSettings, CaptureStatus, Capturing, Error};
use rig::{Rig, drain, items};
use rusqlite::{Connection, params};

#[test]
fn every_committed_transaction_becomes_one_run_and_nothing_else_does() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 10, 100);
    let mut capture = rig.attach();
    assert_eq!(drain(&mut capture), 0, "what was there is in the image that attaching made");
    let before = capture.status().transactions;
    app.execute_batch("BEGIN; INSERT INTO items (body) VALUES ('a'); INSERT INTO items (body) VALUES ('b'); COMMIT;")
        .unwrap();
    app.execute_batch("BEGIN; DELETE FROM items; ROLLBACK;").unwrap();
    app.execute_batch("CREATE TABLE other (a, b); CREATE INDEX other_a ON other (a); DROP TABLE other;").unwrap();
    assert_eq!(drain(&mut capture), 4);
    assert_eq!(capture.status().transactions, before + 4);
    rig.assert_equal(&app);
}

#[test]
fn shrinking_vacuum_and_mass_deletes_arrive() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 2000, 500);
    let mut capture = rig.attach();
    rig.assert_equal(&app);
    app.execute_batch("DELETE FROM items WHERE id % 3 <> 0").unwrap();
    drain(&mut capture);
    rig.assert_equal(&app);
    app.execute_batch("VACUUM").unwrap();
    drain(&mut capture);
    rig.assert_equal(&app);
    let pages = |db: &Connection| -> i64 { db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap() };
    assert_eq!(pages(&Connection::open(rig.at("replica.db")).unwrap()), pages(&app));
    items(&app, 500, 900);
    drain(&mut capture);
    rig.assert_equal(&app);
}

#[test]
fn every_page_size_auto_vacuum_and_full_text_search_arrive() {
    for size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        let rig = Rig::new();
        let app = Connection::open(rig.at("app.db")).unwrap();
        let auto = if size % 3 == 1 { "full" } else { "incremental" };
        app.execute_batch(&format!("PRAGMA page_size={size}; PRAGMA auto_vacuum={auto}; PRAGMA journal_mode=wal;"))
            .unwrap();
        items(&app, 50, 700);
        let mut capture = rig.attach();
        app.execute_batch(
            "CREATE VIRTUAL TABLE notes USING fts5(text); INSERT INTO notes VALUES ('a capstan and a davit');
             DELETE FROM items WHERE id > 20; INSERT INTO notes SELECT 'buoy ' || id FROM items;
             PRAGMA incremental_vacuum;",
        )
        .unwrap();
        drain(&mut capture);
        rig.assert_equal(&app);
        let found: i64 = Connection::open(rig.at("replica.db"))
            .unwrap()
            .query_row("SELECT count(*) FROM notes WHERE notes MATCH 'buoy'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, 20, "page size {size}");
    }
}

#[test]
fn a_transaction_of_any_size_is_one_run() {
    let rig = Rig::new();
    let app = rig.app();
    let mut capture = rig.attach();
    app.execute_batch("BEGIN").unwrap();
    items(&app, 3, 12 << 20);
    app.execute_batch("COMMIT").unwrap();
    assert_eq!(drain(&mut capture), 1);
    rig.assert_equal(&app);
}

#[test]
fn checkpoints_while_nobody_captured_are_found_by_comparing_ten_times() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 200, 300);
    rig.attach().detach().unwrap();
    for round in 0..10 {
        app.execute_batch("UPDATE items SET body = 'x' WHERE id % 7 = 0; DELETE FROM items WHERE id % 31 = 0;")
            .unwrap();
        items(&app, 20, 300 + round);
        app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        items(&app, 5, 50);
        let capture = rig.attach();
        assert_eq!(capture.status().resyncs, 1, "round {round}");
        // The hashes are there after an end in order, and gathered from the log after any other.
        if round % 2 == 0 {
            drop(capture)
        } else {
            capture.detach().map(drop).unwrap()
        }
        rig.assert_equal(&app);
    }
}

#[test]
fn a_capture_goes_on_where_it_was_after_any_end() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 100, 200);
    drop(rig.attach());
    for round in 0..6 {
        items(&app, 10, 200);
        let mut capture = rig.attach();
        assert_eq!(capture.status().resyncs, 0, "round {round}");
        assert_eq!(drain(&mut capture), 10);
        if round % 2 == 0 {
            drop(capture)
        } else {
            capture.detach().map(drop).unwrap()
        }
        rig.assert_equal(&app);
    }
}

#[test]
fn an_applications_own_checkpoint_is_told_busy_at_once_and_does_no_harm() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 100, 200);
    let mut capture = rig.attach();
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        items(&app, 10, 200);
        let begun = Instant::now();
        let busy: bool = app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0)).unwrap_or(true);
        assert!(busy, "{mode}");
        // The connection would wait for ten seconds if the lock were one that it waits for.
        assert!(begun.elapsed() < Duration::from_secs(5), "{mode} took {:?}", begun.elapsed());
        drain(&mut capture);
        rig.assert_equal(&app);
    }
}

#[test]
fn no_other_process_gets_the_lock_that_is_held_whatever_is_read_here() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 500, 2000);
    let mut capture = rig.attach();
    drain(&mut capture);
    rig.assert_equal(&app);
    let program = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1], timeout=0)\n\
        db.execute('insert into items (body) values (1)'); db.commit()\n\
        print(db.execute('pragma wal_checkpoint(TRUNCATE)').fetchone()[0])";
    let Ok(output) = Command::new("python3").args(["-c", program]).arg(rig.at("app.db")).output() else {
        println!("skipped: there is no python3 here; install it to run this test");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{}", String::from_utf8_lossy(&output.stderr));
    drain(&mut capture);
    rig.assert_equal(&app);
}

#[test]
fn a_second_capture_of_one_database_is_refused() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 1, 1);
    let _first = rig.attach();
    let impatient = CaptureSettings { attach_within: Duration::from_millis(50), ..rig.settings() };
    let Err(refused @ Error::Guarded { .. }) = rig.try_attach(impatient) else { panic!("two capture it") };
    let by = format!("process {} ", std::process::id());
    assert!(refused.to_string().starts_with(&by), "{refused}");
}

#[test]
fn the_wal_stays_short_under_a_writer_that_never_pauses_and_after_a_reader_that_sat() {
    const BOUND: u64 = 8 << 20;
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 1, 1);
    let small = CaptureSettings { checkpoint_from: 512 << 10, truncate_from: 6 << 20, ..rig.settings() };
    let mut capture = rig.try_attach(small).unwrap();
    let write = |capture: &mut Capture| -> CaptureStatus {
        let mut longest = capture.status();
        for _ in 0..60 {
            items(&app, 10, 40_000);
            capture.step().unwrap();
            longest =
                CaptureStatus { wal_bytes: longest.wal_bytes.max(capture.status().wal_bytes), ..capture.status() };
        }
        longest
    };
    let free = write(&mut capture);
    assert!(free.wal_bytes < BOUND, "{free:?}");

    let reader = rig.app();
    reader.execute_batch("BEGIN; SELECT count(*) FROM items;").unwrap();
    let pinned = write(&mut capture);
    assert!(BOUND < pinned.wal_bytes, "a read mark is respected: {pinned:?}");
    assert!(pinned.pinned_for.is_some(), "and told of: {pinned:?}");
    reader.execute_batch("COMMIT").unwrap();
    let ended = Instant::now();
    while BOUND < capture.status().wal_bytes {
        assert!(ended.elapsed() < Duration::from_secs(2), "it shrinks within two seconds of the reader's end");
        capture.step().unwrap();
    }
    drain(&mut capture);
    rig.assert_equal(&app);
}

#[test]
fn the_wal_stays_short_under_a_writer_that_does_not_sync_its_commits() {
    // 64 MiB are promised; twice that is for a machine on which everything else is tested at the same time.
    const BOUND: u64 = 128 << 20;
    const WRITTEN: u64 = 300 << 20;
    let rig = Rig::new();
    let app = rig.app();
    app.execute_batch("PRAGMA synchronous=NORMAL; CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
    let capturing = Capturing::start(rig.at("app.db"), rig.log.clone(), rig.settings(), |_| {}).unwrap();
    let (mut longest, mut written, mut last) = (0, 0, 0);
    let mut insert = app.prepare("INSERT INTO rows (body) VALUES (zeroblob(4 * 4096))").unwrap();
    while written < WRITTEN {
        insert.execute([]).unwrap();
        // Others have a turn while no lock is held, as they do where this one computes what comes next.
        std::thread::yield_now();
        written += 5 * 4096;
        let len = std::fs::metadata(rig.at("app.db-wal")).unwrap().len();
        (longest, last) = (longest.max(len), len);
    }
    assert!(longest < BOUND, "{} MiB, and {} in the end", longest >> 20, last >> 20);
    capturing.stop().unwrap();
}

#[test]
fn a_replaced_database_file_is_noticed() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 1, 1);
    let mut capture = rig.attach();
    std::fs::copy(rig.at("app.db"), rig.at("other.db")).unwrap();
    std::fs::rename(rig.at("other.db"), rig.at("app.db")).unwrap();
    let begun = Instant::now();
    let error = loop {
        match capture.step() {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(5), "it looks once a second"),
        }
    };
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
}

#[test]
fn a_file_that_an_application_made_anew_is_not_shipped_before_somebody_says_so() {
    let rig = Rig::new();
    items(&rig.app(), 10, 100);
    let capturing = Capturing::start(rig.at("app.db"), rig.log.clone(), rig.settings(), |_| {}).unwrap();
    let end = rig.log.end();
    let empty = Connection::open(rig.at("other.db")).unwrap();
    empty.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE items (id INTEGER PRIMARY KEY, body)").unwrap();
    empty.close().unwrap();
    std::fs::rename(rig.at("other.db"), rig.at("app.db")).unwrap();
    let begun = Instant::now();
    while !capturing.has_ended() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it looks once a second");
        std::thread::yield_now();
    }
    let error = capturing.stop().unwrap_err();
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
    assert_eq!(rig.log.end(), end, "nothing of it");
}

#[test]
fn a_database_that_is_not_fit_is_refused_with_what_to_do() {
    let rig = Rig::new();
    let refused = |rig: &Rig| rig.try_attach(rig.settings()).err().unwrap().to_string();
    assert!(refused(&rig).contains("check the path"));
    std::fs::write(rig.at("app.db"), "this is not a database, whatever its name says, and long enough").unwrap();
    assert!(refused(&rig).contains("no SQLite database"));
    std::fs::remove_file(rig.at("app.db")).unwrap();
    Connection::open(rig.at("app.db")).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(refused(&rig).contains("PRAGMA journal_mode=wal"));
}

#[test]
fn a_host_waits_for_what_it_committed_to_be_in_the_log() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 1, 1);
    let capturing = Capturing::start(rig.at("app.db"), rig.log.clone(), rig.settings(), |_| {}).unwrap();
    for n in 0..20 {
        items(&app, 1, 100 + n);
        let position = capturing.catch_up(Duration::from_secs(10)).unwrap();
        assert_eq!(position, rig.log.end());
        rig.assert_equal(&app);
    }
    capturing.stop().unwrap();
}

/// What a transaction takes in the log, in four shapes, beside its pages whole.
#[test]
fn deltas_are_a_fraction_of_whole_pages() {
    type Work = fn(&Connection, i64);
    let shapes: [(&str, &str, Work); 4] = [
        (
            "order entry",
            "CREATE TABLE o (id INTEGER PRIMARY KEY, c INT, t TEXT); CREATE INDEX oc ON o (c); CREATE TABLE s (i INTEGER PRIMARY KEY, n INT)",
            |db, n| {
                db.execute(
                    "INSERT INTO o (c, t) VALUES (?1, ?2)",
                    params![n * 7919 % 1000, format!("order {n} ").repeat(9)],
                )
                .unwrap();
                db.execute("INSERT INTO s VALUES (?1, 1) ON CONFLICT (i) DO UPDATE SET n = n + 1", params![n % 50])
                    .unwrap();
            },
        ),
        ("bulk insert", "CREATE TABLE b (id INTEGER PRIMARY KEY, t TEXT)", |db, n| {
            for row in 0..200 {
                db.execute("INSERT INTO b (t) VALUES (?1)", params![format!("row {row} of {n}, filled up a little")])
                    .unwrap();
            }
        }),
        (
            "hot counter",
            "CREATE TABLE h (id INTEGER PRIMARY KEY, n INT); INSERT INTO h VALUES (1, 0), (2, 0)",
            |db, _| {
                db.execute("UPDATE h SET n = n + 1 WHERE id = 1", []).unwrap();
            },
        ),
        (
            "wide rows",
            "CREATE TABLE w (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INT); CREATE INDEX wc ON w (c)",
            |db, n| {
                let wide = format!("{n} ").repeat(200);
                db.execute("INSERT INTO w (a, b, c) VALUES (?1, ?2, ?3)", params![wide, wide, n * 31 % 97]).unwrap();
                db.execute("UPDATE w SET c = c + 1 WHERE id = ?1", params![n / 2]).unwrap();
            },
        ),
    ];
    println!("{:12} {:>14} {:>14} {:>6}", "shape", "whole, bytes", "shipped", "ratio");
    for (name, schema, work) in shapes {
        let rig = Rig::new();
        let app = rig.app();
        app.execute_batch(schema).unwrap();
        let mut capture = rig.attach();
        let before = capture.status();
        for n in 0..500 {
            app.execute_batch("BEGIN").unwrap();
            work(&app, n);
            app.execute_batch("COMMIT").unwrap();
            drain(&mut capture);
        }
        let after = capture.status();
        let transactions = after.transactions - before.transactions;
        let (whole, bytes) = (after.whole_bytes - before.whole_bytes, after.bytes - before.bytes);
        let ratio = bytes as f64 / whole as f64;
        println!("{name:12} {:>14} {:>14} {ratio:>6.3}", whole / transactions, bytes / transactions);
        assert!(ratio < 0.7, "{name}: {ratio}");
        assert!(name != "hot counter" || ratio <= 0.1, "{name}: {ratio}");
        rig.assert_equal(&app);
    }
}

#[test]
fn what_is_on_disk_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 1, 1);
    rig.attach().detach().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&rig.at("app.pages")), 0o600);
}

//! What became of the copy of a node that never wrote the log, while no agent kept writers out of it.

mod rig;

use std::sync::Arc;

use longshore_apply::{Applier, Sink, Source, Step, Target};
use longshore_sqlite::{LogDatabase, SqliteSink};
use rig::{Rig, drain, items};
use rusqlite::Connection;

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    InOrder,
    /// As the last one that had the copy open: all of the `-wal` is copied back, as by a reader that closes it last.
    Early,
    /// Somebody else has it open, and goes on to.
    BesideAReader,
}

/// A log of a captured database, and a copy that an agent made of it.
fn followed(end: End) -> Rig {
    let rig = Rig::new();
    let app = rig.app();
    app.execute_batch("CREATE TABLE flags (is_up); INSERT INTO flags VALUES (0)").unwrap();
    items(&app, 30, 400);
    rig.attach();
    items(&app, 10, 400);
    drain(&mut rig.attach());
    rig.log.wait_blocking(rig.log.end(), None).unwrap();
    let mut applier = Applier::open(rig.log.clone(), opened(&rig), Target::LATEST).unwrap();
    while applier.step().unwrap() != Step::Idle {}
    match end {
        End::InOrder => drop(applier.finish().unwrap()),
        End::Early => {}
        End::BesideAReader => {
            let reader = open(&rig);
            reader.query_row("SELECT count(*) FROM items", [], |_| Ok(())).unwrap();
            std::mem::forget(reader);
        }
    }
    rig
}

/// The sink of an agent that is started.
fn opened(rig: &Rig) -> SqliteSink {
    SqliteSink::of(Arc::new(LogDatabase::new(rig.at("copy.db")))).held_against(rig.log.clone())
}

fn open(rig: &Rig) -> Connection {
    Connection::open(rig.at("copy.db")).unwrap()
}

fn write(rig: &Rig, sql: &str) -> Connection {
    let app = open(rig);
    app.execute_batch(sql).unwrap();
    app
}

/// Where the log says nothing of the pages, what was left in order says it: nobody but a writer changes that file.
#[test]
fn what_the_log_does_not_reach_back_to_is_noticed_after_an_orderly_end() {
    let stray = |rig: &Rig| write(rig, "UPDATE items SET body = 'stray' WHERE id = 7").close().unwrap();
    let read = |rig: &Rig| open(rig).query_row("SELECT count(*) FROM items", [], |_| Ok(())).unwrap();
    for (end, between, is_noticed) in [
        (End::InOrder, &read as &dyn Fn(&Rig), false),
        (End::InOrder, &stray, true),
        (End::Early, &read, false),
        // It looks as if somebody had read it.
        (End::Early, &stray, false),
        (End::BesideAReader, &stray, true),
    ] {
        let rig = followed(end);
        between(&rig);
        let mut sink = SqliteSink::of(Arc::new(LogDatabase::new(rig.at("copy.db"))));
        sink.open(&rig.log.facts()).unwrap();
        assert_eq!(sink.is_astray(), is_noticed, "ended {end:?}");
    }
}

#[test]
fn an_empty_file_in_the_place_of_a_copy_says_so() {
    let rig = followed(End::InOrder);
    std::fs::write(rig.at("copy.db"), "").unwrap();
    let error = opened(&rig).open(&rig.log.facts()).unwrap_err();
    assert!(error.to_string().contains("is empty, and a log was applied to it"), "{error}");
    std::fs::remove_file(rig.at("copy.db")).unwrap();
    assert_eq!(opened(&rig).open(&rig.log.facts()).unwrap(), None, "it is made anew");
}

type Between = fn(&Rig);

/// What happens to it, and whether somebody wrote it.
const TABLE: [(&str, Between, bool); 9] = [
    ("nothing", |_| {}, false),
    ("somebody reads it", |rig| drop(open(rig).query_row("SELECT count(*) FROM items", [], |_| Ok(()))), false),
    (
        "somebody reads it, and closes it last",
        |rig| {
            let reader = open(rig);
            reader.query_row("SELECT count(*) FROM items", [], |_| Ok(())).unwrap();
            reader.close().unwrap();
        },
        false,
    ),
    (
        "it is copied to another place and back",
        |rig| {
            write(rig, "SELECT 1").close().unwrap();
            if rig.at("copy.db-wal").exists() {
                // Of one that is in use nobody makes a copy so.
                return;
            }
            let bytes = std::fs::read(rig.at("copy.db")).unwrap();
            std::fs::write(rig.at("copy.db"), bytes).unwrap();
        },
        false,
    ),
    ("a row", |rig| write(rig, "INSERT INTO items (body) VALUES ('stray')").close().unwrap(), true),
    (
        "a row, and the process is killed",
        |rig| std::mem::forget(write(rig, "INSERT INTO items (body) VALUES (1)")),
        true,
    ),
    (
        "a row, copied back by hand",
        |rig| drop(write(rig, "UPDATE items SET body = 'stray' WHERE id = 7; PRAGMA wal_checkpoint(TRUNCATE)")),
        true,
    ),
    ("a flag", |rig| write(rig, "UPDATE flags SET is_up = 1").close().unwrap(), true),
    ("a table", |rig| write(rig, "CREATE TABLE stray (x)").close().unwrap(), true),
];

#[test]
fn what_somebody_wrote_into_a_copy_is_noticed_at_the_start_and_kept() {
    for end in [End::InOrder, End::Early, End::BesideAReader] {
        for (what, between, is_written) in TABLE {
            let rig = followed(end);
            between(&rig);
            let mut sink = opened(&rig);
            let held = sink.open(&rig.log.facts()).unwrap();
            assert_eq!(sink.is_astray(), is_written, "{what}, ended {end:?}");
            assert_eq!(held.is_some(), !is_written, "{what}");
            assert_eq!(rig.at("copy.db-longshore-kept-1").exists(), is_written, "{what}");
            drop(sink);
            // Nobody has written it since.
            open(&rig).close().unwrap();
            let mut sink = opened(&rig);
            sink.open(&rig.log.facts()).unwrap();
            assert_eq!(sink.is_astray(), is_written, "{what}, ended {end:?}, and started again");
            assert!(!rig.at("copy.db-longshore-kept-2").exists(), "{what}, ended {end:?}: it is kept once");
        }
    }
}

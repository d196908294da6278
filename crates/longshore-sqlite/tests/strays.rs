//! What became of the copy of a node that never wrote the log, while no agent kept writers out of it.

mod rig;

use std::sync::Arc;

use longshore_apply::{Applier, Sink, Source, Step, Target};
use longshore_sqlite::{LogDatabase, SqliteSink};
use rig::{Rig, drain, items};
use rusqlite::Connection;

/// A log of a captured database, and a copy that an agent made of it and left in order, or did not.
fn followed(is_killed: bool) -> Rig {
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
    if !is_killed {
        applier.finish().unwrap();
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
            assert!(!rig.at("copy.db-wal").exists());
        },
        false,
    ),
    (
        "it is copied to another place and back",
        |rig| {
            write(rig, "SELECT 1").close().unwrap();
            let bytes = std::fs::read(rig.at("copy.db")).unwrap();
            std::fs::write(rig.at("copy.db"), bytes).unwrap();
        },
        false,
    ),
    ("a row", |rig| write(rig, "INSERT INTO items (body) VALUES ('stray')").close().unwrap(), true),
    ("a row, and the process is killed", |rig| std::mem::forget(write(rig, "INSERT INTO items (body) VALUES (1)")), true),
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
    for is_killed in [false, true] {
        for (what, between, is_written) in TABLE {
            let rig = followed(is_killed);
            between(&rig);
            let mut sink = opened(&rig);
            let held = sink.open(&rig.log.facts()).unwrap();
            assert_eq!(sink.is_astray(), is_written, "{what}, killed: {is_killed}");
            assert_eq!(held.is_some(), !is_written, "{what}");
            assert_eq!(rig.at("copy.db-longshore-kept-1").exists(), is_written, "{what}");
            drop(sink);
            // Nobody has written it since.
            open(&rig).close().unwrap();
            let mut sink = opened(&rig);
            sink.open(&rig.log.facts()).unwrap();
            assert_eq!(sink.is_astray(), is_written, "{what}, started again, killed: {is_killed}");
            assert!(!rig.at("copy.db-longshore-kept-2").exists(), "{what}: it is kept once, killed: {is_killed}");
        }
    }
}

//! Another file in the place of a captured database, put there while nobody captured it: nothing of it is shipped before
//! somebody says so. What was merely written meanwhile goes on to be found.

mod rig;

use std::fs;

use longshore_format::ErrorKind;
use longshore_sqlite::{Capture, CaptureSettings, Error};
use rig::{Rig, drain, items};
use rusqlite::Connection;

/// What becomes of the database.
enum Now {
    /// It is captured.
    Shipped,
    /// It is refused, for this reason among others.
    Refused(&'static str),
}
use Now::{Refused, Shipped};

/// Of a captured database of some pages, which nobody has open, and an old copy of it in `old.db`.
fn captured() -> Rig {
    let rig = Rig::new();
    let app = rig.app();
    app.execute_batch("PRAGMA application_id = 77; CREATE TABLE flags (is_up)").unwrap();
    items(&app, 100, 400);
    app.execute_batch("INSERT INTO flags VALUES (0)").unwrap();
    rig.attach().detach().unwrap();
    close(app);
    fs::copy(rig.at("app.db"), rig.at("old.db")).unwrap();
    let app = rig.app();
    let mut capture = rig.attach();
    app.execute_batch("UPDATE flags SET is_up = 1").unwrap();
    app.execute_batch("UPDATE items SET body = zeroblob(400) WHERE id < 60").unwrap();
    drain(&mut capture);
    capture.detach().unwrap();
    close(app);
    rig
}

/// As the last one, which copies the `-wal` back and removes it.
fn close(app: Connection) {
    app.close().unwrap();
}

fn write(rig: &Rig, sql: &str) {
    let app = rig.app();
    app.execute_batch(sql).unwrap();
    close(app);
}

/// Another file gets the name.
fn put(rig: &Rig, name: &str) {
    fs::rename(rig.at(name), rig.at("app.db")).unwrap();
}

/// The file stays and gets other bytes.
fn copy_over(rig: &Rig, name: &str) {
    let bytes = fs::read(rig.at(name)).unwrap();
    fs::write(rig.at("app.db"), bytes).unwrap();
}

type Change = fn(&Rig);
type Replace = fn(&Rig, &str);
/// What an application does while no agent runs; its connection where it does not end.
type GoesOn = fn(&Rig, Connection) -> Option<Connection>;

#[test]
fn what_was_written_meanwhile_is_shipped_and_what_was_put_in_its_place_is_not() {
    let table: &[(&str, Change, Now)] = &[
        ("nothing", |_| {}, Shipped),
        ("rows", |rig| write(rig, "INSERT INTO items (body) VALUES (zeroblob(5000))"), Shipped),
        ("all rows", |rig| write(rig, "UPDATE items SET body = randomblob(400)"), Shipped),
        ("a flag that is taken back", |rig| write(rig, "UPDATE flags SET is_up = 0"), Shipped),
        ("less", |rig| write(rig, "DELETE FROM items WHERE id > 3; VACUUM"), Shipped),
        ("all gone", |rig| write(rig, "DROP TABLE items; DROP TABLE flags; VACUUM"), Shipped),
        (
            "a copy of itself",
            |rig| {
                fs::copy(rig.at("app.db"), rig.at("same.db")).unwrap();
                put(rig, "same.db");
            },
            Shipped,
        ),
        ("an old copy, renamed", |rig| put(rig, "old.db"), Refused("another file has its name")),
        ("an old copy, over it", |rig| copy_over(rig, "old.db"), Refused("of an earlier time")),
        (
            "an old copy, over it, and written",
            |rig| {
                copy_over(rig, "old.db");
                write(rig, "INSERT INTO items (body) VALUES (zeroblob(400))");
            },
            Refused("of an earlier time"),
        ),
        ("an empty file", |rig| fs::write(rig.at("app.db"), "").unwrap(), Refused("it is empty")),
        (
            "an empty file, and its own -wal gone, renamed",
            |rig| {
                fs::write(rig.at("none.db"), "").unwrap();
                put(rig, "none.db");
            },
            Refused("it is empty"),
        ),
        (
            "an empty file, of which the application made a database",
            |rig| {
                fs::write(rig.at("app.db"), "").unwrap();
                write(rig, "CREATE TABLE flags (is_up); CREATE TABLE items (id INTEGER PRIMARY KEY, body BLOB)");
            },
            Refused("it has fewer pages"),
        ),
        (
            "a compact copy that is not in WAL mode, renamed",
            |rig| {
                write(rig, &format!("VACUUM INTO '{}'", rig.at("into.db").display()));
                put(rig, "into.db");
            },
            Refused("another file has its name"),
        ),
        (
            "a compact copy that is not in WAL mode, over it",
            |rig| {
                write(rig, &format!("VACUUM INTO '{}'", rig.at("into.db").display()));
                copy_over(rig, "into.db");
            },
            Refused("its change counter has gone back"),
        ),
        (
            "another application's, over it",
            |rig| {
                let other = Connection::open(rig.at("other.db")).unwrap();
                other.execute_batch("PRAGMA application_id = 78; CREATE TABLE a (x)").unwrap();
                for n in 0..20 {
                    other.execute_batch(&format!("CREATE TABLE a{n} (x)")).unwrap();
                }
                other.pragma_update(None, "journal_mode", "wal").unwrap();
                other.close().unwrap();
                copy_over(rig, "other.db");
            },
            Refused("its application id is another one"),
        ),
    ];
    for (what, change, expected) in table {
        let rig = captured();
        let end = rig.log.end();
        change(&rig);
        let outcome = rig.try_attach(rig.settings());
        match (outcome, expected) {
            (Ok(capture), Shipped) => drop(capture),
            (Err(error), Refused(why)) => {
                assert_eq!(error.kind(), ErrorKind::Diverged, "{what}: {error}");
                assert!(
                    matches!(&error, Error::OtherFile { .. }) && error.to_string().contains(why),
                    "{what}: {error}"
                );
                assert_eq!(rig.log.end(), end, "{what}: nothing is shipped");
                continue;
            }
            (Ok(_), Refused(_)) => panic!("{what}: shipped"),
            (Err(error), Shipped) => panic!("{what}: {error}"),
        }
        let app = rig.app();
        drain(&mut rig.attach());
        rig.assert_equal(&app);
    }
}

/// As after `kill -9`: nothing was written down at the end, and the file was noted when it was attached.
#[test]
fn a_capture_that_ended_in_no_order_has_noted_its_file() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 10, 100);
    let capture: Capture = rig.attach();
    drop(capture);
    close(app);
    fs::copy(rig.at("app.db"), rig.at("other.db")).unwrap();
    let other = Connection::open(rig.at("other.db")).unwrap();
    other.execute_batch("UPDATE items SET body = 'other'").unwrap();
    other.close().unwrap();
    put(&rig, "other.db");
    let error = rig.try_attach(rig.settings()).map(drop).unwrap_err();
    assert!(error.to_string().contains("another file has its name"), "{error}");
}

/// What somebody forgets who puts an old copy back, or who stopped the application before the agent: SQLite takes the two for one
/// database, which is neither.
#[test]
fn an_old_copy_beside_the_wal_of_the_one_before_is_not_shipped() {
    let ways: [(Replace, &str); 2] = [(put, "another file has its name"), (copy_over, "of an earlier time")];
    for (replace, why) in ways {
        // The application ended in no order before the agent did, or after it and with a last commit.
        for goes_on in [false, true] {
            let rig = captured();
            let app = rig.app();
            let mut capture = rig.attach();
            app.execute_batch("UPDATE flags SET is_up = 2").unwrap();
            drain(&mut capture);
            capture.detach().unwrap();
            if goes_on {
                app.execute_batch("UPDATE flags SET is_up = 3").unwrap();
            }
            end_in_no_order(&rig, app);
            replace(&rig, "old.db");
            let end = rig.log.end();
            let error = rig.try_attach(rig.settings()).map(drop).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(rig.log.end(), end, "nothing is shipped");
        }
    }
}

/// As after the end of the machine: the `-wal` stays, and all that is known of it is in itself.
fn end_in_no_order(rig: &Rig, app: Connection) {
    let names = ["app.db", "app.db-wal"];
    for name in names {
        fs::copy(rig.at(name), rig.at(&format!("kept-{name}"))).unwrap();
    }
    close(app);
    for name in names {
        // The file stays what it is, but for its time.
        fs::write(rig.at(name), fs::read(rig.at(&format!("kept-{name}"))).unwrap()).unwrap();
    }
}

#[test]
fn what_stands_beside_the_file_that_it_belongs_to_goes_on_without_being_asked_for() {
    let table: &[(&str, GoesOn)] = &[
        ("the application ends in no order", |rig, app| {
            end_in_no_order(rig, app);
            None
        }),
        ("it commits, and ends in no order", |rig, app| {
            items(&app, 20, 400);
            end_in_no_order(rig, app);
            None
        }),
        ("it goes on", |_, app| {
            items(&app, 20, 400);
            Some(app)
        }),
        ("it copies its -wal back, and goes on while a reader keeps that", |rig, app| {
            items(&app, 20, 400);
            let reader = rig.app();
            reader.execute_batch("BEGIN; SELECT count(*) FROM items").unwrap();
            app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            items(&app, 20, 400);
            Some(app)
        }),
        ("it copies its -wal back", |_, app| {
            app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            Some(app)
        }),
    ];
    for (what, goes_on) in table {
        let rig = captured();
        let app = rig.app();
        let mut capture = rig.attach();
        app.execute_batch("UPDATE flags SET is_up = 2").unwrap();
        drain(&mut capture);
        capture.detach().unwrap();
        let app = goes_on(&rig, app);
        let mut capture = rig.try_attach(rig.settings()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(capture.status().resyncs, 0, "{what}");
        let app = app.unwrap_or_else(|| rig.app());
        items(&app, 3, 400);
        drain(&mut capture);
        rig.assert_equal(&app);
    }
}

#[test]
fn what_is_meant_to_be_there_is_shipped_once_somebody_says_so() {
    for change in [|rig: &Rig| put(rig, "old.db"), |rig: &Rig| copy_over(rig, "old.db")] as [Change; 2] {
        let rig = captured();
        change(&rig);
        let meant = CaptureSettings { replaced: true, ..rig.settings() };
        let capture = rig.try_attach(meant).unwrap();
        assert_eq!(capture.status().resyncs, 1);
        drop(capture);
        // It is the one from now on.
        let app = rig.app();
        items(&app, 3, 100);
        drain(&mut rig.attach());
        rig.assert_equal(&app);
    }
}

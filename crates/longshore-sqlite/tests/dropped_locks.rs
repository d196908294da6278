//! POSIX locks belong to a process, which loses all it has on a file when it closes any descriptor of it. Whatever is done in the
//! process that captures must leave the checkpoint lock where it is.

mod rig;

use std::process::Command;
use std::time::Duration;

use longshore_sqlite::{CaptureSettings, Error, check};
use rig::{Rig, drain, items};
use rusqlite::Connection;

const DATABASE: &str = "LONGSHORE_TEST_DROPPED_LOCKS";

const PREFIX: &str = "the other one ";

/// Not a test: a process that gets the checkpoint lock if nobody has it.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn another_process() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let app = Connection::open(path).unwrap();
    app.busy_timeout(Duration::ZERO).unwrap();
    app.execute_batch("INSERT INTO items (body) VALUES ('from elsewhere')").unwrap();
    let busy: bool = app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    println!("{PREFIX}{}", if busy { "told that it is busy" } else { "got the lock" });
}

#[test]
fn nothing_done_in_the_process_that_captures_drops_its_locks() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 100, 500);
    let seldom = CaptureSettings { checkpoint_from: u64::MAX, truncate_from: u64::MAX, ..rig.settings() };
    let mut capture = rig.try_attach(seldom).unwrap();
    let try_attach = || {
        let impatient = CaptureSettings { attach_within: Duration::from_millis(1), ..rig.settings() };
        assert!(matches!(rig.try_attach(impatient), Err(Error::Guarded { .. })));
    };
    let deeds: [(&str, &dyn Fn()); 5] = [
        ("nothing", &|| {}),
        ("check", &|| assert!(!check(&rig.at("app.db")).is_empty())),
        ("attach", &try_attach),
        ("open and close", &|| rig.app().close().unwrap()),
        ("apply", &|| rig.assert_equal(&app)),
    ];
    for (name, deed) in deeds {
        deed();
        assert_eq!(another(&rig), "told that it is busy", "after {name}");
        drain(&mut capture);
    }
    rig.assert_equal(&app);
    // The trap itself, so that this test is known to see it.
    drop(std::fs::File::open(rig.at("app.db-shm")).unwrap());
    assert_eq!(another(&rig), "got the lock");
}

/// What another process said.
fn another(rig: &Rig) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process", "--ignored", "--nocapture"])
        .env(DATABASE, rig.at("app.db"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.lines().find_map(|line| line.split_once(PREFIX)).unwrap_or_else(|| panic!("{said}"));
    said.1.to_owned()
}

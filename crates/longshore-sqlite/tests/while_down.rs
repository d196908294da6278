//! What an application does to its `-wal` and its file while nobody captures, and around the moment of attaching.

mod rig;

use std::time::Duration;

use longshore_sqlite::CaptureSettings;
use rig::{Rig, drain, items};
use rusqlite::Connection;

/// As an application's automatic checkpoint: all of the `-wal` is in the database file, and the next writer begins it anew.
fn copy_all_back(app: &Connection) {
    let (busy, frames, copied): (bool, i64, i64) =
        app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert!(!busy && frames == copied, "{frames} frames, {copied} copied back");
}

fn truncate(app: &Connection) {
    let busy: bool = app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert!(!busy);
}

#[test]
fn a_wal_that_begins_anew_between_attaching_and_the_first_copy_loses_nothing() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 50, 500);
    rig.attach().detach().unwrap();
    app.execute_batch("UPDATE items SET body = 'while nobody captured' WHERE id = 7").unwrap();
    copy_all_back(&app);
    let mut capture = rig.attach();
    // Overwrites the frames of the update. Nothing holds this writer up: whoever attaches must not count on them.
    app.execute_batch("UPDATE items SET body = 'afterwards' WHERE id = 43").unwrap();
    drain(&mut capture);
    rig.assert_equal(&app);
}

#[test]
fn a_wal_that_was_copied_back_and_not_begun_anew_goes_on_without_comparing_if_all_of_it_is_in_the_log() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 50, 500);
    rig.attach().detach().unwrap();
    copy_all_back(&app);
    let mut capture = rig.attach();
    assert_eq!(capture.status().resyncs, 0);
    items(&app, 3, 500);
    assert_eq!(drain(&mut capture), 3);
    rig.assert_equal(&app);
}

#[test]
fn a_wal_reset_while_nobody_captured_is_noticed_however_long_the_new_one_is() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 20, 500);
    // Shorter than, as long as, and longer than what was captured of the one before.
    for writes in [1, 20, 60] {
        for has_more_than_one_begun in [false, true] {
            let update = |n: u32| {
                let body = format!("{writes} {n} {has_more_than_one_begun}");
                app.execute("UPDATE items SET body = ?1 WHERE id = ?2", (body, 1 + n % 20)).unwrap();
            };
            rig.attach().detach().unwrap();
            copy_all_back(&app);
            if has_more_than_one_begun {
                update(13);
                copy_all_back(&app);
            }
            (0..writes).for_each(update);
            let mut capture = rig.attach();
            // Nothing is missing between the log and a -wal that begins with the file as it was shipped.
            let expected = if has_more_than_one_begun { (1, 0) } else { (0, u64::from(writes)) };
            assert_eq!((capture.status().resyncs, drain(&mut capture)), expected, "{writes} writes");
            rig.assert_equal(&app);
        }
    }
}

#[test]
fn vacuum_shrinking_and_growing_while_nobody_captured_are_found_by_comparing() {
    for auto in ["none", "full", "incremental"] {
        let rig = Rig::new();
        let app = Connection::open(rig.at("app.db")).unwrap();
        app.execute_batch(&format!("PRAGMA auto_vacuum={auto}; PRAGMA journal_mode=wal;")).unwrap();
        items(&app, 400, 2000);
        rig.attach().detach().unwrap();
        rig.assert_equal(&app);
        for sql in
            ["DELETE FROM items WHERE id % 5 <> 0; PRAGMA incremental_vacuum;", "VACUUM;", "CREATE TABLE other (a, b);"]
        {
            app.execute_batch(sql).unwrap();
            truncate(&app);
            items(&app, 5, 2000);
            let mut capture = rig.attach();
            assert_eq!(capture.status().resyncs, 1, "{auto}: {sql}");
            drain(&mut capture);
            capture.detach().unwrap();
            rig.assert_equal(&app);
        }
        let pages = |db: &Connection| -> i64 { db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap() };
        assert_eq!(pages(&Connection::open(rig.at("replica.db")).unwrap()), pages(&app), "{auto}");
    }
}

#[test]
fn another_page_size_after_a_vacuum_while_nobody_captured_begins_with_an_image() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 50, 500);
    rig.attach().detach().unwrap();
    app.execute_batch("PRAGMA journal_mode=delete; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=wal;").unwrap();
    items(&app, 5, 500);
    let mut capture = rig.attach();
    assert_eq!(capture.status().resyncs, 0, "there is nothing to compare with");
    items(&app, 5, 500);
    assert_eq!(drain(&mut capture), 5);
}

#[test]
fn a_reader_that_keeps_a_wal_that_was_copied_back_while_nobody_captured_is_no_obstacle() {
    for has_captured_before in [false, true] {
        let rig = Rig::new();
        let app = rig.app();
        items(&app, 50, 500);
        if has_captured_before {
            rig.attach().detach().unwrap();
        }
        items(&app, 1, 500);
        let reader = rig.app();
        reader.execute_batch("BEGIN; SELECT count(*) FROM items;").unwrap();
        copy_all_back(&app);
        let mut capture = rig.attach();
        // Appended to the -wal as it is, because of the reader.
        items(&app, 3, 500);
        assert_eq!(drain(&mut capture), 3);
        rig.assert_equal(&app);
    }
}

#[test]
fn closing_the_last_connection_takes_the_wal_away_and_nothing_is_lost() {
    let rig = Rig::new();
    let app = rig.app();
    items(&app, 50, 500);
    rig.attach().detach().unwrap();
    drop(app);
    for round in 0..3 {
        // The only connection: its end copies everything back, and removes the -wal.
        let app = rig.app();
        items(&app, 3, 100 + round);
        app.close().unwrap();
        let patient = CaptureSettings { attach_within: Duration::from_secs(60), ..rig.settings() };
        let mut capture = rig.try_attach(patient).unwrap();
        let app = rig.app();
        items(&app, 1, 100);
        drain(&mut capture);
        rig.assert_equal(&app);
        drop(capture);
    }
}

#[test]
fn a_wal_that_was_begun_anew_and_not_written_yet_goes_on_after_comparing() {
    for (mode, attaches_again) in [("RESTART", false), ("RESTART", true), ("TRUNCATE", false), ("TRUNCATE", true)] {
        let rig = Rig::new();
        let app = rig.app();
        items(&app, 50, 500);
        rig.attach().detach().unwrap();
        app.execute_batch("UPDATE items SET body = 'while nobody captured' WHERE id = 7").unwrap();
        let busy: bool = app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0)).unwrap();
        assert!(!busy);
        let mut capture = rig.attach();
        assert_eq!(capture.status().resyncs, 1, "{mode}");
        if attaches_again {
            capture.detach().unwrap();
            items(&app, 2, 500);
            capture = rig.attach();
            assert_eq!((capture.status().resyncs, drain(&mut capture)), (0, 2), "{mode}");
        }
        items(&app, 3, 500);
        assert_eq!(drain(&mut capture), 3, "{mode}");
        rig.assert_equal(&app);
    }
}

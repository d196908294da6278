//! A host and its log: whatever happens between append and commit, they agree again after a start.

mod support;

use longshore_apply::Source;
use longshore_format::ErrorKind;
use longshore_sqlite::{Error, Recorder, bring_up};
use rusqlite::{Connection, params};
use support::{LOG, Place};

/// Steps of the one order after which a host may die.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    BeforeRecord,
    BeforeAppend,
    AfterAppend,
    AfterCommit,
}

#[test]
fn a_host_that_dies_at_any_step_and_its_replicas_end_up_equal() {
    for dies in [Dies::BeforeRecord, Dies::BeforeAppend, Dies::AfterAppend, Dies::AfterCommit] {
        let place = Place::new();
        let mut host = place.host();
        place.transact(&mut host, |tx| {
            tx.execute("CREATE TABLE t (n UNIQUE)", params![]).unwrap();
        });
        {
            let mut recording = host.begin().unwrap();
            recording.execute("INSERT INTO t VALUES (1)", params![]).unwrap();
            if dies != Dies::BeforeRecord {
                let recorded = recording.record().unwrap();
                if dies != Dies::BeforeAppend {
                    let position = place.log.run(recorded.payloads());
                    if dies == Dies::AfterCommit {
                        recorded.commit(position).unwrap();
                    }
                }
            }
        }
        drop(host);
        let in_log = matches!(dies, Dies::AfterAppend | Dies::AfterCommit);
        let held = bring_up(place.log.clone(), place.path("host.db")).unwrap();
        assert_eq!(held, Some(place.log.end()), "{dies:?}");
        let db = Connection::open(place.path("host.db")).unwrap();
        let rows: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, i64::from(in_log), "{dies:?}");

        let mut host = Recorder::new(db, LOG).unwrap();
        place.transact(&mut host, |tx| {
            tx.execute("INSERT INTO t VALUES (2)", params![]).unwrap();
        });
        place.replicate("replica.db").unwrap();
        assert_eq!(place.dump("replica.db"), place.dump("host.db"), "{dies:?}");
    }
}

#[test]
fn a_host_that_does_not_know_whether_its_run_is_in_the_log_catches_up_first() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (n UNIQUE)", params![]).unwrap();
    });
    let mut recording = host.begin().unwrap();
    recording.execute("INSERT INTO t VALUES (1)", params![]).unwrap();
    let recorded = recording.record().unwrap();
    place.log.run(recorded.payloads());
    drop(recorded);
    assert!(matches!(host.begin(), Err(Error::Behind)));
    assert_eq!(host.catch_up(place.log.clone()).unwrap(), Some(place.log.end()));
    place.transact(&mut host, |tx| {
        tx.execute("INSERT INTO t VALUES (2)", params![]).unwrap();
    });

    let mut recording = host.begin().unwrap();
    recording.execute("INSERT INTO t VALUES (3)", params![]).unwrap();
    recording.record().unwrap().discard();
    assert!(host.begin().is_ok(), "what was certainly not appended needs no catching up");
    place.replicate("replica.db").unwrap();
    assert_eq!(place.dump("replica.db"), place.dump("host.db"));
}

#[test]
fn a_transaction_that_could_not_commit_is_refused_before_it_is_in_the_log() {
    let place = Place::new();
    let mut host = place.host_with("PRAGMA foreign_keys = on");
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE p (id INTEGER PRIMARY KEY)", params![]).unwrap();
        tx.execute("CREATE TABLE c (of REFERENCES p DEFERRABLE INITIALLY DEFERRED)", params![]).unwrap();
    });
    let mut recording = host.begin().unwrap();
    recording.execute("INSERT INTO c VALUES (1)", params![]).unwrap();
    let error = recording.record().err().unwrap();
    assert!(matches!(&error, Error::ForeignKey { table } if table == "c"), "{error}");
    place.transact(&mut host, |tx| {
        tx.execute("INSERT INTO c VALUES (1)", params![]).unwrap();
        tx.execute("INSERT INTO p VALUES (1)", params![]).unwrap();
    });
    assert!(matches!(host.begin().unwrap().record(), Err(Error::Nothing)));
}

#[test]
fn a_statement_that_left_a_part_of_itself_behind_cannot_be_recorded() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (n UNIQUE)", params![]).unwrap();
        tx.execute("INSERT INTO t VALUES (3)", params![]).unwrap();
    });
    for sql in ["INSERT OR FAIL INTO t VALUES (1), (2), (3)", "INSERT OR ROLLBACK INTO t VALUES (1), (3)"] {
        let mut recording = host.begin().unwrap();
        recording.execute("INSERT INTO t VALUES (9)", params![]).unwrap();
        recording.execute(sql, params![]).unwrap_err();
        assert!(matches!(recording.execute("INSERT INTO t VALUES (10)", params![]), Err(Error::Broken)), "{sql}");
        assert!(matches!(recording.record(), Err(Error::Broken)), "{sql}");
    }
    // An ordinary failure leaves nothing, and the transaction goes on.
    place.transact(&mut host, |tx| {
        tx.execute("INSERT INTO t VALUES (1), (3)", params![]).unwrap_err();
        tx.execute("INSERT INTO t VALUES (4)", params![]).unwrap();
    });
    place.replicate("replica.db").unwrap();
    assert_eq!(place.dump("replica.db"), place.dump("host.db"));
}

#[test]
fn positions_and_logs_that_do_not_belong_are_refused() {
    let place = Place::new();
    let mut host = place.host();
    let position = place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (n)", params![]).unwrap();
    });
    let mut recording = host.begin().unwrap();
    recording.execute("INSERT INTO t VALUES (1)", params![]).unwrap();
    let error = recording.record().unwrap().commit(position).unwrap_err();
    assert!(matches!(error, Error::Backwards { .. }), "{error}");
    drop(host);

    let db = Connection::open(place.path("host.db")).unwrap();
    let error = Recorder::new(db, longshore_format::LogId::from_bytes([9; 16])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");

    // A log that lost its end must not go on beneath a database that has it.
    let shorter = Place::new();
    let error = bring_up(shorter.log.clone(), place.path("host.db")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

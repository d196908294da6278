//! Tails that forks set aside: listed, read from the fork on, forgotten (F-095, F-117, F-118).

mod common;

use std::sync::Arc;

use common::*;
use longshore_format::{ErrorKind, Kind, Lsn};
use longshore_storage::{Environment, SystemEnvironment};
use longshore_wal::tails::{self, Tail};
use longshore_wal::{ReadLog, inspect, set_aside};

/// A log of `records` records, cut where `fork_at` of them end. Returns where each ends, the first position first.
fn forked(place: &Place, records: usize, fork_at: usize) -> Vec<Lsn> {
    let wal = place.open();
    let mut ends = vec![wal.first()];
    for record in numbered(records, 400) {
        ends.push(append(&wal, &record).end);
    }
    step(&wal);
    wal.close().unwrap();
    drop(wal);
    cut(place, ends[fork_at]);
    ends
}

fn cut(place: &Place, fork: Lsn) {
    let env: Arc<dyn Environment> = Arc::new(SystemEnvironment);
    set_aside(&place.dir(), &env, fork).unwrap();
}

fn only(place: &Place) -> Tail {
    let mut tails = tails::list(&place.dir()).unwrap();
    assert_eq!(tails.len(), 1, "{tails:?}");
    tails.pop().unwrap()
}

fn branch(place: &Place, tail: &Tail) -> ReadLog {
    ReadLog::open(tail.branch(&place.dir()).unwrap()).unwrap()
}

#[test]
fn f_117_f_118_a_tail_is_listed_and_read_from_its_fork_on_wherever_that_is() {
    // The first position, inside a segment, the last of a segment, the first of the next, and tails of several segments.
    for fork_at in [0, 1, 80, 148, 149, 150, 250, 499] {
        let place = Place::new();
        assert_eq!(tails::list(&place.dir()).unwrap(), []);
        let epoch = place.read().history().unwrap().current().epoch;
        let ends = forked(&place, 500, fork_at);
        let tail = only(&place);
        assert_eq!((tail.from, tail.to, tail.epoch), (ends[fork_at], ends[500], epoch), "{fork_at}");
        assert_eq!(tail.bytes(), ends[500].get() - ends[fork_at].get());
        assert!(tail.bytes() <= tail.disk && 0 < tail.time, "{tail:?}");

        let branch = branch(&place, &tail);
        assert_eq!(tail.first_run(&branch).unwrap(), ends[fork_at]);
        assert_eq!(payloads(branch.reader(tail.from).unwrap()), numbered(500, 400)[fork_at..]);
        // What the log was before stands before it.
        assert_eq!(branch.first(), place.read().first());
        assert_eq!(payloads(branch.reader(branch.first()).unwrap()), numbered(500, 400));
        let report = inspect::examine(&tail.directory(&place.dir()).unwrap(), inspect::Depth::Records).unwrap();
        assert!(report.is_intact(), "{report:?}");
        assert_eq!(report.tail.end, tail.to);
    }
}

#[test]
fn f_118_a_log_cut_where_its_segment_begins_goes_on_there() {
    let place = Place::new();
    let wal = place.open();
    let ends: Vec<Lsn> = numbered(500, 400).iter().map(|record| append(&wal, record).end).collect();
    step(&wal);
    wal.close().unwrap();
    drop(wal);
    // The end of the first segment and the start of the second are one position; the last record there is the log's own.
    let boundary = Lsn::new(65536 + 4096);
    cut(&place, Lsn::new(65536));
    let kept = ends.iter().filter(|end| **end < boundary).count();
    let tail = only(&place);
    assert_eq!(tail.from, boundary);
    assert_eq!(payloads(branch(&place, &tail).reader(boundary).unwrap()), numbered(500, 400)[kept..]);
    assert_eq!(
        tail.directory(&place.dir()).and_then(ReadLog::open).unwrap().first(),
        boundary,
        "nothing else is in it"
    );

    let wal = place.open();
    assert_eq!(wal.end(), boundary);
    append(&wal, b"another history");
    step(&wal);
    wal.close().unwrap();
    assert_eq!(payloads(wal.reader(boundary).unwrap()), [b"another history"]);
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()).len(), kept + 1);
}

#[test]
fn f_118_lives_that_began_at_the_first_position_go_with_the_tail() {
    let place = Place::new();
    // Never closed: the next open begins another life with the first record there is.
    drop(place.open());
    let wal = place.open();
    assert_eq!(wal.history().entries()[1].start, wal.first());
    append(&wal, b"of the second life");
    step(&wal);
    drop(wal);
    let wal = place.open();
    append(&wal, b"of the third");
    step(&wal);
    wal.close().unwrap();
    let (first, history) = (wal.first(), wal.history());
    assert_eq!(history.entries().len(), 3);
    drop(wal);
    cut(&place, first);

    let tail = branch(&place, &only(&place));
    assert_eq!(payloads(tail.reader(first).unwrap()), [&b"of the second life"[..], b"of the third"]);
    let wal = place.try_open(follower()).unwrap().0;
    assert_eq!(wal.history().entries(), &history.entries()[..1], "what it no longer holds it does not claim");
    assert_eq!(wal.end(), first);
    drop(wal);
    // A life that begins before the dead ones ended.
    let wal = place.open();
    assert_eq!((wal.history().entries().len(), wal.history().current().start), (2, first));
}

#[test]
fn f_117_a_transaction_that_was_open_at_the_fork_is_the_tails_from_its_first_record_on() {
    let place = Place::new();
    let wal = place.open();
    append(&wal, b"before");
    let start = wal.end();
    let mut run = wal.begin().unwrap();
    let mut ends = Vec::new();
    for record in numbered(300, 400) {
        while let Err(error) = run.append(Kind::USER, &record) {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            step(&wal);
        }
        ends.push(wal.end());
    }
    run.finish().unwrap();
    step(&wal);
    wal.close().unwrap();
    drop(wal);
    // Some segments after the one that it began in.
    let fork = ends[250];
    assert!(small().base_of(start) < small().base_of(fork));
    cut(&place, fork);
    let tail = only(&place);
    assert_eq!(tail.from, fork);
    assert_eq!(tail.first_run(&branch(&place, &tail)).unwrap(), start);
}

#[test]
fn several_tails_are_told_apart_and_forgotten_one_by_one() {
    let place = Place::new();
    let ends = forked(&place, 500, 400);
    cut(&place, ends[10]);
    let [first, second] = &tails::list(&place.dir()).unwrap()[..] else { panic!() };
    assert_eq!((first.from, first.to), (ends[10], ends[400]));
    assert_eq!((second.from, second.to), (ends[400], ends[500]));
    assert_eq!(tails::find(&place.dir(), &second.place).unwrap(), *second);
    let short = second.place.strip_prefix("diverged/").unwrap();
    assert_eq!(tails::find(&place.dir(), short).unwrap(), *second);

    for unknown in ["", "diverged/1-2", "../control", "/etc", "diverged", "diverged/../diverged"] {
        let error = tails::forget(&place.dir(), unknown).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&first.place), "{error}");
    }
    assert_eq!(tails::forget(&place.dir(), short).unwrap(), *second);
    assert_eq!(tails::list(&place.dir()).unwrap(), std::slice::from_ref(first));
    assert!(!place.file(&second.place).exists());
    assert_eq!(tails::forget(&place.dir(), &first.place).unwrap(), *first);
    let error = tails::forget(&place.dir(), &first.place).unwrap_err();
    assert!(error.to_string().ends_with("it has none"), "{error}");
    assert_eq!(place.read().end(), ends[10], "the log itself is as it was");
}

#[test]
fn a_tail_that_is_read_is_not_forgotten() {
    let place = Place::new();
    forked(&place, 20, 10);
    let tail = only(&place);
    let in_use = tail.use_it(&place.dir()).unwrap();
    let _second = tail.use_it(&place.dir()).unwrap();
    let error = tails::forget(&place.dir(), &tail.place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(only(&place).place, tail.place);
    drop(in_use);
    tails::forget(&place.dir(), &tail.place).unwrap();
}

#[test]
fn a_crash_in_the_middle_of_forgetting_leaves_no_half_of_a_tail() {
    for removed in 0.. {
        let place = Place::new();
        forked(&place, 500, 400);
        let tail = only(&place);
        // As forgetting does it, and no further than so many files.
        let inner = tail.place.strip_prefix("diverged/").unwrap();
        let diverged = place.dir().open_subdir("diverged").unwrap();
        diverged.rename(inner, &format!("{inner}.forgotten")).unwrap();
        let half = diverged.open_subdir(&format!("{inner}.forgotten")).unwrap();
        let mut names: Vec<_> = half.list().unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort_by_key(|name| name == "control");
        for name in &names[..removed] {
            half.remove(name).unwrap();
        }

        assert_eq!(tails::list(&place.dir()).unwrap(), [], "it is no tail any more");
        assert!(place.try_open(follower()).is_ok());
        let again = tails::forget(&place.dir(), &tail.place);
        assert_eq!(std::fs::read_dir(place.file("diverged")).unwrap().count(), 0, "and nothing is left of it");
        if removed == names.len() {
            assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
            return;
        }
        let again = again.unwrap();
        assert_eq!((&again.place, again.from, again.to), (&tail.place, tail.from, tail.to));
    }
}

#[test]
fn f_117_a_tail_is_kept_for_whatever_somebody_wrote_and_for_nothing_else() {
    // What is written behind the fork, and whether that is somebody's.
    type Write = fn(&Place);
    let user: Write = |place| {
        append(&place.open(), b"a record");
    };
    let unfinished: Write = |place| {
        let wal = place.open();
        let mut run = wal.begin().unwrap();
        for record in numbered(5, 400) {
            run.append(Kind::USER, &record).unwrap();
        }
        // It is handed on before it ends, and aborted when it is dropped.
        drop(run);
        step(&wal);
    };
    let mark: Write = |place| {
        place.open().mark(&"here".parse().unwrap()).unwrap();
    };
    // An open that was not preceded by a close begins a life, which is a record.
    let life: Write = |place| drop(place.open());
    for (what, writes, kept) in [
        ("a life", &[life][..], false),
        ("lives", &[life, life, life], false),
        ("a record of a user", &[user], true),
        ("a record and lives", &[life, user, life], true),
        ("a mark", &[life, mark], true),
        ("a transaction that was never finished", &[unfinished, life], true),
    ] {
        let place = Place::new();
        let wal = place.open();
        let fork = append(&wal, b"before").end;
        step(&wal);
        // Not closed.
        drop(wal);
        writes.iter().for_each(|write| write(&place));
        cut(&place, fork);
        let tail = only(&place);
        assert!(tail.from < tail.to, "{what}");
        assert_eq!(tails::forget_unless_written(&place.dir(), &tail.place).unwrap(), !kept, "{what}");
        assert_eq!(tails::list(&place.dir()).unwrap().len(), usize::from(kept), "{what}");
        assert_eq!(payloads(place.read().reader(place.read().first()).unwrap()), [b"before"], "{what}");
    }
}

//! The loop between a log and a sink.

mod common;

use common::{Memory, MemoryLog, MemorySink};
use longshore_apply::{Applier, Error, Held, Planner, Step, Target};
use longshore_format::{ErrorKind, Flags, Kind, Lsn};

fn open(log: &MemoryLog, sink: &MemorySink, target: &str) -> Applier<MemoryLog, MemorySink> {
    Applier::open(log.clone(), sink.clone(), target.parse().unwrap()).unwrap()
}

/// Steps until there is nothing to do.
fn drain(applier: &mut Applier<MemoryLog, MemorySink>) -> Step {
    loop {
        match applier.step().unwrap() {
            Step::Applied(_) | Step::Working => {}
            step => return step,
        }
    }
}

#[test]
fn complete_runs_arrive_whole_once_and_in_order() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    log.run(&["a"]);
    log.run(&["b", "c", "d"]);
    let end = log.run(&["e"]);
    let mut applier = open(&log, &sink, "latest");
    assert_eq!(drain(&mut applier), Step::Idle);
    assert_eq!(sink.payloads(), ["a", "b+c+d", "e"]);
    let progress = applier.progress();
    assert_eq!((progress.applied, progress.held, progress.position), (end, end, end));
    assert_eq!((progress.runs, progress.records, progress.bytes), (3, 5, 5));

    let end = log.run(&["f", "g"]);
    assert_eq!(drain(&mut applier), Step::Idle);
    assert_eq!(applier.applied().get(), end);
    drop(applier);
    log.run(&["h"]);
    drain(&mut open(&log, &sink, "latest"));
    assert_eq!(sink.payloads(), ["a", "b+c+d", "e", "f+g", "h"], "it resumes after what the sink holds");
}

#[test]
fn a_run_reaches_the_sink_only_when_its_last_record_is_there() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    let first = log.run(&["a"]);
    log.record(Kind::USER, Flags::FIRST, b"b");
    log.record(Kind::USER, Flags::NONE, b"c");
    let mut applier = open(&log, &sink, "latest");
    drain(&mut applier);
    assert_eq!(sink.0.lock().unwrap().calls, ["begin"], "the open run was not even begun");
    assert_eq!(applier.progress().applied, first);
    log.record(Kind::USER, Flags::LAST, b"d");
    drain(&mut applier);
    assert_eq!(sink.payloads(), ["a", "b+c+d"]);
}

#[test]
fn aborted_runs_are_never_seen_however_they_ended() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    log.record(Kind::USER, Flags::FIRST, b"x");
    log.record(Kind::ABORT, Flags::NONE, b"");
    log.run(&["a"]);
    log.record(Kind::USER, Flags::FIRST, b"y");
    log.record(Kind::USER, Flags::NONE, b"z");
    let end = log.incarnation(9);
    let mut applier = open(&log, &sink, "latest");
    drain(&mut applier);
    assert_eq!(applier.progress().applied, end, "what is the log's own counts as applied");
    log.run(&["b", "c"]);
    log.mark("here");
    drain(&mut applier);
    assert_eq!(sink.payloads(), ["a", "b+c"]);
    assert_eq!(applier.progress().applied, common_end(&log));
    assert!(applier.progress().held < applier.progress().applied, "the sink would resume before the mark");
}

fn common_end(log: &MemoryLog) -> Lsn {
    longshore_apply::Source::end(log)
}

/// Runs far larger than any buffer, across segments.
#[test]
fn a_run_of_any_size_needs_bounded_steps_and_nothing_is_buffered() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    let big: Vec<Vec<u8>> = (0..300u32).map(|n| vec![n as u8; 12_000]).collect();
    log.run(&["small"]);
    let end = log.run(&big);
    let mut applier = open(&log, &sink, "latest");
    let mut working = 0;
    loop {
        match applier.step().unwrap() {
            Step::Working => working += 1,
            Step::Applied(_) => {}
            step => {
                assert_eq!(step, Step::Idle);
                break;
            }
        }
    }
    assert!(working >= 6, "3.6 MiB are found and given in steps of 1 MiB, not {working}");
    assert_eq!(applier.progress().applied, end);
    assert_eq!(sink.0.lock().unwrap().runs[1], big);
}

#[test]
fn targets_stop_at_a_run_and_never_inside_one() {
    let log = MemoryLog::new();
    log.set_time(10);
    let a = log.run(&["a"]);
    log.set_time(20);
    let inside = log.record(Kind::USER, Flags::FIRST, b"b");
    log.set_time(30);
    let b = log.record(Kind::USER, Flags::LAST, b"c");
    log.mark("m");
    let d = log.run(&["d"]);
    let check = |target: &str, exclusive: bool, expected: &[&str], done: Step| {
        let sink = MemorySink::default();
        let mut target: Target = target.parse().unwrap();
        if exclusive {
            target = target.before();
        }
        let mut applier = Applier::open(log.clone(), sink.clone(), target.clone()).unwrap();
        assert_eq!(drain(&mut applier), done, "{target}");
        assert_eq!(sink.payloads(), expected, "{target}");
    };
    check(&a.to_string(), false, &["a"], Step::Done);
    check(&a.to_string(), true, &[], Step::Done);
    check(&format!("lsn:{inside}"), false, &["a"], Step::Done);
    check(&b.to_string(), false, &["a", "b+c"], Step::Done);
    check(&b.to_string(), true, &["a"], Step::Done);
    check("time:1970-01-01T00:00:00.00002Z", false, &["a"], Step::Done);
    check("time:1970-01-01T00:00:00.00003Z", true, &["a"], Step::Done);
    check("time:1970-01-01T00:00:00.00003Z", false, &["a", "b+c", "d"], Step::Idle);
    check("mark:m", false, &["a", "b+c"], Step::Done);
    check("mark:m", true, &["a", "b+c"], Step::Done);
    check(&d.to_string(), false, &["a", "b+c", "d"], Step::Done);
    check("mark:not-yet", false, &["a", "b+c", "d"], Step::Idle);
    check("latest", false, &["a", "b+c", "d"], Step::Idle);
}

/// F-106: a poison record stops applying, by name, and keeps what was applied before it.
#[test]
fn a_poison_record_stops_the_applier_for_good_and_keeps_what_came_before() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    let good = log.run(&["a"]);
    let bad = log.run(&["b", "poison"]);
    log.run(&["c"]);
    sink.0.lock().unwrap().poison = Some(b"poison".to_vec());
    let mut applier = open(&log, &sink, "latest");
    assert_eq!(applier.step().unwrap(), Step::Applied(good));
    let error = applier.step().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!error.is_passing());
    assert!(error.to_string().contains(&format!("from {good} to {bad}")), "{error}");
    assert!(matches!(applier.step(), Err(Error::Stopped { position }) if position == good));
    assert_eq!(applier.applied().get(), good);
    assert_eq!(sink.payloads(), ["a"]);

    sink.0.lock().unwrap().poison = None;
    drain(&mut open(&log, &sink, "latest"));
    assert_eq!(sink.payloads(), ["a", "b+poison", "c"], "once mended it goes on where it stopped");
}

/// F-107: a position that was lost means again, never a gap.
#[test]
fn a_sink_that_lost_its_position_is_given_the_records_again() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    log.run(&["a"]);
    let b = log.run(&["b"]);
    drain(&mut open(&log, &sink, "latest"));
    sink.0.lock().unwrap().held = None;
    drain(&mut open(&log, &sink, "latest"));
    assert_eq!(sink.payloads(), ["a", "b", "a", "b"]);
    assert_eq!(sink.0.lock().unwrap().held.unwrap().lsn, b);
}

#[test]
fn a_sink_of_another_history_is_refused() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    log.run(&["a"]);
    log.run(&["bb"]);
    drain(&mut open(&log, &sink, "latest"));
    let branch = MemoryLog::of_life(2);
    branch.run(&["a"]);
    branch.run(&["bb"]);
    branch.run(&["c"]);
    let error = Applier::open(branch, sink.clone(), Target::LATEST).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");

    let held = sink.0.lock().unwrap().held.unwrap();
    sink.0.lock().unwrap().held = Some(Held { lsn: Lsn::new(held.lsn.get() - 8), crc: None });
    let error = Applier::open(log, sink, Target::LATEST).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Diverged, "no boundary of this log: {error}");
}

#[test]
fn a_sink_ahead_of_a_log_that_is_being_fetched_again_waits_for_it() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    log.run(&["a"]);
    log.run(&["b"]);
    drain(&mut open(&log, &sink, "latest"));
    let again = MemoryLog::new();
    again.run(&["a"]);
    let mut applier = open(&again, &sink, "latest");
    assert_eq!(applier.step().unwrap(), Step::Idle);
    again.run(&["b"]);
    again.run(&["c"]);
    drain(&mut applier);
    assert_eq!(sink.payloads(), ["a", "b", "c"]);
}

/// F-094, for the local consumer: never silently from the first position that happens to be there.
#[test]
fn a_sink_that_needs_what_was_trimmed_is_told_so() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    let a = log.run(&["a"]);
    let b = log.run(&["b"]);
    log.trim(b);
    let error = Applier::open(log.clone(), sink.clone(), Target::LATEST).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::TooOld);
    assert!(error.to_string().contains(&b.to_string()), "{error}");
    *sink.0.lock().unwrap() = Memory { held: Some(Held { lsn: a, crc: None }), ..Memory::default() };
    assert_eq!(Applier::open(log, sink, Target::LATEST).err().unwrap().kind(), ErrorKind::TooOld);
}

#[test]
fn an_interrupted_applier_ends_and_the_next_one_resumes() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    log.run(&["a"]);
    log.run(&["b"]);
    let mut applier = open(&log, &sink, "latest");
    applier.step().unwrap();
    applier.interrupt().trigger();
    assert_eq!(applier.step().unwrap_err().kind(), ErrorKind::Interrupted);
    drop(applier);
    drain(&mut open(&log, &sink, "latest"));
    assert_eq!(sink.payloads(), ["a", "b"]);
}

#[test]
fn runs_are_synced_in_groups_while_there_is_more_and_at_once_when_there_is_not() {
    let (log, sink) = (MemoryLog::new(), MemorySink::default());
    for n in 0..2_500 {
        log.run(&[n.to_string()]);
    }
    let mut applier = open(&log, &sink, "latest");
    drain(&mut applier);
    assert_eq!(sink.0.lock().unwrap().syncs, 3, "after 1000, 2000 and at the end");
    assert_eq!(applier.finish().unwrap().runs, 2_500);
}

/// What was planned is read once, and comes out as if it had been looked at first.
#[test]
fn a_plan_is_followed_to_its_stop_with_or_without_an_aborted_run_before_it() {
    for aborted in [false, true] {
        let (log, sink) = (MemoryLog::new(), MemorySink::default());
        log.run(&["a"]);
        if aborted {
            log.record(Kind::USER, Flags::FIRST, b"x");
            log.record(Kind::ABORT, Flags::NONE, b"");
        }
        log.run(&["b", "c"]);
        log.mark("here");
        let big: Vec<Vec<u8>> = (0..200u32).map(|n| vec![n as u8; 12_000]).collect();
        let stop = log.run(&big);
        log.run(&["after"]);
        let plan = Planner::new(&log, "memory", None, stop.to_string().parse().unwrap()).unwrap().run().unwrap();
        assert_eq!((plan.stop, plan.aborted), (stop, u64::from(aborted)));

        let mut applier = open(&log, &sink, "latest");
        applier.follow_plan(&plan);
        for _ in 0..3 {
            applier.step().unwrap();
        }
        assert_eq!(drain(&mut applier), Step::Done);
        let progress = applier.progress();
        assert_eq!((progress.held, progress.applied, progress.position), (stop, stop, stop));
        assert_eq!((progress.runs, progress.records), (3, 203));
        assert_eq!(sink.0.lock().unwrap().runs[1..], [vec![b"b".to_vec(), b"c".to_vec()], big]);
        applier.finish().unwrap();
    }
}

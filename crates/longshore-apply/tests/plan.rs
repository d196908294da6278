//! What a replay will do, said before it does anything.

mod common;

use common::MemoryLog;
use longshore_apply::{Cut, Error, Held, Next, Plan, Planner, Target};
use longshore_format::{ErrorKind, Flags, Kind, Lsn};

fn plan(log: &MemoryLog, held: Option<Lsn>, target: &str) -> Result<Plan, Error> {
    let (target, exclusive) = match target.strip_prefix('<') {
        Some(target) => (target, true),
        None => (target, false),
    };
    let target: Target = target.parse().unwrap();
    let held = held.map(|lsn| Held { lsn, crc: None });
    Planner::new(log, "the output", held, if exclusive { target.before() } else { target })?.run()
}

/// The end and the time of the last run that is kept.
fn last(plan: &Plan) -> Option<(Lsn, u64)> {
    plan.last.map(|last| (last.end, last.time))
}

/// What is written at which microsecond, and where it ends.
struct Example {
    log: MemoryLog,
    a: Lsn,
    inside: Lsn,
    b: Lsn,
    mark: Lsn,
    d: Lsn,
    end: Lsn,
}

fn example() -> Example {
    let log = MemoryLog::new();
    log.set_time(10);
    let a = log.run(&["a"]);
    log.set_time(20);
    let inside = log.record(Kind::USER, Flags::FIRST, b"b");
    log.set_time(30);
    let b = log.record(Kind::USER, Flags::LAST, b"c");
    log.set_time(40);
    let mark = log.mark("m");
    log.record(Kind::USER, Flags::FIRST, b"x");
    log.record(Kind::ABORT, Flags::NONE, b"");
    log.set_time(50);
    let d = log.run(&["d", "e", "f"]);
    log.mark("n");
    let end = log.record(Kind::USER, Flags::FIRST, b"unfinished");
    Example { log, a, inside, b, mark, d, end }
}

fn time(micros: u64) -> String {
    format!("time:1970-01-01T00:00:00.{micros:06}Z")
}

#[test]
fn a_plan_says_what_how_much_where_it_stops_and_what_comes_next() {
    let Example { log, a, b, mark, d, end, .. } = example();
    let whole = plan(&log, None, "latest").unwrap();
    assert_eq!((whole.from, whole.runs, whole.records, whole.bytes), (Lsn::new(4096), 3, 6, 6));
    assert_eq!((last(&whole), whole.first_time, whole.next, whole.aborted), (Some((d, 50)), Some(10), None, 1));
    assert!(whole.unfinished.is_some_and(|at| at < end) && whole.end == end);

    let part = plan(&log, Some(a), &b.to_string()).unwrap();
    assert_eq!((part.from, part.stop, last(&part), part.runs, part.aborted), (a, b, Some((b, 30)), 1, 0));
    assert_eq!(part.log_bytes, b.since(a));
    let next = part.next.unwrap();
    assert_eq!((next.end, next.time, next.records), (d, 50, 3));
    assert!(mark < next.start);
}

#[test]
fn each_kind_of_target_stops_where_it_says() {
    let Example { log, a, inside, b, d, .. } = example();
    let stop = |target: &str| {
        let plan = plan(&log, None, target).unwrap();
        (plan.last.map(|last| last.end), plan.next.map(|next: Next| next.end))
    };
    assert_eq!(stop(&a.to_string()), (Some(a), Some(b)));
    assert_eq!(stop(&format!("<lsn:{a}")), (None, Some(a)));
    assert_eq!(stop(&inside.to_string()), (Some(a), Some(b)), "inside a run stops before its FIRST");
    assert_eq!(stop(&time(29)), (Some(a), Some(b)));
    assert_eq!(stop(&time(30)), (Some(b), Some(d)));
    assert_eq!(stop(&format!("<{}", time(30))), (Some(a), Some(b)));
    assert_eq!(stop(&time(45)), (Some(b), Some(d)));
    assert_eq!(stop("mark:m"), (Some(b), Some(d)));
    assert_eq!(stop("mark:n"), (Some(d), None));
    assert_eq!(stop("4096"), (None, Some(a)), "the beginning is a boundary like any other");
}

/// F-126: what cannot be had is refused, and the nearest that can be had is named.
#[test]
fn what_cannot_be_had_is_refused_with_the_nearest_that_can() {
    let Example { log, a, b, mark, d, end, .. } = example();
    let check = |held: Option<Lsn>, target: &str, kind: ErrorKind, named: &str| {
        let error = plan(&log, held, target).expect_err(target);
        assert_eq!(error.kind(), kind, "{target}: {error}");
        assert!(error.to_string().contains(named), "{target}: {error}");
    };
    check(None, &time(9), ErrorKind::Unreachable, "1970-01-01T00:00:00.00001Z");
    check(None, &time(51), ErrorKind::Unreachable, &format!("lsn:{end}"));
    check(None, "lsn:99999999", ErrorKind::Unreachable, &format!("lsn:{end}"));
    check(None, &(a.get() + 1).to_string(), ErrorKind::Invalid, &a.to_string());
    check(None, &(a.get() + 8).to_string(), ErrorKind::Invalid, "nearest such positions");
    check(None, "mark:nope", ErrorKind::Unreachable, &format!("m at {mark}, n at "));
    check(Some(b), &a.to_string(), ErrorKind::Unreachable, &format!("holds position {b}"));
    check(Some(b), &time(29), ErrorKind::Unreachable, "fresh output");
    check(Some(d), &b.to_string(), ErrorKind::Unreachable, "fresh output");
    check(Some(d), &format!("<{d}"), ErrorKind::Unreachable, "fresh output");
    check(Some(d), &time(49), ErrorKind::Unreachable, "fresh output");
    check(Some(mark), "mark:m", ErrorKind::Unreachable, &format!("between {mark} and"));
}

#[test]
fn a_mark_that_was_set_twice_says_nothing() {
    let log = MemoryLog::new();
    log.run(&["a"]);
    log.mark("m");
    log.run(&["b"]);
    let last = log.mark("m");
    let error = plan(&log, None, "mark:m").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains(&format!("set 2 times, last at {last}; name the position, for instance lsn:{last}")),
        "{error}"
    );
}

#[test]
fn a_trimmed_log_cannot_serve_a_fresh_output_or_an_older_time() {
    let Example { log, a, b, d, .. } = example();
    log.trim(b);
    let error = plan(&log, None, "latest").unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains(&b.to_string())), (ErrorKind::TooOld, true), "{error}");
    assert_eq!(plan(&log, Some(a), "latest").unwrap_err().kind(), ErrorKind::TooOld);
    assert_eq!(last(&plan(&log, Some(b), "latest").unwrap()), Some((d, 50)));
}

#[test]
fn an_output_that_has_everything_needs_nothing() {
    let Example { log, b, .. } = example();
    let plan = plan(&log, Some(b), &b.to_string()).unwrap();
    assert_eq!((plan.runs, plan.last, plan.stop, plan.log_bytes), (0, None, b, 0));
}

#[test]
fn a_log_that_is_known_to_go_on_reaches_every_moment_before_that() {
    let Example { log, d, end, .. } = example();
    let cut = |target: &str| {
        let cut = Cut { time: Some(70), why: "the rest is gone".to_owned() };
        Planner::new(&log, "the output", None, target.parse().unwrap())?.cut(Some(cut)).run()
    };
    for target in [time(60), time(70), end.to_string()] {
        let plan = cut(&target).unwrap();
        assert_eq!((last(&plan), plan.unfinished), (Some((d, 50)), None), "{target}");
        assert_eq!(plan.beyond.as_deref(), Some("the rest is gone"), "{target}");
    }
    assert_eq!(cut(&time(71)).unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(cut(&time(20)).unwrap().beyond, None, "the next transaction is here");
}

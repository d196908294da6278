//! The one suite that every [`Sink`] passes.
//!
//! It drives a sink the way an applier does, with records that it makes up, drops it at every point
//! where a process may be killed, and looks at what is there through the eyes of the sink's user.
//! Failures panic with a sentence, so it is called from a test.

use std::time::{Duration, Instant};

use longshore_format::{Content, Flags, Kind, LogId, Lsn, Record};

use crate::{Failure, Held, LogFacts, RunEnd, Sink};

/// What the suite needs to know about a sink.
pub trait Subject {
    /// A new sink over the same place: what a restarted process would open.
    fn sink(&mut self) -> Box<dyn Sink>;

    /// A content that the sink takes.
    fn content(&self) -> Content;

    /// A content that it must refuse, if there is one.
    fn foreign_content(&self) -> Option<Content>;

    /// A payload that stores the number `n`.
    fn payload(&self, n: u64) -> Vec<u8>;

    /// The numbers stored so far, in the order in which they were, as a user sees them while no sink
    /// is open.
    fn stored(&mut self) -> Vec<u64>;
}

/// Runs the whole suite, each part on a fresh subject.
pub fn check<S: Subject>(mut fresh: impl FnMut() -> S) {
    a_fresh_sink_holds_nothing(&mut fresh());
    what_was_finished_is_there(&mut fresh());
    a_run_that_was_not_committed_never_happened(&mut fresh());
    what_was_synced_survives_a_drop(&mut fresh());
    a_long_run_is_one(&mut fresh());
    several_runs_between_syncs_end_at_a_run(&mut fresh());
    content_it_cannot_take_is_refused(&mut fresh());
    what_is_durable_never_goes_back(&mut fresh());
}

fn a_fresh_sink_holds_nothing<S: Subject>(subject: &mut S) {
    let script = Script::new(subject);
    let mut sink = script.subject.sink();
    assert_eq!(script.open(&mut sink), None, "a fresh sink holds nothing");
    assert_eq!(sink.durable(), None, "and nothing is durable in it");
    sink.finish().expect("a sink that was given nothing finishes");
    drop(sink);
    assert_eq!(subject.stored(), [0; 0]);
}

fn what_was_finished_is_there<S: Subject>(subject: &mut S) {
    let mut script = Script::new(subject);
    for round in 0..3 {
        let mut sink = script.subject.sink();
        assert_eq!(script.open(&mut sink), script.held, "round {round}: it resumes where it finished");
        assert_eq!(sink.durable(), script.held.map(|held| held.lsn), "what it held is durable");
        script.run(&mut sink, 1);
        script.run(&mut sink, 3);
        sink.finish().expect("finish");
        assert_eq!(sink.durable(), script.end(), "finish makes everything durable");
        drop(sink);
    }
    script.check_stored();
}

fn a_run_that_was_not_committed_never_happened<S: Subject>(subject: &mut S) {
    let mut script = Script::new(subject);
    let mut sink = script.subject.sink();
    script.open(&mut sink);
    script.run(&mut sink, 2);
    sink.finish().expect("finish");
    drop(sink);
    for records in [0, 1, 2, 100] {
        let mut sink = script.subject.sink();
        assert_eq!(script.open(&mut sink), script.held, "a lost run leaves no trace in the position");
        let before = (script.next, script.at);
        sink.begin().expect("begin");
        for n in 0..records {
            script.record(&mut sink, n == 0, false);
        }
        // Ended in order, or not at all.
        if records == 2 {
            sink.finish().expect("finish inside a run");
            assert_eq!(sink.durable(), script.end(), "what was given of the run does not count");
        }
        drop(sink);
        (script.next, script.at) = before;
    }
    let mut sink = script.subject.sink();
    assert_eq!(script.open(&mut sink), script.held);
    script.run(&mut sink, 2);
    sink.finish().expect("finish");
    drop(sink);
    script.check_stored();
}

fn what_was_synced_survives_a_drop<S: Subject>(subject: &mut S) {
    let mut script = Script::new(subject);
    for _ in 0..3 {
        let mut sink = script.subject.sink();
        assert_eq!(script.open(&mut sink), script.held);
        script.run(&mut sink, 1);
        script.run(&mut sink, 2);
        sink.sync().expect("sync");
        // Another process says in its own time what it has made durable.
        let deadline = Instant::now() + Duration::from_secs(30);
        while sink.durable() != script.end() {
            assert!(Instant::now() < deadline, "what was synced becomes durable");
            std::thread::yield_now();
        }
        drop(sink);
    }
    script.check_stored();
}

fn a_long_run_is_one<S: Subject>(subject: &mut S) {
    let mut script = Script::new(subject);
    let mut sink = script.subject.sink();
    script.open(&mut sink);
    script.run(&mut sink, 5_000);
    sink.finish().expect("finish");
    drop(sink);
    let mut sink = script.subject.sink();
    assert_eq!(script.open(&mut sink), script.held, "a long run is held whole");
    drop(sink);
    script.check_stored();
}

fn several_runs_between_syncs_end_at_a_run<S: Subject>(subject: &mut S) {
    let mut script = Script::new(subject);
    let mut ends = vec![None];
    let mut sink = script.subject.sink();
    script.open(&mut sink);
    for records in [1, 4, 2, 1] {
        script.run(&mut sink, records);
        ends.push(script.held);
    }
    drop(sink);
    let mut sink = script.subject.sink();
    let held = script.open(&mut sink);
    assert!(ends.contains(&held), "without a sync it holds some prefix of whole runs, not {held:?}");
    drop(sink);
}

fn content_it_cannot_take_is_refused<S: Subject>(subject: &mut S) {
    let Some(content) = subject.foreign_content() else { return };
    let facts = LogFacts { content, ..facts(subject.content()) };
    let error = subject.sink().open(&facts).expect_err("content it cannot take");
    assert_eq!(error.failure(), Failure::Content);
    assert!(error.to_string().contains(content.as_str()), "the message names the content: {error}");
}

fn what_is_durable_never_goes_back<S: Subject>(subject: &mut S) {
    let mut script = Script::new(subject);
    let mut sink = script.subject.sink();
    script.open(&mut sink);
    let mut last = None;
    for n in 0..50 {
        script.run(&mut sink, 1);
        if n % 7 == 0 {
            sink.sync().expect("sync");
        }
        let durable = sink.durable();
        assert!(last <= durable && durable <= script.end(), "{last:?}, then {durable:?}");
        last = durable;
    }
}

/// A made-up log: numbers in, positions and checksums beside them.
struct Script<'a, S> {
    subject: &'a mut S,
    /// The next number to store.
    next: u64,
    at: Lsn,
    held: Option<Held>,
}

impl<'a, S: Subject> Script<'a, S> {
    fn new(subject: &'a mut S) -> Self {
        Script { subject, next: 0, at: Lsn::new(4096), held: None }
    }

    fn open(&self, sink: &mut Box<dyn Sink>) -> Option<Held> {
        sink.open(&facts(self.subject.content())).expect("its own content is taken")
    }

    fn run(&mut self, sink: &mut Box<dyn Sink>, records: u64) {
        let start = self.at;
        sink.begin().expect("begin");
        for n in 0..records {
            self.record(sink, n == 0, n + 1 == records);
        }
        let (lsn, crc, time) = (self.at, crc(self.at), time(self.next));
        sink.commit(&RunEnd { start, lsn, crc, time, records }).expect("commit");
        self.held = Some(Held { lsn, crc: Some(crc) });
    }

    fn record(&mut self, sink: &mut Box<dyn Sink>, first: bool, last: bool) {
        let payload = self.subject.payload(self.next);
        self.next += 1;
        let start = self.at;
        self.at = Lsn::new((start.get() + 32 + payload.len() as u64).next_multiple_of(8));
        let flags = match (first, last) {
            (true, true) => Flags::SINGLE,
            (true, false) => Flags::FIRST,
            (false, true) => Flags::LAST,
            (false, false) => Flags::NONE,
        };
        let record = Record {
            start,
            end: self.at,
            kind: Kind::USER,
            flags,
            time: time(self.next),
            durable: None,
            header_crc: crc(self.at),
            payload: &payload,
        };
        sink.record(&record).expect("a record it can take");
    }

    fn end(&self) -> Option<Lsn> {
        self.held.map(|held| held.lsn)
    }

    fn check_stored(&mut self) {
        let expected: Vec<u64> = (0..self.next).collect();
        assert_eq!(self.subject.stored(), expected, "each record once and in order");
    }
}

fn facts(content: Content) -> LogFacts {
    LogFacts { id: LogId::from_bytes([7; 16]), content }
}

/// Any checksum that differs from record to record.
fn crc(at: Lsn) -> u32 {
    (at.get() as u32).wrapping_mul(2_654_435_761)
}

fn time(n: u64) -> u64 {
    1_795_336_200_000_000 + n
}

//! Where a log's records go: one thread per sink, and what is known of each.
//!
//! Applying is independent of receiving (F-106): a sink that refuses a record, fails or is slow stops
//! or delays nothing but itself, and says so in the status.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_apply::{Applier, DatabaseImage, Interrupt, LogFacts, Sink, Step, Target};
use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::Backoff;
use longshore_wal::{Consumer, Role, Wal};

use crate::archived;
use crate::captured::{Captured, ListKept, OpenCapture, Ways};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::lock;
use crate::log::Log;
use crate::seeding;
use crate::tails;

/// Opens a sink: called again whenever a passing failure of the last one may be over.
pub type OpenSink = Arc<dyn Fn() -> Result<Box<dyn Sink>, Error> + Send + Sync>;

/// The sinks of one log.
#[derive(Default)]
pub(crate) struct Applying {
    sinks: Mutex<Vec<SinkView>>,
    threads: Mutex<Vec<Running>>,
    stop: AtomicBool,
}

/// A sink as the status shows it.
#[derive(Clone)]
pub(crate) struct SinkView {
    /// As it was given, such as `sqlite:PATH`.
    pub(crate) label: String,
    /// The end of what it has made durable.
    pub(crate) applied: Lsn,
    /// What it would resume from, hence up to where the log is needed.
    pub(crate) held: Lsn,
    /// Why it stopped or waits, when it does.
    pub(crate) problem: Option<String>,
    /// While this node writes the log: what is in the log was in the database before.
    captured: Option<Arc<dyn Captured>>,
    kept: Option<ListKept>,
    /// It was opened, or could not be: what stands here is what it says.
    known: bool,
}

impl SinkView {
    /// The end of what it has made durable: of a log that comes from it and ends at `end`, all.
    pub(crate) fn applied(&self, end: Lsn) -> Lsn {
        if self.is_captured() { end } else { self.applied }
    }

    /// Whether it is where the log comes from.
    pub(crate) fn is_captured(&self) -> bool {
        self.captured.is_some()
    }

    /// Copies of what it held and no log does.
    pub(crate) fn kept(&self) -> Vec<String> {
        self.kept.as_ref().map_or_else(Vec::new, |kept| kept())
    }

    /// Up to where the log is needed; a database that it comes from needs nothing of it.
    fn held(&self) -> Option<Lsn> {
        self.captured.is_none().then_some(self.held)
    }
}

struct Running {
    thread: JoinHandle<()>,
    interrupt: Arc<Mutex<Option<Interrupt>>>,
}

impl Applying {
    /// Everything before this is in every sink of a log that ends at `end`; zero without one.
    pub(crate) fn applied(&self, end: Lsn) -> Lsn {
        self.lock().iter().map(|sink| sink.applied(end)).min().unwrap_or(Lsn::ZERO)
    }

    /// Waits until every sink has said what it holds, or why it does not: what is told to an upstream before would be wrong. Not
    /// for long, for another program may take its time to begin; what it holds is then found out when it has.
    pub(crate) async fn known(log: &Log) {
        let all = async {
            loop {
                let stirred = log.standing.listen();
                if log.applying.lock().iter().all(|sink| sink.known) {
                    return;
                }
                stirred.await;
            }
        };
        let _slow = tokio::time::timeout(OPENING, all).await;
    }

    /// Every sink.
    pub(crate) fn sinks(&self) -> Vec<SinkView> {
        self.lock().clone()
    }

    /// Keeps writers out of the databases that the log comes from, before it accepts a later epoch. Whether all of them are.
    pub(crate) fn hold_writers(&self) -> bool {
        self.captured().iter().filter(|captured| !captured.hold()).count() == 0
    }

    /// Lets them in again, if it has not.
    pub(crate) fn release_writers(&self) {
        self.captured().iter().for_each(|captured| captured.release());
    }

    /// Waits until what is committed by now in the databases that the log comes from is in it.
    ///
    /// # Errors
    /// `Unavailable` for one that it takes too long of.
    pub(crate) fn catch_up(&self, log: &Name) -> Result<()> {
        let captured = |sink: &SinkView| Some((sink.label.clone(), sink.captured.clone()?));
        let all: Vec<_> = self.lock().iter().filter_map(captured).collect();
        all.into_iter().try_for_each(|(database, captured)| {
            captured.catch_up(CATCH_UP).map_err(|error| Error::NotCaptured {
                log: log.clone(),
                database,
                reason: error.to_string(),
            })
        })
    }

    fn captured(&self) -> Vec<Arc<dyn Captured>> {
        self.lock().iter().filter_map(|sink| sink.captured.clone()).collect()
    }

    /// Begins to apply `log` to a sink, on a thread of its own; or to capture the sink's database, if it can be and this node
    /// writes the log.
    ///
    /// # Errors
    /// `Unavailable` when the system starts no more threads.
    pub(crate) fn start(log: &Arc<Log>, label: &str, open: OpenSink, ways: Option<Ways>) -> Result<()> {
        let number = {
            let mut sinks = log.applying.lock();
            sinks.push(SinkView {
                label: label.to_owned(),
                applied: Lsn::ZERO,
                held: Lsn::ZERO,
                problem: None,
                captured: None,
                kept: ways.as_ref().map(|ways| Arc::clone(&ways.kept)),
                known: false,
            });
            sinks.len() - 1
        };
        log.wal.hold(Consumer::Applier, Some(log.wal.first()));
        let interrupt = Arc::new(Mutex::new(None));
        let task = ApplierTask {
            log: Arc::clone(log),
            number,
            open,
            capture: ways.map(|ways| ways.capture),
            interrupt: Arc::clone(&interrupt),
        };
        let thread = std::thread::Builder::new()
            .name(format!("apply-{}", log.name))
            .spawn(move || task.run())
            .map_err(|error| Error::io("start a thread to apply to", label.as_ref(), error))?;
        lock(&log.applying.threads).push(Running { thread, interrupt });
        Ok(())
    }

    /// Ends every sink: what was applied is made durable first, unless the sink is stuck.
    pub(crate) fn stop(&self, log: &Log) {
        self.stop.store(true, Ordering::Release);
        log.standing.wake();
        for running in lock(&self.threads).drain(..) {
            // A sink that waits in a call of its own (another program that does not read) would
            // never look at the flag.
            if let Some(interrupt) = &*lock(&running.interrupt) {
                interrupt.trigger();
            }
            if running.thread.join().is_err() {
                tracing::error!(log = %log.name, "an applier ended in a panic; report a bug");
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SinkView>> {
        lock(&self.sinks)
    }
}

/// One sink's thread.
struct ApplierTask {
    log: Arc<Log>,
    number: usize,
    open: OpenSink,
    capture: Option<OpenCapture>,
    interrupt: Arc<Mutex<Option<Interrupt>>>,
}

/// How a turn of an applier ended, if nothing failed.
enum Turn {
    Ended,
    /// The sink holds a snapshot now: apply from there.
    Seeded,
}

/// What a sink may take to open before its upstream is greeted without it.
const OPENING: Duration = Duration::from_secs(5);

/// What a capture may take to append what is committed before whoever waits for it is told that it does not.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Between two attempts of a sink that fails again and again; a turn that lasts longer was none of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Between two attempts to be seeded.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an idle applier sleeps at most before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

impl ApplierTask {
    fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), LONGEST_PAUSE);
        while !self.log.applying.stopping() {
            let begun = self.log.now();
            let ended = self.turn();
            if LONGEST_PAUSE < self.log.now().saturating_sub(begun) {
                // What failed then has nothing to do with what failed before.
                backoff.reset();
            }
            match ended {
                Ok(Turn::Ended) => return,
                Ok(Turn::Seeded) => {}
                Err(_) if self.log.applying.stopping() => return,
                Err(error) if self.captures() => {
                    // Whatever it is, nothing is lost by looking again: what is committed meanwhile is captured then.
                    if self.report(&error.to_string()) {
                        let message = format!("log {}: {} is not captured: {error}", self.log.name, self.label());
                        self.log.events.raise(Event::Warning { message });
                    }
                    self.pause(backoff.pause(self.random()));
                }
                Err(Error::Apply(error)) if error.is_passing() => {
                    self.report(&error.to_string());
                    self.pause(backoff.pause(self.random()));
                }
                Err(error) => {
                    self.stopped(&error);
                    return;
                }
            }
        }
    }

    /// Somebody has to look: what was received stays received, and goes on.
    fn stopped(&self, why: &Error) {
        self.report(&why.to_string());
        let (log, sink) = (self.log.name.clone(), self.label());
        self.log.events.raise(Event::ApplyStopped { log, sink, reason: why.to_string() });
    }

    /// Whether the sink's database is where the log comes from.
    fn captures(&self) -> bool {
        self.capture.is_some() && self.log.wal.role() == Role::Writer && !self.log.wal.is_fenced()
    }

    fn turn(&self) -> Result<Turn> {
        match &self.capture {
            Some(capture) if self.captures() => self.capture(capture),
            // Until the log is open again as one that follows.
            Some(_) if self.log.wal.role() == Role::Writer => Ok(Turn::Ended),
            _ => self.take(),
        }
    }

    /// Captures as long as this node writes the log, and keeps writers out from then until the log is open in its next role.
    fn capture(&self, open: &OpenCapture) -> Result<Turn> {
        let captured = open(&self.log.name, &self.log.wal)?;
        {
            // Before anything else: applications write from here on, and whoever accepts an epoch must find whom to hold.
            let mut sinks = self.log.applying.lock();
            (sinks[self.number].captured, sinks[self.number].known) = (Some(Arc::clone(&captured)), true);
            let needed = sinks.iter().filter_map(SinkView::held).min();
            self.log.wal.hold(Consumer::Applier, needed);
        }
        self.log.offered.set(captured.snapshotter());
        while !self.log.applying.stopping() && !captured.has_ended() {
            self.log.applying.lock()[self.number].problem = captured.problem();
            self.log.standing.wake();
            self.pause(LOOK);
        }
        let ended = captured.end();
        self.log.applying.lock()[self.number].captured = None;
        ended.map(|()| Turn::Ended)
    }

    /// Applies; a sink that the log does not reach back to is seeded, if its upstream can do that.
    fn take(&self) -> Result<Turn> {
        match self.apply() {
            Err(Error::Apply(error @ longshore_apply::Error::SinkTooOld { .. }))
                if self.log.wal.role() == Role::Follower && (self.open)()?.takes_image(self.log.wal.content()) =>
            {
                self.be_seeded(error)
            }
            Err(Error::Apply(
                error @ (longshore_apply::Error::SinkElsewhere { .. } | longshore_apply::Error::SinkAstray { .. }),
            )) if self.log.wal.role() == Role::Follower => self.leave_branch(error),
            ended => ended.map(|()| Turn::Ended),
        }
    }

    /// A sink that has applied what was set aside as a tail is seeded, if it can be, and until then read by nobody (F-095). Any
    /// other is elsewhere for reasons that nobody knows.
    fn leave_branch(&self, why: longshore_apply::Error) -> Result<Turn> {
        let mut sink = (self.open)()?;
        let failed = |failure| longshore_apply::Error::SinkOpen { sink: self.label(), failure };
        let held = sink.open(&self.facts()).map_err(failed)?;
        if sink.is_astray() {
            tracing::warn!(log = %self.log.name, sink = self.label(), "somebody else wrote it: nobody reads it until it is seeded");
            return self.be_sent_a_seed(why, Some(sink));
        }
        let Some(held) = held else { return Err(why.into()) };
        let Some(tail) = tails::holding(&self.log.wal, held)? else { return Err(why.into()) };
        if !seeding::can_be_seeded(self.log.wal.content()) {
            let reason = format!(
                "{} holds position {} of {}, which was set aside, and cannot be taken back; move what it has made away and start \
                 the agent again, then it is made anew from the log",
                self.label(),
                held.lsn,
                tail.place
            );
            return Err(Error::Refused { kind: ErrorKind::Diverged, reason, at: Some(tail.from) });
        }
        tracing::warn!(log = %self.log.name, sink = self.label(), held = %held.lsn, tail = tail.place, "it is of a branch that died: nobody reads it until it is seeded");
        self.be_sent_a_seed(why, Some(sink))
    }

    fn be_seeded(&self, why: longshore_apply::Error) -> Result<Turn> {
        if self.be_seeded_from_archive() {
            return Ok(Turn::Seeded);
        }
        self.be_sent_a_seed(why, None)
    }

    /// Waits for a snapshot of the upstream and gives it to the sink: to `withheld`, which is open and read by nobody, or to a
    /// new one.
    fn be_sent_a_seed(&self, why: longshore_apply::Error, withheld: Option<Box<dyn Sink>>) -> Result<Turn> {
        let (why, is_withheld) = (why.to_string(), withheld.is_some());
        let mut sink = match withheld {
            Some(sink) => Some(sink),
            None => Some(self.opened()?),
        };
        loop {
            let image = sink.as_mut().and_then(|sink| held_image(&mut **sink));
            // One that cannot say what it holds is opened once there is a file.
            sink = sink.filter(|_| is_withheld || image.is_some());
            match (self.attempt(&why, image, sink.as_mut(), is_withheld), &mut sink) {
                // A file that does not hold is gone by now, and fetched again.
                (Err(error), _) if is_spoilt(&error) => {
                    self.report(&error.to_string());
                    self.pause(AGAIN);
                    if !is_withheld || self.log.applying.stopping() {
                        return Ok(Turn::Seeded);
                    }
                }
                (Err(error @ Error::Refused { .. }), Some(sink)) if is_withheld => {
                    return self.stay_withheld(&error, &mut **sink);
                }
                (outcome, _) => return outcome.map(|()| Turn::Seeded),
            }
        }
    }

    /// Waits for one file and gives it to the sink.
    fn attempt(
        &self,
        why: &str,
        image: Option<Box<dyn DatabaseImage>>,
        mut sink: Option<&mut Box<dyn Sink>>,
        is_withheld: bool,
    ) -> Result<()> {
        self.report(&format!("{why}; waiting for a snapshot of the upstream"));
        let path = seeding::path_of(&self.log.data_dir, &self.log.name);
        self.log.seeding.ask(image);
        let outcome = self.wait_for_seed(why, sink.as_deref_mut(), is_withheld).and_then(|()| match sink {
            Some(sink) => seeding::give(&mut **sink, &path, |_| !self.log.applying.stopping()),
            None => self.seed(&path),
        });
        self.log.seeding.leave(&path);
        outcome
    }

    /// Nothing seeds it before somebody has looked, and until the agent stops nobody reads it.
    fn stay_withheld(&self, why: &Error, sink: &mut dyn Sink) -> Result<Turn> {
        self.stopped(why);
        while !self.log.applying.stopping() {
            if let Err(error) = sink.withhold() {
                tracing::debug!(sink = sink.name(), %error, "who reads it may go on");
            }
            self.pause(AGAIN);
        }
        Ok(Turn::Ended)
    }

    /// Whether a snapshot from the archive was given to the sink.
    fn be_seeded_from_archive(&self) -> bool {
        let Some(sources) = self.log.sources.get() else { return false };
        let path = self.log.data_dir.join(format!("{}.seed-{}", self.log.name, self.number));
        let given = (|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::io("start to fetch", &path, error))?;
            let Some(path) = runtime.block_on(archived::fetch_snapshot(sources, &self.log, &path))? else {
                return Ok(false);
            };
            self.seed(&path).map(|()| true)
        })();
        // Fetched again when it is needed again: by then there is a newer one.
        let _gone = std::fs::remove_file(&path);
        given.unwrap_or_else(|error: Error| {
            tracing::warn!(log = %self.log.name, sink = self.label(), %error, "no snapshot is taken from the archive");
            false
        })
    }

    fn seed(&self, path: &Path) -> Result<()> {
        seeding::apply(&mut *(self.open)()?, &self.facts(), path, |_| !self.log.applying.stopping())
    }

    fn facts(&self) -> LogFacts {
        LogFacts { id: self.log.wal.id(), content: self.log.wal.content() }
    }

    fn opened(&self) -> Result<Box<dyn Sink>> {
        let mut sink = (self.open)()?;
        let failed = |failure| longshore_apply::Error::SinkOpen { sink: self.label(), failure };
        sink.open(&self.facts()).map_err(failed)?;
        Ok(sink)
    }

    fn wait_for_seed(&self, why: &str, mut sink: Option<&mut Box<dyn Sink>>, is_withheld: bool) -> Result<()> {
        loop {
            if self.log.seeding.wants_image() {
                self.log.seeding.lend(sink.as_mut().and_then(|sink| held_image(&mut ***sink)));
            }
            if let Some(sink) = sink.as_mut().filter(|_| is_withheld) {
                // Who was still there a moment ago may have gone.
                let failed = |failure| longshore_apply::Error::SinkOpen { sink: self.label(), failure };
                sink.withhold().map_err(failed)?;
            }
            match self.log.seeding.outcome() {
                Some(seeding::Outcome::Fetched) => return Ok(()),
                Some(seeding::Outcome::Refused(reason)) => {
                    let reason = format!("{why}; a snapshot cannot be had: {reason}");
                    return Err(Error::Refused { kind: ErrorKind::TooOld, reason, at: None });
                }
                None if self.log.applying.stopping() => {
                    return Err(longshore_apply::Error::Interrupted { position: self.log.wal.end() }.into());
                }
                None => self.pause(LOOK),
            }
        }
    }

    /// Applies until the agent stops or something fails.
    fn apply(&self) -> Result<()> {
        let sink = (self.open)()?;
        let mut applier = Applier::open(self.log.wal.clone(), sink, Target::LATEST)?;
        if let Some(held) = applier.held().filter(|held| self.log.wal.end() < held.lsn)
            && tails::holding(&self.log.wal, held)?.is_some()
        {
            // The log may come to that position again, with other records.
            return Err(longshore_apply::Error::SinkElsewhere { sink: applier.sink_name(), held: held.lsn }.into());
        }
        *lock(&self.interrupt) = Some(applier.interrupt());
        self.publish(&mut applier);
        while !self.log.applying.stopping() {
            match applier.step()? {
                Step::Working => {}
                Step::Applied(_) => self.publish(&mut applier),
                Step::Idle => {
                    self.publish(&mut applier);
                    let beyond = applier.progress().position.just_after();
                    // However it ends, the next step finds out.
                    let _ = self.log.wal.durable().wait_blocking(beyond, Some(LOOK));
                }
                Step::Done => return Ok(()),
            }
        }
        *lock(&self.interrupt) = None;
        applier.finish()?;
        Ok(())
    }

    fn publish(&self, applier: &mut Applier<Wal>) {
        let progress = applier.progress();
        let needed = {
            let mut sinks = self.log.applying.lock();
            let sink = &mut sinks[self.number];
            let moved = sink.applied != progress.applied || sink.problem.is_some() || !sink.known;
            if !moved {
                return;
            }
            (sink.applied, sink.held, sink.problem, sink.known) = (progress.applied, progress.held, None, true);
            sinks.iter().filter_map(SinkView::held).min()
        };
        self.log.wal.hold(Consumer::Applier, needed);
        self.log.standing.wake();
    }

    /// Shows a problem; whether it is another than before.
    fn report(&self, problem: &str) -> bool {
        let problem = Some(problem.to_owned());
        let mut sinks = self.log.applying.lock();
        let is_news = sinks[self.number].problem != problem;
        (sinks[self.number].problem, sinks[self.number].known) = (problem, true);
        drop(sinks);
        self.log.standing.wake();
        is_news
    }

    fn label(&self) -> String {
        self.log.applying.lock()[self.number].label.clone()
    }

    /// Sleeps in short steps, so that an agent that stops is not kept.
    fn pause(&self, mut rest: Duration) {
        while !rest.is_zero() && !self.log.applying.stopping() {
            std::thread::sleep(rest.min(LOOK));
            rest = rest.saturating_sub(LOOK);
        }
    }

    fn random(&self) -> u64 {
        crate::random(&*self.log.environment)
    }
}

/// Whether it is the file that does not hold. A sink that says so of itself is opened anew.
fn is_spoilt(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && !matches!(error, Error::Apply(_))
}

/// What a sink holds, if it can say that: nothing depends on it.
fn held_image(sink: &mut dyn Sink) -> Option<Box<dyn DatabaseImage>> {
    sink.held_image().unwrap_or_else(|error| {
        tracing::debug!(sink = sink.name(), %error, "what it holds is not compared");
        None
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use longshore_apply::{Held, RunEnd, SinkError};
    use longshore_format::{Content, Record};

    use super::*;
    use crate::{Primary, Settings};

    /// What became of a sink.
    #[derive(Default)]
    struct Seen {
        withheld: AtomicUsize,
        is_gone: AtomicBool,
    }

    struct Astray(Arc<Seen>);

    impl Drop for Astray {
        fn drop(&mut self) {
            self.0.is_gone.store(true, Ordering::Release);
        }
    }

    impl Sink for Astray {
        fn name(&self) -> String {
            "astray".to_owned()
        }
        fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
            Ok(None)
        }
        fn begin(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn record(&mut self, _record: &Record<'_>) -> Result<(), SinkError> {
            Ok(())
        }
        fn commit(&mut self, _run: &RunEnd) -> Result<(), SinkError> {
            Ok(())
        }
        fn sync(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn durable(&self) -> Option<Lsn> {
            None
        }
        fn finish(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn withhold(&mut self) -> Result<(), SinkError> {
            self.0.withheld.fetch_add(1, Ordering::AcqRel);
            Ok(())
        }
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// F-095: neither a file that is spoilt nor an upstream that has none to give lets readers in.
    #[test]
    fn f_095_nobody_reads_what_is_withheld_before_it_is_seeded() {
        let dir = tempfile::tempdir().unwrap();
        let primary = Primary::create(dir.path(), "app", Content::Bytes, &Settings::default()).unwrap();
        let log = primary.node().get(&"app".parse().unwrap()).unwrap();
        let open: OpenSink = Arc::new(|| unreachable!("it is open"));
        let view = SinkView {
            label: "astray".to_owned(),
            applied: Lsn::ZERO,
            held: Lsn::ZERO,
            problem: None,
            captured: None,
            kept: None,
            known: false,
        };
        log.applying.lock().push(view);
        let task = ApplierTask { log: Arc::clone(&log), number: 0, open, capture: None, interrupt: Arc::default() };
        let seen = Arc::new(Seen::default());
        let sink = Astray(Arc::clone(&seen));
        let seed = seeding::path_of(&log.data_dir, &log.name);
        std::fs::write(&seed, [0; 4096]).unwrap();
        log.seeding.settle(seeding::Outcome::Fetched);
        let thread = std::thread::spawn(move || {
            let why = longshore_apply::Error::SinkAstray { sink: "astray".to_owned() };
            task.be_sent_a_seed(why, Some(Box::new(sink))).map(drop)
        });
        until("the file that is none to be removed", || !seed.exists());
        log.seeding.settle(seeding::Outcome::Refused("there is none".to_owned()));
        let problem = || log.applying.sinks()[0].problem.clone().unwrap_or_default();
        until("the refusal to be told", || problem().contains("cannot be had: there is none") || thread.is_finished());
        let withheld = seen.withheld.load(Ordering::Acquire);
        until("whoever comes to be kept out", || {
            withheld < seen.withheld.load(Ordering::Acquire) || thread.is_finished()
        });
        assert!(!seen.is_gone.load(Ordering::Acquire), "readers are let in: {}", problem());
        log.applying.stop(&log);
        thread.join().unwrap().unwrap();
        assert!(seen.is_gone.load(Ordering::Acquire));
        drop(primary);
    }
}

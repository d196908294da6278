//! Where a log's records go: one thread per sink, and what is known of each.
//!
//! Applying is independent of receiving (F-106): a sink that refuses a record, fails or is slow stops
//! or delays nothing but itself, and says so in the status.

mod seeded;
mod task;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_apply::{Interrupt, Sink};
use longshore_format::{Lsn, Name};
use longshore_wal::Consumer;

use self::task::ApplierTask;
use crate::captured::{Captured, ListKept, Ways};
use crate::error::{Error, Result};
use crate::lock;
use crate::log::Log;

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
    /// Up to where its readers had seen the log before it was seeded from an earlier snapshot, until they see that again.
    pub(crate) seen: Option<Lsn>,
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

    /// Whether it is captured as long as this node writes the log.
    pub(crate) fn is_both_ways(&self) -> bool {
        self.kept.is_some()
    }

    /// Copies of what it held and no log does.
    pub(crate) fn kept(&self) -> Vec<String> {
        self.kept.as_ref().map_or_else(Vec::new, |kept| kept())
    }

    /// Takes how far an applier has come; whether that is news.
    fn came_to(&mut self, applied: Lsn, held: Lsn) -> bool {
        self.seen = self.seen.filter(|seen| applied < *seen);
        let is_news = self.applied != applied || self.problem.is_some() || !self.known;
        if is_news {
            (self.applied, self.held, self.problem, self.known) = (applied, held, None, true);
        }
        is_news
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
        // Every one is asked, whatever the one before said.
        let held: Vec<bool> = self.captured().iter().map(|captured| captured.hold()).collect();
        held.into_iter().all(|is_held| is_held)
    }

    /// Lets them in again, if it has not.
    pub(crate) fn release_writers(&self) {
        self.captured().iter().for_each(|captured| captured.release());
    }

    /// Waits until what is committed by now in the databases that the log comes from is in it.
    ///
    /// # Errors
    /// `Unavailable` for one that is not captured for the moment, or of which it takes too long.
    pub(crate) fn catch_up(&self, log: &Name) -> Result<()> {
        let databases: Vec<SinkView> = self.lock().iter().filter(|sink| sink.is_both_ways()).cloned().collect();
        databases.into_iter().try_for_each(|sink| {
            let caught_up = match &sink.captured {
                Some(captured) => captured.catch_up(CATCH_UP).map_err(|error| error.to_string()),
                None => Err(sink.problem.unwrap_or_else(|| "it is not captured yet".to_owned())),
            };
            caught_up.map_err(|reason| Error::NotCaptured { log: log.clone(), database: sink.label, reason })
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
                seen: None,
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

/// What a sink may take to open before its upstream is greeted without it.
const OPENING: Duration = Duration::from_secs(5);

/// What a capture may take to append what is committed before whoever waits for it is told that it does not.
const CATCH_UP: Duration = Duration::from_secs(5);

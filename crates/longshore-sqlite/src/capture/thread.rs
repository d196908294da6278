//! A capture on a thread of its own: attached, stepped, and attached again when something passes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_apply::{DatabaseImage, SnapshotError, Snapshotter};
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::Wal;

use super::give_way::GaveWay;
use super::{Capture, CaptureSettings, CaptureStatus, CaptureStep};
use crate::error::Error;

/// What a capture tells of itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaptureReport<'a> {
    /// It follows the database, the log being at this position.
    Attached(CaptureStatus),
    /// It does not for the moment, and tries again.
    Paused(&'a Error),
    /// The log is another's: nobody writes the database from here on. Whether everything that is committed there is in the log
    /// or its tail.
    Fenced(bool),
    /// It has ended: a person must look. What is committed meanwhile is found by comparing, once it is started again.
    Stopped(&'a Error),
}

/// A database that is captured on a thread of its own. Dropping it stops the thread in order.
pub struct Capturing {
    shared: Arc<Shared>,
    /// Until it is told to end.
    thread: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
    /// Told when something is asked for, or it is to stop.
    wanted: Condvar,
    answered: Condvar,
}

/// Where the answer to whoever asked for a snapshot goes.
type Asked = SyncSender<Result<Box<dyn DatabaseImage>, Error>>;

#[derive(Default)]
struct State {
    snapshots: Vec<Asked>,
    status: CaptureStatus,
    /// How many asked to be told where the log is once everything committed by then is in it, and how many were told.
    asked: u64,
    told: u64,
    /// Somebody wants writers to be kept out, and since when they are.
    hold: bool,
    held: Option<Instant>,
    /// Why nothing was copied since, until something is looked at again.
    paused: Option<String>,
    ended: bool,
}

/// Between two looks. What was committed meanwhile shares one sync of the `-wal` and one of the log, which the application's
/// own syncs have to share the disk with: looking every millisecond cost it a fifth of its rate.
const PAUSE: Duration = Duration::from_millis(10);
/// The same while an application commits so often that every look delays some of its commits: fewer than one in a hundred.
/// A replica is to be behind by a quarter of a second at most.
const PAUSE_WHEN_BUSY: Duration = Duration::from_millis(175);
/// So many transactions a second are often.
const BUSY: f64 = 3000.0;
/// About so much of the `-wal` may wait for the next look: who writes that in less time is looked at more often.
const MOST_WAITING: f64 = 3.0 * (1 << 20) as f64;
/// Between two attempts to get the write lock from an application that is at a long transaction.
const PAUSE_TO_HOLD: Duration = Duration::from_millis(1);
/// Writers are not kept out for longer where nobody says what came of it.
const LONGEST_HOLD: Duration = Duration::from_secs(10);
/// Between two attempts to attach.
const PAUSE_TO_ATTACH: Duration = Duration::from_millis(200);

impl Capturing {
    /// Begins to capture `database` into `log`, and tells `report` what an operator should hear. The first attach has
    /// succeeded when this returns.
    ///
    /// # Errors
    /// As [`Capture::attach`].
    pub fn start(
        database: impl Into<PathBuf>,
        log: Wal,
        settings: CaptureSettings,
        report: impl Fn(CaptureReport<'_>) + Send + 'static,
    ) -> Result<Capturing, Error> {
        let database = database.into();
        let capture = Capture::attach(&database, log.clone(), settings.clone())?;
        report(CaptureReport::Attached(capture.status()));
        let state = State { status: capture.status(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), ..Shared::default() });
        // It was said of the file that is there now.
        let settings = CaptureSettings { replaced: false, ..settings };
        let worker = Worker { shared: Arc::clone(&shared), database, log, settings, report: Box::new(report) };
        let thread = std::thread::Builder::new()
            .name("longshore-capture".to_owned())
            .spawn(move || worker.run(capture))
            .map_err(|source| Error::Io { path: PathBuf::from("a thread"), source })?;
        Ok(Capturing { shared, thread: Mutex::new(Some(thread)) })
    }

    /// How it goes, as of its last step.
    pub fn status(&self) -> CaptureStatus {
        self.shared.lock().status
    }

    /// Why it follows the database no more for the moment. It tries again, and what is committed meanwhile is copied then.
    pub fn paused(&self) -> Option<String> {
        self.shared.lock().paused.clone()
    }

    /// Whether it has ended by itself, which it only does when a person must look: [`stop`](Self::stop) says why.
    pub fn has_ended(&self) -> bool {
        self.thread().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until everything that was committed before the call is in the log, and returns the position that stands for it:
    /// an in-process host waits for that position in a region, after its commit.
    ///
    /// # Errors
    /// [`Error::NotCaptured`] if it took longer than `timeout`, or the capture has ended: the transaction is durable in the
    /// database and will be captured; wait again, do not commit again.
    pub fn catch_up(&self, timeout: Duration) -> Result<Lsn, Error> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        state.asked += 1;
        let mine = state.asked;
        self.shared.wanted.notify_all();
        while state.told < mine {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_over() {
                return Err(Error::NotCaptured);
            }
            state = self.shared.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state.status.position)
    }

    /// The log is about to be another's: keeps writers out and copies what is committed, so that nothing is left behind. Whether
    /// that was done within `timeout`, for which a transaction that is under way may be too long. [`release`](Self::release)
    /// says that the log is not another's after all; one that is keeps them out without being asked.
    pub fn hold(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        state.hold = true;
        self.shared.wanted.notify_all();
        while state.held.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return false;
            }
            state = self.shared.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets writers in again, unless the log is another's.
    pub fn release(&self) {
        self.shared.lock().hold = false;
        self.shared.wanted.notify_all();
    }

    /// Copies the last transactions, writes down where it was, and ends. A second call does nothing, and does not wait for the
    /// first.
    ///
    /// # Errors
    /// Whatever ended it before, or now.
    pub fn stop(&self) -> Result<(), Error> {
        {
            let _whoever_waits_looks_first = self.shared.lock();
            self.shared.stop.store(true, Ordering::Release);
        }
        self.shared.wanted.notify_all();
        let thread = self.thread().take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or(Err(Error::NotCaptured)))
    }

    /// What makes snapshots of the database for replicas, as long as it is captured.
    pub fn snapshotter(&self) -> Arc<dyn Snapshotter> {
        Arc::new(CaptureSnapshots { shared: Arc::clone(&self.shared) })
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<Result<(), Error>>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the capture did not end in order; the next one finds its place");
        }
    }
}

/// Asks the thread that captures.
struct CaptureSnapshots {
    shared: Arc<Shared>,
}

impl Snapshotter for CaptureSnapshots {
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
        let (asked, answer) = sync_channel(1);
        {
            let mut state = self.shared.lock();
            if state.is_over() {
                return Err(Error::NotCaptured.into());
            }
            state.snapshots.push(asked);
        }
        self.shared.wanted.notify_all();
        // The thread answers, or ends and drops what was asked.
        Ok(answer.recv().map_err(|_| Error::NotCaptured)??)
    }
}

impl State {
    /// Nothing more comes of it.
    fn is_over(&self) -> bool {
        self.ended || self.status.fenced
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits so long, unless it is to stop or somebody wants something.
    fn pause(&self, pause: Duration, is_wanted: impl Fn(&State) -> bool) {
        let waits = |state: &mut State| !self.stopping() && !is_wanted(state);
        drop(self.wanted.wait_timeout_while(self.lock(), pause, waits));
    }

    /// Steps until it is to stop, or the log is another's; what is captured then.
    fn follow(&self, mut capture: Capture) -> Result<Option<Capture>, Error> {
        match self.step_on(&mut capture) {
            Err(error) if !is_fenced(&error) => return Err(error),
            _ if capture.log.is_fenced() => return Ok(Some(capture)),
            _ => {}
        }
        let status = capture.detach()?;
        self.lock().status = status;
        Ok(None)
    }

    fn step_on(&self, capture: &mut Capture) -> Result<(), Error> {
        yield_to_the_application();
        let mut looked = Instant::now();
        while !self.stopping() && !capture.log.is_fenced() {
            if self.lock().hold {
                self.hold(capture)?;
                continue;
            }
            let asked = self.lock().asked;
            let since = std::mem::replace(&mut looked, Instant::now());
            let step = capture.step()?;
            let pause =
                pause_after(step, looked.duration_since(since), capture.stepped_bytes(), capture.until_checkpoint());
            for asked in std::mem::take(&mut self.lock().snapshots) {
                let begun = capture.snapshot().map(|image| Box::new(image) as Box<dyn DatabaseImage>);
                // Whoever asked may have gone.
                let _unheard = asked.send(begun);
            }
            let mut state = self.lock();
            (state.status, state.paused) = (capture.status(), None);
            // A step copies all that was committed when it began.
            if state.told < asked {
                state.told = asked;
                self.answered.notify_all();
            }
            drop(state);
            if !capture.is_pressed()? {
                self.pause(pause, |state| state.told < state.asked || !state.snapshots.is_empty() || state.hold);
            }
        }
        Ok(())
    }

    /// Keeps writers out and copies the rest, until the log is another's or somebody says that it is not.
    fn hold(&self, capture: &mut Capture) -> Result<(), Error> {
        if !capture.keep_writers_out()? {
            self.pause(PAUSE_TO_HOLD, |state| !state.hold);
            return Ok(());
        }
        let asked = self.lock().asked;
        capture.copy(Duration::ZERO)?;
        let since = {
            let mut state = self.lock();
            (state.status, state.told, state.paused) = (capture.status(), asked, None);
            *state.held.get_or_insert_with(Instant::now)
        };
        self.answered.notify_all();
        self.pause(PAUSE, |state| !state.hold);
        if capture.log.is_fenced() {
            return Ok(());
        }
        let mut state = self.lock();
        if LONGEST_HOLD < since.elapsed() {
            state.hold = false;
        }
        if !state.hold {
            state.held = None;
            drop(state);
            capture.let_writers_in()?;
        }
        Ok(())
    }

    /// Keeps writers out for good: what the database holds from now on is no part of the log.
    fn give_way(&self, capture: Capture) -> Result<Option<GaveWay>, Error> {
        while !capture.keep_writers_out()? {
            if self.stopping() {
                return Ok(None);
            }
            self.pause(PAUSE_TO_HOLD, |_| false);
        }
        let status = CaptureStatus { fenced: true, ..capture.status() };
        let gave_way = capture.give_way()?;
        let mut state = self.lock();
        (state.status, state.held, state.paused) = (status, Some(Instant::now()), None);
        state.snapshots.clear();
        Ok(Some(gave_way))
    }
}

struct Worker {
    shared: Arc<Shared>,
    database: PathBuf,
    log: Wal,
    settings: CaptureSettings,
    report: Box<dyn Fn(CaptureReport<'_>) + Send>,
}

impl Worker {
    fn run(self, first: Capture) -> Result<(), Error> {
        let mut attached = Some(first);
        let outcome = loop {
            if attached.is_none() && self.log.is_fenced() {
                // What keeps writers out then is whoever finds the database.
                break Ok(());
            }
            match attached.take().map_or_else(|| self.attach(), Ok).and_then(|capture| self.follow(capture)) {
                Err(error) if passes(&error) && !self.shared.stopping() => {
                    {
                        let mut state = self.shared.lock();
                        (state.held, state.paused) = (None, Some(error.to_string()));
                    }
                    (self.report)(CaptureReport::Paused(&error));
                    self.shared.pause(PAUSE_TO_ATTACH, |_| false);
                }
                ended => break ended,
            }
        };
        if let Err(error) = &outcome {
            (self.report)(CaptureReport::Stopped(error));
        }
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.snapshots.clear();
        }
        self.shared.answered.notify_all();
        outcome
    }

    fn attach(&self) -> Result<Capture, Error> {
        let capture = Capture::attach(&self.database, self.log.clone(), self.settings.clone())?;
        (self.report)(CaptureReport::Attached(capture.status()));
        Ok(capture)
    }

    /// Steps on a thread of its own, which yields to the application. This one does not: the thread that brakes writers has
    /// the priority of the one that attaches.
    fn follow(&self, capture: Capture) -> Result<(), Error> {
        let shared = &self.shared;
        let followed = std::thread::scope(|scope| scope.spawn(|| shared.follow(capture)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let gave_way = followed.map_or(Ok(None), |capture| shared.give_way(capture))?;
        let Some(GaveWay { is_all_in, fence }) = gave_way else { return Ok(()) };
        (self.report)(CaptureReport::Fenced(is_all_in));
        self.shared.answered.notify_all();
        while !shared.stopping() {
            shared.pause(PAUSE_TO_ATTACH, |_| false);
        }
        drop(fence);
        Ok(())
    }
}

/// Until the next look, after one that copied so many `bytes` of what was committed `since` the one before. The `-wal` may
/// take so many more until it is to be copied back, which is best done at once.
fn pause_after(step: CaptureStep, since: Duration, bytes: u64, until_checkpoint: u64) -> Duration {
    match step {
        CaptureStep::Captured(transactions) if BUSY * since.as_secs_f64() < transactions as f64 => {
            let most = MOST_WAITING.min(until_checkpoint as f64);
            since.mul_f64(most / bytes.max(1) as f64).clamp(PAUSE, PAUSE_WHEN_BUSY)
        }
        _ => PAUSE,
    }
}

/// Lets the application go first where the two share a processor: what it commits meanwhile is captured together.
fn yield_to_the_application() {
    // A thread has its own priority on Linux. Without it, it only takes a little more of what the application could use.
    let _as_it_was = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// Little: where all processors are busy, a capture that gets no turn would hold writers up for longer.
const NICENESS: i32 = 5;

/// Whether the log is another's.
fn is_fenced(error: &Error) -> bool {
    matches!(error, Error::Log(log) if log.kind() == ErrorKind::Fenced)
}

/// Whether attaching again may help.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Full)
        // Another file is shipped in the place of the one before, everywhere, only if somebody says so.
        && !matches!(error, Error::Log(_) | Error::Replaced { .. })
        || matches!(error, Error::Log(log) if log.kind() == ErrorKind::Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_commits_often_is_looked_at_seldom_and_before_the_wal_is_long() {
        const MIB: u64 = 1 << 20;
        let captured = CaptureStep::Captured;
        for (step, since, bytes, until_checkpoint, pause) in [
            (CaptureStep::Idle, 100, 0, 16 * MIB, 10),
            (captured(100), 100, MIB / 2, 16 * MIB, 10),
            (captured(1000), 100, 3 * MIB, 16 * MIB, 100),
            (captured(1000), 100, 6 * MIB, 3 * MIB, 50),
            (captured(1000), 100, 6 * MIB, 0, 10),
            (captured(2000), 100, 15 * MIB, 16 * MIB, 20),
            (captured(2000), 50, 0, 16 * MIB, 175),
        ] {
            let took = pause_after(step, Duration::from_millis(since), bytes, until_checkpoint);
            assert_eq!(took.as_millis(), pause, "{step:?} in {since} ms, {bytes} bytes, {until_checkpoint} left");
        }
    }
}

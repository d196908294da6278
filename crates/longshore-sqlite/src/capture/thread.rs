//! A capture on a thread of its own: attached, stepped, and attached again when something passes.

mod pace;
mod shared;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_apply::{DatabaseImage, SnapshotError, Snapshotter};
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::Wal;

use self::shared::{Shared, State};
use super::give_way::GaveWay;
use super::{Capture, CaptureSettings, CaptureStatus};
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

/// Whether attaching again may help.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Full)
        // Another file is shipped in the place of the one before, everywhere, only if somebody says so.
        && !matches!(error, Error::Log(_) | Error::Replaced { .. })
        || matches!(error, Error::Log(log) if log.kind() == ErrorKind::Full)
}

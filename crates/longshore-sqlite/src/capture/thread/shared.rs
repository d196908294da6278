//! What the thread that captures and those who ask it share, and what it does for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_apply::DatabaseImage;
use longshore_format::ErrorKind;

use super::pace::{PAUSE, pause_after};
use crate::capture::give_way::GaveWay;
use crate::capture::{Capture, CaptureStatus};
use crate::error::Error;
use crate::priority::{no_longer_yielding, yield_to_the_application};

#[derive(Default)]
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    pub(super) state: Mutex<State>,
    /// Told when something is asked for, or it is to stop.
    pub(super) wanted: Condvar,
    pub(super) answered: Condvar,
}

/// Where the answer to whoever asked for a snapshot goes.
pub(super) type Asked = SyncSender<Result<Box<dyn DatabaseImage>, Error>>;

#[derive(Default)]
pub(super) struct State {
    pub(super) snapshots: Vec<Asked>,
    pub(super) status: CaptureStatus,
    /// How many asked to be told where the log is once everything committed by then is in it, and how many were told.
    pub(super) asked: u64,
    pub(super) told: u64,
    /// Somebody wants writers to be kept out, and since when they are.
    pub(super) hold: bool,
    pub(super) held: Option<Instant>,
    /// Why nothing was copied since, until something is looked at again.
    pub(super) paused: Option<String>,
    pub(super) ended: bool,
}

/// Between two attempts to get the write lock from an application that is at a long transaction.
const PAUSE_TO_HOLD: Duration = Duration::from_millis(1);
/// Writers are not kept out for longer where nobody says what came of it.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

impl State {
    /// Nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.status.fenced
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits so long, unless it is to stop or somebody wants something.
    pub(super) fn pause(&self, pause: Duration, is_wanted: impl Fn(&State) -> bool) {
        let waits = |state: &mut State| !self.stopping() && !is_wanted(state);
        drop(self.wanted.wait_timeout_while(self.lock(), pause, waits));
    }

    /// Steps until it is to stop, or the log is another's; what is captured then.
    pub(super) fn follow(&self, mut capture: Capture) -> Result<Option<Capture>, Error> {
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
        no_longer_yielding(|| capture.copy(Duration::ZERO))?;
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
    pub(super) fn give_way(&self, capture: Capture) -> Result<Option<GaveWay>, Error> {
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

/// Whether the log is another's.
fn is_fenced(error: &Error) -> bool {
    matches!(error, Error::Log(log) if log.kind() == ErrorKind::Fenced)
}

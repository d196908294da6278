//! Holding writers up for moments, so that what is done about a long `-wal` is done faster than they make it longer.
//!
//! An application that does not sync its commits adds some 150 MiB a second. By itself it would checkpoint, and wait for the
//! syncs of that; with a capture beside it, it never waits, and in the time of those syncs it adds as much as was copied back.
//! So while a long `-wal` is worked at, another thread takes the write lock for a moment whenever writers have committed a
//! little: they get as far as they pay for. Who commits slowly does not notice.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use longshore_wal::Wal;

use super::Capture;
use super::copy::max_payload;
use super::view::published;
use crate::error::Error;
use crate::pages::PageSize;
use crate::shm::{Slot, WalFile};

/// For how long writers are held up at once. SQLite's busy handler looks again after 1, 3 and 8 ms: it finds them released.
const HOLD: Duration = Duration::from_millis(7);
/// What they commit between two holds, in bytes of pages.
const BREATH: usize = 256 << 10;
/// How often it is looked how much that is.
const LOOK: Duration = Duration::from_micros(500);
/// For how long the lock is asked for at once: an application that is at a long transaction goes on with it.
const LOCK_WAIT: Duration = Duration::from_millis(5);
/// For how long the last writers that were held up are waited for, so that no other hold follows without a breath.
const LAST_BREATH: Duration = Duration::from_millis(12);

/// A connection that takes the write lock, and nothing else.
pub(super) struct Brake {
    lock: WalFile,
    size: PageSize,
    log: Wal,
}

/// How far writers are: the salts of the `-wal`, and its last committed frame.
type Progress = ([u32; 2], u32);

impl Brake {
    pub(super) fn new(lock: WalFile, size: PageSize, log: Wal) -> Brake {
        Brake { lock, size, log }
    }

    /// Brakes writers that are beyond the frame `from`, until the other end of `working` is dropped; the longest hold.
    fn run(&self, from: u32, working: &Receiver<()>) -> Result<Duration, Error> {
        let breath = (BREATH / self.size.bytes()).max(1) as u32;
        let (mut released, mut longest) = ((self.progress()?, Instant::now() - LAST_BREATH), Duration::ZERO);
        while goes_on(working, LOOK) {
            let (salts, frame) = self.progress()?;
            let (salts_then, frame_then) = released.0;
            let committed = if salts == salts_then { frame - frame_then } else { frame };
            if from < frame && breath <= committed && self.may_help()? && self.take()? {
                let held = Instant::now();
                goes_on(working, HOLD);
                released = (self.progress()?, Instant::now());
                self.lock.unlock(Slot::Write)?;
                longest = longest.max(held.elapsed());
            }
        }
        while released.1.elapsed() < LAST_BREATH && released.0 == self.progress()? {
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(longest)
    }

    /// While the log is full nothing gets better by holding anybody up.
    fn may_help(&self) -> Result<bool, Error> {
        self.log.wait_room_blocking(max_payload(&self.log) as u64, Some(Duration::ZERO)).map_err(Error::Log)
    }

    fn take(&self) -> Result<bool, Error> {
        let until = Instant::now() + LOCK_WAIT;
        while !self.lock.try_lock(Slot::Write)? {
            if until <= Instant::now() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(true)
    }

    fn progress(&self) -> Result<Progress, Error> {
        published(&self.lock, self.size).map(|(index, _)| (index.salts, index.max_frame))
    }
}

/// Waits so long, unless the work ends before.
fn goes_on(working: &Receiver<()>, wait: Duration) -> bool {
    working.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
}

impl Capture {
    /// Does something, and brakes writers meanwhile once the `-wal` is too long. Writers are not held up when this returns, and
    /// if they were, they have committed since or had the time for it.
    pub(super) fn braked<T>(&mut self, work: impl FnOnce(&mut Capture) -> Result<T, Error>) -> Result<T, Error> {
        let from = self.brake_from();
        if published(&self.guard, self.size)?.0.max_frame < from / 2 {
            return work(self);
        }
        // Without it they are being braked already.
        let Some(mut brake) = self.brake.take() else { return work(self) };
        let (outcome, braked) = std::thread::scope(|scope| {
            // Dropped when the work ends, however it does.
            let (working, done) = channel();
            let lent = &mut brake;
            let braking = scope.spawn(move || lent.run(from, &done));
            let outcome = work(self);
            drop(working);
            (outcome, braking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        self.brake = Some(brake);
        let outcome = outcome?;
        self.status.longest_hold = self.status.longest_hold.max(braked?);
        Ok(outcome)
    }

    /// Beyond which frame writers are braked. A reader that sits makes the `-wal` long whatever is done: then it only counts
    /// that they do not run away from what is copied.
    fn brake_from(&self) -> u32 {
        let frames = |bytes: u64| u32::try_from(bytes / self.view.frame_len() as u64).unwrap_or(u32::MAX);
        let checkpoint_from = self.settings.checkpoint_from;
        let long = frames(checkpoint_from.saturating_add(checkpoint_from / 4));
        match self.seals.pinned_for() {
            None => long,
            Some(_) => long.max(self.shipped.place.frame.saturating_add(frames(checkpoint_from / 2))),
        }
    }
}

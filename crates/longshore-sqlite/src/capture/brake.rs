//! Holding writers up for moments, so that what is done about a long `-wal` is done faster than they make it longer.
//!
//! An application that does not sync its commits adds some 150 MiB a second. By itself it would checkpoint, and wait for the
//! syncs of that; with a capture beside it, it never waits, and in the time of those syncs it adds as much as was copied back.
//! So while a long `-wal` is worked at, another thread takes the write lock for a moment whenever writers have committed a
//! little: they get as far as they pay for. Who commits slowly does not notice.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_wal::Wal;

use super::Capture;
use super::copy::max_payload;
use super::view::published;
use crate::error::Error;
use crate::pages::PageSize;
use crate::shm::{Slot, WalFile};

/// What writers commit between two holds, in bytes of pages.
const BREATH: usize = 256 << 10;
/// Who takes longer for that is not held up.
const SLOW: Duration = Duration::from_millis(50);
/// For how long they are held up for each of those. SQLite's busy handler looks again after 1, 3, 8, 18 and 33 ms: it finds
/// them released.
const HOLD: Duration = Duration::from_millis(7);
/// The same where this was late and they committed more, at most.
const LATE_HOLD: Duration = Duration::from_millis(17);
/// The same where the `-wal` is twice as long as it should be, and then for half of that: past the look at 18 ms, and long
/// enough before the one at 33 for an end that comes late.
const LONGEST_HOLD: Duration = Duration::from_millis(24);
/// How often it is looked how much they committed, and whether the `-wal` is that long.
const LOOK: Duration = Duration::from_micros(500);
const LOOK_FROM_AFAR: Duration = Duration::from_millis(2);
/// For how long the lock is asked for at once: an application that is at a long transaction goes on with it.
const LOCK_WAIT: Duration = Duration::from_millis(5);
/// After a hold longer than this another one does not follow before writers had a breath,
const SHORT_HOLD: Duration = Duration::from_millis(12);
/// for which they have so long: the busy handler sleeps.
const LAST_BREATH: Duration = Duration::from_millis(15);

/// A thread that can hold writers up, and the way to tell it. It does not compute, and has the priority of whoever attached:
/// a hold that comes late lets writers run, and one that ends late is too long.
pub(super) struct Brake {
    /// Gone when it is to end.
    tasks: Option<Sender<Task>>,
    outcomes: Receiver<Result<Holds, Error>>,
    thread: Option<JoinHandle<()>>,
}

/// How long writers were held up.
struct Holds {
    longest: Duration,
    /// The last time, if none has committed since.
    last: Duration,
}

/// Brake writers that are beyond a frame, until the other end of `working` is dropped.
struct Task {
    from: u32,
    working: Receiver<()>,
}

impl Brake {
    /// Starts the thread. `lock` is a connection that does nothing else.
    pub(super) fn start(lock: WalFile, size: PageSize, log: Wal) -> Result<Brake, Error> {
        let ((tasks, told), (tell, outcomes)) = (channel::<Task>(), channel());
        let released = Released { at: progress(&lock, size)?, when: Instant::now(), held: Duration::ZERO };
        let mut writers = Writers { lock, size, log, released };
        let thread = std::thread::Builder::new()
            .name("longshore-brake".to_owned())
            .spawn(move || while told.recv().is_ok_and(|task| tell.send(writers.brake(&task)).is_ok()) {})
            .map_err(|source| Error::Io { path: "a thread".into(), source })?;
        Ok(Brake { tasks: Some(tasks), outcomes, thread: Some(thread) })
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.tasks = None;
        // What it panicked with was told when its outcome was missed.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

const ALIVE: &str = "it ends when nobody has tasks for it";

/// How far writers are: the salts of the `-wal`, and its last committed frame.
type Progress = ([u32; 2], u32);

/// Those who write to the database, seen from the lock that they take.
struct Writers {
    lock: WalFile,
    size: PageSize,
    log: Wal,
    released: Released,
}

/// Where they were when they were released last, when that was, and for how long they had been held up.
#[derive(Clone, Copy)]
struct Released {
    at: Progress,
    when: Instant,
    held: Duration,
}

impl Writers {
    fn brake(&mut self, Task { from, working }: &Task) -> Result<Holds, Error> {
        let look_at = |at: Progress| if at.1 <= *from { LOOK_FROM_AFAR } else { LOOK };
        let (mut longest, mut look) = (Duration::ZERO, look_at(self.progress()?));
        while goes_on(working, look) {
            let at = self.progress()?;
            look = look_at(at);
            let hold = self.due(at, *from);
            if !hold.is_zero() && self.has_room()? && self.lock.take(Slot::Write, LOCK_WAIT)? {
                let held = Instant::now();
                goes_on(working, hold);
                let at = self.progress();
                self.lock.unlock(Slot::Write)?;
                self.released = Released { at: at?, when: Instant::now(), held: held.elapsed() };
                longest = longest.max(self.released.held);
            }
        }
        while SHORT_HOLD < self.released.held && self.may_wait()? {
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(Holds { longest, last: if self.may_wait()? { self.released.held } else { Duration::ZERO } })
    }

    /// Whether they may still be waiting for what they were held up for last.
    fn may_wait(&self) -> Result<bool, Error> {
        Ok(self.released.when.elapsed() < LAST_BREATH && self.released.at == self.progress()?)
    }

    /// For how long they are to be held up for what they committed since they were released last.
    fn due(&mut self, at: Progress, from: u32) -> Duration {
        if SLOW < self.released.when.elapsed() {
            self.released = Released { at, when: Instant::now(), held: Duration::ZERO };
        }
        let ((salts, frame), (salts_then, frame_then)) = (at, self.released.at);
        let committed = if salts == salts_then { frame.saturating_sub(frame_then) } else { frame };
        let breath = (BREATH / self.size.bytes()) as u32;
        match committed / breath {
            _ if frame <= from => Duration::ZERO,
            _ if from < frame / 2 && breath / 2 <= committed => LONGEST_HOLD,
            breaths => LATE_HOLD.min(HOLD * breaths),
        }
    }

    /// While the log is full nothing gets better by holding anybody up.
    fn has_room(&self) -> Result<bool, Error> {
        self.log.wait_room_blocking(max_payload(&self.log) as u64, Some(Duration::ZERO)).map_err(Error::Log)
    }

    fn progress(&self) -> Result<Progress, Error> {
        progress(&self.lock, self.size)
    }
}

fn progress(database: &WalFile, size: PageSize) -> Result<Progress, Error> {
    published(database, size).map(|(index, _)| (index.salts, index.max_frame))
}

/// Waits so long, unless the work ends before.
fn goes_on(working: &Receiver<()>, wait: Duration) -> bool {
    working.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
}

impl Capture {
    /// Does something, and brakes writers meanwhile once the `-wal` is too long. They are not held up when this returns, nor
    /// have they been for long just before. Not within itself.
    pub(super) fn braked<T>(&mut self, work: impl FnOnce(&mut Capture) -> Result<T, Error>) -> Result<T, Error> {
        let from = self.brake_from();
        let (working, until) = channel();
        let tasks = self.brake.tasks.as_ref().expect("gone when it is dropped");
        tasks.send(Task { from, working: until }).expect(ALIVE);
        let outcome = work(self);
        drop(working);
        let holds = self.brake.outcomes.recv().expect(ALIVE);
        let outcome = outcome?;
        let Holds { longest, last } = holds?;
        self.status.longest_hold = self.status.longest_hold.max(longest);
        self.held = last;
        Ok(outcome)
    }

    /// Whether writers go on making a `-wal` longer that is too long, or will be after so many more frames, and no reader is to
    /// blame.
    pub(super) fn is_outrun(&self, frames: u32) -> Result<bool, Error> {
        let (index, _) = published(&self.guard, self.size)?;
        let is_long = self.brake_from() < index.max_frame.saturating_add(frames);
        Ok(is_long && self.is_behind()? && self.seals.pinned_for().is_none())
    }

    /// Whether anything is committed that was not copied.
    pub(super) fn is_behind(&self) -> Result<bool, Error> {
        let (index, _) = published(&self.guard, self.size)?;
        let place = self.shipped.place;
        Ok(if index.salts == place.salts { index.max_frame != place.frame } else { index.max_frame != 0 })
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

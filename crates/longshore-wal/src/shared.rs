//! The state of an open log, who may touch which part of it, and how it stops.
//!
//! Locks are taken in the order of the fields here. Only `sync` and `seal` are held while the disk works; the append lock
//! is, too, but only where a follower writes segments with `pwrite`, when a life begins, and at the close.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use longshore_format::Lsn;
use longshore_storage::{Environment, ForkGuard, Lock};

use crate::append::Appender;
use crate::control_file::ControlFile;
use crate::prepare::Spares;
use crate::seal::Sealer;
use crate::slots::Consumers;
use crate::syncer::Syncer;
use crate::view::View;
use crate::{Bell, Error, Event, Full, Result, Settings, SyncStats, Watermark};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) append: Mutex<Appender>,
    pub(crate) sync: Mutex<Syncer>,
    pub(crate) seal: Mutex<Sealer>,
    pub(crate) consumers: Mutex<Consumers>,
    pub(crate) spares: Mutex<Spares>,
    /// A lock of its own, so that status never waits for a slow sync (F-069).
    pub(crate) stats: Mutex<SyncStats>,
    /// The directory's lock, until the log is closed.
    pub(crate) lock: Mutex<Option<Box<dyn Lock>>>,

    pub(crate) view: Arc<View>,
    pub(crate) control: ControlFile,
    pub(crate) env: Arc<dyn Environment>,
    pub(crate) settings: Settings,
    pub(crate) fork: ForkGuard,
    /// Where the last appended record ends. Stored under the append lock (release) once its bytes are in place.
    end: AtomicU64,
    /// How far a follower may show what it holds; beyond every position, unless somebody [holds back](crate::Wal::hold_back).
    pub(crate) shown_to: AtomicU64,
    /// Where the upstream's log ends, as a follower last heard; only a hint.
    pub(crate) upstream_end: AtomicU64,
    /// Whether somebody holds the log beyond its cap; `consumers` knows who.
    pub(crate) is_held: AtomicBool,
    /// Notified when there may be room again for a refused append.
    pub(crate) room: Bell,
    /// How many gather ([`Wal::gather`](crate::Wal::gather)). Changed by anybody; after a change to less the syncer is woken.
    pub(crate) gathering: AtomicU64,
    pub(crate) wake_syncer: WakeUp,
    pub(crate) wake_keeper: WakeUp,
    /// Set once, by whatever stopped the log.
    failure: OnceLock<Error>,
}

/// What a [`Shared`] is made of.
pub(crate) struct Parts {
    pub(crate) appender: Appender,
    pub(crate) control: ControlFile,
    pub(crate) spares: Spares,
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) view: View,
    pub(crate) env: Arc<dyn Environment>,
    pub(crate) settings: Settings,
}

/// Takes a lock behind which everything is whole after every line: a panic elsewhere changes nothing. For what a panic may
/// have left half done there is [`Shared::lock`].
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Shared {
        let Parts { appender, control, spares, lock, view, env, settings } = parts;
        let consumers = Consumers::new(settings.retention.clone(), env.monotonic());
        let shown_to = control.look(|control| control.shown).unwrap_or(Lsn::MAX);
        Shared {
            end: AtomicU64::new(appender.position().get()),
            append: Mutex::new(appender),
            sync: Mutex::default(),
            seal: Mutex::default(),
            consumers: Mutex::new(consumers),
            control,
            spares: Mutex::new(spares),
            stats: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            view: Arc::new(view),
            env,
            settings,
            fork: ForkGuard::new(),
            shown_to: AtomicU64::new(shown_to.get()),
            upstream_end: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            room: Bell::new(),
            gathering: AtomicU64::new(0),
            wake_syncer: WakeUp::default(),
            wake_keeper: WakeUp::default(),
            failure: OnceLock::new(),
        }
    }

    /// Takes a lock. A panic of whoever held it last stops the log: the state behind it cannot be trusted (F-077).
    #[inline]
    pub(crate) fn lock<'s, T>(&'s self, mutex: &'s Mutex<T>) -> Result<MutexGuard<'s, T>> {
        mutex.lock().map_err(|_| self.panicked())
    }

    /// Fails once the log is stopped, and in a forked child (F-079).
    #[inline]
    pub(crate) fn alive(&self) -> Result<()> {
        if !self.fork.same_process() {
            return Err(Error::Forked);
        }
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => Err(failure.clone()),
        }
    }

    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    #[inline]
    pub(crate) fn end(&self) -> Lsn {
        Lsn::new(self.end.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn set_end(&self, end: Lsn) {
        self.end.store(end.get(), Ordering::Release);
        self.wake_syncer.wake_if_parked(|| self.is_to_be_synced(end));
    }

    /// Stops the log for the rest of the process: every waiter, and every later call, gets this error. Reading goes on.
    pub(crate) fn poison(&self, cause: Error) -> Error {
        let mut first = false;
        let failure = self.failure.get_or_init(|| {
            first = true;
            cause.poisoned()
        });
        if first {
            self.view.events.push(Event::Poisoned { cause: cause.to_string() });
            self.stop_waiters(failure);
        }
        cause
    }

    /// Stops the log in order.
    pub(crate) fn close(&self) {
        let _failed_before = self.failure.set(Error::Closed);
        self.view.watermarks().into_iter().for_each(Watermark::close);
        self.wake_all();
        *lock(&self.lock) = None;
    }

    fn stop_waiters(&self, failure: &Error) {
        self.view.watermarks().into_iter().for_each(|mark| mark.poison(failure.clone()));
        self.wake_all();
    }

    pub(crate) fn wake_all(&self) {
        self.room.ring();
        self.wake_syncer.wake();
        self.wake_keeper.wake();
    }

    #[cold]
    fn panicked(&self) -> Error {
        self.poison(Error::Poisoned { cause: "a thread panicked in the middle of a change".into() })
    }

    /// Why appends are refused whatever their size.
    pub(crate) fn held(&self) -> Option<Full> {
        if !self.is_held.load(Ordering::Relaxed) {
            return None;
        }
        self.consumers.lock().ok()?.held.clone()
    }
}

/// A thread to be woken, if it runs.
#[derive(Debug, Default)]
pub(crate) struct WakeUp {
    thread: OnceLock<Thread>,
    /// Whether the thread sleeps until it is woken. Stored by the thread, loaded by anybody, each behind a fence: either
    /// the thread sees what was changed before [`wake_if_parked`](Self::wake_if_parked), or that sees it parked.
    parked: AtomicBool,
}

impl WakeUp {
    pub(crate) fn set(&self, thread: Thread) {
        let _runs_already = self.thread.set(thread);
    }

    /// Wakes the thread, or keeps it from its next sleep.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// As [`wake`](Self::wake), for a thread that sleeps by [`park_if`](Self::park_if), if there is something for it to do: one
    /// that is awake will look anyway. What `is_wanted` looks at is looked at behind the fence, too: whoever changes it later wakes
    /// the thread by himself.
    #[inline]
    pub(crate) fn wake_if_parked(&self, is_wanted: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && is_wanted() {
            self.wake();
        }
    }

    /// Called by the thread: sleeps until it is woken, if it is `idle` still.
    pub(crate) fn park_if(&self, idle: impl FnOnce() -> bool) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if idle() {
            std::thread::park();
        }
        self.parked.store(false, Ordering::Relaxed);
    }
}

//! The two threads of an open log: one syncs, the other prepares, seals and trims.
//!
//! They only call the steps that anybody may call. A thread that panics stops the log (F-076).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_format::{ErrorKind, Lsn};

use crate::{Error, Filling, Result, Wal};

/// The running threads of a log. Dropping it stops and joins them; a panic in one poisons the log.
#[derive(Debug)]
#[must_use = "dropping this stops the threads"]
pub struct Threads {
    wal: Wal,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

/// How long an append that nobody waits for may wait for its sync, after others have done without this thread; longer where
/// somebody gathers.
const LOOK_IN: Duration = Duration::from_millis(1);

/// How often the keeper looks at retention, and at a disk that was full, when nothing wakes it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Wal {
    /// Starts the threads. Once in the life of an open log.
    ///
    /// # Panics
    /// If the system cannot start a thread.
    pub fn start(&self) -> Threads {
        let stop = Arc::new(AtomicBool::new(false));
        let syncer = self.spawn("longshore-sync", &stop, Wal::sync_loop);
        self.shared().wake_syncer.set(syncer.thread().clone());
        let keeper = self.spawn("longshore-keep", &stop, Wal::keep_loop);
        self.shared().wake_keeper.set(keeper.thread().clone());
        // What was appended before there was anybody to wake.
        self.shared().wake_all();
        Threads { wal: self.clone(), stop, running: vec![syncer, keeper] }
    }

    fn spawn(&self, name: &str, stop: &Arc<AtomicBool>, body: fn(&Wal, &AtomicBool) -> Result<()>) -> JoinHandle<()> {
        let (wal, stop) = (self.clone(), Arc::clone(stop));
        let run = move || match catch_unwind(AssertUnwindSafe(|| body(&wal, &stop))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                // The log stopped, in order or not; whoever waits has been told.
                tracing::debug!(%error, "a thread of the log ends");
            }
            Err(_) => {
                wal.shared().poison(Error::Poisoned { cause: "a thread of the log panicked".into() });
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system starts a thread")
    }

    /// Syncs what nobody else does. A thread that waits for its own append syncs by itself, and while such threads are at
    /// it this one only looks in now and then: waking it for each append would cost them a tenth of a sync.
    fn sync_loop(&self, stop: &AtomicBool) -> Result<()> {
        let shared = self.shared();
        let mut own = Lsn::ZERO;
        while !stop.load(Ordering::Acquire) {
            let idle = || !shared.is_to_be_synced(self.end()) && !stop.load(Ordering::Acquire);
            let busy = !idle();
            if busy && shared.help_sync()? {
                own = self.synced().get();
            } else if busy || own < self.synced().get() {
                own = self.synced().get();
                std::thread::park_timeout(LOOK_IN);
            } else {
                shared.wake_syncer.park_if(idle);
            }
        }
        Ok(())
    }

    fn keep_loop(&self, stop: &AtomicBool) -> Result<()> {
        let mut filling = None;
        let outcome = self.keep(stop, &mut filling);
        if let Some(begun) = filling {
            self.give_back(begun);
        }
        outcome
    }

    fn keep(&self, stop: &AtomicBool, filling: &mut Option<Filling>) -> Result<()> {
        let shared = self.shared();
        let (mut idle_since, mut retained) = (shared.env.monotonic(), shared.env.monotonic());
        let mut last_end = self.end();
        while !stop.load(Ordering::Acquire) {
            let mut sealed = false;
            let mut busy = passing(self.prepare_ahead(filling))?;
            busy |= passing(self.seal_once().inspect(|done| sealed = *done))?;
            let now = shared.env.monotonic();
            if sealed || LOOK_AGAIN <= now.saturating_sub(retained) {
                passing(self.retain().map(|_| false))?;
                retained = now;
            }
            if busy {
                continue;
            }
            if self.end() != last_end {
                (last_end, idle_since) = (self.end(), now);
            }
            let idle = now.saturating_sub(idle_since);
            let limit = shared.settings.control_idle;
            if limit <= idle {
                self.sync_control()?;
            }
            std::thread::park_timeout(if idle < limit { limit - idle } else { limit.max(LOOK_AGAIN) });
        }
        Ok(())
    }

    /// Makes the control file durable if it is behind: the watermark, and acks. The keeper thread does this when the log
    /// has been idle for [`Settings::control_idle`](crate::Settings::control_idle).
    pub fn sync_control(&self) -> Result<()> {
        let shared = self.shared();
        shared.alive()?;
        shared.control.set_durable(shared.view.synced.get());
        shared.control.sync().map_err(|error| shared.poison(error))
    }
}

/// Lets the keeper live through what passes (F-067): it tries again later.
fn passing(outcome: Result<bool>) -> Result<bool> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Unavailable && !matches!(error, Error::Closed) => {
            tracing::warn!(%error, "the log tries again");
            Ok(false)
        }
        other => other,
    }
}

impl Threads {
    /// Stops the threads after the step they are in, and joins them. What is appended stays to be synced by
    /// [`Wal::close`].
    pub fn stop(self) {}
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wal.shared().wake_all();
        for thread in self.running.drain(..) {
            let outcome = thread.join();
            debug_assert!(outcome.is_ok(), "the threads catch their panics");
        }
    }
}

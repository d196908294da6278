//! SIGINT and SIGTERM for commands that can stop in good order: work so far is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_apply::Interrupt;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::runtime;

/// Whether somebody asked to stop.
#[derive(Clone, Default)]
pub(crate) struct Interruptible {
    asked: Arc<AtomicBool>,
    then: Arc<Mutex<Option<Interrupt>>>,
}

impl Interruptible {
    /// From here on the first signal asks, and the second one ends the process.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let heard = Self::default();
        let runtime = runtime::for_commands()?;
        let telling = heard.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => telling.ask(),
                        _ = terminate.recv() => telling.ask(),
                    }
                }
            });
        });
        Ok(heard)
    }

    /// Also wakes what the work may be waiting for.
    pub(crate) fn then(&self, interrupt: Interrupt) {
        *self.then.lock().unwrap_or_else(PoisonError::into_inner) = Some(interrupt);
    }

    pub(crate) fn was(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// What comes of some work; `None` if somebody asks to stop before.
    pub(crate) async fn unless_asked<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.asked() => None,
        }
    }

    /// Waits until it was. Cancel safe.
    async fn asked(&self) {
        while !self.was() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn ask(&self) {
        if self.asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if let Some(interrupt) = &*self.then.lock().unwrap_or_else(PoisonError::into_inner) {
            interrupt.trigger();
        }
    }
}

/// How long a signal may go unseen.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

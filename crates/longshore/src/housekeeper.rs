//! The one thread that looks after all logs of a node a few times a second.
//!
//! It measures (how positions and time go together, rates), hands on what the logs have to say, and
//! lowers the retention cap as free space shrinks. It decides nothing else, and a node without a
//! runtime needs it too: hence a thread.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lock;
use crate::node::Inner;

/// Stops and joins its thread when dropped.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    running: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

/// Four looks a second: lag in seconds is then right to a quarter of one, and the cost is nothing.
const TICK: Duration = Duration::from_millis(250);

/// What costs more is done once a second.
const TICKS_A_SECOND: u64 = 4;

impl Housekeeper {
    pub(crate) fn start(node: Weak<Inner>) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("longshore-house".to_owned()).spawn(move || {
            let mut ticks = 0u64;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                // The thread must not keep the node alive; a tick that finds it gone is the last.
                let Some(node) = node.upgrade() else { return };
                node.tick();
                if ticks.is_multiple_of(TICKS_A_SECOND) {
                    node.measure();
                }
                ticks += 1;
            }
        });
        let running = match thread {
            Ok(thread) => Some((stop, thread)),
            Err(error) => {
                tracing::error!(%error, "cannot start the housekeeping thread; lag and rates will not be measured");
                None
            }
        };
        Self { running: Mutex::new(running) }
    }

    /// Stops the thread and waits for it.
    pub(crate) fn stop(&self) {
        let running = lock(&self.running).take();
        let Some((stop, thread)) = running else { return };
        drop(stop);
        // The last owner of the node may be the thread itself, for the length of a tick.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the housekeeping thread ended in a panic; report a bug");
        }
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

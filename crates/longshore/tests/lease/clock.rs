//! A machine whose clocks go with the test's: time passes at once, and a suspend is told.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use longshore_storage::{Environment, SystemEnvironment};
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Machine {
    booted: Instant,
    slept: Mutex<Duration>,
}

impl Machine {
    /// One that was started a minute ago. Must be called in a runtime, whose time is this one's.
    pub(crate) fn started() -> Machine {
        Machine { booted: Instant::now() - Duration::from_secs(60), slept: Mutex::default() }
    }

    /// Suspends it: timers do not see this time.
    pub(crate) fn suspend(&self, asleep: Duration) {
        *self.slept.lock().unwrap() += asleep;
    }
}

impl Environment for Machine {
    fn wall_micros(&self) -> u64 {
        panic!("a lease must not ask the wall clock (F-082)")
    }

    fn monotonic(&self) -> Duration {
        panic!("a lease must not ask a clock that stands still while the machine is suspended (F-083)")
    }

    fn boottime(&self) -> Duration {
        self.booted.elapsed() + *self.slept.lock().unwrap()
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        SystemEnvironment.random(bytes)
    }
}

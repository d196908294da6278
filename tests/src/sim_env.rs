//! Clocks and randomness from a seed.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_storage::Environment;

use crate::sim_rng::Rng;

/// A simulated machine's clocks and random source. Time stands still until it is told to go on. Clones share it all.
#[derive(Clone, Debug)]
pub struct SimEnvironment {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    rng: Rng,
    wall_micros: u64,
    monotonic: Duration,
    suspended: Duration,
}

impl SimEnvironment {
    /// A machine that was started at a fixed moment of 2026.
    pub fn new(seed: u64) -> SimEnvironment {
        let inner = Inner {
            rng: Rng::new(seed),
            wall_micros: 1_767_225_600_000_000,
            monotonic: Duration::from_secs(1),
            suspended: Duration::ZERO,
        };
        SimEnvironment { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Lets time go by on every clock.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.inner();
        inner.monotonic += by;
        inner.wall_micros += by.as_micros() as u64;
    }

    /// Steps the wall clock alone (F-082).
    pub fn step_wall(&self, by_micros: i64) {
        let mut inner = self.inner();
        inner.wall_micros = inner.wall_micros.saturating_add_signed(by_micros);
    }

    /// Suspends the machine: the monotonic clock misses this time (F-083).
    pub fn suspend(&self, asleep: Duration) {
        let mut inner = self.inner();
        inner.suspended += asleep;
        inner.wall_micros += asleep.as_micros() as u64;
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment for SimEnvironment {
    fn wall_micros(&self) -> u64 {
        self.inner().wall_micros
    }

    fn monotonic(&self) -> Duration {
        self.inner().monotonic
    }

    fn boottime(&self) -> Duration {
        let inner = self.inner();
        inner.monotonic + inner.suspended
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner().rng.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_083_a_suspended_machine_shows_in_the_difference_of_the_clocks() {
        let machine = SimEnvironment::new(1);
        let before = machine.boottime() - machine.monotonic();
        machine.suspend(Duration::from_secs(60));
        machine.advance(Duration::from_secs(1));
        assert_eq!(machine.boottime() - machine.monotonic() - before, Duration::from_secs(60));
        machine.step_wall(-1_000_000_000);
        assert!(machine.wall_micros() < 1_767_225_600_000_000);
    }
}

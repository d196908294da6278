//! Time and randomness, the two other things that a log takes from the machine.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The clocks and the random source; simulated from a seed in tests.
pub trait Environment: Send + Sync + std::fmt::Debug {
    /// Microseconds since 1970 UTC by the wall clock. May jump in both directions; nothing but record times uses it.
    fn wall_micros(&self) -> u64;

    /// Time since some fixed point, never decreasing, standing still while the machine is suspended.
    fn monotonic(&self) -> Duration;

    /// As [`Environment::monotonic`], but running on while the machine is suspended. The difference of the two growing
    /// means that the process was asleep (F-083).
    fn boottime(&self) -> Duration;

    /// Fills `bytes` with unpredictable bytes, good enough for identities.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The machine's own clocks and random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn wall_micros(&self) -> u64 {
        // A clock before 1970 counts as 1970: record times are informative and never decrease anyway.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }

    fn monotonic(&self) -> Duration {
        clock(ClockId::Monotonic)
    }

    fn boottime(&self) -> Duration {
        clock(ClockId::Boottime)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(|error| io::Error::other(format!("no random bytes to be had: {error}")))
    }
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_do_not_run_backwards_and_random_bytes_differ() {
        let system = SystemEnvironment;
        let (first, second) = (system.monotonic(), system.monotonic());
        assert!(first <= second);
        assert!(system.boottime() >= first);
        assert!(system.wall_micros() > 1_700_000_000_000_000);
        let (mut a, mut b) = ([0; 16], [0; 16]);
        system.random(&mut a).unwrap();
        system.random(&mut b).unwrap();
        assert_ne!(a, b);
    }
}

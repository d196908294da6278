//! When to try again.

use std::time::Duration;

/// Growing pauses between attempts, each random between half and the whole of its length, so that many replicas
/// do not come back at one moment (F-110).
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Default for Backoff {
    /// From 100 ms to 10 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

impl Backoff {
    /// Pauses that begin at `first` and double up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: 0 }
    }

    /// The next pause. `random` is any random number.
    pub fn pause(&mut self, random: u64) -> Duration {
        let whole = self.first.saturating_mul(1 << self.attempts.min(30)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        let fraction = (random >> 11) as f64 / (1u64 << 53) as f64;
        whole / 2 + (whole / 2).mul_f64(fraction)
    }

    /// The last attempt succeeded, and for long enough to be more than an accident.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How many attempts failed since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_half_random_f110() {
        let millis = Duration::from_millis;
        for (random, expected) in [(0, [50, 100, 200, 400, 500, 500]), (u64::MAX, [100, 200, 400, 800, 1000, 1000])] {
            let mut backoff = Backoff::new(millis(100), millis(1000));
            for expected in expected {
                let pause = backoff.pause(random);
                assert!(pause.abs_diff(millis(expected)) <= millis(1), "{pause:?} {expected}");
            }
            backoff.reset();
            assert_eq!(backoff.attempts(), 0);
            assert!(backoff.pause(random) <= millis(100));
        }
    }

    #[test]
    fn it_never_stops_and_never_overflows() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.attempts = u32::MAX - 1;
        for _ in 0..3 {
            assert!(Duration::ZERO < backoff.pause(u64::MAX / 2));
        }
    }
}

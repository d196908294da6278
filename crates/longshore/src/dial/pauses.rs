//! How long a line waits with a log whose following ended.
//!
//! Each log has waits of its own: what is told of one says nothing of the others that come through the same upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_format::Name;
use longshore_protocol::Backoff;
use tokio::time::Instant;

/// The logs that are not followed for a while, because following them ended.
pub(super) struct Pauses {
    shortest: Duration,
    longest: Duration,
    until: BTreeMap<Name, Instant>,
    backoffs: BTreeMap<Name, Backoff>,
}

impl Pauses {
    /// Pauses from `shortest` up to `longest`.
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, until: BTreeMap::new(), backoffs: BTreeMap::new() }
    }

    /// A pause that is longer each time, unless the log was followed for long, as it `lasted`.
    pub(super) fn next(&mut self, log: &Name, lasted: Duration, random: u64) -> Duration {
        let (shortest, longest) = (self.shortest, self.longest);
        let backoff = self.backoffs.entry(log.clone()).or_insert_with(|| Backoff::new(shortest, longest));
        if longest < lasted {
            backoff.reset();
        }
        backoff.pause(random)
    }

    /// Waits with a log.
    pub(super) fn wait(&mut self, log: &Name, until: Instant) {
        self.until.insert(log.clone(), until);
    }

    /// Whether a log is waited with.
    pub(super) fn is_paused(&self, log: &Name, now: Instant) -> bool {
        self.until.get(log).is_some_and(|until| now < *until)
    }

    /// Every log whose following ended last with a pause.
    pub(super) fn logs(&self) -> impl Iterator<Item = &Name> {
        self.until.keys()
    }

    /// Waits no longer with a log, and forgets how often following it failed.
    pub(super) fn end(&mut self, log: &Name) {
        self.until.remove(log);
        self.reset(log);
    }

    /// Forgets how often following a log failed.
    pub(super) fn reset(&mut self, log: &Name) {
        self.backoffs.remove(log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn logs() -> [Name; 2] {
        ["a", "b"].map(|name| name.parse().unwrap())
    }

    #[test]
    fn what_is_told_of_one_log_ends_no_pause_of_another() {
        let ([a, b], now, mut pauses) = (logs(), Instant::now(), Pauses::new(millis(100), millis(1000)));
        for log in [&a, &b] {
            for _ in 0..3 {
                let pause = pauses.next(log, Duration::ZERO, u64::MAX);
                pauses.wait(log, now + pause);
            }
        }
        assert!(pauses.is_paused(&a, now) && pauses.is_paused(&b, now));
        pauses.end(&a);
        assert!(!pauses.is_paused(&a, now) && pauses.is_paused(&b, now));
        assert_eq!(pauses.logs().collect::<Vec<_>>(), [&b]);
        assert!(pauses.next(&a, Duration::ZERO, u64::MAX) <= millis(100), "it begins anew");
        assert!(millis(790) <= pauses.next(&b, Duration::ZERO, u64::MAX), "it does not");
        assert!(pauses.next(&b, millis(1001), u64::MAX) <= millis(100), "it was followed for long");
    }
}

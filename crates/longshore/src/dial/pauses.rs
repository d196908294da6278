//! How long a line waits: with a log whose following ended, and between two looks for who leads to a log's writer.
//!
//! Each log has waits of its own: what is told of one says nothing of the others that come through the same upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_format::Name;
use longshore_protocol::Backoff;
use tokio::time::Instant;

/// While a log is followed through nobody, upstreams are asked so often who leads to its writer.
pub(super) const SEARCH: Duration = Duration::from_millis(500);
/// The same at first after a log was told to follow a new writer, which will write in a moment.
pub(super) const SEARCH_FIRST: Duration = Duration::from_millis(20);
/// A promotion that has not begun its epoch after so long is none that is about to.
const LATELY: Duration = Duration::from_secs(5);

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

/// When upstreams are asked again who leads to a writer.
#[derive(Default)]
pub(super) struct Search(BTreeMap<Name, Told>);

/// A log that was told of a new writer.
struct Told {
    at: Instant,
    next: Duration,
}

impl Search {
    /// A log was told to follow a new writer.
    pub(super) fn told(&mut self, log: &Name, now: Instant) {
        self.0.insert(log.clone(), Told { at: now, next: SEARCH_FIRST });
    }

    /// Until the next look, for the logs that are to be followed and are not; `None` without any. Each look doubles it.
    pub(super) fn pause<'a>(&mut self, searched: impl IntoIterator<Item = &'a Name>, now: Instant) -> Option<Duration> {
        self.0.retain(|_, told| now.saturating_duration_since(told.at) < LATELY);
        let pause = |log| {
            let Some(told) = self.0.get_mut(log) else { return SEARCH };
            let pause = told.next;
            told.next = SEARCH.min(2 * pause);
            pause
        };
        searched.into_iter().map(pause).min()
    }
}

/// How often each log was told of an epoch, as far as a line has looked.
pub(super) struct Heard(BTreeMap<Name, u64>);

impl Heard {
    /// Everything until now is known.
    pub(super) fn new(counts: &BTreeMap<Name, u64>) -> Self {
        Self(counts.clone())
    }

    /// The logs that were told since the last look.
    pub(super) fn news(&mut self, counts: &BTreeMap<Name, u64>) -> Vec<Name> {
        let is_new = |(log, count): &(&Name, &u64)| self.0.get(*log) != Some(*count);
        let news = counts.iter().filter(is_new).map(|(log, _)| log.clone()).collect();
        self.0.clone_from(counts);
        news
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
    fn a_search_begins_at_once_and_slows_down() {
        let ([a, _], now, mut search) = (logs(), Instant::now(), Search::default());
        assert_eq!(search.pause([&a], now), Some(SEARCH), "nobody was told of anything");
        search.told(&a, now);
        let pauses: Vec<_> = (0..7).map(|_| search.pause([&a], now).unwrap().as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 500, 500]);
        search.told(&a, now);
        assert_eq!(search.pause([&a], now), Some(SEARCH_FIRST), "told again");
    }

    #[test]
    fn a_search_is_still_to_begin_while_the_upstream_before_is_followed_and_not_for_ever() {
        let ([a, _], now, mut search) = (logs(), Instant::now(), Search::default());
        search.told(&a, now);
        assert_eq!(search.pause([], now + millis(100)), None);
        assert_eq!(search.pause([&a], now + millis(150)), Some(SEARCH_FIRST));
        search.told(&a, now);
        assert_eq!(search.pause([], now + millis(100)), None, "it has found its upstream");
        assert_eq!(search.pause([&a], now + LATELY), Some(SEARCH), "and is lost again much later");
    }

    #[test]
    fn a_search_for_one_log_is_no_hurry_for_another() {
        let ([a, b], now, mut search) = (logs(), Instant::now(), Search::default());
        search.told(&a, now);
        assert_eq!(search.pause([&b], now), Some(SEARCH));
        assert_eq!(search.pause([&a, &b], now), Some(SEARCH_FIRST), "the hurry of a was not used up");
        assert_eq!(search.pause([&b], now), Some(SEARCH));
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

    #[test]
    fn only_logs_that_were_told_since_are_news() {
        let [a, b] = logs();
        let mut counts = BTreeMap::from([(a.clone(), 3)]);
        let mut heard = Heard::new(&counts);
        assert!(heard.news(&counts).is_empty());
        counts.insert(b.clone(), 1);
        assert_eq!(heard.news(&counts), std::slice::from_ref(&b));
        counts.insert(a.clone(), 5);
        assert_eq!(heard.news(&counts), [a]);
        assert!(heard.news(&counts).is_empty());
    }
}

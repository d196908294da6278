//! How long a line waits between two looks for who leads to a log's writer.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_format::Name;
use tokio::time::Instant;

/// While a log is followed through nobody, upstreams are asked so often who leads to its writer.
pub(super) const SEARCH: Duration = Duration::from_millis(500);
/// The same at first after a log was told to follow a new writer, which will write in a moment.
pub(super) const SEARCH_FIRST: Duration = Duration::from_millis(20);
/// A promotion that has not begun its epoch after so long is none that is about to.
const LATELY: Duration = Duration::from_secs(5);

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
}

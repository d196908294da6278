//! When a replica is told what of the frames that were shipped ahead has become durable at its upstream.

use std::time::Duration;

use longshore_format::Lsn;

/// What a replica knows of what is durable at its upstream, and when it is to be told more.
#[derive(Debug)]
pub(crate) struct Telling {
    told: Lsn,
    /// While it holds more than it was told of.
    next: Option<Duration>,
}

impl Telling {
    /// So much later than the frames a replica may show them. Less would make a message of every commit, beside the one that
    /// the writer waits for; 1 ms is what timers are good for.
    const SOON: Duration = Duration::from_millis(1);

    pub(crate) fn new(told: Lsn) -> Self {
        Self { told, next: None }
    }

    /// Whether to tell now of what is `durable`, of all that was `sent`.
    pub(crate) fn is_due(&mut self, sent: Lsn, durable: Lsn, now: Duration) -> bool {
        if sent <= self.told {
            self.next = None;
            return false;
        }
        let waits_until = *self.next.get_or_insert(now.saturating_add(Self::SOON));
        if now < waits_until {
            return false;
        }
        self.next = Some(now.saturating_add(Self::SOON));
        let is_news = self.told < durable;
        self.told = self.told.max(durable);
        is_news
    }

    /// When [`is_due`](Self::is_due) must be asked again.
    pub(crate) fn deadline(&self) -> Duration {
        self.next.unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(at: u64) -> Lsn {
        Lsn::new(at)
    }

    #[test]
    fn news_go_out_a_millisecond_after_the_frames_and_then_once_a_millisecond_until_all_is_told() {
        let mut telling = Telling::new(lsn(10));
        let micros = Duration::from_micros;
        // At so many microseconds: what was sent, what is durable; whether it is told, and when to look again.
        for (at, sent, durable, told, next) in [
            (0, 10, 10, false, None),
            (100, 20, 10, false, Some(1100)),
            (200, 20, 20, false, Some(1100)),
            (1100, 30, 20, true, Some(2100)),
            (2100, 30, 20, false, Some(3100)),
            (3150, 30, 30, true, Some(4150)),
            (3200, 30, 30, false, None),
            (9000, 40, 40, false, Some(10_000)),
        ] {
            assert_eq!(telling.is_due(lsn(sent), lsn(durable), micros(at)), told, "at {at}");
            assert_eq!(telling.deadline(), next.map_or(Duration::MAX, micros), "at {at}");
        }
    }
}

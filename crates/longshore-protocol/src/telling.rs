//! When a replica is told what of the frames that were shipped ahead has become durable at its upstream.

use std::time::Duration;

use longshore_format::Lsn;

/// What a replica was told of what is durable at its upstream, and when it is to be told more.
///
/// While frames flow nothing needs to be said: each record says what was durable when it was written.
#[derive(Debug)]
pub(crate) struct Telling {
    told: Lsn,
    /// While it holds more than it was told of.
    next: Option<Duration>,
}

impl Telling {
    /// So long after the last frames a replica is told what it may show of them. Less would make a message of every commit, beside
    /// the one that the writer waits for; 1 ms is what timers are good for.
    const SOON: Duration = Duration::from_millis(1);

    pub(crate) fn new(told: Lsn) -> Self {
        Self { told, next: None }
    }

    /// Frames were sent.
    pub(crate) fn put_off(&mut self, now: Duration) {
        self.next = Some(now.saturating_add(Self::SOON));
    }

    /// Whether to tell now of what is `durable`, of all that was `sent`.
    pub(crate) fn is_due(&mut self, sent: Lsn, durable: Lsn, now: Duration) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let is_news = self.told < durable;
        self.told = self.told.max(durable);
        self.next = (self.told < sent).then(|| now.saturating_add(Self::SOON));
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
    fn news_go_out_a_millisecond_after_the_last_frames_and_then_once_a_millisecond_until_all_is_told() {
        let mut telling = Telling::new(lsn(10));
        let micros = Duration::from_micros;
        // At so many microseconds: what was sent just now, what is durable; whether it is told, and when to look again.
        for (at, sends, durable, told, next) in [
            (0, None, 10, false, None),
            (100, Some(20), 10, false, Some(1100)),
            (900, Some(30), 20, false, Some(1900)),
            (1100, None, 20, false, Some(1900)),
            (1900, None, 20, true, Some(2900)),
            (2900, None, 20, false, Some(3900)),
            (3950, None, 30, true, None),
            (9000, None, 40, false, None),
            (9500, Some(40), 40, false, Some(10_500)),
            (10_500, None, 40, true, None),
        ] {
            if sends.is_some() {
                telling.put_off(micros(at));
            }
            let sent = sends.unwrap_or(30);
            assert_eq!(telling.is_due(lsn(sent), lsn(durable), micros(at)), told, "at {at}");
            assert_eq!(telling.deadline(), next.map_or(Duration::MAX, micros), "at {at}");
        }
    }
}

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
    /// How long to wait for news, longer each time that there are none: a disk that stands still is not looked at every millisecond.
    pause: Duration,
}

impl Telling {
    /// So long after the last frames a replica is told what it may show of them. Less would make a message of every commit, beside
    /// the one that the writer waits for; 1 ms is what timers are good for.
    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_millis(64);

    pub(crate) fn new(told: Lsn) -> Self {
        Self { told, next: None, pause: Self::SOON }
    }

    /// Frames were sent.
    pub(crate) fn put_off(&mut self, now: Duration) {
        self.pause = Self::SOON;
        self.next = Some(now.saturating_add(self.pause));
    }

    /// Whether to tell now of what is `durable`, of all that was `sent`; it then counts as told.
    pub(crate) fn tell(&mut self, sent: Lsn, durable: Lsn, now: Duration) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let is_news = self.told < durable;
        self.told = self.told.max(durable);
        self.pause = if is_news { Self::SOON } else { (self.pause * 2).min(Self::LATE) };
        self.next = (self.told < sent).then(|| now.saturating_add(self.pause));
        is_news
    }

    /// When [`tell`](Self::tell) must be asked again.
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
    fn news_go_out_a_millisecond_after_the_last_frames_and_then_ever_more_seldom_until_all_is_told() {
        let mut telling = Telling::new(lsn(10));
        let micros = Duration::from_micros;
        // At so many microseconds: what was sent just now, what is durable; whether it is told, and when to look again.
        for (at, sends, durable, told, next) in [
            (0, None, 10, false, None),
            (100, Some(20), 10, false, Some(1100)),
            (900, Some(30), 20, false, Some(1900)),
            (1100, None, 20, false, Some(1900)),
            (1900, None, 20, true, Some(2900)),
            (2900, None, 20, false, Some(4900)),
            (4950, None, 30, true, None),
            (9000, None, 40, false, None),
            (9500, Some(40), 40, false, Some(10_500)),
            (10_500, None, 40, true, None),
        ] {
            if sends.is_some() {
                telling.put_off(micros(at));
            }
            let sent = sends.unwrap_or(30);
            assert_eq!(telling.tell(lsn(sent), lsn(durable), micros(at)), told, "at {at}");
            assert_eq!(telling.deadline(), next.map_or(Duration::MAX, micros), "at {at}");
        }
    }
}

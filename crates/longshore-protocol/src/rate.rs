//! How fast positions move, and what follows from it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use longshore_format::Lsn;

/// A moving average of bytes per second; a change shows by two thirds after `over`.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    over: Duration,
    last: Option<(Lsn, Duration)>,
    per_second: Option<f64>,
}

impl Rate {
    /// An average over about this long.
    pub fn new(over: Duration) -> Self {
        Self { over: over.max(Duration::from_millis(1)), last: None, per_second: None }
    }

    /// Notes where the position is now. One that went back begins anew.
    pub fn observe(&mut self, position: Lsn, now: Duration) {
        match self.last {
            Some((last, at)) if last <= position => {
                let passed = now.saturating_sub(at);
                // Too short a time tells nothing: it waits for the next observation.
                if passed < self.over / 64 {
                    return;
                }
                let measured = position.since(last) as f64 / passed.as_secs_f64();
                let weight = 1.0 - (-passed.as_secs_f64() / self.over.as_secs_f64()).exp();
                let rate = self.per_second.map_or(measured, |rate| rate + weight * (measured - rate));
                self.per_second = Some(rate);
            }
            Some(_) => self.per_second = None,
            None => {}
        }
        self.last = Some((position, now));
    }

    /// Bytes per second; zero before anything is known.
    pub fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(0.0)
    }
}

/// How long until one position reaches another that may move too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CatchUp {
    /// There is nothing to catch up.
    Done,
    /// After about this long.
    In(Duration),
    /// Never, at this rate.
    Never,
}

/// The time until `remaining` bytes are gone when `closing` bytes per second come and `opening` bytes per second
/// are added: remaining / (closing − opening).
///
/// It is the time to catch up (shipping against appending) and the headroom of a slot (appending against trimming).
pub fn catch_up(remaining: u64, closing: f64, opening: f64) -> CatchUp {
    if remaining == 0 {
        return CatchUp::Done;
    }
    // A negative time, an infinite one and one that is not a number are all refused by the conversion.
    match Duration::try_from_secs_f64(remaining as f64 / (closing - opening)) {
        Ok(time) if time < Duration::from_secs(100 * 365 * 86_400) => CatchUp::In(time),
        _ => CatchUp::Never,
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("caught up"),
            Self::In(time) => match time.as_secs() {
                0..120 => write!(f, "{} s", time.as_secs()),
                secs @ 120..7200 => write!(f, "{} min", secs / 60),
                secs @ 7200..172_800 => write!(f, "{} h", secs / 3600),
                secs => write!(f, "{} d", secs / 86_400),
            },
            Self::Never => f.write_str("never at this rate"),
        }
    }
}

/// When the log passed which position: turns a lag in bytes into one in seconds.
///
/// It holds a bounded number of samples; when it is full every second one is dropped and samples are taken half as
/// often, so that a lag of days is still known, a little more coarsely.
#[derive(Debug, Clone)]
pub struct Timeline {
    samples: VecDeque<(Lsn, Duration)>,
    every: Duration,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl Timeline {
    const MAX: usize = 1024;

    /// An empty timeline, with a sample every 100 ms at first.
    pub fn new() -> Self {
        Self { samples: VecDeque::new(), every: Duration::from_millis(100) }
    }

    /// Notes that the log ended at `end` at this moment.
    pub fn observe(&mut self, end: Lsn, now: Duration) {
        if let Some((last, at)) = self.samples.back()
            && (end <= *last || now.saturating_sub(*at) < self.every)
        {
            return;
        }
        if self.samples.len() == Self::MAX {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.every = self.every.saturating_mul(2);
        }
        self.samples.push_back((end, now));
    }

    /// Drops what nobody lags behind any more.
    pub fn trim(&mut self, slowest: Lsn) {
        while self.samples.get(1).is_some_and(|(end, _)| *end <= slowest) {
            self.samples.pop_front();
        }
    }

    /// How long ago the log passed `position`: how old the oldest record is that a node at `position` lacks.
    /// Zero when it lacks none; `None` when that was before anything was noted.
    pub fn lag(&self, position: Lsn, now: Duration) -> Option<Duration> {
        let next = self.samples.partition_point(|(end, _)| *end <= position);
        match self.samples.get(next) {
            None => Some(Duration::ZERO),
            Some((_, at)) if 0 < next => Some(now.saturating_sub(*at)),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_to_catch_up_is_what_remains_by_the_difference_of_the_rates() {
        for (remaining, ship, append, expected, shown) in [
            (0, 0.0, 5.0, CatchUp::Done, "caught up"),
            (1000, 100.0, 0.0, CatchUp::In(secs(10)), "10 s"),
            (41 * 6000, 200.0, 100.0, CatchUp::In(secs(41 * 60)), "41 min"),
            (3600 * 5, 1.0, 0.0, CatchUp::In(secs(5 * 3600)), "5 h"),
            (86_400 * 8, 1.0, 0.0, CatchUp::In(secs(8 * 86_400)), "8 d"),
            (1000, 100.0, 100.0, CatchUp::Never, "never at this rate"),
            (1000, 50.0, 100.0, CatchUp::Never, "never at this rate"),
            (u64::MAX, 1.0, 0.0, CatchUp::Never, "never at this rate"),
            (1, f64::NAN, 0.0, CatchUp::Never, "never at this rate"),
        ] {
            let result = catch_up(remaining, ship, append);
            assert_eq!(result, expected);
            assert_eq!(result.to_string(), shown);
        }
    }

    #[test]
    fn a_rate_follows_what_is_measured() {
        let mut rate = Rate::new(secs(10));
        assert_eq!(rate.per_second(), 0.0);
        for second in 0..=100 {
            rate.observe(Lsn::new(4096 + second * 1000), secs(second));
        }
        assert!((rate.per_second() - 1000.0).abs() < 1.0);
        for second in 101..=200 {
            rate.observe(Lsn::new(4096 + 100_000), secs(second));
        }
        assert!(rate.per_second() < 1.0);
        rate.observe(Lsn::ZERO, secs(201));
        assert_eq!(rate.per_second(), 0.0, "a position that went back begins anew");
        rate.observe(Lsn::MAX, secs(201));
        rate.observe(Lsn::MAX, secs(0));
        assert!(rate.per_second().is_finite());
    }

    #[test]
    fn a_lag_is_as_old_as_the_oldest_record_that_is_missing() {
        let mut timeline = Timeline::new();
        for second in 1..=60u64 {
            timeline.observe(Lsn::new(second * 100), secs(second));
        }
        let lag = |position, now| timeline.lag(Lsn::new(position), secs(now));
        assert_eq!(lag(6000, 60), Some(secs(0)));
        assert_eq!(lag(5950, 60), Some(secs(0)));
        assert_eq!(lag(5900, 61), Some(secs(1)));
        assert_eq!(lag(100, 60), Some(secs(58)));
        assert_eq!(lag(99, 60), None, "from before anything was noted");
        timeline.trim(Lsn::new(5000));
        assert_eq!(timeline.lag(Lsn::new(5000), secs(60)), Some(secs(9)));
        assert_eq!(timeline.samples.len(), 11);
    }

    #[test]
    fn a_timeline_is_bounded_and_still_knows_a_lag_of_days() {
        let mut timeline = Timeline::new();
        let day = 86_400;
        for second in 1..=3 * day {
            timeline.observe(Lsn::new(second * 100), secs(second));
        }
        assert!(timeline.samples.len() <= Timeline::MAX);
        let lag = timeline.lag(Lsn::new(day * 100), secs(3 * day)).unwrap();
        assert!(lag.abs_diff(secs(2 * day)) < secs(day / 50), "{lag:?}");
    }
}

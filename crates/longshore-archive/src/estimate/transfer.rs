//! How long objects take over a link: `T = N × S / B + N × RTT / parallelism`.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use super::duration;

/// A way between two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Bytes per second.
    pub bandwidth: NonZero<u64>,
    /// There and back again.
    pub rtt: Duration,
    /// Requests under way at once.
    pub parallel: NonZero<u32>,
}

impl Link {
    /// How long `bytes` take, without any waiting.
    pub fn carries(&self, bytes: f64) -> Duration {
        duration(bytes / self.bandwidth.get() as f64)
    }
}

/// Objects of a mean size over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// N.
    pub objects: u64,
    /// S, in bytes.
    pub mean_bytes: u64,
    /// B, RTT and the parallelism.
    pub link: Link,
}

/// Which part of a transfer takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `N × S / B`: the bytes. A tie counts as this.
    Bandwidth,
    /// `N × RTT / parallelism`: the waiting for answers.
    RoundTrips,
}

impl Transfer {
    /// `N × S / B`.
    pub fn streaming(&self) -> Duration {
        self.link.carries(self.objects as f64 * self.mean_bytes as f64)
    }

    /// `N × RTT / parallelism`.
    pub fn waiting(&self) -> Duration {
        let round_trips = self.objects as f64 / f64::from(self.link.parallel.get());
        duration(round_trips * self.link.rtt.as_secs_f64())
    }

    /// Both together. A link that is kept full hides some of the waiting, so this is an upper bound.
    pub fn total(&self) -> Duration {
        self.streaming().saturating_add(self.waiting())
    }

    /// What would have to be improved first.
    pub fn rule(&self) -> Rule {
        match self.streaming() >= self.waiting() {
            true => Rule::Bandwidth,
            false => Rule::RoundTrips,
        }
    }
}

/// The formula with its numbers, on one line.
impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transfer { objects, mean_bytes, link: Link { bandwidth, rtt, parallel } } = self;
        let [streaming, waiting, total] =
            [self.streaming(), self.waiting(), self.total()].map(|part| part.as_secs_f64());
        write!(f, "T = N × S / B + N × RTT / parallelism = {objects} × {mean_bytes} B / {bandwidth} B/s")?;
        write!(f, " + {objects} × {} ms / {parallel}", rtt.as_secs_f64() * 1000.0)?;
        write!(f, " = {streaming:.3} s + {waiting:.3} s = {total:.3} s")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Bandwidth => "bandwidth rules: a wider link shortens it",
            Rule::RoundTrips => "round trips rule: more requests at once, or larger objects, shorten it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(objects: u64, mean_bytes: u64, bandwidth: u64, rtt_ms: u64, parallel: u32) -> Transfer {
        let (bandwidth, parallel) = (NonZero::new(bandwidth).unwrap(), NonZero::new(parallel).unwrap());
        Transfer { objects, mean_bytes, link: Link { bandwidth, rtt: Duration::from_millis(rtt_ms), parallel } }
    }

    #[test]
    fn both_parts_are_added_and_the_longer_one_rules() {
        let rows = [
            // 160 × 50 MB / 100 MB/s = 80 s; 160 × 80 ms / 8 = 1.6 s.
            (transfer(160, 50_000_000, 100_000_000, 80, 8), 80.0, 1.6, Rule::Bandwidth),
            // 1,000,000 × 1 kB / 100 MB/s = 10 s; 1,000,000 × 80 ms / 8 = 10,000 s.
            (transfer(1_000_000, 1_000, 100_000_000, 80, 8), 10.0, 10_000.0, Rule::RoundTrips),
            (transfer(0, 1_000, 1, 80, 8), 0.0, 0.0, Rule::Bandwidth),
        ];
        for (transfer, streaming, waiting, rule) in rows {
            assert_eq!(transfer.streaming(), Duration::from_secs_f64(streaming));
            assert_eq!(transfer.waiting(), Duration::from_secs_f64(waiting));
            assert_eq!(transfer.total(), transfer.streaming() + transfer.waiting());
            assert_eq!(transfer.rule(), rule);
        }
    }

    #[test]
    fn the_formula_is_told_with_its_numbers() {
        assert_eq!(
            transfer(160, 50_000_000, 100_000_000, 80, 8).to_string(),
            "T = N × S / B + N × RTT / parallelism = 160 × 50000000 B / 100000000 B/s + 160 × 80 ms / 8 \
             = 80.000 s + 1.600 s = 81.600 s"
        );
    }

    #[test]
    fn what_takes_longer_than_a_duration_holds_takes_the_longest() {
        assert_eq!(transfer(u64::MAX, u64::MAX, 1, u64::MAX, 1).total(), Duration::MAX);
    }
}

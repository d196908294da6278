//! How long a lease is good for, and what follows from that.

use std::fmt;
use std::time::Duration;

use crate::{Error, Result};

/// How long a lease is good for without a renewal: whole milliseconds from [`Ttl::LEAST`] to [`Ttl::MOST`].
///
/// It stands in the object, so that a candidate waits as long as this holder wants, whatever its own settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl {
    millis: u32,
}

impl Ttl {
    /// The shortest: below it a round trip between regions is a good part of it.
    pub const LEAST: Duration = Duration::from_millis(500);
    /// The longest: with more, somebody who is called at night is faster.
    pub const MOST: Duration = Duration::from_secs(3600);
    /// 10 s: a renewal every 2.5 s, a dead holder missed after 11 s, three slow answers of a bucket survived.
    pub const DEFAULT: Ttl = Ttl { millis: 10_000 };

    /// Checks a time; what is beyond milliseconds is cut off.
    ///
    /// # Errors
    /// [`Error::NoLease`] if it is out of bounds.
    pub fn new(ttl: Duration) -> Result<Ttl> {
        match u32::try_from(ttl.as_millis()) {
            Ok(millis) if (Ttl::LEAST..=Ttl::MOST).contains(&ttl) => Ok(Ttl { millis }),
            _ => Err(Error::NoLease { why: "its ttl is not from 500 ms to 1 h" }),
        }
    }

    /// The whole of it.
    pub fn get(self) -> Duration {
        Duration::from_millis(self.millis.into())
    }

    /// How long a holder may act on a renewal, from before it was sent: 0.7 of it.
    pub fn trust(self) -> Duration {
        self.get() * 7 / 10
    }

    /// For how long a candidate must have seen the same object: 1.1 of it.
    pub fn patience(self) -> Duration {
        self.get() * 11 / 10
    }

    /// How often a holder renews and a candidate looks, and how long either waits for an answer: a quarter of it.
    pub fn rhythm(self) -> Duration {
        self.get() / 4
    }

    /// How long after a request that failed the next one is made: a tenth of it.
    pub fn retry(self) -> Duration {
        self.get() / 10
    }

    pub(super) fn from_millis(millis: u64) -> Result<Ttl> {
        Ttl::new(Duration::from_millis(millis))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_stops_long_before_a_candidate_starts() {
        for millis in [500, 10_000, 3_600_000] {
            let ttl = Ttl::from_millis(millis).unwrap();
            assert_eq!(ttl.trust().as_millis() as u64, millis * 7 / 10);
            assert_eq!(ttl.patience().as_millis() as u64, millis * 11 / 10);
            // After a renewal that hangs there is time for another one.
            assert!(2 * ttl.rhythm() + ttl.retry() < ttl.trust());
        }
        assert_eq!(Ttl::DEFAULT, Ttl::new(Duration::from_secs(10)).unwrap());
    }

    #[test]
    fn a_ttl_that_cannot_be_is_refused() {
        for millis in [0, 1, 499, 3_600_001, u64::from(u32::MAX) + 501, u64::MAX] {
            assert!(Ttl::from_millis(millis).is_err(), "{millis}");
        }
    }
}

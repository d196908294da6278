//! The clocks of a node: none of them shows true time, and no two run alike.

use std::time::Duration;

use crate::sim_rng::Rng;

/// True time, in microseconds since the beginning.
pub(super) type Moment = u64;

pub(super) const MILLI: Moment = 1_000;
pub(super) const SECOND: Moment = 1_000_000;

/// What a node reads.
#[derive(Debug)]
pub(super) struct Clock {
    /// What the boot-time clock showed at the beginning.
    began: u64,
    /// By how many millionths it runs fast or slow.
    drift: i64,
    /// By how much the wall clock was set forward or back since.
    set: i64,
}

impl Clock {
    /// A clock that is up to a tenth fast or slow.
    pub(super) fn new(rng: &mut Rng) -> Clock {
        // Far enough from zero that the wall clock can be set back.
        let began = rng.within(1 << 40..1 << 41);
        Clock { began, drift: rng.below(200_001) as i64 - 100_000, set: 0 }
    }

    /// The clock that runs on whatever happens; the one that every rule is asked with.
    pub(super) fn boot(&self, at: Moment) -> Duration {
        Duration::from_micros(self.began + at.saturating_add_signed(at as i64 / 1_000_000 * self.drift))
    }

    /// The clock that anybody may set, in microseconds.
    pub(super) fn wall(&self, at: Moment) -> u64 {
        let boot = u64::try_from(self.boot(at).as_micros()).expect("a run is short");
        boot.saturating_add_signed(self.set)
    }

    /// Somebody sets the wall clock.
    pub(super) fn jump(&mut self, by: i64) {
        self.set += by;
    }
}

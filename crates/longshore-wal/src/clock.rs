//! The time in records: the wall clock, held to the monotonic one where it jumps forward (F-082).

use std::time::Duration;

use longshore_storage::Environment;

/// Gives record times. A step back needs no care here, since a record is never older than its predecessor; a step forward
/// would drag every later record with it, so beyond the limit it is not followed until the clock comes back or the log is
/// opened again.
#[derive(Debug)]
pub(crate) struct Clock {
    limit: Duration,
    /// A moment when wall time was believed, by both clocks.
    wall: u64,
    since: Duration,
    held: bool,
}

/// The wall clock jumped forward by so many microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step(pub(crate) u64);

/// The two clocks are compared when the wall clock has moved so far, not at each record: one clock read less.
const COMPARED_EVERY: u64 = 1_000_000;

impl Clock {
    pub(crate) fn new(env: &dyn Environment, limit: Duration) -> Clock {
        Clock { limit, wall: env.wall_micros(), since: env.boottime(), held: false }
    }

    /// The time for a record that is minted now.
    #[inline]
    pub(crate) fn now(&mut self, env: &dyn Environment) -> (u64, Option<Step>) {
        let wall = env.wall_micros();
        if !self.held && wall < self.wall.saturating_add(COMPARED_EVERY) {
            return (wall, None);
        }
        self.compare(wall, env.boottime())
    }

    /// `boot` runs on while the machine is suspended, so that waking up is no step (F-083).
    fn compare(&mut self, wall: u64, boot: Duration) -> (u64, Option<Step>) {
        let elapsed = boot.saturating_sub(self.since).as_micros() as u64;
        let expected = self.wall.saturating_add(elapsed);
        let ahead = wall.saturating_sub(expected);
        if u128::from(ahead) <= self.limit.as_micros() {
            self.held = false;
            if wall > self.wall {
                (self.wall, self.since) = (wall, boot);
            }
            return (wall, None);
        }
        let step = (!self.held).then_some(Step(ahead));
        self.held = true;
        (expected, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn clock() -> Clock {
        Clock { limit: Duration::from_secs(60), wall: 1000 * SECOND, since: Duration::from_secs(10), held: false }
    }

    fn check(clock: &mut Clock, wall: u64, boot: u64, time: u64, step: Option<u64>) {
        let expected = (time * SECOND, step.map(|step| Step(step * SECOND)));
        assert_eq!(clock.compare(wall * SECOND, Duration::from_secs(boot)), expected);
    }

    #[test]
    fn f_082_a_jump_forward_is_held_back_and_reported_once() {
        let mut clock = clock();
        check(&mut clock, 1010, 20, 1010, None);
        check(&mut clock, 1080, 30, 1080, None);
        check(&mut clock, 300_000_000, 40, 1090, Some(300_000_000 - 1090));
        check(&mut clock, 300_000_001, 41, 1091, None);
        check(&mut clock, 1095, 45, 1095, None);
    }

    #[test]
    fn f_082_a_jump_back_is_taken_as_it_is_and_the_way_forward_again_is_no_jump() {
        let mut clock = clock();
        check(&mut clock, 5, 20, 5, None);
        check(&mut clock, 1020, 30, 1020, None);
    }
}

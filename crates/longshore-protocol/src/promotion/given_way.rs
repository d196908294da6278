//! To whom a node gave way that it has not heard of since: whoever was to begin such an epoch may be the writer.

use longshore_format::{Epoch, WriterId};

/// What a node had accepted before the epoch that it accepted last. It is remembered while the node runs: after a restart the
/// last one stands for those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenWay {
    accepted: Option<Epoch>,
    before: Vec<Epoch>,
}

impl GivenWay {
    /// The most that are remembered: the oldest, and that there were more.
    pub const LIMIT: usize = 8;

    /// Notes that `accepted` was accepted after `before`, by a node whose log is of epoch `current`.
    pub fn accepts(&mut self, accepted: Epoch, before: Epoch, current: Epoch) {
        if accepted == before {
            return;
        }
        if self.accepted != Some(before) {
            self.before.clear();
        }
        self.before.push(before);
        self.before.retain(|epoch| current.number < epoch.number);
        if GivenWay::LIMIT < self.before.len() {
            // One of those that are forgotten may have begun, and nobody can say of this one that it did not.
            self.before.truncate(GivenWay::LIMIT - 1);
            self.before.push(Epoch { writer: FORGOTTEN, ..before });
        }
        self.accepted = Some(accepted);
    }

    /// What the node had accepted before `accepted`, its last one, and has not heard begin.
    pub fn before(&self, accepted: Epoch, current: Epoch) -> Vec<Epoch> {
        let known = if self.accepted == Some(accepted) { &self.before[..] } else { &[accepted][..] };
        known.iter().filter(|epoch| current.number < epoch.number).copied().collect()
    }
}

/// Stands for whoever was to begin an epoch that is not remembered. Writers draw theirs at random.
const FORGOTTEN: WriterId = WriterId::from_bytes([0xff; 16]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::epoch;

    #[test]
    fn what_was_accepted_before_the_last_one_is_known_until_it_began_or_the_node_starts_again() {
        let (one, two, three, four) = (epoch(1, 1), epoch(2, 2), epoch(3, 3), epoch(4, 4));
        let mut given = GivenWay::default();
        assert_eq!(given.before(one, one), []);
        given.accepts(two, one, one);
        assert_eq!(given.before(two, one), [], "it wrote, and gave way to nobody before");
        given.accepts(three, two, one);
        given.accepts(three, three, one);
        assert_eq!(given.before(three, one), [two]);
        given.accepts(four, three, one);
        assert_eq!(given.before(four, one), [two, three]);
        assert_eq!(given.before(four, two), [three], "it has heard of the second by now");
        assert_eq!(GivenWay::default().before(four, one), [four], "nobody remembers what came before it");
        assert_eq!(GivenWay::default().before(four, four), []);
    }

    #[test]
    fn of_more_than_it_remembers_nobody_can_say_that_none_began() {
        let mut given = GivenWay::default();
        for number in 1..100 {
            given.accepts(epoch(number + 1, 1), epoch(number, 1), epoch(1, 1));
        }
        let before = given.before(epoch(100, 1), epoch(1, 1));
        assert_eq!((before.len(), before[0], before[6]), (GivenWay::LIMIT, epoch(2, 1), epoch(8, 1)));
        assert_eq!(before[7], Epoch { number: 99, writer: FORGOTTEN });
        assert_eq!(given.before(epoch(100, 1), epoch(99, 7)), [], "all of them are past");
    }
}

//! To whom a node gave way that it has not heard of since: whoever was to begin such an epoch may be the writer.

use longshore_format::Epoch;

/// What a node had accepted before the epoch that it accepted last. It is remembered while the node runs: after a restart the
/// last one stands for those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenWay {
    accepted: Option<Epoch>,
    before: Vec<Epoch>,
}

impl GivenWay {
    /// The most that are remembered: the oldest.
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
        self.before.truncate(GivenWay::LIMIT);
        self.accepted = Some(accepted);
    }

    /// What the node had accepted before `accepted`, its last one, and has not heard begin.
    pub fn before(&self, accepted: Epoch, current: Epoch) -> Vec<Epoch> {
        let known = if self.accepted == Some(accepted) { &self.before[..] } else { &[accepted][..] };
        known.iter().filter(|epoch| current.number < epoch.number).copied().collect()
    }
}

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
    fn more_than_it_remembers_leaves_the_oldest() {
        let mut given = GivenWay::default();
        for number in 1..100 {
            given.accepts(epoch(number + 1, 1), epoch(number, 1), epoch(1, 1));
        }
        let before = given.before(epoch(100, 1), epoch(1, 1));
        assert_eq!((before.len(), before[0]), (GivenWay::LIMIT, epoch(2, 1)));
    }
}

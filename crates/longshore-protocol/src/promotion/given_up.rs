//! What a node was to begin and gave up, after it had fenced the writer before.

use longshore_format::Epoch;

/// Epochs that nobody begins any more, as the node knows that was to begin them. It is remembered while the node runs: a fence that
/// was whole for one attempt stays so for those after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenUp(Vec<Epoch>);

impl GivenUp {
    /// The most that are remembered: the newest.
    pub const LIMIT: usize = 8;

    /// Notes that `epoch` was given up, of a log of epoch `current`.
    pub fn notes(&mut self, epoch: Epoch, current: Epoch) {
        self.0.retain(|before| current.number < before.number && *before != epoch);
        self.0.push(epoch);
        let beyond = self.0.len().saturating_sub(GivenUp::LIMIT);
        self.0.drain(..beyond);
    }

    /// What was given up, oldest first, that a log of epoch `current` has no later epoch than.
    pub fn after(&self, current: Epoch) -> Vec<Epoch> {
        self.0.iter().filter(|epoch| current.number < epoch.number).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::epoch;

    #[test]
    fn what_was_given_up_is_known_until_a_later_epoch_began_and_only_the_newest_are() {
        let mut given = GivenUp::default();
        assert_eq!(given.after(epoch(1, 1)), []);
        for number in [2, 3, 3] {
            given.notes(epoch(number, 1), epoch(1, 1));
        }
        assert_eq!(given.after(epoch(1, 1)), [epoch(2, 1), epoch(3, 1)]);
        assert_eq!(given.after(epoch(2, 5)), [epoch(3, 1)]);
        given.notes(epoch(9, 1), epoch(5, 5));
        assert_eq!(given.after(epoch(1, 1)), [epoch(9, 1)], "what came before it is forgotten");
        for number in 10..100 {
            given.notes(epoch(number, 1), epoch(5, 5));
        }
        let known = given.after(epoch(5, 5));
        assert_eq!((known.len(), known[0], known[7]), (GivenUp::LIMIT, epoch(92, 1), epoch(99, 1)));
    }
}

//! How a copy of a log goes on with what is archived of it. A store has one manifest for a log, changed by compare-and-swap:
//! whoever holds a later epoch puts one there that the earlier epoch's writer must not go on from.

use longshore_format::{EpochHistory, Fork, Lsn};

use crate::Archived;

/// What a copy that is to be archived does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    /// Goes on where that ends.
    Join,
    /// Keeps what lies beyond under a name of its own, and goes on from there: a later epoch of the copy began without it. The
    /// change that says so reaches to there again, where objects that both have end before: what is in a branch alone, no promotion
    /// is told of.
    Part {
        /// Where that was.
        at: Lsn,
    },
    /// Leaves it: it holds lives that the copy has not. A copy that is behind waits for them; a writer is none any more.
    Fenced,
}

impl Archived {
    /// How a copy with these lives goes on with it.
    pub fn onward(&self, copy: &EpochHistory) -> Onward {
        match copy.fork(&self.history) {
            Fork::Same => Onward::Join,
            Fork::Ahead { at } if self.end <= at => Onward::Join,
            Fork::Ahead { at } => Onward::Part { at },
            Fork::Forked { at } if self.epoch() < copy.current().epoch.number => Onward::Part { at },
            Fork::Behind { .. } | Fork::Forked { .. } | Fork::Unrelated => Onward::Fenced,
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::{Epoch, EpochEntry, Incarnation, WriterId};

    use super::*;

    /// Where a life starts, its epoch's number, and who wrote it.
    type Life = (u64, u64, u8);

    fn history(lives: &[Life]) -> EpochHistory {
        let life = |(start, number, writer): Life| EpochEntry {
            start: Lsn::new(start),
            epoch: Epoch { number, writer: WriterId::from_bytes([writer; 16]) },
            incarnation: Incarnation::new(writer.into()),
        };
        let mut history = EpochHistory::new(life(lives[0]));
        lives[1..].iter().for_each(|next| history.push(life(*next)).unwrap());
        history
    }

    #[test]
    fn a_later_epoch_parts_and_an_earlier_one_is_fenced_f113() {
        use Onward::{Fenced, Join, Part};
        let at = Lsn::new(20);
        /// A copy's lives, those of what is archived and where that ends, and how the copy goes on.
        type Row<'a> = (&'a str, &'a [Life], &'a [Life], u64, Onward);
        let rows: [Row<'_>; 9] = [
            ("the same lives", &[(0, 1, 1)], &[(0, 1, 1)], 50, Join),
            ("all of it before the epoch of here", &[(0, 1, 1), (20, 2, 2)], &[(0, 1, 1)], 20, Join),
            ("more than the epoch of here went on with", &[(0, 1, 1), (20, 2, 2)], &[(0, 1, 1)], 21, Part { at }),
            ("a life that the copy has not", &[(0, 1, 1)], &[(0, 1, 1), (20, 2, 2)], 30, Fenced),
            ("and nothing of it yet", &[(0, 1, 1)], &[(0, 1, 1), (20, 2, 2)], 15, Fenced),
            ("an earlier branch", &[(0, 1, 1), (30, 3, 3)], &[(0, 1, 1), (20, 2, 2)], 90, Part { at }),
            ("a later branch", &[(0, 1, 1), (30, 2, 2)], &[(0, 1, 1), (20, 3, 3)], 90, Fenced),
            ("the same number twice", &[(0, 1, 1), (30, 2, 2)], &[(0, 1, 1), (20, 2, 9)], 90, Fenced),
            ("another log altogether", &[(0, 1, 1)], &[(0, 1, 9)], 0, Fenced),
        ];
        for (case, copy, archived, end, expected) in rows {
            let archived = Archived { history: history(archived), end: Lsn::new(end) };
            assert_eq!(archived.onward(&history(copy)), expected, "{case}");
        }
    }
}

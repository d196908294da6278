//! What an archive holds, beside a node's own copy. An archive has no vote and accepts no epoch: it only may hold more.

use longshore_format::{EpochHistory, Fork, Lsn};

use super::Witness;

/// A log as it is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Its lives, as far as whoever archived it knew them.
    pub history: EpochHistory,
    /// Up to where it is archived.
    pub end: Lsn,
}

/// How an archive stands to a copy: its history says so first, and its end only where they are of one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// It holds nothing that the copy lacks.
    Within,
    /// The copy is a prefix of it, and it goes on to there.
    Beyond {
        /// Where it ends.
        to: Lsn,
    },
    /// It ends with a branch that died when a later epoch of the copy began.
    Dead {
        /// Where that was.
        at: Lsn,
    },
    /// It knows of a later epoch, or of another one of the same number, which is not the copy's and began before the copy's end:
    /// the copy's own tail may be what died.
    Later {
        /// Where it began.
        at: Lsn,
    },
    /// Their histories do not meet in what they still know.
    Unrelated,
}

impl Archived {
    /// The number of the last epoch that it knows of: no later one has it.
    pub fn epoch(&self) -> u64 {
        self.history.current().epoch.number
    }

    /// How it stands to a copy.
    pub fn beside(&self, copy: &Witness) -> Beside {
        let further = match copy.end < self.end {
            true => Beside::Beyond { to: self.end },
            false => Beside::Within,
        };
        match copy.history.fork(&self.history) {
            Fork::Same => further,
            Fork::Behind { at } if copy.end <= at => further,
            Fork::Behind { at } => Beside::Later { at },
            Fork::Ahead { at } | Fork::Forked { at } if self.end <= at => Beside::Within,
            Fork::Ahead { at } => Beside::Dead { at },
            // Of two epochs of one number neither is the later one, and nobody but an operator gives up what is archived.
            Fork::Forked { at } if copy.history.current().epoch.number <= self.epoch() => Beside::Later { at },
            Fork::Forked { at } => Beside::Dead { at },
            Fork::Unrelated => Beside::Unrelated,
        }
    }
}

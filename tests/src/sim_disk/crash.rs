//! How a power cut chooses among the versions that the disk may hold.

use super::stats::DiskStats;
use crate::sim_rng::Rng;

/// A sector of a disk: the unit that is written whole or torn at words.
pub(super) const SECTOR: usize = 512;
/// What even a torn sector keeps whole.
const WORD: usize = 8;

/// The content of one sector.
pub(super) type Sector = [u8; SECTOR];

/// The manner of one power cut. Every manner keeps to the rule "any version of each, independently"; they differ in
/// which outcomes are likely, because a uniform choice would almost never lose exactly one sector or keep exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Nothing that was not synced is kept.
    LoseAll,
    /// Everything is kept.
    KeepAll,
    /// Any version of each.
    Any,
    /// The newest of each with even odds, else any.
    Coin,
    /// The newest of almost all: holes.
    LoseFew,
    /// The oldest of almost all: islands.
    KeepFew,
}

impl Manner {
    pub(super) fn draw(rng: &mut Rng) -> Manner {
        use Manner::{Any, Coin, KeepAll, KeepFew, LoseAll, LoseFew};
        *rng.pick(&[LoseAll, KeepAll, Any, Any, Coin, Coin, LoseFew, LoseFew, KeepFew])
    }

    /// Chooses one of `versions`, oldest first.
    pub(super) fn choose(self, versions: usize, rng: &mut Rng) -> usize {
        let newest = versions - 1;
        match self {
            Manner::LoseAll => 0,
            Manner::KeepAll => newest,
            Manner::Any => rng.index(versions),
            Manner::Coin if rng.one_in(2) => newest,
            Manner::LoseFew if !rng.one_in(12) => newest,
            Manner::KeepFew if !rng.one_in(12) => 0,
            Manner::Coin | Manner::LoseFew | Manner::KeepFew => rng.index(versions),
        }
    }

    /// Whether a change of a name, a length or an allocation is kept.
    pub(super) fn keeps(self, rng: &mut Rng) -> bool {
        self.choose(2, rng) == 1
    }

    /// What the disk holds of one sector with these `versions`, oldest (the durable one) first.
    pub(super) fn sector(self, versions: &[&Sector], rng: &mut Rng, stats: &mut DiskStats) -> Sector {
        let mut kept = *versions[self.choose(versions.len(), rng)];
        let may_tear = !matches!(self, Manner::LoseAll | Manner::KeepAll);
        if may_tear && versions.len() > 1 && rng.one_in(6) {
            stats.words_torn += tear(&mut kept, versions[rng.index(versions.len())], rng);
        }
        if kept != **versions.last().expect("at least the durable version") {
            stats.sectors_dropped += 1;
        }
        kept
    }
}

/// Replaces some words of `sector` by those of `other`; returns how many that changed.
fn tear(sector: &mut Sector, other: &Sector, rng: &mut Rng) -> u64 {
    // Half of the tears are a cut at one word, as of a transfer that was broken off; the rest any mixture.
    let (mask, words) = (rng.next_u64(), SECTOR / WORD);
    let mask = if rng.one_in(2) { mask } else { u64::MAX << rng.index(words) };
    let mut torn = 0;
    for word in (0..words).filter(|word| mask >> word & 1 == 1) {
        let range = word * WORD..(word + 1) * WORD;
        if sector[range.clone()] != other[range.clone()] {
            sector[range.clone()].copy_from_slice(&other[range]);
            torn += 1;
        }
    }
    torn
}

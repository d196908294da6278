//! Where the payloads of a history come from: their sizes, and what is appended again after a crash.

use crate::sim_rng::Rng;

/// The sizes of one history's payloads. Fixed ones bring old records back to exactly the place of new ones, which
/// random ones almost never do; random ones meet every boundary, which fixed ones never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    /// Always this many bytes.
    Fixed(u64),
    /// Any number below this.
    Random(u64),
    /// Mostly small, sometimes up to the greatest that is allowed.
    Mixed,
}

/// The payloads of one history.
#[derive(Clone, Debug)]
pub(super) struct Source {
    seed: u64,
    sizes: Sizes,
    max_payload: u64,
    /// Whether the record at one place in the order of records is always the same, so that what a crash dropped is
    /// appended again byte for byte (F-017).
    again: bool,
    /// How many records a batch has at most.
    pub(super) batch: u64,
    fresh: u64,
}

impl Source {
    pub(super) fn draw(rng: &mut Rng, max_payload: usize) -> Source {
        let sizes = *rng.pick(&[
            Sizes::Fixed(80),
            Sizes::Fixed(80),
            Sizes::Fixed(480),
            Sizes::Fixed(992),
            Sizes::Fixed(2016),
            Sizes::Random(900),
            Sizes::Random(900),
            Sizes::Random(4000),
            Sizes::Mixed,
        ]);
        let average = match sizes {
            Sizes::Fixed(len) => len,
            Sizes::Random(end) => end / 2,
            Sizes::Mixed => 2500,
        };
        // Two segment boundaries in some 60 appends, whatever the sizes.
        let batch = (4400 / (average + 32)).max(1);
        let again = rng.one_in(2);
        Source { seed: rng.next_u64(), sizes, max_payload: max_payload as u64, again, batch, fresh: 0 }
    }

    /// A small history: a few records a segment, for going through every crash point of it.
    pub(super) fn coarse(rng: &mut Rng, max_payload: usize) -> Source {
        Source { sizes: Sizes::Fixed(2016), batch: 2, ..Source::draw(rng, max_payload) }
    }

    /// The payload of the record that will be the `nth` of the log.
    pub(super) fn payload(&mut self, nth: u64) -> Vec<u8> {
        self.fresh += 1;
        let identity = if self.again { nth } else { self.fresh | 1 << 63 };
        let mut rng = Rng::new(self.seed ^ identity.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let len = match self.sizes {
            Sizes::Fixed(len) => len,
            Sizes::Random(end) => rng.below(end),
            Sizes::Mixed if rng.one_in(40) => self.max_payload - rng.below(9),
            Sizes::Mixed if rng.one_in(4) => rng.below(self.max_payload / 2),
            Sizes::Mixed => rng.below(1500),
        };
        let mut payload = vec![0; len.min(self.max_payload) as usize];
        rng.fill(&mut payload);
        payload
    }
}

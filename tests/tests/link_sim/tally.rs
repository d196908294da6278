//! What happened in all the stories together, so that a fault that is never injected does not pass for one survived.

use std::fmt;
use std::ops::AddAssign;

macro_rules! tally {
    ($($field:ident $what:literal),* $(,)?) => {
        /// Counts.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub(crate) struct Tally { $(pub(crate) $field: u64),* }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Self) { $(self.$field += other.$field;)* }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>12} {}", self.$field, $what)?;)*
                Ok(())
            }
        }

        impl Tally {
            pub(crate) fn assert_everything_happened(&self) {
                $(assert!(0 < self.$field, "never: {}", $what);)*
            }
        }
    };
}

tally! {
    records "records appended",
    bytes "bytes shipped to the end",
    streams "streams opened",
    cuts "links cut",
    zombies "links cut at the replica's end alone",
    stalls "stalls of one direction",
    black_holes "directions that swallow everything from some message on",
    repeats "frames repeated",
    swaps "frames swapped",
    losses "frames lost",
    truncations "frames cut short",
    flips "bits flipped in frames",
    replica_crashes "power cuts of replicas",
    primary_crashes "power cuts of primaries",
    superseded "streams ended by a newer one",
    silences "streams ended by silence",
    gaps "gaps refused",
    bad_frames "damaged frames refused",
    ahead "stories in which frames are shipped while they are synced",
    lost_ahead "power cuts of primaries that took what they had shipped",
    set_aside "tails set aside therefore",
    cascades "stories with a replica of a replica",
    relayed "acks that came by another node",
    proofs "segments proved equal",
}

//! What a simulated disk did to its owner, so that a test can assert that it did it at all.

use std::ops::AddAssign;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counts of the faults of one disk, or of many added up.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct DiskStats {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl DiskStats {
            /// Every count with its name.
            pub fn rows(&self) -> impl Iterator<Item = (String, u64)> {
                [$((stringify!($name).replace('_', " "), self.$name)),+].into_iter()
            }
        }

        impl AddAssign for DiskStats {
            fn add_assign(&mut self, other: DiskStats) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

stats! {
    /// Operations that could have been a crash point: changes of any kind and syncs.
    operations,
    /// Power cuts.
    power_cuts,
    /// Processes killed with the page cache kept.
    kills,
    /// Sectors that a power cut left in another state than the newest.
    sectors_dropped,
    /// 8-byte words of another version than the rest of their sector.
    words_torn,
    /// Creations, renames and removals undone by a power cut.
    entries_lost,
    /// Files left with another length than the newest.
    lengths_lost,
    /// Files that lost blocks allocated to them.
    allocations_lost,
    /// Syncs that failed.
    sync_errors,
    /// Syncs that took long.
    slow_syncs,
    /// Reads that failed.
    read_errors,
    /// Allocations refused for lack of space.
    out_of_space,
}

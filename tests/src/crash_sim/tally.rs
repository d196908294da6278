//! What a run of the simulator did, so that a test can assert that it did everything at all.

use std::fmt;
use std::ops::AddAssign;

use crate::sim_disk::DiskStats;

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counts of one seed, or of many added up.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Tally {
            $($(#[$doc])* pub $name: u64,)+
            /// What the disks did.
            pub disk: DiskStats,
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Tally) {
                $(self.$name += other.$name;)+
                self.disk += other.disk;
            }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>22} {}", stringify!($name).replace('_', " "), self.$name)?;)+
                for (name, count) in self.disk.rows() {
                    writeln!(f, "{name:>22} {count}")?;
                }
                Ok(())
            }
        }
    };
}

tally! {
    /// Histories.
    seeds,
    /// Operations of the workload.
    workload_operations,
    /// Crashes of a log that was open: power cuts and kills.
    crashes,
    /// Crashes while a log was being opened.
    recoveries_crashed,
    /// Opens after anything but a clean close that succeeded.
    recoveries,
    /// Opens after a clean close.
    clean_opens,
    /// Segment boundaries that the histories crossed.
    boundaries_crossed,
    /// Records that became durable.
    records_set,
    /// Records that a crash dropped, as it may.
    records_dropped,
    /// Recoveries that cut a torn tail.
    tails_cut,
    /// Segments sealed.
    segments_sealed,
    /// Segments trimmed.
    segments_trimmed,
    /// Segments of a follower that were compared with its upstream's, byte by byte.
    segments_compared,
    /// Readings of a whole log beside its live writer.
    read_beside,
    /// Damage to durable bytes that was refused, as it must be.
    corruptions_refused,
    /// Frames that a follower refused because they did not hold.
    frames_refused,
    /// Logs stopped by a failed sync.
    logs_poisoned,
    /// Appends refused for lack of space, after which the log went on.
    full_disks,
}

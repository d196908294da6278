//! What a run of the simulator did, so that a test can assert that it did everything at all.

use std::fmt;
use std::ops::AddAssign;

macro_rules! tally {
    ($($field:ident $what:literal),+ $(,)?) => {
        /// Counts of one seed, or of many added up.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Tally {
            /// Histories.
            pub seeds: u64,
            /// Events in them.
            pub events: u64,
            $(pub(super) $field: u64,)+
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Tally) {
                self.seeds += other.seeds;
                self.events += other.events;
                $(self.$field += other.$field;)+
            }
        }

        impl Tally {
            /// How often each thing happened.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($what, self.$field)),+].into_iter()
            }
        }
    };
}

tally! {
    appended "records appended by clients",
    acknowledged "records acknowledged at the policy",
    streams "streams opened",
    crashes "crashes",
    unsynced_lost "records that a crash took before they were durable",
    shipped_ahead "records shipped before they were durable at the writer",
    torn "disks that lost what they had promised to keep",
    suspends "suspends",
    long_suspends "suspends of more than a minute",
    clock_jumps "jumps of a wall clock",
    partitions "partitions, both ways",
    one_way_cuts "links cut one way",
    held_up "messages held up by a cut link",
    lost "messages lost",
    slow "messages that took seconds",
    reordered "messages that overtook another",
    repeated "messages that came twice",
    attempts "promotions tried",
    rivals "promotions tried at several nodes at once",
    crashed_attempts "crashes between two steps of a promotion",
    refused_open "promotions refused for want of a fence",
    refused_lost "promotions refused because the node had lost records",
    refused_voteless "promotions refused because the node had no vote",
    refused_before "promotions refused before anybody was asked to accept",
    overtaken "promotions overtaken by another",
    fetches "promotions that fetched from another node first",
    promotions "promotions that ended with a writer",
    losses "promotions that accepted a loss",
    former_writers "promotions refused because the writer before had given way to somebody else, or is not known",
    fenced_writers "writers fenced",
    stale_writers "writers that learned from a replica that they were over",
    restarted_writers "writers that came back as the writer",
    truncations "tails set aside",
    tail_records "records in them",
    policy_changes "policy changes begun",
    policies_changed "policy changes ended",
    said_again "policies said again while a change was under way",
    archive_changes "changes of the archive's manifest",
    archive_races "changes of it that came too late",
    archive_unanswered "changes of it whose answer never came",
    archive_late "answers of its store that came after another epoch was accepted",
    archive_outages "outages of its store",
    archive_forks "branches to be set aside in the archive",
    archive_fenced "writers that learned from the archive that they were over",
    archived "records acknowledged as archived",
    archived_alone "records acknowledged as archived under a policy that asks for nothing else",
    archive_fetches "promotions that fetched from the archive",
    refused_archive "promotions refused because the archive had a later epoch",
    archive_silent "promotions that did not hear from the archive",
    leases_taken "leases taken",
    leases_lapsed "leases that lapsed while they were held",
    disputes "disputes that an operator decided",
    operators "promotions by the operator at the end",
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in self.rows() {
            writeln!(f, "{count:>12} {what}")?;
        }
        Ok(())
    }
}

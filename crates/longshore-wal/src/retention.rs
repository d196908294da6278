//! What may be trimmed: a pure rule over who still needs what.
//!
//! The log is kept from the oldest position that anybody needs. Wishes to keep *at least* so much or so long are soft:
//! they yield at the cap. Then consumers that prefer to be dropped lose their place, the furthest behind first, and only
//! if that does not suffice do appends block. Nothing here reads a clock that can jump: how long a slot was silent comes
//! in as a duration of monotonic time (F-082).

use std::time::Duration;

use longshore_format::{Lsn, Name};

/// What is kept, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Keep at least this many bytes of log behind its end even if nobody needs them. Everything, unless set: a log
    /// that nobody limits forgets nothing.
    pub keep_bytes: u64,
    /// Keep what is younger than this even if nobody needs it. Zero unless set.
    pub keep_age: Duration,
    /// The log behind its end, whoever needs it, is kept to this many bytes. No limit unless set.
    pub cap_bytes: u64,
    /// What happens to a replica's slot at the cap. `Drop`, so that one lost replica cannot stop the primary.
    pub slots_at_cap: AtCap,
    /// A slot that was silent for so long loses its place. 7 days.
    pub slot_idle: Duration,
    /// What happens to the archive at the cap. `Block`, so that there is never a hole in it.
    pub archive_at_cap: AtCap,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            keep_bytes: u64::MAX,
            keep_age: Duration::ZERO,
            cap_bytes: u64::MAX,
            slots_at_cap: AtCap::Drop,
            slot_idle: Duration::from_secs(7 * 24 * 3600),
            archive_at_cap: AtCap::Block,
        }
    }
}

/// What happens to a consumer that is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCap {
    /// It loses its place, by name, and starts over.
    Drop,
    /// Appends are refused until it has caught up.
    Block,
}

/// Who needs the log from some position on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Consumer {
    /// A replica's slot.
    Slot(Name),
    /// The archive.
    Archive,
    /// The local applier, and with it a run that is not applied yet.
    Applier,
    /// The primary's slowest slot, as the upstream reported it.
    Upstream,
}

impl std::fmt::Display for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Consumer::Slot(name) => write!(f, "replica {name}"),
            Consumer::Archive => f.write_str("the archive"),
            Consumer::Applier => f.write_str("the local applier"),
            Consumer::Upstream => f.write_str("the upstream's slowest replica"),
        }
    }
}

/// One consumer's need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Who.
    pub consumer: Consumer,
    /// From where on.
    pub from: Lsn,
    /// For how long it has not been heard of.
    pub silent: Duration,
}

/// What the rule sees of a log.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The first position kept now.
    pub first: Lsn,
    /// The durable end.
    pub end: Lsn,
    /// The greatest position all of whose records are older than `keep_age`; `first` if there is none.
    pub aged: Lsn,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Everything before this may go.
    pub keep_from: Lsn,
    /// These lose their place first.
    pub drop: Vec<Consumer>,
    /// This one holds the log beyond its cap: appends are refused.
    pub blocked_by: Option<Consumer>,
}

impl Retention {
    /// Decides what may be trimmed.
    pub fn decide(&self, extent: Extent, needs: &[Need]) -> Decision {
        let capped = |from: Lsn| extent.end.since(from) > self.cap_bytes;
        let mut drop = Vec::new();
        let mut staying: Vec<&Need> = Vec::new();
        for need in needs {
            let droppable = self.at_cap(&need.consumer) == AtCap::Drop;
            let idle = matches!(need.consumer, Consumer::Slot(_)) && self.slot_idle < need.silent;
            if droppable && (idle || capped(need.from)) {
                drop.push(need.consumer.clone());
            } else {
                staying.push(need);
            }
        }
        let slowest = staying.iter().min_by_key(|need| need.from);
        let needed = slowest.map_or(extent.end, |need| need.from.min(extent.end));
        let blocked_by = slowest.filter(|need| capped(need.from)).map(|need| need.consumer.clone());
        // What was only wished for yields at the cap, what is needed does not.
        let by_size = extent.end.checked_sub(self.keep_bytes.min(self.cap_bytes)).unwrap_or(extent.first);
        let at_cap = extent.end.checked_sub(self.cap_bytes).unwrap_or(extent.first);
        let by_age = extent.aged.max(at_cap);
        let wished = by_size.min(by_age);
        Decision { keep_from: needed.min(wished).max(extent.first), drop, blocked_by }
    }

    fn at_cap(&self, consumer: &Consumer) -> AtCap {
        match consumer {
            Consumer::Slot(_) => self.slots_at_cap,
            Consumer::Archive => self.archive_at_cap,
            Consumer::Applier => AtCap::Block,
            // A follower keeps for others within its own cap, never at the price of its own progress.
            Consumer::Upstream => AtCap::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn slot(name: &str, from: u64) -> Need {
        Need { consumer: Consumer::Slot(Name::new(name).unwrap()), from: Lsn::new(from), silent: Duration::ZERO }
    }

    fn check(retention: Retention, needs: &[Need], keep_from: u64, dropped: &[&str], blocked: Option<Consumer>) {
        let extent = Extent { first: Lsn::new(100), end: Lsn::new(10_000), aged: Lsn::new(9_000) };
        let decision = retention.decide(extent, needs);
        let names: Vec<String> = decision.drop.iter().map(ToString::to_string).collect();
        assert_eq!((decision.keep_from, names), (Lsn::new(keep_from), dropped.iter().map(|s| s.to_string()).collect()));
        assert_eq!(decision.blocked_by, blocked);
    }

    #[test]
    fn the_oldest_need_keeps_the_log() {
        let lean = Retention { keep_bytes: 0, ..Retention::default() };
        check(Retention::default(), &[], 100, &[], None);
        check(lean.clone(), &[], 9_000, &[], None);
        check(Retention { keep_bytes: 5_000, ..lean.clone() }, &[], 5_000, &[], None);
        check(lean.clone(), &[slot("a", 700), slot("b", 3_000)], 700, &[], None);
        check(lean, &[slot("a", 50)], 100, &[], None);
    }

    #[test]
    fn f_093_at_the_cap_wishes_yield_then_slots_are_dropped_then_appends_block() {
        let capped = Retention { cap_bytes: 4_000, ..Retention::default() };
        check(capped.clone(), &[], 6_000, &[], None);
        check(capped.clone(), &[slot("a", 700), slot("b", 7_000)], 6_000, &["replica a"], None);
        let archive = Need { consumer: Consumer::Archive, from: Lsn::new(5_000), silent: Duration::ZERO };
        check(capped.clone(), std::slice::from_ref(&archive), 5_000, &[], Some(Consumer::Archive));
        let dropping = Retention { archive_at_cap: AtCap::Drop, ..capped.clone() };
        check(dropping, &[archive], 6_000, &["the archive"], None);
        let blocking = Retention { slots_at_cap: AtCap::Block, ..capped };
        check(blocking, &[slot("a", 700)], 700, &[], slot("a", 0).consumer.into());
    }

    #[test]
    fn f_082_only_silence_in_monotonic_time_drops_an_idle_slot() {
        let silent = Need { silent: 8 * DAY, ..slot("a", 9_900) };
        check(Retention::default(), &[silent], 100, &["replica a"], None);
    }
}

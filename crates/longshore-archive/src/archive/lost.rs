//! Segments that nobody knows any more, because the chunk of a manifest that names them does not hold.

use longshore_format::{Lsn, Name};

use super::Copy;
use crate::error::{Error, Result};
use crate::manifest::SegmentEntry;
use crate::verify::Finding;

/// Takes what a copy no longer knows from another one of the same log. A segment is named by its digest: whoever has it has the
/// same.
pub(super) fn fill(copies: &mut [Copy]) {
    for at in 0..copies.len() {
        let lost: Vec<(Lsn, Lsn)> = copies[at].lost.iter().filter_map(Finding::range).collect();
        for (start, end) in lost {
            let others = copies.iter().filter(|other| other.is_of_the_log_of(&copies[at]));
            let found = others.filter_map(|other| other.between(start, end)).next().map(<[SegmentEntry]>::to_vec);
            let copy = &mut copies[at];
            let place = copy.segments.partition_point(|entry| entry.base < start.get());
            copy.segments.splice(place..place, found.unwrap_or_default());
        }
    }
}

impl Copy {
    /// The segments from one base up to another, if all of them are known.
    fn between(&self, start: Lsn, end: Lsn) -> Option<&[SegmentEntry]> {
        let first = self.segments.partition_point(|entry| entry.base < start.get());
        let after = self.segments.partition_point(|entry| entry.base < end.get());
        let found = &self.segments[first..after];
        let wanted = end.get().saturating_sub(start.get()) / self.manifest.segment_size().max(1);
        (found.len() as u64 == wanted).then_some(found)
    }

    fn is_of_the_log_of(&self, other: &Copy) -> bool {
        let facts = |copy: &Copy| copy.manifest.facts().ok().map(|facts| (facts.log, facts.size));
        facts(self).is_some_and(|ours| facts(other) == Some(ours))
    }

    /// Refuses a segment that is archived and that nobody knows any more.
    pub(crate) fn check_known(&self, base: Lsn, log: &Name) -> Result<()> {
        let is_known = self.manifest.next_base() <= base.get() || self.segment(base.get()).is_some();
        if is_known {
            return Ok(());
        }
        let hides = |finding: &&Finding| finding.range().is_some_and(|(start, end)| start <= base && base < end);
        let lost = self.lost.iter().find(hides).cloned().and_then(Finding::into_error);
        let (store, log) = (self.store.label().to_owned(), log.clone());
        Err(lost.unwrap_or(Error::Gap { store, log, expected: base, found: Lsn::new(self.manifest.next_base()) }))
    }
}

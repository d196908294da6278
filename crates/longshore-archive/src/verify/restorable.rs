//! What can still be restored of an archive of which something is lost.

use std::collections::BTreeSet;

use longshore_format::Lsn;

use super::finding::Finding;
use crate::archive::{Archive, Copy};

impl Archive {
    /// The ranges of targets that a database can be restored to, in spite of what was found: from the log's beginning up to
    /// what no store has whole, and behind that from the next snapshot on. What lies before an acknowledged gap is not among
    /// them.
    pub fn restorable(&self, findings: &[Finding]) -> Vec<(Lsn, Lsn)> {
        let lost = Damage::of(findings);
        let (first, end) = (self.first(), self.end());
        let snapshots = self.whole_snapshots(&lost);
        let (mut begin, mut ranges) = (first, Vec::new());
        for (start, after) in self.lost_ranges(&lost).into_iter().chain([(end, end)]) {
            let from = match begin == first && self.best().manifest.is_whole() {
                true => Some(first),
                false => snapshots.iter().copied().find(|position| begin <= *position),
            };
            ranges.extend(from.filter(|from| *from < start).map(|from| (from, start)));
            begin = after;
        }
        ranges
    }

    /// What no store has whole, as boundaries.
    fn lost_ranges(&self, lost: &Damage<'_>) -> Vec<(Lsn, Lsn)> {
        let (best, size) = (self.best(), self.facts().size);
        let has_segment = |copy: &Copy, base, digest: &str| {
            copy.segment(base).is_some_and(|entry| entry.digest == digest && !lost.has(self, copy, &entry.object))
        };
        let is_whole = |base| {
            let entry = best.segment(base);
            entry.is_some_and(|entry| self.copies().iter().any(|copy| has_segment(copy, base, &entry.digest)))
        };
        let bases = (size.base_of(self.first()).get()..best.manifest.next_base()).step_by(size.get() as usize);
        let segments = bases.filter(|base| !is_whole(*base)).map(|base| (base, base.saturating_add(size.get())));
        let has_piece = |copy: &Copy, object: &str| {
            copy.manifest.tail().iter().any(|entry| entry.object == object) && !lost.has(self, copy, object)
        };
        let is_lost = |object: &str| !self.copies().iter().any(|copy| has_piece(copy, object));
        let tail =
            best.manifest.tail().iter().filter(|entry| is_lost(&entry.object)).map(|entry| (entry.start, entry.end));
        let boundary = |position| size.normalise(Lsn::new(position));
        segments.chain(tail).map(|(start, end)| (boundary(start), boundary(end))).collect()
    }

    fn whole_snapshots(&self, lost: &Damage<'_>) -> Vec<Lsn> {
        let has = |copy: &Copy, position: u64| {
            let is_there = copy.manifest.snapshots.iter().any(|entry| entry.position == position);
            is_there && !lost.snapshots.contains(&(copy.store.label(), Lsn::new(position)))
        };
        let snapshots = self.best().manifest.snapshots.iter().map(|entry| entry.position);
        let whole = snapshots.filter(|position| self.copies().iter().any(|copy| has(copy, *position)));
        whole.map(Lsn::new).collect()
    }
}

/// What is missing or damaged, by store.
struct Damage<'f> {
    objects: BTreeSet<(&'f str, &'f str)>,
    /// By the position of the snapshot that they are of.
    snapshots: BTreeSet<(&'f str, Lsn)>,
}

impl<'f> Damage<'f> {
    fn of(findings: &'f [Finding]) -> Damage<'f> {
        let mut damage = Damage { objects: BTreeSet::new(), snapshots: BTreeSet::new() };
        for finding in findings {
            if let Finding::Missing { store, object, end, .. } | Finding::Corrupt { store, object, end, .. } = finding {
                damage.objects.insert((store, object));
                if object.contains("/snapshots/") {
                    damage.snapshots.insert((store, *end));
                }
            }
        }
        damage
    }

    fn has(&self, archive: &Archive, copy: &Copy, object: &str) -> bool {
        self.objects.contains(&(copy.store.label(), archive.place(copy).name(object).as_str()))
    }
}

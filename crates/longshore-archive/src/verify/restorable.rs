//! What can still be restored of an archive of which something is lost.

use longshore_format::Lsn;

use super::finding::Finding;
use crate::archive::{Archive, Copy};

impl Archive {
    /// The ranges of targets that a database can be restored to, in spite of what was found: from the log's beginning up to
    /// where every store lacks something, and behind that from the next snapshot on. What lies before an acknowledged gap is not
    /// among them.
    pub fn restorable(&self, findings: &[Finding]) -> Vec<(Lsn, Lsn)> {
        let (size, first, end) = (self.facts().size, self.first(), self.end());
        let mut edges: Vec<Lsn> =
            findings.iter().filter_map(Finding::damage).flat_map(|(_, _, (start, end))| [start, end]).collect();
        edges.sort();
        edges.dedup();
        let is_lost = |range: &&[Lsn]| self.copies().iter().all(|copy| copy.lacks(range[0], range[1], findings));
        let lost = edges.windows(2).filter(is_lost).map(|range| (size.normalise(range[0]), size.normalise(range[1])));
        let (mut begin, mut ranges) = (first, Vec::new());
        for (start, after) in lost.chain([(end, end)]) {
            let from = match begin == first && self.best().manifest.is_whole() {
                true => Some(first),
                false => self.whole_snapshots(findings).find(|position| begin <= *position),
            };
            ranges.extend(from.filter(|from| *from < start).map(|from| (from, start.min(end))));
            begin = after;
        }
        ranges
    }

    fn whole_snapshots(&self, findings: &[Finding]) -> impl Iterator<Item = Lsn> {
        let is_of = |finding: &Finding, position: Lsn| {
            finding.damage().is_some_and(|(_, object, (_, end))| object.contains("/snapshots/") && end == position)
        };
        let snapshots = self.best().manifest.snapshots.iter().map(|entry| Lsn::new(entry.position));
        snapshots.filter(move |position| !findings.iter().any(|finding| is_of(finding, *position)))
    }
}

impl Copy {
    /// Whether it lacks a range of the log, between two positions at which something found begins or ends.
    fn lacks(&self, start: Lsn, end: Lsn, findings: &[Finding]) -> bool {
        let is_about = |finding: &Finding| {
            finding.damage().is_some_and(|(store, object, (from, to))| {
                store == self.store.label() && from <= start && end <= to && self.names(object, from, finding)
            })
        };
        end <= self.manifest.first() || self.manifest.end() <= start || findings.iter().any(is_about)
    }

    /// Whether an object is one of those that the log is read from: a branch of it has others.
    fn names(&self, object: &str, from: Lsn, finding: &Finding) -> bool {
        self.segment(from.get()).is_some_and(|entry| object.ends_with(&entry.object))
            || self.manifest.tail().iter().any(|entry| object.ends_with(&entry.object))
            || self.lost.contains(finding)
    }
}

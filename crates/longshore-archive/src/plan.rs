//! What has to be fetched of an archive so that a target can be reached.

use longshore_format::{Digest, Lsn, SegmentSize};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::manifest::{MANIFEST, SegmentEntry, SnapshotEntry, TailEntry};
use crate::verify::Finding;

/// How much of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    End,
    /// Up to a position, and the transaction that it lies in.
    Position(Lsn),
    /// Everything that was written until then, microseconds UTC.
    Time(u64),
    /// All of it, from as early as possible: where something is shows only when it is read.
    Somewhere,
}

impl Until {
    /// With the one spelling of its position.
    pub(crate) fn normalised(self, size: SegmentSize) -> Until {
        match self {
            Until::Position(wanted) => Until::Position(size.normalise(wanted)),
            until => until,
        }
    }

    /// Whether it needs what begins at a boundary, of which the first record was written at `time`.
    pub(crate) fn needs(self, start: Lsn, time: u64) -> bool {
        match self {
            Until::End | Until::Somewhere => true,
            Until::Position(wanted) => start < wanted,
            Until::Time(wanted) => time <= wanted,
        }
    }
}

/// Where it is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first record that is archived.
    First,
    /// With the last snapshot that holds nothing beyond the target, if there is one.
    Snapshot(Reach),
}

/// Whether what stands at a target itself belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does.
    Upto,
    /// It does not.
    Before,
}

/// What would be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// The store that reaches furthest.
    pub store: String,
    /// What it begins with, if not with the log's own records.
    pub snapshot: Option<SnapshotEntry>,
    /// Where the log that is laid out begins.
    pub first: Lsn,
    /// And where it ends: a boundary.
    pub end: Lsn,
    /// Where the archive ends.
    pub archived: Lsn,
    /// Bytes that are fetched.
    pub bytes: u64,
    /// Bytes that it takes here while it is restored.
    pub space: u64,
    /// The digest of the segment before the first; `None` if only the first one's footer tells.
    pub(crate) before: Option<Digest>,
    pub(crate) size: SegmentSize,
    until: Until,
    pub(crate) segments: Vec<SegmentEntry>,
    pub(crate) tail: Vec<TailEntry>,
    /// Why nothing comes after them though the archive goes on.
    pub(crate) cut: Option<String>,
}

/// Segments one after the other, and what comes after them.
#[derive(Default)]
struct Stretch {
    segments: Vec<SegmentEntry>,
    tail: Vec<TailEntry>,
    /// Why there is no more though the archive goes on.
    cut: Option<String>,
}

impl FetchPlan {
    /// How many objects are fetched.
    pub fn objects(&self) -> u64 {
        (self.segments.len() + self.tail.len()) as u64
    }

    /// The segments without which it is of no use: what comes after them tells what the target leaves out.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &SegmentEntry> {
        self.segments.iter().filter(|entry| self.needs(self.size.first_in(Lsn::new(entry.base)), entry.time))
    }

    /// Whether it is of no use without what begins at a boundary, of which the first record was written at `time`.
    pub(crate) fn needs(&self, start: Lsn, time: u64) -> bool {
        start <= self.first || self.until.needs(start, time)
    }

    /// The error that holes are to whoever carries it out ([`Archive::holes`]).
    pub fn refusal(&self, holes: &[Finding]) -> Option<Error> {
        holes.iter().find_map(|finding| {
            let (start, _) = finding.range()?;
            Some(finding.clone().into_error()?.behind(self.first, self.size.normalise(start)))
        })
    }

    /// How many of them are sealed segments.
    pub fn segments(&self) -> u64 {
        self.segments.len() as u64
    }
}

impl Archive {
    /// Says what is to be fetched so that the log can be read at least up to `until`: from its first archived position, or from
    /// a snapshot that whoever applies it was asked to begin with.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Moment`] name what can be had; [`Error::Broken`] and what it tells of, where a part of
    /// the manifest that is needed is lost.
    pub fn plan(&self, until: Until, begin: Begin) -> Result<FetchPlan> {
        let (best, size) = (self.best(), self.facts().size);
        let until = until.normalised(size);
        let (first, archived) = (self.first(), self.end());
        let snapshot = match begin {
            Begin::First => None,
            Begin::Snapshot(reach) => best.snapshot(until, reach).cloned(),
        };
        if let (None, Begin::Snapshot(_), false) = (&snapshot, begin, best.manifest.is_whole()) {
            self.check_beginning(until)?;
        }
        if let Until::Position(wanted) = until
            && !(first..=archived).contains(&wanted)
        {
            let (store, log) = (best.store.label().to_owned(), self.name().clone());
            return Err(Error::Unreachable { store, log, wanted, first, end: archived });
        }
        let from = size.base_of(snapshot.as_ref().map_or(first, |entry| Lsn::new(entry.position)));
        let begins = size.first_in(from).max(first);
        let Stretch { segments, tail, cut } = self.stretch(from, until, begins)?;
        let after =
            segments.last().map_or(begins, |last| size.first_in(Lsn::new(last.base.saturating_add(size.get()))));
        let end = tail.last().map_or(after, |last| Lsn::new(last.end));
        let objects = segments.iter().map(|entry| entry.bytes).chain(tail.iter().map(|entry| entry.bytes));
        let bytes = objects.chain(snapshot.iter().map(|entry| entry.bytes)).fold(0, u64::saturating_add);
        let files = segments.len() as u64 + u64::from(!tail.is_empty());
        let space = files.saturating_mul(size.get()).saturating_add(snapshot.as_ref().map_or(0, |entry| entry.len));
        let before = match self.digest_before(from) {
            // A chunk of the manifest is lost, and what is needed lies behind it.
            Err(error) if error.is_damage() && !segments.is_empty() => None,
            before => Some(before?),
        };
        let store = best.store.label().to_owned();
        Ok(FetchPlan {
            store,
            snapshot,
            first: begins,
            end,
            archived,
            bytes,
            space,
            before,
            size,
            until,
            segments,
            tail,
            cut,
        })
    }

    /// The segments from one on that a target needs, and those after them that tell what it leaves out, as far as they are known.
    fn stretch(&self, from: Lsn, until: Until, begins: Lsn) -> Result<Stretch> {
        let (best, size) = (self.best(), self.facts().size);
        // A run that begins before the target may end after it: where it ends is seen in the next segment at the latest.
        let is_near = |entry: &SegmentEntry| match until {
            Until::Position(wanted) => entry.base <= wanted.get().saturating_add(size.get()),
            until => until.needs(size.first_in(Lsn::new(entry.base)), entry.time),
        };
        let mut stretch = Stretch::default();
        let (mut expected, mut far) = (from, 0);
        for entry in best.segments.iter().skip_while(|entry| entry.base < from.get()) {
            far += u64::from(!is_near(entry));
            if 1 < far || entry.base != expected.get() {
                break;
            }
            stretch.segments.push(entry.clone());
            expected = Lsn::new(expected.get().saturating_add(size.get()));
        }
        if 1 < far {
            return Ok(stretch);
        }
        match best.check_known(expected, self.name()) {
            Ok(()) => stretch.tail = best.manifest.tail().to_vec(),
            // When it was written nobody knows; it was not before what comes before it.
            Err(hole) => match stretch.segments.last() {
                Some(last) if !until.needs(size.first_in(expected), last.time) => stretch.cut = Some(hole.to_string()),
                _ => return Err(hole.behind(begins, size.first_in(expected))),
            },
        }
        Ok(stretch)
    }

    /// Without a snapshot nothing can be made of a log that has lost its beginning: what comes before the first one is refused.
    fn check_beginning(&self, until: Until) -> Result<()> {
        let Some(oldest) = self.best().manifest.snapshots.first() else { return Ok(()) };
        let (store, log, nearest) = (self.store().to_owned(), self.name().clone(), Lsn::new(oldest.position));
        match until {
            Until::End | Until::Somewhere => Ok(()),
            Until::Position(wanted) => Err(Error::Unreachable { store, log, wanted, first: nearest, end: self.end() }),
            Until::Time(wanted) => Err(Error::Moment { store, log, wanted, nearest, time: oldest.time }),
        }
    }

    /// The digest of the segment before the one at a base.
    fn digest_before(&self, base: Lsn) -> Result<Digest> {
        let (best, size) = (self.best(), self.facts().size);
        if base <= size.base_of(self.first()) {
            return Ok(self.facts().before);
        }
        let before = Lsn::new(base.get().saturating_sub(size.get()));
        best.check_known(before, self.name())?;
        let digest = best.segment(before.get()).and_then(|entry| entry.digest.parse().ok());
        digest.ok_or_else(|| self.place(best).corrupt(MANIFEST, "the digest of a segment cannot be".to_owned()))
    }
}

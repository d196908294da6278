//! The archive of one log, read back: from one store, or from several that hold the same.

mod lost;

use std::cmp::Reverse;
use std::sync::Arc;

use longshore_format::{Fork, Lsn, Name};

use crate::error::{Error, Result};
use crate::keys::KeyProvider;
use crate::manifest::{Facts, Manifest, SegmentEntry, SnapshotEntry};
use crate::place::Place;
use crate::plan::{Reach, Until};
use crate::store::Store;
use crate::verify::Finding;

/// The archive of one log in one or several stores. What one of them lacks, or holds damaged, is taken from another.
#[derive(Debug)]
pub struct Archive {
    name: Name,
    keys: Option<Arc<dyn KeyProvider>>,
    facts: Facts,
    /// The one that reaches furthest first; behind all others one that goes on beyond a fork at which a later epoch began.
    copies: Vec<Copy>,
    passed_over: Vec<Error>,
}

/// What one store holds.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) store: Store,
    pub(crate) manifest: Manifest,
    /// As far as they are known: what a chunk of the manifest names that does not hold is left out, or told by another store.
    pub(crate) segments: Vec<SegmentEntry>,
    /// The chunks that do not hold.
    pub(crate) lost: Vec<Finding>,
}

impl Archive {
    /// Reads what the stores hold of a log. A store that does not answer, or does not hold it, is passed over while another
    /// does.
    ///
    /// # Errors
    /// [`Error::NoLog`], [`Error::NoManifest`]; or the first store's trouble, if none of them can be used; [`Error::OtherLog`] if
    /// they hold different logs.
    pub async fn open(stores: &[Store], name: &Name, keys: Option<Arc<dyn KeyProvider>>) -> Result<Archive> {
        let (mut copies, mut passed_over, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for store in stores {
            let opened = match Copy::open(store, name, keys.as_deref(), None).await {
                Ok(Some(copy)) => Ok(copy),
                Ok(None) => Err(Place { store, log: name, id: None, keys: None, level: None }.no_manifest().await),
                Err(error) => Err(error),
            };
            match opened {
                Ok(copy) => copies.push(copy),
                Err(error @ Error::NoLog { .. }) => without.push(error),
                Err(error) => {
                    tracing::warn!(store = store.label(), %error, "a store is passed over");
                    passed_over.push(error);
                }
            }
        }
        let copies = best_first(copies);
        let Some(best) = copies.first() else {
            let none = || Error::NoLog { store: "no store".to_owned(), log: name.clone() };
            return Err(passed_over.into_iter().chain(without).next().unwrap_or_else(none));
        };
        let facts = best.facts(name)?;
        for copy in &copies {
            let theirs = copy.facts(name)?.log;
            if theirs != facts.log {
                let (theirs, ours) = (theirs.to_string(), facts.log.to_string());
                return Err(Error::OtherLog { store: copy.store.label().to_owned(), log: name.clone(), theirs, ours });
            }
        }
        passed_over.extend(without);
        Ok(Archive { name: name.clone(), keys, facts, copies, passed_over })
    }

    /// Looks again how far the log is archived. What was read before and still holds is not read again.
    ///
    /// # Errors
    /// As [`open`](Self::open); this archive stays as it was then.
    pub async fn refresh(&mut self) -> Result<()> {
        let mut copies = Vec::new();
        for copy in &self.copies {
            let opened = Copy::open(&copy.store, &self.name, self.keys.as_deref(), Some(copy)).await?;
            copies.extend(opened);
        }
        if copies.is_empty() {
            return Err(Error::NoLog { store: self.store().to_owned(), log: self.name.clone() });
        }
        self.replace(copies)
    }

    /// The archived records that follow a boundary, as they stand in its segment: up to the segment's end, or the archive's.
    /// Behind the last record of a full segment come zeros. Nothing, if nothing is archived there.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] name what no store has whole; what the stores say.
    pub async fn read_from(&self, boundary: Lsn) -> Result<Vec<u8>> {
        let size = self.facts.size;
        let boundary = size.normalise(boundary);
        let (best, base, first) = (self.best(), size.base_of(boundary), self.first());
        if boundary < first {
            let (store, log) = (self.store().to_owned(), self.name.clone());
            return Err(Error::Unreachable { store, log, wanted: boundary, first, end: self.end() });
        }
        if let Some(entry) = best.segment(base.get()) {
            let bytes = self.segment(entry).await?;
            return Ok(bytes[size.offset_in(boundary) as usize..size.body_end_offset() as usize].to_vec());
        }
        best.check_known(base, &self.name)?;
        let mut bytes = Vec::new();
        for entry in best.manifest.tail().iter().filter(|entry| boundary.get() < entry.end) {
            let skipped = boundary.get().saturating_sub(entry.start) as usize;
            bytes.extend_from_slice(self.tail_from_any(entry).await?.get(skipped..).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// The bytes of the sealed segment at a base, as its file has them.
    ///
    /// # Errors
    /// As [`read_from`](Self::read_from); [`Error::NotSealed`] of one that is not archived as a whole.
    pub async fn sealed(&self, base: Lsn) -> Result<Vec<u8>> {
        self.segment(self.sealed_entry(base)?).await
    }

    /// Whether [`sealed`](Self::sealed) has something to fetch. Nothing is asked of a store.
    ///
    /// # Errors
    /// As [`sealed`](Self::sealed), as far as the manifest tells.
    pub fn check_sealed(&self, base: Lsn) -> Result<()> {
        self.sealed_entry(base).map(drop)
    }

    fn sealed_entry(&self, base: Lsn) -> Result<&SegmentEntry> {
        let best = self.best();
        if let Some(entry) = best.segment(base.get()) {
            return Ok(entry);
        }
        best.check_known(base, &self.name)?;
        let (store, log) = (self.store().to_owned(), self.name.clone());
        let (first, end) = (self.facts.size.base_of(self.first()), Lsn::new(best.manifest.next_base()));
        Err(Error::NotSealed { store, log, base, first, end })
    }

    /// Plans without a snapshot that turned out not to hold; whether an older one, or the log from its beginning, does as well.
    pub fn leave_out_snapshot(&mut self, position: u64) -> bool {
        for copy in &mut self.copies {
            copy.manifest.snapshots.retain(|entry| entry.position != position);
        }
        let manifest = &self.best().manifest;
        manifest.is_whole() || manifest.snapshots.first().is_some_and(|oldest| oldest.position < position)
    }

    /// The newest snapshot at or behind a position.
    pub fn newest_snapshot(&self, not_before: Lsn) -> Option<&SnapshotEntry> {
        let newest = self.best().manifest.snapshots.last();
        newest.filter(|entry| not_before.get() <= entry.position)
    }

    /// Puts other copies of the same log in the place of these.
    pub(crate) fn replace(&mut self, copies: Vec<Copy>) -> Result<()> {
        let copies = best_first(copies);
        let best = copies.first().expect("there is one");
        self.facts = best.facts(&self.name)?;
        self.copies = copies;
        Ok(())
    }

    /// Forgets the copies that are not wanted; some are.
    pub(crate) fn retain(&mut self, wanted: impl FnMut(&Copy) -> bool) -> Result<()> {
        let mut copies = std::mem::take(&mut self.copies);
        copies.retain(wanted);
        self.replace(copies)
    }

    /// Why stores that were named are no part of this: they do not answer, what they hold cannot be read, or they hold no such
    /// log. What they have beyond this, nobody here knows.
    pub fn passed_over(&self) -> &[Error] {
        &self.passed_over
    }

    /// Those of them that may hold the log all the same.
    pub fn unread(&self) -> impl Iterator<Item = &Error> {
        self.passed_over.iter().filter(|error| !matches!(error, Error::NoLog { .. }))
    }

    /// Which log it is.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it is.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The store that reaches furthest.
    pub fn store(&self) -> &str {
        self.best().store.label()
    }

    /// The first position that can be had.
    pub fn first(&self) -> Lsn {
        self.best().manifest.first()
    }

    /// Up to where it is archived: a boundary.
    pub fn end(&self) -> Lsn {
        self.best().manifest.end()
    }

    pub(crate) fn keys(&self) -> Option<Arc<dyn KeyProvider>> {
        self.keys.clone()
    }

    pub(crate) fn best(&self) -> &Copy {
        self.copies.first().expect("an archive has a copy")
    }

    pub(crate) fn copies(&self) -> &[Copy] {
        &self.copies
    }

    pub(crate) fn place<'a>(&'a self, copy: &'a Copy) -> Place<'a> {
        Place { store: &copy.store, log: &self.name, id: Some(self.facts.log), keys: self.keys.as_deref(), level: None }
    }
}

fn best_first(copies: Vec<Copy>) -> Vec<Copy> {
    let parted: Vec<bool> = copies.iter().map(|copy| copies.iter().any(|other| copy.has_parted_from(other))).collect();
    let mut ranked: Vec<(bool, Copy)> = parted.into_iter().zip(copies).collect();
    ranked.sort_by_key(|(parted, copy)| (*parted, copy.rank()));
    let going_on = ranked.iter().take_while(|(parted, _)| !parted).count();
    let mut copies: Vec<Copy> = ranked.into_iter().map(|(_, copy)| copy).collect();
    lost::fill(&mut copies[..going_on]);
    copies
}

impl Copy {
    /// The one that reaches furthest first; of those, the one that reaches back furthest.
    fn rank(&self) -> (Reverse<Lsn>, Lsn) {
        (Reverse(self.manifest.end()), self.manifest.first())
    }

    /// What a store holds by now; `before` is what was read of it last.
    async fn open(
        store: &Store,
        name: &Name,
        keys: Option<&dyn KeyProvider>,
        before: Option<&Copy>,
    ) -> Result<Option<Copy>> {
        let mut place = Place { store, log: name, id: None, keys, level: None };
        let Some((manifest, _)) = place.manifest().await? else { return Ok(None) };
        let facts = manifest.facts().map_err(|what| place.corrupt(crate::manifest::MANIFEST, what))?;
        place.id = Some(facts.log);
        let before = before.filter(|before| before.lost.is_empty());
        let (segments, lost) =
            match before.and_then(|before| before.manifest.segments_since(&before.segments, &manifest)) {
                Some(segments) => (segments, Vec::new()),
                None => manifest.known_segments(&place).await?,
            };
        Ok(Some(Copy { store: store.clone(), manifest, segments, lost }))
    }

    fn facts(&self, name: &Name) -> Result<Facts> {
        self.manifest.facts().map_err(|what| Error::Corrupt {
            store: self.store.label().to_owned(),
            object: format!("{name}/{}", crate::manifest::MANIFEST),
            what,
        })
    }

    /// Whether what it ends with is no part of the log any more: another one is of a later epoch, which began before that.
    fn has_parted_from(&self, other: &Copy) -> bool {
        let (Ok(ours), Ok(theirs)) = (self.manifest.facts(), other.manifest.facts()) else { return false };
        let number = |facts: &Facts| facts.history.current().epoch.number;
        match ours.history.fork(&theirs.history) {
            Fork::Behind { at } => at < self.manifest.end(),
            Fork::Forked { at } => at < self.manifest.end() && number(&ours) < number(&theirs),
            Fork::Same | Fork::Ahead { .. } | Fork::Unrelated => false,
        }
    }

    /// When the oldest record was written, microseconds UTC.
    pub(crate) fn first_time(&self) -> Option<u64> {
        let segment = self.segments.first().map(|entry| entry.time);
        segment.or_else(|| self.manifest.tail().first().map(|entry| entry.time))
    }

    /// The newest snapshot that holds nothing beyond a target. Where the target is may show only when the log is read: then it
    /// is the oldest, unless the log itself reaches back to its beginning.
    pub(crate) fn snapshot(&self, until: Until, reach: Reach) -> Option<&SnapshotEntry> {
        let snapshots = &self.manifest.snapshots;
        let strictly = u64::from(reach == Reach::Before);
        let helpful = |entry: &&SnapshotEntry| match until {
            Until::End => true,
            Until::Position(wanted) => entry.position.saturating_add(strictly) <= wanted.get(),
            Until::Time(wanted) => entry.time.saturating_add(strictly) <= wanted,
            Until::Somewhere => false,
        };
        match until {
            Until::Somewhere => snapshots.first().filter(|_| !self.manifest.is_whole()),
            _ => snapshots.iter().rev().find(helpful),
        }
    }

    /// The segment at a base, if it is here.
    pub(crate) fn segment(&self, base: u64) -> Option<&SegmentEntry> {
        self.segments.binary_search_by_key(&base, |entry| entry.base).ok().map(|at| &self.segments[at])
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::{
        Content, Digest, Epoch, EpochEntry, EpochHistory, Incarnation, LogId, SegmentSize, WriterId,
    };
    use object_store::memory::InMemory;

    use super::*;
    use crate::manifest::TailEntry;

    /// What a store holds up to `end`, of a log whose epochs began there.
    fn copy(label: &str, end: u64, epochs: &[(u64, u64)]) -> Copy {
        let life = |(start, number): (u64, u64)| EpochEntry {
            start: Lsn::new(start),
            epoch: Epoch { number, writer: WriterId::from_bytes([number as u8; 16]) },
            incarnation: Incarnation::new(number),
        };
        let mut history = EpochHistory::new(life(epochs[0]));
        for epoch in &epochs[1..] {
            history.push(life(*epoch)).unwrap();
        }
        let facts = Facts {
            log: LogId::from_bytes([7; 16]),
            content: Content::Bytes,
            size: SegmentSize::MIN,
            history,
            before: Digest::NONE,
            policies: Vec::new(),
        };
        let mut manifest = Manifest::new(&facts, Lsn::ZERO);
        manifest.add_tail(TailEntry { start: 0, end, object: String::new(), bytes: 0, time: 0, level: 0 });
        Copy { store: Store::of(Arc::new(InMemory::new()), label), manifest, segments: Vec::new(), lost: Vec::new() }
    }

    #[test]
    fn the_best_copy_reaches_furthest_and_is_of_the_history_that_goes_on() {
        let old = &[(0, 1)][..];
        let new = &[(0, 1), (900, 2)][..];
        for (copies, best) in [
            (vec![copy("a", 500, old), copy("b", 800, old)], "b"),
            // All that it holds is of the later epoch's log, too.
            (vec![copy("a", 900, old), copy("b", 950, new)], "b"),
            (vec![copy("a", 5000, old), copy("b", 950, new)], "b"),
            (vec![copy("a", 950, new), copy("b", 5000, old)], "a"),
            (vec![copy("a", 5000, &[(0, 1), (800, 2)]), copy("b", 1000, &[(0, 1), (900, 3)])], "b"),
        ] {
            let ends: Vec<_> = copies.iter().map(|copy| copy.manifest.end()).collect();
            assert_eq!(best_first(copies)[0].store.label(), best, "{ends:?}");
        }
    }
}

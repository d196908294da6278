//! A log whose later epoch began before where the archive ends: what lies beyond that fork is a branch that nobody goes on with.
//!
//! The manifest from before becomes an object of its own, named by the one that goes on. So whatever the branch holds stays
//! reachable, as [`Archive::branch`], and the manifest that goes on names nothing of it, however far back the fork lies.

use longshore_format::Lsn;
use longshore_wal::Wal;
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Copy};
use crate::archiver::{beginning, wall_micros};
use crate::error::{Error, Result};
use crate::gap;
use crate::manifest::{MANIFEST, Manifest};
use crate::place::Place;
use crate::snapshot;

/// A branch that was archived and that the log did not go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkEntry {
    /// The epoch of its end.
    pub epoch: u64,
    /// Where it parts from what the log went on with.
    pub start: u64,
    /// Where it was archived to.
    pub end: u64,
    /// When that was seen, microseconds UTC.
    pub time: u64,
    /// The manifest from before, below the log's name.
    pub earlier: String,
}

/// The manifest of a log that parted at a position from what is archived: what lies beyond is a branch.
///
/// # Errors
/// [`Error::Missing`] and [`Error::Corrupt`] for a manifest, or a piece of one, that would have to be cut and does not hold;
/// what the store says.
pub(crate) async fn parted(place: &Place<'_>, wal: &Wal, there: Manifest, at: Lsn) -> Result<Manifest> {
    let mut next = there.clone();
    // What came before a gap goes on from there.
    while at < next.first()
        && let Some(gap) = next.gaps.last()
    {
        next = gap::earlier(place, gap).await?;
    }
    next.forks.clone_from(&there.forks);
    if at < there.end() {
        let facts = there.facts().map_err(|what| place.corrupt(MANIFEST, what))?;
        let (epoch, earlier) = (facts.history.current().epoch.number, gap::keep(place, &there).await?);
        let (start, end) = (at.get(), there.end().get());
        next.forks.push(ForkEntry { epoch, start, end, time: wall_micros(), earlier });
    }
    if at < next.first() {
        // It no longer reaches back to the fork.
        let mut begun = beginning(wal)?;
        begun.forks = next.forks;
        return Ok(begun);
    }
    next.end_at(at, place).await?;
    Ok(next)
}

/// Every object that a branch alone needs, below the log's name.
pub(crate) async fn objects(place: &Place<'_>, fork: &ForkEntry) -> Result<Vec<String>> {
    let branch = manifest(place, fork).await?;
    let (mut objects, size) = (vec![fork.earlier.clone()], branch.segment_size());
    objects.extend(branch.chunks_beyond(Lsn::new(fork.start)).map(|chunk| chunk.object.clone()));
    let segments = branch.all_segments(place).await?.into_iter();
    objects.extend(segments.filter(|entry| fork.start < entry.base.saturating_add(size)).map(|entry| entry.object));
    objects.extend(branch.gaps.iter().filter(|gap| fork.start < gap.end).map(|gap| gap.earlier.clone()));
    objects.extend(branch.tail().iter().filter(|entry| fork.start < entry.end).map(|entry| entry.object.clone()));
    for entry in branch.snapshots.iter().filter(|entry| fork.start < entry.position) {
        objects.extend(snapshot::pieces(place, entry).await?.into_iter().map(|piece| piece.object));
        objects.push(entry.object.clone());
    }
    Ok(objects)
}

async fn manifest(place: &Place<'_>, fork: &ForkEntry) -> Result<Manifest> {
    gap::kept(place, &fork.earlier, Lsn::new(fork.end)).await
}

impl Archive {
    /// The archive as it was before a later epoch parted from its end: of the epoch that it ended with then, the last one if
    /// there are several.
    ///
    /// # Errors
    /// [`Error::NoBranch`]; [`Error::Missing`] and [`Error::Corrupt`] name a manifest that does not hold; what the stores say.
    pub async fn branch(mut self, epoch: u64) -> Result<Archive> {
        let mut copies = Vec::new();
        for copy in self.copies() {
            let of_epoch = |fork: &&ForkEntry| fork.epoch == epoch;
            let Some(fork) = copy.manifest.forks.iter().rfind(of_epoch) else { continue };
            copies.push(copy.branch(&self.place(copy), fork).await?);
        }
        if copies.is_empty() {
            let (store, log) = (self.store().to_owned(), self.name().clone());
            return Err(Error::NoBranch { store, log, epoch });
        }
        self.replace(copies)?;
        Ok(self)
    }
}

impl Copy {
    /// What the store held before a fork.
    pub(crate) async fn branch(&self, place: &Place<'_>, fork: &ForkEntry) -> Result<Copy> {
        self.with(place, manifest(place, fork).await?).await
    }

    /// Forgets what ends at or before a position.
    pub(crate) fn forget_before(&mut self, at: Lsn) {
        let size = self.manifest.segment_size();
        self.segments.retain(|entry| at.get() < entry.base.saturating_add(size));
        self.manifest.forget_before(at);
        self.lost.retain(|lost| lost.range().is_none_or(|(_, end)| at < end));
    }
}

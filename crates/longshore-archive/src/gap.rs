//! A log that an archive does not continue without a gap: what was archived before stays, and what comes after begins anew.
//!
//! The manifest from before becomes an object of its own, named by the new one; so everything that it names stays reachable, and
//! a restore to a position before the gap begins there.

use longshore_format::Lsn;
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Copy};
use crate::error::Result;
use crate::fork;
use crate::manifest::Manifest;
use crate::place::Place;
use crate::plan::Until;
use crate::snapshot;

/// A range of a log that is in no archive, and nobody will bring any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEntry {
    /// Where the archive ended.
    pub start: u64,
    /// Where it begins anew.
    pub end: u64,
    /// When that was seen, microseconds UTC.
    pub time: u64,
    /// The manifest from before, below the log's name.
    pub earlier: String,
}

/// Keeps a manifest as an object of its own; what it is called.
pub(crate) async fn keep(place: &Place<'_>, manifest: &Manifest) -> Result<String> {
    let json = serde_json::to_vec(manifest).expect("plain data can be written as JSON");
    let object = format!("earlier/{}", blake3::hash(&json).to_hex());
    place.put(&object, &json).await?;
    Ok(object)
}

/// The manifest from before a gap.
pub(crate) async fn earlier(place: &Place<'_>, gap: &GapEntry) -> Result<Manifest> {
    kept(place, &gap.earlier, Lsn::new(gap.start)).await
}

/// A manifest that was kept as an object, of a log up to `end`.
pub(crate) async fn kept(place: &Place<'_>, object: &str, end: Lsn) -> Result<Manifest> {
    let json = place.get(object, (Lsn::ZERO, end)).await?;
    if object != format!("earlier/{}", blake3::hash(&json).to_hex()) {
        return Err(place.corrupt(object, "it is not what its name says".to_owned()));
    }
    serde_json::from_slice(&json).map_err(|error| place.corrupt(object, error.to_string()))
}

/// Every object that a manifest needs, those of its branches, and those that came before its gaps, below the log's name.
pub(crate) async fn objects(place: &Place<'_>, manifest: &Manifest) -> Result<Vec<String>> {
    let mut objects = Vec::new();
    let mut manifest = manifest.clone();
    loop {
        objects.extend(manifest.chunks().iter().map(|entry| entry.object.clone()));
        objects.extend(manifest.all_segments(place).await?.into_iter().map(|entry| entry.object));
        objects.extend(manifest.tail().iter().map(|entry| entry.object.clone()));
        for entry in &manifest.snapshots {
            objects.extend(snapshot::pieces(place, entry).await?.into_iter().map(|piece| piece.object));
            objects.push(entry.object.clone());
        }
        for entry in &manifest.forks {
            objects.extend(fork::objects(place, entry).await?);
        }
        let Some(gap) = manifest.gaps.last() else { return Ok(objects) };
        objects.push(gap.earlier.clone());
        manifest = earlier(place, gap).await?;
    }
}

/// Every object that what came before a gap needs, below the log's name, but for the manifest from then.
pub(crate) async fn objects_before(place: &Place<'_>, gap: &GapEntry) -> Result<Vec<String>> {
    objects(place, &earlier(place, gap).await?).await
}

impl Archive {
    /// The range before this that is in no archive, if there is one: what came before it is reached by a position or a time
    /// ([`reaching`](Self::reaching)).
    pub fn gap_before(&self) -> Option<(Lsn, Lsn)> {
        self.best().manifest.gaps.last().map(|gap| (Lsn::new(gap.start), Lsn::new(gap.end)))
    }

    /// The archive that reaches a target: this one, or what a store held before a gap.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) and [`Error::Corrupt`](crate::Error::Corrupt) name a manifest that does not
    /// hold; what the stores say.
    pub async fn reaching(mut self, until: Until) -> Result<Archive> {
        while self.best().begins_after(until) {
            // Another store may have no gap there, or keep more.
            if self.copies().iter().any(|copy| copy.holds(until)) {
                self.retain(|copy| copy.holds(until))?;
                break;
            }
            let mut copies = Vec::new();
            for copy in self.copies() {
                let place = self.place(copy);
                let Some(gap) = copy.manifest.gaps.last() else { continue };
                copies.push(copy.before(&place, gap).await?);
            }
            if copies.is_empty() {
                break;
            }
            self.replace(copies)?;
        }
        Ok(self)
    }
}

impl Copy {
    /// What the store held before a gap.
    pub(crate) async fn before(&self, place: &Place<'_>, gap: &GapEntry) -> Result<Copy> {
        self.with(place, earlier(place, gap).await?).await
    }

    /// The same store with another manifest, which it held once.
    pub(crate) async fn with(&self, place: &Place<'_>, manifest: Manifest) -> Result<Copy> {
        let (segments, lost) = manifest.known_segments(place).await?;
        Ok(Copy { store: self.store.clone(), manifest, segments, lost })
    }

    /// Whether a target lies in what is here, as far as the manifest tells.
    fn holds(&self, until: Until) -> bool {
        let ends_before = matches!(until, Until::Position(wanted) if self.manifest.end() < wanted);
        !ends_before && !self.begins_after(until)
    }

    /// Whether what is here begins only after a target.
    fn begins_after(&self, until: Until) -> bool {
        match until {
            Until::End | Until::Somewhere => false,
            // What lies in the gap itself is nowhere; of what comes before it, the end is nearest.
            Until::Position(wanted) => wanted < self.manifest.first(),
            Until::Time(wanted) => {
                self.manifest.gaps.last().is_some_and(|gap| wanted < gap.time)
                    && self.first_time().is_none_or(|first| wanted < first)
            }
        }
    }
}

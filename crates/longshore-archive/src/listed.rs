//! The logs that lie in a store.

use longshore_format::{Lsn, Name};

use crate::error::{Error, Result};
use crate::fork::ForkEntry;
use crate::gap::GapEntry;
use crate::keys::KeyProvider;
use crate::manifest::{Facts, MANIFEST};
use crate::place::Place;
use crate::store::Store;

/// A log that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which log.
    pub name: Name,
    /// Which store.
    pub store: String,
    /// What it is, and what its records mean.
    pub facts: Facts,
    /// The first position.
    pub first: Lsn,
    /// The end: a boundary.
    pub end: Lsn,
    /// Sealed segments.
    pub segments: u64,
    /// Objects of the segment that is not sealed yet.
    pub tail: u64,
    /// The positions of its snapshots.
    pub snapshots: Vec<Lsn>,
    /// Ranges that are in no archive.
    pub gaps: Vec<GapEntry>,
    /// Branches that later epochs parted from, which are kept and part of no other restore.
    pub forks: Vec<ForkEntry>,
    /// When it was changed last, microseconds UTC.
    pub updated: u64,
}

/// The logs that a store holds, each with what its manifest says, or why that cannot be read. Manifests alone are read.
///
/// # Errors
/// What the store says that does not tell what lies there.
pub async fn list(store: &Store, keys: Option<&dyn KeyProvider>) -> Result<Vec<(Name, Result<Listed>)>> {
    let mut logs = Vec::new();
    // Whatever else lies there is none of ours.
    for name in store.top().await?.into_iter().filter_map(|name| name.parse::<Name>().ok()) {
        match look(&Place { store, log: &name, id: None, keys, level: None }).await {
            Err(Error::NoLog { .. }) => {}
            listed => logs.push((name, listed)),
        }
    }
    Ok(logs)
}

/// What a log's manifest says.
async fn look(place: &Place<'_>) -> Result<Listed> {
    let Some((manifest, _)) = place.manifest().await? else { return Err(place.no_manifest().await) };
    Ok(Listed {
        name: place.log.clone(),
        store: place.store.label().to_owned(),
        facts: manifest.facts().map_err(|what| place.corrupt(MANIFEST, what))?,
        first: manifest.first(),
        end: manifest.end(),
        segments: manifest.segment_count(),
        tail: manifest.tail().len() as u64,
        snapshots: manifest.snapshots.iter().map(|snapshot| Lsn::new(snapshot.position)).collect(),
        updated: manifest.updated,
        gaps: manifest.gaps,
        forks: manifest.forks,
    })
}

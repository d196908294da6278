//! What an archive need not hold: objects that no manifest names, and what lies before the snapshots that are kept.

use std::time::Duration;

use longshore_format::{ErrorKind, Name};

use crate::error::{Error, Result};
use crate::keep::Keep;
use crate::keys::KeyProvider;
use crate::listing;
use crate::manifest::MANIFEST;
use crate::place::Place;
use crate::snapshot;
use crate::store::Store;

/// What nobody needs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The objects.
    pub objects: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// Finds what no manifest names and is older than `older_than`, also what puts have left that were killed, and removes it unless
/// this is `plan_only`. An archiver that is at work may be about to name what it has just made: leave it far more time than it
/// takes for that, as an hour.
///
/// # Errors
/// [`NoLog`](crate::Error::NoLog), [`NoManifest`](crate::Error::NoManifest); what the store says.
pub async fn orphans(
    store: &Store,
    log: &Name,
    keys: Option<&dyn KeyProvider>,
    older_than: Duration,
    plan_only: bool,
) -> Result<Pruned> {
    let mut place = Place { store, log, id: None, keys, level: None };
    // Before the manifest is read: what is named meanwhile is then seen to be.
    let listed = store.list(log.as_str()).await?;
    let Some((manifest, _)) = place.manifest().await? else {
        return Err(place.no_manifest().await);
    };
    let facts = manifest.facts().map_err(|what| place.corrupt(MANIFEST, what))?;
    place.id = Some(facts.log);
    let named = listing::named(&place, &manifest).await?;
    let mut pruned = Pruned::default();
    for (object, bytes, age) in listed {
        // A note is removed with the upload that it is of.
        if !named.contains(&object) && older_than <= age && !store.is_note(log.as_str(), &object) {
            pruned.bytes += bytes;
            pruned.objects.push(object);
        }
    }
    if !plan_only {
        for object in &pruned.objects {
            store.remove(object).await?;
        }
    }
    for (left, bytes) in store.killed_puts(log.as_str(), older_than, plan_only).await? {
        pruned.bytes += bytes;
        pruned.objects.push(left);
    }
    Ok(pruned)
}

/// Forgets what need not be kept, unless this is `plan_only`. If that is anything, the oldest snapshot that is kept is fetched
/// and checked first, and the log behind it is looked for: afterwards nothing else can be restored.
///
/// # Errors
/// [`NoLog`](crate::Error::NoLog), [`NoManifest`](crate::Error::NoManifest); [`Needed`](crate::Error::Needed) names what is not
/// whole of what would be kept, and nothing is changed; what the store says.
pub async fn forget(
    store: &Store,
    log: &Name,
    keys: Option<&dyn KeyProvider>,
    keep: &Keep,
    plan_only: bool,
) -> Result<Pruned> {
    let mut place = Place { store, log, id: None, keys, level: Some(1) };
    let (mut proven, mut missed) = (None, None);
    for _ in 0..ATTEMPTS {
        let Some((mut manifest, seen)) = place.manifest().await? else {
            return Err(place.no_manifest().await);
        };
        place.id = Some(manifest.facts().map_err(|what| place.corrupt(MANIFEST, what))?.log);
        let cut = match keep.cut(&mut manifest, &place).await {
            // Somebody who archives meanwhile puts the tail together: what is gone is named no more then.
            Err(error) if error.kind() == ErrorKind::Gap && missed.as_ref() != Some(&error.to_string()) => {
                missed = Some(error.to_string());
                continue;
            }
            cut => cut?,
        };
        let pruned =
            Pruned { objects: cut.objects.iter().map(|object| place.name(object)).collect(), bytes: cut.bytes };
        if pruned.objects.is_empty() {
            return Ok(pruned);
        }
        let oldest = manifest.snapshots.first();
        if let Some(entry) = oldest.filter(|_| proven.as_ref() != oldest) {
            snapshot::check(&place, entry).await.map_err(Error::needed)?;
            // That took a while, in which the archive may have gone on.
            proven = oldest.cloned();
            continue;
        }
        if plan_only {
            return Ok(pruned);
        }
        // Somebody who archives meanwhile was faster otherwise: what they did counts.
        if place.swap(&manifest, Some(seen)).await?.is_some() {
            for object in &pruned.objects {
                store.remove(object).await?;
            }
            return Ok(pruned);
        }
    }
    Err(place.unsteady())
}

/// How often an archive is looked at anew that goes on meanwhile.
const ATTEMPTS: u32 = 10;

//! What an archive would be left with: looked for before anything of the rest goes, for afterwards nothing else can be restored.

use longshore_format::Lsn;

use crate::error::{Error, Result};
use crate::listing::Listing;
use crate::manifest::Manifest;
use crate::place::Place;
use crate::snapshot;

/// Looks for every object of the oldest snapshot and of the log that is left, each as long as it is named. The snapshot's list
/// is fetched, and what is not as long as that.
///
/// # Errors
/// [`Error::Missing`] and [`Error::Corrupt`] name the first that is not as it must be; what the store says.
pub(super) async fn look_for(place: &Place<'_>, manifest: &Manifest) -> Result<()> {
    let listing = Listing::of(place).await?;
    if let Some(oldest) = manifest.snapshots.first() {
        let held = (Lsn::ZERO, Lsn::new(oldest.position));
        for piece in snapshot::pieces(place, oldest).await? {
            check(place, &listing, (&piece.object, piece.bytes), held).await?;
        }
    }
    for entry in manifest.all_segments(place).await? {
        let held = (Lsn::new(entry.base), Lsn::new(entry.base.saturating_add(manifest.segment_size())));
        check(place, &listing, (&entry.object, entry.bytes), held).await?;
    }
    for entry in manifest.tail() {
        let held = (Lsn::new(entry.start), Lsn::new(entry.end));
        check(place, &listing, (&entry.object, entry.bytes), held).await?;
    }
    Ok(())
}

async fn check(
    place: &Place<'_>,
    listing: &Listing,
    (object, len): (&str, u64),
    (start, end): (Lsn, Lsn),
) -> Result<()> {
    match listing.len(place, object).await? {
        Some(bytes) if bytes == len => Ok(()),
        // Two that archive one log may have compressed it differently: what counts is whether it holds.
        Some(_) => place.get(object, (start, end)).await.map(drop),
        None => {
            let (store, object) = (place.store.label().to_owned(), place.name(object));
            Err(Error::Missing { store, object, start, end })
        }
    }
}

//! A mark followed into an archive and back out of it: how somebody finds out whether what is archived comes back.

use longshore_format::payload::Mark;
use longshore_format::{Frames, Kind, Lsn, Name, SegmentSize};

use crate::error::{Error, Result};
use crate::keys::KeyProvider;
use crate::manifest::{MANIFEST, Manifest};
use crate::place::Place;
use crate::store::Store;

/// Up to where a log is archived in a store; `None` if it is not archived there. The manifest alone is read.
///
/// # Errors
/// What the store says; `Corrupt` for a manifest that does not hold.
pub async fn archived_to(store: &Store, log: &Name, keys: Option<&dyn KeyProvider>) -> Result<Option<Lsn>> {
    let place = Place { store, log, id: None, keys, level: None };
    Ok(place.manifest().await?.map(|(manifest, _)| manifest.end()))
}

/// The mark that ends at `position`, read from the object that holds it, through its keys; `None` if something else does, or
/// if the log is not archived that far.
///
/// # Errors
/// What the store says; [`Error::Missing`] and [`Error::Corrupt`] name the object.
pub async fn read_mark(
    store: &Store,
    log: &Name,
    keys: Option<&dyn KeyProvider>,
    position: Lsn,
) -> Result<Option<Name>> {
    match read_once(store, log, keys, position).await {
        // Meanwhile its segment may have been archived whole, and the pieces of it removed.
        Err(_) => read_once(store, log, keys, position).await,
        read => read,
    }
}

async fn read_once(store: &Store, log: &Name, keys: Option<&dyn KeyProvider>, position: Lsn) -> Result<Option<Name>> {
    let mut place = Place { store, log, id: None, keys, level: None };
    let Some((manifest, _)) = place.manifest().await? else { return Ok(None) };
    let facts = manifest.facts().map_err(|what| place.corrupt(MANIFEST, what))?;
    place.id = Some(facts.log);
    let Some((start, object)) = holder(&manifest, &place, facts.size, position).await? else { return Ok(None) };
    let Some((sealed, _)) = store.get(&place.name(&object)).await? else {
        let object = place.name(&object);
        return Err(Error::Missing { store: store.label().to_owned(), object, start, end: position });
    };
    let bytes = place.unseal(&object, &sealed, facts.size.get())?;
    Ok(mark_at(facts.size, start, &bytes, position))
}

/// The object that holds the bytes before a position, and where it starts.
async fn holder(
    manifest: &Manifest,
    place: &Place<'_>,
    size: SegmentSize,
    position: Lsn,
) -> Result<Option<(Lsn, String)>> {
    let at = position.get();
    if let Some(entry) = manifest.tail().iter().find(|entry| entry.start < at && at <= entry.end) {
        return Ok(Some((Lsn::new(entry.start), entry.object.clone())));
    }
    let segments = manifest.all_segments(place).await?;
    let found = segments.into_iter().find(|entry| entry.base < at && at - entry.base <= size.get());
    Ok(found.map(|entry| (Lsn::new(entry.base), entry.object)))
}

/// The mark that ends at a position, in bytes that start at `start`. They came out of an envelope, whose digest was checked.
fn mark_at(size: SegmentSize, start: Lsn, bytes: &[u8], position: Lsn) -> Option<Name> {
    // A segment starts with a header.
    let first = start.max(size.first_in(size.base_of(start)));
    let records = bytes.get(usize::try_from(first.since(start)).ok()?..)?;
    let record = Frames::new(first, size, records).find(|record| record.end == position)?;
    (record.kind == Kind::MARK).then(|| Mark::decode(record.payload).ok()).flatten().map(|mark| mark.name)
}

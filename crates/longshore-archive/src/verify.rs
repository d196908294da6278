//! Whether everything that a manifest names is there and holds.

use futures_util::{Stream, StreamExt, TryFutureExt};
use longshore_format::Lsn;

use crate::archive::Archive;
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::fetch::segment::{Stored, at_once};
use crate::fetch::{TAIL_AT_ONCE, tail_object};
use crate::manifest::{Place, SnapshotEntry};
use crate::snapshot;

/// Something that is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An object is gone.
    Missing {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// Where what it held starts.
        start: Lsn,
        /// And ends.
        end: Lsn,
    },
    /// An object does not hold.
    Corrupt {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Verified {
    /// Objects that hold.
    pub objects: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Fetches every object that the log's manifests name, in every store, and checks it; `watch` is told of each.
///
/// # Errors
/// What a store says that does not answer: nothing is known of its objects then.
pub async fn verify(archive: &Archive, mut watch: impl FnMut(&Verified)) -> Result<Verified> {
    let mut verified = Verified::default();
    for copy in archive.copies() {
        let segments = copy.segments.iter().map(|entry| holds(Stored::new(archive, copy, entry)));
        let mut checked = futures_util::stream::iter(segments).buffered(at_once(archive.facts().size));
        for entry in &copy.segments {
            note(&mut verified, next(&mut checked).await, entry.bytes)?;
            watch(&verified);
        }
        let place = archive.place(copy);
        let tail = copy.manifest.tail().iter().map(|entry| tail_object(&place, entry).map_ok(drop));
        let mut checked = futures_util::stream::iter(tail).buffered(TAIL_AT_ONCE);
        for entry in copy.manifest.tail() {
            note(&mut verified, next(&mut checked).await, entry.bytes)?;
            watch(&verified);
        }
        for entry in &copy.manifest.snapshots {
            verify_snapshot(&place, entry, &mut verified, &mut watch).await?;
        }
    }
    Ok(verified)
}

async fn verify_snapshot(
    place: &Place<'_>,
    entry: &SnapshotEntry,
    verified: &mut Verified,
    watch: &mut impl FnMut(&Verified),
) -> Result<()> {
    let pieces = match snapshot::pieces(place, entry).await {
        Ok(pieces) => pieces,
        Err(error) => return note(verified, Err(error), 0),
    };
    let listed = entry.bytes.saturating_sub(pieces.iter().map(|piece| piece.bytes).sum());
    note(verified, Ok(()), listed)?;
    for piece in &pieces {
        let checked = snapshot::piece(place, entry, piece).await.map(|_| ());
        note(verified, checked, piece.bytes)?;
        watch(verified);
    }
    Ok(())
}

async fn holds(segment: Stored) -> Result<()> {
    let body = segment.body().await?;
    blocking(move || segment.check(body, |_| Ok(()))).await
}

async fn next(checked: &mut (impl Stream<Item = Result<()>> + Unpin)) -> Result<()> {
    checked.next().await.expect("each object is checked")
}

fn note(verified: &mut Verified, checked: Result<()>, bytes: u64) -> Result<()> {
    match checked {
        Ok(()) => {
            verified.objects += 1;
            verified.bytes += bytes;
        }
        Err(Error::Missing { store, object, start, end }) => {
            verified.findings.push(Finding::Missing { store, object, start, end });
        }
        Err(Error::Corrupt { store, object, what }) => verified.findings.push(Finding::Corrupt { store, object, what }),
        Err(Error::Envelope { store, object, source }) if source.kind() == longshore_format::ErrorKind::Corrupt => {
            verified.findings.push(Finding::Corrupt { store, object, what: source.to_string() });
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

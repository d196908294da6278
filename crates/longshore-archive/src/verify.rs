//! Whether everything that a manifest names is there and holds.

use longshore_format::Lsn;

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::fetch::{checked_segment, tail_object};
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
    let size = archive.facts().size;
    for copy in archive.copies() {
        let place = archive.place(copy);
        for entry in &copy.segments {
            let checked = checked_segment(&place, entry, size).await.map(|_| ());
            note(&mut verified, checked, entry.bytes)?;
            watch(&verified);
        }
        for entry in copy.manifest.tail() {
            let checked = tail_object(&place, entry).await.and_then(|bytes| {
                match bytes.len() as u64 == entry.end.saturating_sub(entry.start) {
                    true => Ok(()),
                    false => Err(place.corrupt(&entry.object, "it is not as long as the manifest says".to_owned())),
                }
            });
            note(&mut verified, checked, entry.bytes)?;
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

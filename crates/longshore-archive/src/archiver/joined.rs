//! The manifest that an archiver goes on from: the one that is there, as far as it is of this log's history, or a new one.

use longshore_format::{Fork, Name};
use longshore_wal::{Role, Wal};

use super::wall_micros;
use crate::error::{Error, Result};
use crate::gap::{self, GapEntry};
use crate::manifest::{Facts, Manifest};
use crate::place::Place;
use crate::store::Store;

/// The manifest of a log that is not archived yet.
pub(super) fn beginning(wal: &Wal) -> Result<Manifest> {
    let start = wal.start_point()?;
    let facts = Facts {
        log: wal.id(),
        content: wal.content(),
        size: wal.segment_size(),
        history: start.header.history.clone(),
        before: start.before,
    };
    Ok(Manifest::new(&facts, start.header.base()))
}

/// The manifest of a log that no longer reaches back to where the one that is there ends.
pub(super) async fn behind_gap(place: &Place<'_>, wal: &Wal, there: Manifest) -> Result<Manifest> {
    let mut next = beginning(wal)?;
    let (start, end) = (there.end().get(), next.first().get());
    tracing::warn!(store = place.store.label(), log = %place.log, start, end, "the archive goes on behind a gap");
    let earlier = gap::keep(place, &there).await?;
    next.gaps = there.gaps;
    next.gaps.push(GapEntry { start, end, time: wall_micros(), earlier });
    Ok(next)
}

/// The manifest that is there, without what a later epoch of this log has made void. Refuses one that this log may not go on.
pub(super) fn reconciled(store: &Store, name: &Name, wal: &Wal, mut manifest: Manifest) -> Result<Manifest> {
    let facts = manifest.facts().map_err(|what| Error::Corrupt {
        store: store.label().to_owned(),
        object: format!("{name}/{}", crate::manifest::MANIFEST),
        what,
    })?;
    let (label, log) = (store.label().to_owned(), name.clone());
    if facts.log != wal.id() {
        let (theirs, ours) = (facts.log.to_string(), wal.id().to_string());
        return Err(Error::OtherLog { store: label, log, theirs, ours });
    }
    let (ours, theirs) = (wal.history(), facts.history);
    let (our_epoch, their_epoch) = (ours.current().epoch.number, theirs.current().epoch.number);
    let fenced = Error::Fenced { store: label.clone(), log: log.clone(), theirs: their_epoch, ours: our_epoch };
    match ours.fork(&theirs) {
        Fork::Same => {}
        Fork::Ahead { at } if manifest.end() <= at => {}
        Fork::Ahead { at } => manifest.fork_at(at),
        // It holds lives that this node does not know yet: a copy that is behind waits; a writer is no writer any more.
        Fork::Behind { .. } => return Err(fenced),
        Fork::Forked { at } if their_epoch < our_epoch => manifest.fork_at(at),
        Fork::Forked { .. } | Fork::Unrelated => return Err(fenced),
    }
    if manifest.end() < wal.first() {
        return Err(Error::Gap { store: label, log, expected: manifest.end(), found: wal.first() });
    }
    match joins(wal, &manifest) {
        true => Ok(manifest),
        false => Err(Error::Parted { store: label, log, end: manifest.end() }),
    }
}

/// Whether a log has what a manifest ends with. One that has other bytes there, or a writer's that ends before, is a copy of a
/// log that was written to by itself; a follower may only not have received it yet.
fn joins(wal: &Wal, manifest: &Manifest) -> bool {
    use longshore_wal::Error::{Beyond, NotABoundary};
    match wal.crc_at(manifest.end()) {
        Ok(ours) => manifest.link.is_none_or(|theirs| ours == theirs),
        Err(Beyond { .. }) => wal.role() == Role::Follower,
        Err(error) => !matches!(error, NotABoundary { .. }),
    }
}

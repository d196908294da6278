//! The manifest that an archiver goes on from: the one that is there, as far as it is of this log's history, or a new one.

use longshore_protocol::{Archived, Onward};
use longshore_wal::{Role, Wal};

use super::wall_micros;
use crate::error::{Error, Result};
use crate::fork;
use crate::gap::{self, GapEntry};
use crate::manifest::{Facts, MANIFEST, Manifest};
use crate::place::Place;

/// The manifest of a log that is not archived yet.
pub(crate) fn beginning(wal: &Wal) -> Result<Manifest> {
    let start = wal.start_point()?;
    let facts = Facts {
        log: wal.id(),
        content: wal.content(),
        size: wal.segment_size(),
        history: start.header.history.clone(),
        before: start.before,
        policies: start.policies,
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

/// The manifest that is there, without what a later epoch of this log has made void. Refuses one of another log, and one of a
/// history that this one does not go on.
pub(super) async fn of_our_history(place: &Place<'_>, wal: &Wal, manifest: Manifest) -> Result<Manifest> {
    let facts = manifest.facts().map_err(|what| place.corrupt(MANIFEST, what))?;
    let (store, log) = (place.store.label().to_owned(), place.log.clone());
    if facts.log != wal.id() {
        let (theirs, ours) = (facts.log.to_string(), wal.id().to_string());
        return Err(Error::OtherLog { store, log, theirs, ours });
    }
    let history = wal.history();
    let (ours, theirs) = (history.current().epoch.number, facts.history.current().epoch.number);
    match (Archived { history: facts.history, end: manifest.end() }).onward(&history) {
        Onward::Join => Ok(manifest),
        Onward::Part { at } => {
            // The next object then reaches to there, so that what both have is never in the branch alone.
            wal.wait(at).await?;
            fork::parted(place, wal, manifest, at).await
        }
        Onward::Fenced => Err(Error::Fenced { store, log, theirs, ours }),
    }
}

/// Refuses a manifest that this log does not go on from: it no longer reaches back to there, or has other records there.
pub(super) fn check_joined(place: &Place<'_>, wal: &Wal, manifest: &Manifest) -> Result<()> {
    let (store, log, end) = (place.store.label().to_owned(), place.log.clone(), manifest.end());
    if end < wal.first() {
        return Err(Error::Gap { store, log, expected: end, found: wal.first() });
    }
    if joins(wal, manifest) { Ok(()) } else { Err(Error::Parted { store, log, end }) }
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

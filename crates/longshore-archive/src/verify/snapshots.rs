//! The snapshots that a manifest names: fetched and checked once, looked for afterwards.

use longshore_format::Lsn;

use super::{Proven, Verified, look_for, note};
use crate::error::Result;
use crate::listing::Listing;
use crate::manifest::SnapshotEntry;
use crate::place::Place;
use crate::snapshot;

/// How the snapshots of one log in one store are looked at.
pub(super) struct Look<'a> {
    pub(super) place: &'a Place<'a>,
    pub(super) listing: &'a Listing,
    pub(super) proven: &'a Proven,
}

impl Look<'_> {
    /// Its list is fetched in any case; its pieces only if they were not found to hold before.
    pub(super) async fn at(
        &self,
        entry: &SnapshotEntry,
        verified: &mut Verified,
        watch: &mut impl FnMut(&Verified),
    ) -> Result<()> {
        let (before, holds) = (verified.findings.len(), (Lsn::ZERO, Lsn::new(entry.position)));
        let pieces = match snapshot::pieces(self.place, entry).await {
            Ok(pieces) => pieces,
            Err(error) => return note(verified, Err(error), 0, holds),
        };
        verified.of += 1 + pieces.len() as u64;
        let listed = entry.bytes.saturating_sub(pieces.iter().map(|piece| piece.bytes).fold(0, u64::saturating_add));
        note(verified, Ok(()), listed, holds)?;
        let is_known = self.proven.holds_snapshot(self.place, entry);
        for piece in &pieces {
            match is_known {
                true => look_for(verified, self.place, self.listing, (&piece.object, piece.bytes), holds).await?,
                false => {
                    let checked = snapshot::piece(self.place, entry, piece).await.map(|_| ());
                    note(verified, checked, piece.bytes, holds)?;
                }
            }
            watch(verified);
        }
        if verified.findings.len() == before {
            verified.proven.note_snapshot(self.place, entry);
        }
        Ok(())
    }
}

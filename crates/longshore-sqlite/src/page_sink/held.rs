//! What a sink holds, as the records that an image of it would be.

use longshore_apply::{DatabaseImage, SnapshotError};
use longshore_format::Lsn;

use crate::error::Error;
use crate::pages::{Commit, ImageRun, LONGEST_PAYLOAD, WalPlace};
use crate::replica_wal::{ReplicaDb, ReplicaReader};

/// The database as it is while nothing is applied to it.
pub(super) struct HeldImage {
    reader: ReplicaReader,
    position: Lsn,
    run: ImageRun,
}

impl HeldImage {
    pub(super) fn of(db: &ReplicaDb, position: Lsn) -> Result<HeldImage, Error> {
        let reader = db.reader()?;
        let commit = Commit { pages: reader.pages(), place: WalPlace::default() };
        // No record is cut short by the limit of some log: one of small segments is sent whole.
        let run = ImageRun::new(reader.page_size(), LONGEST_PAYLOAD, commit);
        Ok(HeldImage { reader, position, run })
    }
}

impl DatabaseImage for HeldImage {
    fn position(&self) -> Lsn {
        self.position
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let HeldImage { reader, run, .. } = self;
        Ok(run.next(|page, bytes| reader.read(page, bytes))?)
    }
}

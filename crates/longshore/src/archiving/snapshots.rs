//! Snapshots of a log's database into its stores, when they are due.

use std::fs::File;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use longshore_archive::{Archiver, SnapshotFacts};
use longshore_format::Lsn;

use super::Work;
use crate::snapshot;

/// When a snapshot is made next, and the one that is made: it is archived once the log is archived up to its position.
pub(super) struct Snapshots {
    made: Option<(SnapshotFacts, File)>,
    not_before: Instant,
}

/// After an attempt to make a snapshot that failed.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(60);

impl Snapshots {
    pub(super) fn new() -> Snapshots {
        Snapshots { made: None, not_before: Instant::now() }
    }
}

impl Work {
    /// Makes a snapshot when one is due, and archives it.
    pub(super) async fn snapshot(
        &self,
        archiver: &mut Archiver,
        snapshots: &mut Snapshots,
    ) -> longshore_archive::Result<()> {
        if snapshots.made.is_none() && archiver.is_snapshot_due() && snapshots.not_before <= Instant::now() {
            snapshots.made = self.make_snapshot(archiver.snapshot().map_or(Lsn::ZERO, |(position, _)| position));
            if snapshots.made.is_none() {
                snapshots.not_before = Instant::now() + SNAPSHOT_PAUSE;
            }
        }
        let is_archived = |made: &mut (SnapshotFacts, File)| made.0.position <= archiver.archived();
        let Some((facts, file)) = snapshots.made.take_if(is_archived) else { return Ok(()) };
        let watch = |round| {
            self.note(&round);
            if self.shared.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if archiver.put_snapshot(facts, file, watch).await? {
            self.shared.change(self.index, |state| state.snapshot = Some(facts.position));
            tracing::info!(log = %self.name, store = self.store.label(), position = %facts.position, "archived a snapshot");
        }
        Ok(())
    }

    /// A snapshot of more than everything up to `beyond`, if this node can make one.
    fn make_snapshot(&self, beyond: Lsn) -> Option<(SnapshotFacts, File)> {
        let log = self.log.upgrade()?;
        let path = snapshot::path_of(&log.data_dir, &log.name);
        let made = log.offered.for_archive(&log, &path, beyond).and_then(|made| {
            let Some((head, file)) = made else { return Ok(None) };
            let time = self.wal.reader(head.lsn)?.chain().time;
            Ok(Some((SnapshotFacts { position: head.lsn, time }, file)))
        });
        made.unwrap_or_else(|error| {
            tracing::warn!(log = %self.name, %error, "no snapshot is archived now");
            None
        })
    }
}

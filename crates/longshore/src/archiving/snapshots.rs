//! Snapshots of a log's database into its stores, when they are due.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Weak;
use std::time::{Duration, Instant};

use longshore_archive::{Archiver, SnapshotFacts};
use longshore_format::Lsn;
use tokio::task::JoinHandle;

use super::Work;
use crate::log::Log;
use crate::snapshot;

/// When a snapshot is made next, and the one that is made: it is archived once the log is archived up to its position.
pub(super) struct Snapshots {
    /// Making one takes as long as copying the database: the log is archived meanwhile.
    making: Option<JoinHandle<Option<Made>>>,
    made: Option<Made>,
    not_before: Instant,
}

type Made = (SnapshotFacts, File);

/// After an attempt to make a snapshot that failed.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(60);

impl Snapshots {
    pub(super) fn new() -> Snapshots {
        Snapshots { making: None, made: None, not_before: Instant::now() }
    }

    fn is_wanted(&self) -> bool {
        self.making.is_none() && self.made.is_none() && self.not_before <= Instant::now()
    }
}

impl Work {
    /// Makes a snapshot when one is due, and archives it.
    pub(super) async fn snapshot(
        &self,
        archiver: &mut Archiver,
        snapshots: &mut Snapshots,
    ) -> longshore_archive::Result<()> {
        if snapshots.is_wanted() && archiver.is_snapshot_due() {
            let beyond = archiver.snapshot().map_or(Lsn::ZERO, |(position, _)| position);
            let log = Weak::clone(&self.log);
            snapshots.making = Some(tokio::task::spawn_blocking(move || make(&*log.upgrade()?, beyond)));
        }
        if let Some(making) = snapshots.making.take_if(|making| making.is_finished()) {
            snapshots.made = making.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            if snapshots.made.is_none() {
                snapshots.not_before = Instant::now() + SNAPSHOT_PAUSE;
            }
        }
        let is_archived = |made: &mut Made| made.0.position <= archiver.archived();
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
}

/// A snapshot of more than everything up to `beyond`, if this node can make one.
fn make(log: &Log, beyond: Lsn) -> Option<Made> {
    let path = snapshot::path_of(&log.data_dir, &log.name);
    let made = log.offered.for_archive(log, &path, beyond).and_then(|made| {
        let Some((head, file)) = made else { return Ok(None) };
        let time = log.wal.reader(head.lsn)?.chain().time;
        Ok(Some((SnapshotFacts { position: head.lsn, time }, file)))
    });
    made.unwrap_or_else(|error| {
        tracing::warn!(log = %log.name, %error, "no snapshot is archived now");
        None
    })
}

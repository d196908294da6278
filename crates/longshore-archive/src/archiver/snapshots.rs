//! Snapshots into an archive, and out of it what need not be kept any more.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use longshore_format::Lsn;

use super::{Archiver, Round, wall_micros};
use crate::error::{Error, Result};
use crate::keep::Cut;
use crate::manifest::Manifest;
use crate::snapshot::{self, SnapshotFacts, Uploading};

impl Archiver {
    /// Archives the database as of a position, which `from` reads, and then forgets what need not be kept any more. The log goes
    /// on being archived meanwhile: `watch` is told of each round, and breaks to end it. `false` if it was ended, if somebody
    /// removed of it what was there, or if the archive does not reach that position, or no longer: then there is nothing to go
    /// on with.
    ///
    /// # Errors
    /// As [`round`](Self::round); [`Error::Io`] if it cannot be read.
    pub async fn put_snapshot(
        &mut self,
        facts: SnapshotFacts,
        mut from: impl Read,
        mut watch: impl FnMut(Round) -> ControlFlow<()>,
    ) -> Result<bool> {
        if !self.reaches(facts.position) {
            return Ok(false);
        }
        let under = format!("snapshots/{}/{:020}", self.owner(facts.position), facts.position.get());
        let (mut uploading, mut piece) = (Uploading::new(facts, under), Vec::new());
        loop {
            snapshot::read_piece(&mut from, &mut piece)?;
            if piece.is_empty() {
                break;
            }
            uploading.add(&self.place(), &piece).await?;
            if watch(self.round().await?).is_break() {
                return Ok(false);
            }
        }
        let entry = uploading.finish(&self.place()).await?;
        // A clean-up may have taken the first pieces of a long one for what a crash left.
        match snapshot::look_for(&self.place(), &entry).await {
            Err(error @ Error::Missing { .. }) => {
                tracing::warn!(log = %self.name, %error, "a snapshot is not archived: it was removed while it was sent");
                return Ok(false);
            }
            found => found?,
        }
        while self.reaches(facts.position) && !self.manifest.snapshots.contains(&entry) {
            let mut next = self.manifest.clone();
            next.add_snapshot(entry.clone());
            let cut = self.cut(&mut next).await;
            if self.commit(next).await? {
                self.remove(&cut.objects).await?;
            }
        }
        Ok(self.manifest.snapshots.contains(&entry))
    }

    /// Takes out of a manifest what need not be kept. What stands in the way of that is no reason to archive no more.
    async fn cut(&self, next: &mut Manifest) -> Cut {
        let mut shorter = next.clone();
        match self.settings.keep.cut(&mut shorter, &self.place()).await {
            Ok(cut) => {
                *next = shorter;
                cut
            }
            Err(error) => {
                tracing::warn!(store = self.store.label(), log = %self.name, %error, "nothing of the archive is forgotten now");
                Cut::default()
            }
        }
    }

    fn reaches(&self, position: Lsn) -> bool {
        (self.manifest.first()..=self.manifest.end()).contains(&position)
    }

    /// Whether it is time for a new snapshot, as the settings say.
    pub fn is_snapshot_due(&self) -> bool {
        let (position, len, time) = match self.manifest.snapshots.last() {
            Some(last) => (last.position, last.len, last.time),
            // Without its beginning nothing can be made of it.
            None if !self.manifest.is_whole() => return self.manifest.first() < self.archived(),
            None => (self.manifest.first().get(), 0, self.manifest.first_time().unwrap_or(u64::MAX)),
        };
        let since = Duration::from_micros(wall_micros().saturating_sub(time));
        self.settings.snapshots.is_due(self.archived().get().saturating_sub(position), len, since)
    }

    /// The newest snapshot that is archived: its position, and how long it is.
    pub fn snapshot(&self) -> Option<(Lsn, u64)> {
        self.manifest.snapshots.last().map(|entry| (Lsn::new(entry.position), entry.len))
    }
}

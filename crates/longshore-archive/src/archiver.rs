//! One log into one store: sealed segments at once, of the segment that is being written only its new bytes.
//!
//! [`Archiver::round`] does what there is to do and returns; whoever calls it waits in between, and after an error that
//! passes calls it again. Something is archived when the manifest names it, and the manifest is swapped only for the one that
//! this archiver has seen: two that archive the same log into the same store share the work, and one of an older epoch is
//! told that it is fenced.

mod joined;
mod leftovers;
mod snapshots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use longshore_format::{EpochHistory, Lsn, Name, SegmentDigest};
use longshore_storage::Access;
use longshore_wal::Wal;

use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::keep::Keep;
use crate::keys::KeyProvider;
use crate::manifest::{Manifest, SegmentEntry, TailEntry};
use crate::place::Place;
use crate::snapshot::Schedule;
use crate::store::{Store, Version};
pub(crate) use joined::beginning;
use joined::{behind_gap, check_joined, of_our_history};
use leftovers::Leftovers;

/// How a log is archived.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// While there are writes, how often their bytes are archived before their segment is full. Default 1 s.
    pub tail_every: Duration,
    /// The zstd level; stored as it is without. Default 1.
    pub level: Option<i32>,
    /// Who wraps the keys; without, what is archived is not encrypted by this program.
    pub keys: Option<Arc<dyn KeyProvider>>,
    /// Whether a log that no longer reaches back to where the archive ends begins anew there, behind a gap that the manifest
    /// names, once nobody has changed that for so long: somebody who does may still fill the gap. Otherwise it is not archived any
    /// more. Default: it is not.
    pub go_on_behind_gaps: Option<Duration>,
    /// When a new snapshot is due.
    pub snapshots: Schedule,
    /// What of it need not be kept. Default: everything is.
    pub keep: Keep,
}

impl Default for ArchiveSettings {
    fn default() -> ArchiveSettings {
        ArchiveSettings {
            tail_every: Duration::from_secs(1),
            level: Some(1),
            keys: None,
            go_on_behind_gaps: None,
            snapshots: Schedule::default(),
            keep: Keep::default(),
        }
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Round {
    /// Up to where the log is archived now: a boundary.
    pub archived: Lsn,
    /// Objects that were made.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// Archives one log into one store.
pub struct Archiver {
    store: Store,
    name: Name,
    wal: Wal,
    settings: ArchiveSettings,
    manifest: Manifest,
    version: Option<Version>,
    /// The lives of the log by which the manifest was judged. A follower that is behind what is archived waits for the rest; what
    /// comes may be of a later epoch, which began without that.
    judged: EpochHistory,
    /// When bytes of the tail were archived last.
    tail_at: Instant,
    leftovers: Leftovers,
}

/// Segments between two changes of the manifest.
const BATCH: usize = 4;
/// Of them on their way together. Each is in memory: so that a store that is slow to answer does not wait for this processor,
/// two are enough.
const ON_THEIR_WAY: usize = 2;

impl Archiver {
    /// Finds out how far the log is archived in the store. Changes nothing there but what puts have left that were killed; to go on
    /// behind a gap or a fork, the manifest from before is kept as an object, which the first [`round`](Self::round) that archives
    /// something names.
    ///
    /// # Errors
    /// [`Error::OtherLog`] and [`Error::Fenced`]; what the store says, which may pass.
    pub async fn open(store: Store, name: Name, wal: Wal, settings: ArchiveSettings) -> Result<Archiver> {
        let place = place(&store, &name, &wal, &settings);
        let judged = wal.history();
        let (manifest, version) = match place.manifest().await? {
            Some((there, version)) => {
                let there = of_our_history(&place, &wal, there).await?;
                match check_joined(&place, &wal, &there) {
                    Err(Error::Gap { .. })
                        if settings.go_on_behind_gaps.is_some_and(|patience| there.rests_since(patience)) =>
                    {
                        (behind_gap(&place, &wal, there).await?, Some(version))
                    }
                    joined => (joined.map(|()| there)?, Some(version)),
                }
            }
            None => (beginning(&wal)?, None),
        };
        let leftovers = Leftovers::at_the_beginning(&store, &name).await;
        Ok(Archiver { store, name, wal, settings, manifest, version, judged, tail_at: Instant::now(), leftovers })
    }

    /// Up to where the log is archived: a boundary.
    pub fn archived(&self) -> Lsn {
        self.manifest.end()
    }

    /// Which store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Archives what there is: up to a few sealed segments, or else the new bytes of the tail if they are due. Then what killed puts
    /// have left is removed, if it is time for that.
    ///
    /// Cancel safe: what was uploaded and is named by no manifest is uploaded again.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Corrupt`] if a segment here is not what its seal says, which is then not archived.
    pub async fn round(&mut self) -> Result<Round> {
        let done = self.archive_some().await;
        match &done {
            Ok(_) => self.leftovers.remove_due(&self.store, &self.name).await,
            Err(_) => self.leftovers.expect(),
        }
        done
    }

    async fn archive_some(&mut self) -> Result<Round> {
        if self.wal.history() != self.judged {
            self.read_anew().await?;
        }
        let mut round = Round::default();
        let mut next = self.manifest.clone();
        let mut superseded = Vec::new();
        for entry in self.put_segments(next.next_base()).await? {
            round.objects += 1;
            round.bytes += entry.bytes;
            superseded.extend(next.add_segment(entry));
        }
        if round.objects == 0
            && let Some(entry) = self.put_tail(&next).await?
        {
            round.objects += 1;
            round.bytes += entry.bytes;
            superseded.extend(next.add_tail(entry));
        }
        round.more = next.next_base() < self.wal.sealed().get().get();
        // Where somebody else was faster, the manifest may still name what this one no longer does.
        if 0 < round.objects && self.commit(next).await? {
            self.remove(&superseded).await?;
        }
        round.archived = self.archived();
        Ok(round)
    }

    /// Archives all that is durable now, due or not. A segment that is full and not sealed yet is waited for.
    ///
    /// # Errors
    /// As [`round`](Self::round).
    pub async fn finish(&mut self) -> Result<Lsn> {
        self.settings.tail_every = Duration::ZERO;
        let (wanted, size) = (self.wal.durable().get(), self.wal.segment_size());
        loop {
            let round = self.round().await?;
            if wanted <= round.archived {
                return Ok(round.archived);
            }
            let sealed = Lsn::new(self.manifest.next_base().saturating_add(size.get()));
            // A log that ends unsealed is gone on with when it is opened again.
            if round.objects == 0 && self.wal.sealed().wait(sealed).await.is_err() {
                return Ok(round.archived);
            }
        }
    }

    /// Where the archive begins.
    pub fn first(&self) -> Lsn {
        self.manifest.first()
    }

    async fn remove(&self, objects: &[String]) -> Result<()> {
        for object in objects {
            self.store.remove(&self.place().name(object)).await?;
        }
        Ok(())
    }

    fn place(&self) -> Place<'_> {
        place(&self.store, &self.name, &self.wal, &self.settings)
    }

    /// Puts a manifest in the place of the one that was seen. `false` if somebody else was faster: then theirs is gone on from.
    /// So it is if the log has lives by now that it had not when the manifest was judged.
    async fn commit(&mut self, mut next: Manifest) -> Result<bool> {
        next.spill(&self.place()).await?;
        // After all that takes its time, before what is written says which lives there are.
        if self.wal.history() != self.judged {
            return self.read_anew().await.map(|()| false);
        }
        next.set_history(&self.archived_history(next.end()));
        next.know_policies(self.wal.policies_at(next.end()));
        next.link = self.wal.crc_at(next.end()).ok();
        next.updated = wall_micros();
        match self.place().swap(&next, self.version.clone()).await? {
            Some(version) => {
                (self.manifest, self.version) = (next, Some(version));
                Ok(true)
            }
            // Somebody else archives this log, too: what they did counts, and the next round goes on from there.
            None => self.read_anew().await.map(|()| false),
        }
    }

    /// Goes on from the manifest that is there now.
    async fn read_anew(&mut self) -> Result<()> {
        let judged = self.wal.history();
        let (manifest, version) = match self.place().manifest().await? {
            Some((theirs, version)) => {
                let theirs = of_our_history(&self.place(), &self.wal, theirs).await?;
                check_joined(&self.place(), &self.wal, &theirs)?;
                (theirs, Some(version))
            }
            None if self.version.is_none() => (beginning(&self.wal)?, None),
            None => {
                let (store, first) = (self.store.label(), self.wal.first());
                tracing::warn!(store, log = %self.name, %first, "the manifest is gone, and the archive begins anew");
                (beginning(&self.wal)?, None)
            }
        };
        (self.manifest, self.version, self.judged) = (manifest, version, judged);
        Ok(())
    }

    /// The lives of the log up to where it is archived, and the one that is going on.
    fn archived_history(&self, end: Lsn) -> EpochHistory {
        let history = self.wal.history();
        history.before(end).unwrap_or(history)
    }

    /// Puts sealed segments from `base` on, in order, as many as one change of the manifest is for. While one is made ready
    /// the one before it is on its way.
    async fn put_segments(&self, base: u64) -> Result<Vec<SegmentEntry>> {
        let step = usize::try_from(self.wal.segment_size().get()).unwrap_or(usize::MAX);
        let bases = (base..self.wal.sealed().get().get()).step_by(step).take(BATCH);
        let ready = futures_util::stream::iter(bases).then(|base| self.ready(Lsn::new(base)));
        let put = |(entry, object): (SegmentEntry, Bytes)| async move {
            self.place().put_sealed(&entry.object, object).await?;
            Ok(entry)
        };
        ready.map_ok(put).try_buffered(ON_THEIR_WAY).try_collect().await
    }

    /// A sealed segment as it is stored, and what the manifest is to say of it.
    async fn ready(&self, base: Lsn) -> Result<(SegmentEntry, Bytes)> {
        let size = self.wal.segment_size();
        let (owner, time) = (self.owner(size.first_in(base)), self.time_at(size.first_in(base))?);
        let (store, name, wal, settings) =
            (self.store.clone(), self.name.clone(), self.wal.clone(), self.settings.clone());
        blocking(move || {
            let (bytes, digest) = read_segment(&wal, base)?;
            let object = format!("segments/{owner}/{:020}-{}", base.get(), short(&digest));
            let sealed = place(&store, &name, &wal, &settings).seal(&object, bytes)?;
            Ok((SegmentEntry { base: base.get(), object, bytes: sealed.len() as u64, digest, time }, sealed))
        })
        .await
    }

    /// The new bytes of the segment that is being written, if there are any and they are due.
    async fn put_tail(&mut self, next: &Manifest) -> Result<Option<TailEntry>> {
        let size = self.wal.segment_size();
        let (durable, base) = (self.wal.durable().get(), Lsn::new(next.next_base()));
        let tail = next.tail();
        let written = tail.last().map_or(base, |entry| Lsn::new(entry.end));
        let (joined, level) = next.joins();
        let start = tail[tail.len() - joined..].first().map_or(written, |entry| Lsn::new(entry.start));
        let first = Lsn::new(start.get().max(size.first_in(base).get()));
        let is_here = size.base_of(durable) == base && first < durable && written < durable;
        if !is_here || self.tail_at.elapsed() < self.settings.tail_every {
            return Ok(None);
        }
        let mut bytes = vec![0; (durable.get() - start.get()) as usize];
        let file = self.wal.directory().open(&size.file_name(base), Access::Read).map_err(io(&size.file_name(base)))?;
        file.read_exact_at(&mut bytes, size.offset_in(start)).map_err(io(&size.file_name(base)))?;
        let digest = blake3::hash(&bytes).to_hex();
        let object = format!("tail/{}/{:020}-{:020}-{}", self.owner(first), start.get(), durable.get(), short(&digest));
        let stored = self.place().put(&object, &bytes).await?;
        self.tail_at = Instant::now();
        let (start, end) = (start.get(), durable.get());
        Ok(Some(TailEntry { start, end, object, bytes: stored, time: self.time_at(first)?, level }))
    }

    /// Whose epoch the record at `lsn` is of, as it stands in an object's name.
    fn owner(&self, lsn: Lsn) -> String {
        let history = self.wal.history();
        let epoch = history.at(lsn).unwrap_or(history.current()).epoch;
        let writer: String = epoch.writer.to_string().chars().take(16).collect();
        format!("{:010}-{writer}", epoch.number)
    }

    /// When the record that starts at a boundary was written.
    fn time_at(&self, lsn: Lsn) -> Result<u64> {
        Ok(self.wal.reader(lsn)?.next()?.map_or(0, |record| record.time))
    }
}

fn place<'a>(store: &'a Store, log: &'a Name, wal: &Wal, settings: &'a ArchiveSettings) -> Place<'a> {
    Place { store, log, id: Some(wal.id()), keys: settings.keys.as_deref(), level: settings.level }
}

/// As much of a digest as tells two contents apart. It is in every object's name: a writer that parted from the one whose
/// objects the manifest names must not put its own in their place before it learns that it is fenced.
fn short(digest: &str) -> &str {
    &digest[..16]
}

/// A sealed segment, checked against its seal, and its digest.
fn read_segment(wal: &Wal, base: Lsn) -> Result<(Vec<u8>, String)> {
    let size = wal.segment_size();
    let segment = wal.segment(base)?;
    let mut bytes = vec![0; size.get() as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match segment.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    let digest = SegmentDigest::of(&bytes[..size.body_end_offset() as usize]);
    match wal.digest(base)? {
        Some(sealed) if sealed == digest && filled == bytes.len() => Ok((bytes, digest.to_string())),
        _ => Err(Error::Corrupt {
            store: "this node".to_owned(),
            object: size.file_name(base),
            what: "it is not what its seal says; `longshore verify` and `repair` look after it".to_owned(),
        }),
    }
}

fn io(path: &str) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.into();
    move |source| Error::Io { path, source }
}

pub(crate) fn wall_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

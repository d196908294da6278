//! What an archive of one log holds: one object that names all others, changed by compare-and-swap alone.
//!
//! ```text
//! LOG/manifest                                   this, whose change is the moment at which something is archived
//! LOG/chunks/DIGEST                              the oldest entries of the manifest, so that it stays short
//! LOG/segments/EPOCH-WRITER/BASE-DIGEST          a sealed segment
//! LOG/tail/EPOCH-WRITER/START-END-DIGEST         bytes of a segment that is not sealed yet
//! LOG/snapshots/EPOCH-WRITER/POSITION/…          the database as of a position: its pieces, and a list of them
//! LOG/earlier/DIGEST                             the manifest from before a gap or a fork
//! ```
//!
//! An object that no manifest names does not exist for a reader: what was uploaded before a crash is uploaded again. Once the
//! first record of a newer epoch is archived, the swap of an older writer fails, and it learns that it is fenced.

mod chunks;
mod policies;

use std::time::Duration;

use longshore_format::{Content, Digest, EpochHistory, LogId, Lsn, Policy, SegmentSize};
use serde::{Deserialize, Serialize};

use crate::archiver::wall_micros;
use crate::error::Result;
use crate::fork::ForkEntry;
use crate::gap::GapEntry;
use crate::place::Place;
pub use chunks::ChunkEntry;
use policies::PolicyEntry;

/// A sealed segment in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its base.
    pub base: u64,
    /// The object, below the log's name.
    pub object: String,
    /// How long the object is.
    pub bytes: u64,
    /// The digest in the segment's footer.
    pub digest: String,
    /// When its first record was written, microseconds UTC.
    pub time: u64,
}

/// Bytes of the segment that is not sealed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailEntry {
    /// Where they start: the segment's base, or the end of the entry before.
    pub start: u64,
    /// Where they end: a boundary.
    pub end: u64,
    /// The object, below the log's name.
    pub object: String,
    /// How long the object is.
    pub bytes: u64,
    /// When their first record was written, microseconds UTC.
    pub time: u64,
    /// How often what it holds was put together: a tail that grows by a little stays a few objects that way.
    #[serde(default)]
    pub level: u8,
}

/// The database as of a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    /// Everything up to here is in it.
    pub position: u64,
    /// The object that lists its pieces, below the log's name.
    pub object: String,
    /// How long all its objects are together.
    pub bytes: u64,
    /// How long it is.
    pub len: u64,
    /// When the last record that is in it was written, microseconds UTC.
    pub time: u64,
}

/// What an archive of one log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    log: String,
    content: String,
    segment_size: u64,
    /// The lives of the log as far as it is archived, as hexadecimal digits.
    history: String,
    /// The digest of the segment before the first.
    before: String,
    /// The base of the first segment.
    first: u64,
    /// When this was written, microseconds UTC.
    pub updated: u64,
    /// The header checksum of the record that ends where the archive does: what tells this history from another one of the same
    /// lives, as a copy of the log has that was written to by itself.
    #[serde(default)]
    pub(crate) link: Option<u32>,
    /// The newest policies of the log as far as it is archived. A program that knows nothing of them leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policies: Vec<PolicyEntry>,
    chunks: Vec<ChunkEntry>,
    /// The newest sealed segments.
    segments: Vec<SegmentEntry>,
    tail: Vec<TailEntry>,
    /// Oldest first.
    pub snapshots: Vec<SnapshotEntry>,
    /// What is in no archive: oldest first.
    #[serde(default)]
    pub gaps: Vec<GapEntry>,
    /// What was archived beyond the forks at which later epochs began: kept, and part of no other restore.
    #[serde(default)]
    pub forks: Vec<ForkEntry>,
}

const VERSION: u32 = 1;
/// What the manifest is called, below the log's name.
pub(crate) const MANIFEST: &str = "manifest";
/// So many tail objects of a level are put together.
const FAN: usize = 8;
/// A manifest or a chunk is never longer.
pub(crate) const LONGEST: u64 = 64 << 20;

/// Which log an archive is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its id.
    pub log: LogId,
    /// What its records mean.
    pub content: Content,
    /// The size of its segments.
    pub size: SegmentSize,
    /// Its lives.
    pub history: EpochHistory,
    /// The digest of the segment before the first that is archived.
    pub before: Digest,
    /// The newest policies up to where it is archived, oldest first, each with where its record ends.
    pub policies: Vec<(Lsn, Policy)>,
}

impl Manifest {
    pub(crate) fn new(facts: &Facts, first: Lsn) -> Manifest {
        Manifest {
            version: VERSION,
            log: facts.log.to_string(),
            content: facts.content.to_string(),
            segment_size: facts.size.get(),
            history: hex(&facts.history.encode()),
            before: facts.before.to_string(),
            first: first.get(),
            updated: 0,
            link: None,
            policies: policies::entries(&facts.policies),
            chunks: Vec::new(),
            segments: Vec::new(),
            tail: Vec::new(),
            snapshots: Vec::new(),
            gaps: Vec::new(),
            forks: Vec::new(),
        }
    }

    /// Which log it is of; a text says what cannot be.
    pub(crate) fn facts(&self) -> std::result::Result<Facts, String> {
        let wrong = |what: &str| format!("its {what} cannot be");
        if self.version != VERSION {
            return Err(format!("it is of version {}, and this program reads {VERSION}", self.version));
        }
        let history = unhex(&self.history).and_then(|bytes| EpochHistory::decode(&bytes).ok());
        Ok(Facts {
            log: self.log.parse().map_err(|_| wrong("log id"))?,
            content: self.content.parse().map_err(|_| wrong("content"))?,
            size: SegmentSize::new(self.segment_size).map_err(|_| wrong("segment size"))?,
            history: history.ok_or_else(|| wrong("history"))?,
            before: self.before.parse().map_err(|_| wrong("digest"))?,
            policies: self.policies().ok_or_else(|| wrong("policies"))?,
        })
    }

    pub(crate) fn set_history(&mut self, history: &EpochHistory) {
        self.history = hex(&history.encode());
    }

    /// The first position.
    pub fn first(&self) -> Lsn {
        SegmentSize::new(self.segment_size).map_or(Lsn::ZERO, |size| size.first_in(Lsn::new(self.first)))
    }

    /// Whether nothing of the log came before what is archived.
    pub(crate) fn is_whole(&self) -> bool {
        self.first == 0
    }

    /// The base of the segment that is to be archived next.
    pub(crate) fn next_base(&self) -> u64 {
        let size = self.segment_size;
        let last = self.segments.last().map(|entry| entry.base.saturating_add(size));
        last.or_else(|| self.chunks.last().map(|chunk| chunk.end(size))).unwrap_or(self.first)
    }

    /// Up to where the log is archived: a boundary.
    pub fn end(&self) -> Lsn {
        let tail = self.tail.last().map(|entry| Lsn::new(entry.end));
        tail.unwrap_or_else(|| {
            SegmentSize::new(self.segment_size).map_or(Lsn::ZERO, |size| size.first_in(Lsn::new(self.next_base())))
        })
    }

    /// The pieces of the segment that is not sealed yet.
    pub fn tail(&self) -> &[TailEntry] {
        &self.tail
    }

    pub(crate) fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// How many segments are archived.
    pub fn segment_count(&self) -> u64 {
        self.next_base().saturating_sub(self.first) / self.segment_size.max(1)
    }

    /// Whether one that ends where this does ends with another record.
    pub(crate) fn has_parted_at_end(&self, other: &Manifest) -> bool {
        self.link.zip(other.link).is_some_and(|(ours, theirs)| ours != theirs)
    }

    /// Whether nobody has changed it for so long, by this node's clock.
    pub(crate) fn rests_since(&self, long: Duration) -> bool {
        long <= Duration::from_micros(wall_micros().saturating_sub(self.updated))
    }

    /// Takes over what a later manifest of the same log, of which `segments` are all, has and this one has not.
    pub(crate) fn go_on_with(&mut self, later: &Manifest, segments: Vec<SegmentEntry>) {
        let next = self.next_base();
        self.segments.extend(segments.into_iter().filter(|entry| next <= entry.base));
        for entry in &later.snapshots {
            if !self.snapshots.iter().any(|ours| ours.position == entry.position) {
                self.add_snapshot(entry.clone());
            }
        }
        for fork in &later.forks {
            if !self.forks.contains(fork) {
                self.forks.push(fork.clone());
            }
        }
        (self.tail, self.history, self.link) = (later.tail.clone(), later.history.clone(), later.link);
        self.policies.clone_from(&later.policies);
        self.updated = later.updated;
    }

    /// When the oldest record was written that the manifest itself tells of, microseconds UTC.
    pub(crate) fn first_time(&self) -> Option<u64> {
        let segment = self.segments.first().map(|entry| entry.time);
        segment.or_else(|| self.tail.first().map(|entry| entry.time))
    }

    /// Adds a snapshot, in its place among the others.
    pub(crate) fn add_snapshot(&mut self, entry: SnapshotEntry) {
        let at = self.snapshots.partition_point(|other| other.position < entry.position);
        self.snapshots.insert(at, entry);
    }

    /// Begins with the segment that holds `position`; returns those before it.
    pub(crate) async fn begin_at(&mut self, position: Lsn, place: &Place<'_>) -> Result<Vec<SegmentEntry>> {
        let facts = self.facts().map_err(|what| place.corrupt(MANIFEST, what))?;
        let first = facts.size.base_of(position).get();
        let mut before = self.all_segments(place).await?;
        before.retain(|entry| entry.base < first);
        if let Some(last) = before.last() {
            self.before.clone_from(&last.digest);
            self.first = first;
            self.segments.retain(|entry| first <= entry.base);
        }
        Ok(before)
    }

    /// Adds a segment; returns the tail objects that nobody needs any more.
    pub(crate) fn add_segment(&mut self, entry: SegmentEntry) -> Vec<String> {
        self.segments.push(entry);
        std::mem::take(&mut self.tail).into_iter().map(|entry| entry.object).collect()
    }

    /// With how many of the newest tail objects the next one is put together, and what level it has then. So a tail that grows
    /// by a little for days has a few objects of each level, and each of its bytes is sent once a level.
    pub(crate) fn joins(&self) -> (usize, u8) {
        let (mut joined, mut level) = (0, 0);
        loop {
            let rest = self.tail.iter().rev().skip(joined);
            let same = rest.take_while(|entry| entry.level == level).count();
            if same + 1 < FAN || level == u8::MAX {
                return (joined, level);
            }
            joined += same;
            level += 1;
        }
    }

    /// Adds a tail object in the place of those that it holds; returns them.
    pub(crate) fn add_tail(&mut self, entry: TailEntry) -> Vec<String> {
        let kept = self.tail.partition_point(|other| other.start < entry.start);
        let joined = self.tail.split_off(kept);
        self.tail.push(entry);
        joined.into_iter().map(|entry| entry.object).collect()
    }

    /// Forgets the pieces of the tail and the snapshots that end at or before a position.
    pub(crate) fn forget_before(&mut self, at: Lsn) {
        self.tail.retain(|entry| at.get() < entry.end);
        self.snapshots.retain(|snapshot| at.get() < snapshot.position);
    }

    /// Forgets what lies beyond a position; what was of no use to begin with is forgotten, too.
    pub(crate) async fn end_at(&mut self, at: Lsn, place: &Place<'_>) -> Result<()> {
        self.open_chunks_beyond(at, place).await?;
        let size = self.segment_size;
        self.segments.retain(|entry| entry.base.saturating_add(size) <= at.get());
        let begins = self.next_base();
        self.tail.retain(|entry| entry.end <= at.get());
        if self.tail.first().is_some_and(|entry| entry.start != begins) {
            self.tail.clear();
        }
        self.snapshots.retain(|snapshot| snapshot.position <= at.get());
        self.cut_policies(at);
        self.link = None;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = bytes.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8));
    pairs.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use longshore_format::{Epoch, EpochEntry, Incarnation, WriterId};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;
    use crate::store::Store;

    pub(crate) fn manifest() -> Manifest {
        let epoch = Epoch { number: 1, writer: WriterId::from_bytes([1; 16]) };
        let first = EpochEntry { start: Lsn::ZERO, epoch, incarnation: Incarnation::new(1) };
        let facts = Facts {
            log: LogId::from_bytes([7; 16]),
            content: Content::Bytes,
            size: SegmentSize::MIN,
            history: EpochHistory::new(first),
            before: Digest::default(),
            policies: Vec::new(),
        };
        Manifest::new(&facts, Lsn::ZERO)
    }

    #[tokio::test]
    async fn an_object_that_is_there_is_made_anew() {
        let objects = std::sync::Arc::new(InMemory::new());
        let (store, name) = (Store::of(objects.clone(), "memory"), "app".parse().unwrap());
        let place = Place { store: &store, log: &name, id: None, keys: None, level: None };
        let path = object_store::path::Path::from("app/tail/a");
        let mut made = Vec::new();
        for _ in 0..2 {
            place.put("tail/a", b"the same").await.unwrap();
            made.push(objects.head(&path).await.unwrap().last_modified);
        }
        assert!(made[0] < made[1], "{made:?}");
    }

    #[test]
    fn a_tail_that_grows_by_a_little_stays_a_few_objects_and_is_sent_a_few_times() {
        let (mut manifest, mut sent, writes) = (manifest(), 0, 40_000);
        for write in 0..writes {
            let (joined, level) = manifest.joins();
            let start = manifest.tail.iter().rev().nth(joined.wrapping_sub(1)).map_or(write, |entry| entry.start);
            let object = format!("{write}");
            let gone = manifest.add_tail(TailEntry { start, end: write + 1, object, bytes: 0, time: 0, level });
            assert_eq!(gone.len(), joined);
            sent += write + 1 - start;
            let ends: Vec<_> = manifest.tail.iter().map(|entry| entry.end).collect();
            let starts: Vec<_> = manifest.tail.iter().map(|entry| entry.start).collect();
            assert_eq!((starts[0], ends.last()), (0, Some(&(write + 1))));
            assert_eq!(starts[1..], ends[..ends.len() - 1], "they join");
        }
        assert!(manifest.tail.len() <= 40, "{}", manifest.tail.len());
        assert!(sent <= 6 * writes, "{sent}");
    }
}

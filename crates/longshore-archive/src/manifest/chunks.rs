//! The oldest entries of a manifest, in objects of their own, so that the manifest stays short.
//!
//! A chunk is named by the digest of what it holds, and says which one comes before it. One that does not hold hides the
//! segments that it names, and no other.

use futures_util::StreamExt;
use longshore_format::Lsn;
use serde::{Deserialize, Serialize};

use super::{Manifest, SegmentEntry};
use crate::error::{Error, Result};
use crate::place::Place;
use crate::verify::Finding;

/// The oldest segments, in an object of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEntry {
    /// The object, below the log's name: it is named by the digest of what it holds.
    pub object: String,
    /// The base of its first segment.
    pub first: u64,
    /// How many segments it names.
    pub segments: u64,
}

impl ChunkEntry {
    /// The base after its last segment.
    pub(super) fn end(&self, size: u64) -> u64 {
        self.first.saturating_add(self.segments.saturating_mul(size))
    }
}

#[derive(Serialize, Deserialize)]
struct Chunk {
    /// The chunk before this one, so that none can be left out.
    previous: Option<String>,
    segments: Vec<SegmentEntry>,
}

impl Manifest {
    /// Forgets the chunks of which nothing is left; returns their objects.
    pub(crate) fn drop_chunks(&mut self) -> Vec<String> {
        let (first, size) = (self.first, self.segment_size);
        let gone = self.chunks.iter().take_while(|chunk| chunk.end(size) <= first).count();
        self.chunks.drain(..gone).map(|chunk| chunk.object).collect()
    }

    /// The objects that hold the oldest entries.
    pub(crate) fn chunks(&self) -> &[ChunkEntry] {
        &self.chunks
    }

    /// The chunks that tell of something beyond a position.
    pub(crate) fn chunks_beyond(&self, at: Lsn) -> impl Iterator<Item = &ChunkEntry> {
        let size = self.segment_size;
        self.chunks.iter().skip_while(move |chunk| chunk.end(size) <= at.get())
    }

    /// Takes the entries of the chunk that a position lies in into the manifest itself; what comes after that chunk is forgotten.
    pub(super) async fn open_chunks_beyond(&mut self, at: Lsn, place: &Place<'_>) -> Result<()> {
        let Some(cut) = self.chunks_beyond(at).next() else { return Ok(()) };
        let kept = self.chunks.len() - self.chunks_beyond(at).count();
        let previous = kept.checked_sub(1).map(|before| self.chunks[before].object.as_str());
        let mut segments = self.chunk(place, cut, previous).await?;
        segments.retain(|entry| self.first <= entry.base);
        self.segments = segments;
        self.chunks.truncate(kept);
        Ok(())
    }

    /// Moves the oldest entries into an object of their own once there are many.
    pub(crate) async fn spill(&mut self, place: &Place<'_>) -> Result<()> {
        if self.segments.len() < 2 * CHUNK {
            return Ok(());
        }
        let segments = self.segments[..CHUNK].to_vec();
        let first = segments[0].base;
        let chunk = Chunk { previous: self.chunks.last().map(|chunk| chunk.object.clone()), segments };
        let json = serde_json::to_vec(&chunk).expect("plain data can be written as JSON");
        let object = format!("chunks/{}", blake3::hash(&json).to_hex());
        place.put(&object, &json).await?;
        self.segments.drain(..CHUNK);
        self.chunks.push(ChunkEntry { object, first, segments: CHUNK as u64 });
        Ok(())
    }

    /// All segments of a later manifest that has the chunks of this one, of which these are all.
    pub(crate) fn segments_since(&self, all: &[SegmentEntry], later: &Manifest) -> Option<Vec<SegmentEntry>> {
        let chunked = all.len().checked_sub(self.segments.len())?;
        let same = (self.first, &self.chunks) == (later.first, &later.chunks);
        same.then(|| [&all[..chunked], &later.segments[..]].concat())
    }

    /// All segments, oldest first.
    ///
    /// # Errors
    /// As [`known_segments`](Self::known_segments), and what is wrong with the first chunk that does not hold.
    pub(crate) async fn all_segments(&self, place: &Place<'_>) -> Result<Vec<SegmentEntry>> {
        let (segments, lost) = self.known_segments(place).await?;
        match lost.into_iter().find_map(Finding::into_error) {
            Some(error) => Err(error),
            None => Ok(segments),
        }
    }

    /// The segments that are known, oldest first, and the chunks that do not hold, whose segments are not: chunks are fetched,
    /// each checked against its name and the one after it.
    ///
    /// # Errors
    /// [`Error::Gap`] if others are left out, too; what the store says.
    pub(crate) async fn known_segments(&self, place: &Place<'_>) -> Result<(Vec<SegmentEntry>, Vec<Finding>)> {
        // Collected first: a closure that borrows would keep this from being sent between threads.
        let mut wanted = Vec::new();
        for (at, entry) in self.chunks.iter().enumerate() {
            // The one before the first is gone once the archive no longer reaches so far back.
            let previous = at.checked_sub(1).map(|before| self.chunks[before].object.as_str());
            wanted.push(self.chunk(place, entry, previous));
        }
        let mut chunks = futures_util::stream::iter(wanted).buffered(AT_ONCE);
        let (mut segments, mut lost) = (Vec::new(), Vec::new());
        for entry in &self.chunks {
            match chunks.next().await.expect("each chunk is fetched") {
                Ok(named) => segments.extend(named),
                Err(error) => lost.push(Finding::of(error, self.range(entry))?),
            }
        }
        segments.extend(self.segments.iter().cloned());
        segments.retain(|entry: &SegmentEntry| self.first <= entry.base);
        self.check_order(place, &segments, &lost)?;
        Ok((segments, lost))
    }

    async fn chunk(&self, place: &Place<'_>, entry: &ChunkEntry, previous: Option<&str>) -> Result<Vec<SegmentEntry>> {
        let json = place.get(&entry.object, self.range(entry)).await?;
        let corrupt = |what: &str| place.corrupt(&entry.object, what.to_owned());
        if entry.object != format!("chunks/{}", blake3::hash(&json).to_hex()) {
            return Err(corrupt("it is not what its name says"));
        }
        let chunk: Chunk = serde_json::from_slice(&json).map_err(|error| corrupt(&error.to_string()))?;
        let follows = previous.is_none() || chunk.previous.as_deref() == previous;
        match follows && chunk.segments.len() as u64 == entry.segments {
            true => Ok(chunk.segments),
            false => Err(corrupt("it does not follow the one before it")),
        }
    }

    /// Refuses segments that do not follow one another, but where a chunk is lost.
    fn check_order(&self, place: &Place<'_>, segments: &[SegmentEntry], lost: &[Finding]) -> Result<()> {
        let mut expected = self.first;
        for entry in segments {
            while let Some((_, end)) = lost.iter().filter_map(Finding::range).find(|(start, _)| start.get() == expected)
            {
                expected = end.get();
            }
            if entry.base != expected {
                let (store, log) = (place.store.label().to_owned(), place.log.clone());
                return Err(Error::Gap { store, log, expected: Lsn::new(expected), found: Lsn::new(entry.base) });
            }
            expected = expected.saturating_add(self.segment_size);
        }
        Ok(())
    }

    /// What a chunk tells of, as far as that is still archived.
    fn range(&self, chunk: &ChunkEntry) -> (Lsn, Lsn) {
        (Lsn::new(chunk.first.max(self.first)), Lsn::new(chunk.end(self.segment_size)))
    }
}

/// The manifest names at most twice as many segments by itself.
const CHUNK: usize = 1000;
/// Chunks that are fetched together.
const AT_ONCE: usize = 16;

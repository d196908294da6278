//! The database as of one position, in an archive: what a restore begins with instead of the beginning of the log.
//!
//! What it holds is for whoever made it; here it is bytes, cut into pieces, each an object of its own. One more object lists
//! them, and the manifest names that: so a manifest stays short, and no piece is larger than what is held in memory.

mod fetch;

use std::io::Read;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use longshore_format::Lsn;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::SnapshotEntry;
use crate::place::Place;

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Everything up to here is in it: the end of a run.
    pub position: Lsn,
    /// When the last record of that was written, microseconds UTC.
    pub time: u64,
}

/// How far the fetching of a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFetched {
    /// Bytes of it that are here.
    pub bytes: u64,
    /// Of so many.
    pub of: u64,
}

/// What a piece holds, but for the last, which may hold less.
const PIECE: usize = 32 << 20;
/// Pieces that are looked for together.
const AT_ONCE: usize = 16;
/// A list is never longer: a hundred terabytes of pieces.
const LONGEST_LIST: u64 = 512 << 20;

#[derive(Serialize, Deserialize)]
pub(crate) struct Pieces {
    /// Of all of them together.
    len: u64,
    pieces: Vec<Piece>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) object: String,
    /// How long the object is.
    pub(crate) bytes: u64,
    /// BLAKE3 of what it holds.
    digest: String,
}

/// When a new snapshot is archived, if whoever archives can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// So long after the last one, if anything was written since. Default a day.
    pub every: Option<Duration>,
    /// When so much log was archived since the last one, and at least as much as the last one takes. Default 1 GiB.
    pub after: Option<u64>,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule { every: Some(Duration::from_secs(86_400)), after: Some(1 << 30) }
    }
}

impl Schedule {
    /// Whether it is time, so much log after the last one, which was so long and is of that time.
    pub(crate) fn is_due(&self, grown: u64, last_len: u64, since: Duration) -> bool {
        let by_time = self.every.is_some_and(|every| every <= since);
        let by_size = self.after.is_some_and(|after| after.max(last_len) <= grown);
        0 < grown && (by_time || by_size)
    }
}

/// A snapshot of which some pieces are in the store. Until a manifest names it, there is none.
pub(crate) struct Uploading {
    facts: SnapshotFacts,
    under: String,
    pieces: Vec<Piece>,
    len: u64,
    stored: u64,
}

impl Uploading {
    /// One whose objects' names begin with `under`.
    pub(crate) fn new(facts: SnapshotFacts, under: String) -> Uploading {
        Uploading { facts, under, pieces: Vec::new(), len: 0, stored: 0 }
    }

    /// Adds a piece.
    pub(crate) async fn add(&mut self, place: &Place<'_>, bytes: &[u8]) -> Result<()> {
        let digest = blake3::hash(bytes).to_hex().to_string();
        let object = format!("{}/{:06}-{}", self.under, self.pieces.len(), &digest[..16]);
        let stored = place.put(&object, bytes).await?;
        self.len += bytes.len() as u64;
        self.stored += stored;
        self.pieces.push(Piece { object, bytes: stored, digest });
        Ok(())
    }

    /// What a manifest names.
    pub(crate) async fn finish(self, place: &Place<'_>) -> Result<SnapshotEntry> {
        let Uploading { facts, under, pieces, len, stored } = self;
        let json = serde_json::to_vec(&Pieces { len, pieces }).expect("plain data can be written as JSON");
        let object = format!("{under}/list-{}", &blake3::hash(&json).to_hex()[..16]);
        let bytes = stored + place.put(&object, &json).await?;
        Ok(SnapshotEntry { position: facts.position.get(), object, bytes, len, time: facts.time })
    }
}

/// The next piece of what is read; empty at its end.
pub(crate) fn read_piece(from: &mut impl Read, piece: &mut Vec<u8>) -> Result<()> {
    piece.clear();
    let failed = |source| Error::Io { path: "the snapshot that is archived".into(), source };
    from.take(PIECE as u64).read_to_end(piece).map_err(failed).map(|_| ())
}

/// The objects that a snapshot consists of, but for the one that lists them.
pub(crate) async fn pieces(place: &Place<'_>, entry: &SnapshotEntry) -> Result<Vec<Piece>> {
    let json = whole(place, entry, &entry.object, LONGEST_LIST).await?;
    let list: Pieces =
        serde_json::from_slice(&json).map_err(|error| place.corrupt(&entry.object, error.to_string()))?;
    match list.len == entry.len {
        true => Ok(list.pieces),
        false => Err(place.corrupt(&entry.object, format!("it lists {} bytes instead of {}", list.len, entry.len))),
    }
}

/// What a piece holds, or what is wrong with it.
pub(crate) async fn piece(place: &Place<'_>, entry: &SnapshotEntry, piece: &Piece) -> Result<Vec<u8>> {
    let bytes = whole(place, entry, &piece.object, PIECE as u64).await?;
    match blake3::hash(&bytes).to_hex().as_str() == piece.digest {
        true => Ok(bytes),
        false => Err(place.corrupt(&piece.object, "it is not what the snapshot's list says".to_owned())),
    }
}

/// Fetches all of a snapshot, and keeps none of it.
///
/// # Errors
/// [`Error::Missing`] and [`Error::Corrupt`] name the first object that does not hold; what the store says.
pub(crate) async fn check(place: &Place<'_>, entry: &SnapshotEntry) -> Result<()> {
    let mut len = 0;
    for wanted in &pieces(place, entry).await? {
        len += piece(place, entry, wanted).await?.len() as u64;
    }
    check_len(place, entry, len)
}

fn check_len(place: &Place<'_>, entry: &SnapshotEntry, len: u64) -> Result<()> {
    match len == entry.len {
        true => Ok(()),
        false => Err(place.corrupt(&entry.object, format!("its pieces hold {len} bytes instead of {}", entry.len))),
    }
}

/// Looks for every object of a snapshot, and fetches none but the list of them.
pub(crate) async fn look_for(place: &Place<'_>, entry: &SnapshotEntry) -> Result<()> {
    let pieces = pieces(place, entry).await?;
    // Collected first: a closure that borrows would keep this from being sent between threads.
    let mut looks = Vec::new();
    for piece in &pieces {
        looks.push(look_for_piece(place, entry, piece));
    }
    futures_util::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
}

async fn look_for_piece(place: &Place<'_>, entry: &SnapshotEntry, piece: &Piece) -> Result<()> {
    match place.store.len(&place.name(&piece.object)).await? {
        Some(_) => Ok(()),
        None => Err(missing(place, entry, &piece.object)),
    }
}

async fn whole(place: &Place<'_>, entry: &SnapshotEntry, object: &str, longest: u64) -> Result<Vec<u8>> {
    match place.store.get(&place.name(object)).await? {
        Some((bytes, _)) => place.unseal(object, &bytes, longest),
        None => Err(missing(place, entry, object)),
    }
}

fn missing(place: &Place<'_>, entry: &SnapshotEntry, object: &str) -> Error {
    let (store, object) = (place.store.label().to_owned(), place.name(object));
    Error::Missing { store, object, start: Lsn::ZERO, end: Lsn::new(entry.position) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_due_by_time_or_by_size_and_never_for_nothing() {
        let seconds = Duration::from_secs;
        let both = Schedule { every: Some(seconds(100)), after: Some(1000) };
        let never = Schedule { every: None, after: None };
        // (schedule, log since the last one, how long that is, how old) and whether.
        for (schedule, grown, len, since, due) in [
            (both, 0, 0, seconds(1000), false),
            (both, 1, 0, seconds(100), true),
            (both, 1, 0, seconds(99), false),
            (both, 1000, 0, seconds(0), true),
            (both, 999, 0, seconds(0), false),
            (both, 1000, 5000, seconds(0), false),
            (both, 5000, 5000, seconds(0), true),
            (never, u64::MAX, 0, seconds(u64::MAX), false),
        ] {
            assert_eq!(schedule.is_due(grown, len, since), due, "{schedule:?} {grown} {len} {since:?}");
        }
    }
}

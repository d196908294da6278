//! The beginning of the segment that is not sealed yet, out of the objects that hold its pieces.

use futures_util::StreamExt;
use longshore_format::Lsn;

use super::{TAIL_AT_ONCE, tail_object};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::manifest::{MANIFEST, TailEntry};

/// What could be had of it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Its bytes, from the segment's header on.
    pub(crate) bytes: Vec<u8>,
    /// Objects that they are from, and how long those are.
    pub(crate) objects: u64,
    pub(crate) stored: u64,
    /// Why there is no more.
    pub(crate) lost: Option<Lost>,
}

/// Something of a log that no store has whole.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The boundary at which it begins.
    pub(crate) start: Lsn,
    /// When its first record was written, microseconds UTC.
    pub(crate) time: u64,
    /// What is missing or damaged.
    pub(crate) damage: Error,
}

impl Archive {
    /// Joins objects of the tail, up to the first that no store has whole.
    pub(crate) async fn tail(&self, entries: &[TailEntry]) -> Result<Tail> {
        let (place, size) = (self.place(self.best()), self.facts().size);
        let mut tail = Tail::default();
        let Some(first) = entries.first() else { return Ok(tail) };
        // Collected first: a closure that borrows would keep this from being sent between threads.
        let mut objects = Vec::new();
        for entry in entries {
            objects.push(self.tail_from_any(entry));
        }
        let mut objects = futures_util::stream::iter(objects).buffered(TAIL_AT_ONCE);
        for entry in entries {
            let more = objects.next().await.expect("each object is fetched");
            let joins = entry.start == first.start + tail.bytes.len() as u64
                && entry.end.saturating_sub(first.start) <= size.get();
            match more {
                _ if !joins => {
                    return Err(place.corrupt(MANIFEST, format!("its tail does not join at {}", entry.start)));
                }
                Ok(more) => tail.bytes.extend_from_slice(&more),
                Err(damage) if damage.is_damage() => {
                    let start = size.normalise(Lsn::new(entry.start));
                    tail.lost = Some(Lost { start, time: entry.time, damage });
                    break;
                }
                Err(error) => return Err(error),
            }
            tail.objects += 1;
            tail.stored += entry.bytes;
        }
        Ok(tail)
    }

    /// A tail object, from the first store that has it whole: wherever it lies, its name says what it holds.
    pub(crate) async fn tail_from_any(&self, entry: &TailEntry) -> Result<Vec<u8>> {
        let mut trouble = None;
        for copy in self.copies() {
            match tail_object(&self.place(copy), entry).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => trouble = Some(Error::or(trouble, error)),
            }
        }
        Err(trouble.expect("an archive has a copy"))
    }
}

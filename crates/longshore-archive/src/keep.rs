//! How far back an archive reaches: whole snapshots and what follows them, and never less.

mod left;

use std::time::Duration;

use longshore_format::{ErrorKind, Lsn};

use crate::archiver::wall_micros;
use crate::error::{Error, Result};
use crate::fork::{self, ForkEntry};
use crate::gap;
use crate::manifest::{Manifest, SnapshotEntry};
use crate::place::Place;
use crate::snapshot;

/// What is kept of an archive. What both keep is kept, and without either everything. Only what comes before a snapshot ever
/// goes: a log of which there are none is kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many snapshots, and all that was written since the oldest of them.
    pub snapshots: Option<usize>,
    /// Every moment of so long a time.
    pub age: Option<Duration>,
}

/// What an archive no longer needs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// Below the log's name.
    pub(crate) objects: Vec<String>,
    pub(crate) bytes: u64,
}

impl Keep {
    /// Where the oldest snapshot stands that is kept; `None` if everything is.
    fn since(&self, snapshots: &[SnapshotEntry], now: u64) -> Option<Lsn> {
        let counted = self.snapshots.map(|count| snapshots.len().checked_sub(count.max(1)));
        let aged = self.age.map(|age| {
            let oldest = now.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
            // Moments after a snapshot are reached from it.
            snapshots.partition_point(|snapshot| snapshot.time <= oldest).checked_sub(1)
        });
        let index = [counted, aged].into_iter().flatten().reduce(|a, b| Some(a?.min(b?)))??;
        Some(Lsn::new(snapshots.get(index)?.position))
    }

    /// Takes out of a manifest what need not be kept; returns the objects that nobody needs once the manifest is swapped.
    ///
    /// # Errors
    /// [`Error::Needed`] if something goes, and of what everything from then on would consist not all is there: then nothing may
    /// go. The manifest is of no use after an error.
    pub(crate) async fn cut(&self, manifest: &mut Manifest, place: &Place<'_>) -> Result<Cut> {
        let mut cut = Cut::default();
        let Some(since) = self.since(&manifest.snapshots, wall_micros()) else { return Ok(cut) };
        let old = manifest.snapshots.partition_point(|snapshot| snapshot.position < since.get());
        for entry in manifest.snapshots.drain(..old) {
            let pieces = or_unnamed(snapshot::pieces(place, &entry).await)?;
            cut.objects.extend(pieces.into_iter().map(|piece| piece.object));
            cut.objects.push(entry.object);
            cut.bytes = cut.bytes.saturating_add(entry.bytes);
        }
        for entry in manifest.begin_at(since, place).await? {
            cut.bytes = cut.bytes.saturating_add(entry.bytes);
            cut.objects.push(entry.object);
        }
        cut.objects.extend(manifest.drop_chunks());
        if let Some(gap) = manifest.gaps.last() {
            // What came before a gap is older than any snapshot that is kept.
            cut.objects.push(gap.earlier.clone());
            cut.objects.extend(or_unnamed(gap::objects_before(place, gap).await)?);
            manifest.gaps.clear();
        }
        // A branch that parted before is older, too; of one that parted later, what is kept is what is its own.
        let (old, kept) = std::mem::take(&mut manifest.forks).into_iter().partition(|fork| fork.start < since.get());
        manifest.forks = kept;
        for fork in Vec::<ForkEntry>::from_iter(old) {
            cut.objects.extend(or_unnamed(fork::objects(place, &fork).await)?);
        }
        if !cut.objects.is_empty() {
            left::look_for(place, manifest).await.map_err(Error::needed)?;
        }
        Ok(cut)
    }
}

/// What lists objects that may go may be damaged or gone itself. They are left to whoever looks for what nobody names.
fn or_unnamed<T: Default>(listed: Result<T>) -> Result<T> {
    match listed {
        Err(error) if matches!(error.kind(), ErrorKind::Gap | ErrorKind::Corrupt) => {
            tracing::warn!(%error, "what it lists is forgotten and not removed; `longshore archive prune` finds it");
            Ok(T::default())
        }
        listed => listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(keep: Keep, times: &[u64], now: u64) -> Option<u64> {
        let entry = |(at, time): (usize, &u64)| SnapshotEntry {
            position: 1000 + at as u64,
            object: String::new(),
            bytes: 0,
            len: 0,
            time: time * 1_000_000,
        };
        let snapshots: Vec<_> = times.iter().enumerate().map(entry).collect();
        keep.since(&snapshots, now * 1_000_000).map(Lsn::get)
    }

    #[test]
    fn what_is_promised_stays_reachable() {
        let keep = |snapshots: Option<usize>, age: Option<u64>| Keep { snapshots, age: age.map(Duration::from_secs) };
        // (what is kept, when the snapshots were made, now) and where the oldest kept one stands.
        for (keep, times, now, expected) in [
            (keep(None, None), &[10, 20, 30][..], 100, None),
            (keep(Some(1), None), &[10, 20, 30], 100, Some(1002)),
            (keep(Some(3), None), &[10, 20, 30], 100, Some(1000)),
            (keep(Some(4), None), &[10, 20, 30], 100, None),
            (keep(Some(0), None), &[10, 20, 30], 100, Some(1002)),
            (keep(Some(1), None), &[], 100, None),
            // All of the last 75 s: the moment 25 is reached from the snapshot of 20.
            (keep(None, Some(75)), &[10, 20, 30], 100, Some(1001)),
            (keep(None, Some(70)), &[10, 20, 30], 100, Some(1002)),
            (keep(None, Some(1)), &[10, 20, 30], 100, Some(1002)),
            (keep(None, Some(95)), &[10, 20, 30], 100, None),
            (keep(None, Some(u64::MAX)), &[10, 20, 30], 100, None),
            // Both: more.
            (keep(Some(1), Some(75)), &[10, 20, 30], 100, Some(1001)),
            (keep(Some(2), Some(1)), &[10, 20, 30], 100, Some(1001)),
            (keep(Some(1), Some(95)), &[10, 20, 30], 100, None),
        ] {
            assert_eq!(since(keep, times, now), expected, "{keep:?} {times:?}");
        }
    }
}

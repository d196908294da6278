//! Each object of an archive missing or damaged, one at a time: what the rest still tells comes back, and nothing else is
//! promised.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use longshore_archive::{Archive, ArchiveSettings, Begin, Store, Until, verify};
use longshore_format::Lsn;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name, open, records};

/// Where a record ends, and when it was written.
type End = (Lsn, u64);

/// A log of a few segments, and of a few objects that the last one is not sealed in; archived twice.
struct Stage {
    rig: Rig,
    near: (Arc<InMemory>, Store),
    far: Store,
}

fn memory(label: &str) -> (Arc<InMemory>, Store) {
    let objects = Arc::new(InMemory::new());
    (Arc::clone(&objects), Store::of(objects, label))
}

impl Stage {
    async fn new() -> Stage {
        let (rig, near, far) = (Rig::new(), memory("near"), memory("far").1);
        let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
        let mut archivers = [rig.archiver(&near.1, &settings).await, rig.archiver(&far, &settings).await];
        rig.append_segments(4);
        for _ in 0..4 {
            rig.append(3);
            for archiver in &mut archivers {
                archiver.finish().await.unwrap();
            }
        }
        Stage { rig, near, far }
    }

    async fn open(&self, stores: &[&Store]) -> Archive {
        let stores: Vec<Store> = stores.iter().map(|store| (*store).clone()).collect();
        Archive::open(&stores, &name(), None).await.unwrap()
    }

    fn ends(&self) -> Vec<End> {
        let mut reader = self.rig.wal.reader(self.rig.wal.first()).unwrap();
        let mut ends = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            if record.kind.is_user() {
                ends.push((record.end, record.time));
            }
        }
        ends
    }

    async fn objects(&self) -> Vec<ObjectPath> {
        let listed: Vec<_> = self.near.0.list(None).try_collect().await.unwrap();
        let paths = listed.into_iter().map(|object| object.location);
        paths.filter(|path| path.as_ref().contains("/segments/") || path.as_ref().contains("/tail/")).collect()
    }
}

/// Whether a target is reached, all of it being there.
async fn comes_back(stage: &Stage, archive: &Archive, until: Until, last: Lsn) -> bool {
    let keeps = |end: Lsn, time: u64| match until {
        Until::Position(wanted) => end <= wanted,
        Until::Time(wanted) => time <= wanted,
        _ => true,
    };
    let glimpse = archive.peek(until, keeps).await;
    let place = tempfile::tempdir().unwrap();
    let plan = archive.plan(until, Begin::First).unwrap();
    let fetched = archive.fetch(&plan, place.path(), |_| {}).await;
    // A look sees no more than where it stops.
    assert!(glimpse.is_ok() || fetched.is_err(), "{until:?}: {glimpse:?}, and {fetched:?}");
    let (Ok(glimpse), Ok(cut)) = (glimpse, fetched) else { return false };
    assert_eq!(glimpse.stop, last, "{until:?}");
    let log = open(place.path());
    let (there, all) = (records(log.reader(log.first()).unwrap()), stage.rig.records());
    assert!(all.starts_with(&there) && last <= log.end(), "{until:?}: {} of {}", there.len(), all.len());
    assert_eq!(cut.is_some(), log.end() < plan.end, "{until:?}");
    true
}

#[tokio::test]
async fn whatever_is_lost_every_target_comes_back_that_does_not_need_it_and_no_other() {
    let stage = Stage::new().await;
    let (ends, objects) = (stage.ends(), stage.objects().await);
    assert!(objects.iter().filter(|path| path.as_ref().contains("/tail/")).count() > 2, "{objects:?}");
    for (at, path) in objects.iter().enumerate() {
        let whole = stage.near.0.get(path).await.unwrap().bytes().await.unwrap();
        if at % 2 == 0 {
            stage.near.0.delete(path).await.unwrap();
        } else {
            let mut flipped = whole.to_vec();
            flipped[whole.len() / 2] ^= 1;
            stage.near.0.put(path, flipped.into()).await.unwrap();
        }
        let archive = stage.open(&[&stage.near.1]).await;
        let found = verify(&archive, |_| {}).await.unwrap();
        let ranges = archive.restorable(&found.findings);
        let (first, last) = ranges.first().copied().unwrap_or((archive.first(), archive.first()));
        assert!(ranges.len() < 2 && first == archive.first() && last < archive.end(), "{path}: {ranges:?}");
        let (mut reached, mut refused) = (0, 0);
        for (index, (end, time)) in ends.iter().enumerate() {
            // The last of those that were written in one microsecond.
            let is_last = ends.get(index + 1).is_none_or(|(_, next)| time < next);
            for until in [Some(Until::Position(*end)), is_last.then_some(Until::Time(*time))].into_iter().flatten() {
                let comes = comes_back(&stage, &archive, until, *end).await;
                assert_eq!(comes, *end <= last, "{path}: {until:?}, and what is left ends at {last}");
                if comes { reached += 1 } else { refused += 1 }
            }
        }
        assert!(0 < refused && (0 < reached || ranges.is_empty()), "{path}: {reached} come back, {refused} do not");
        // With another store nothing is lost.
        let both = stage.open(&[&stage.near.1, &stage.far]).await;
        let found = verify(&both, |_| {}).await.unwrap();
        assert_eq!(both.restorable(&found.findings), [(both.first(), both.end())], "{path}");
        assert!(comes_back(&stage, &both, Until::End, ends[ends.len() - 1].0).await, "{path}");
        stage.near.0.put(path, whole.into()).await.unwrap();
    }
}

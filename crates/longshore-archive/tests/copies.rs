//! Two copies of one log, and archives that are copied over what is there already.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use longshore_archive::{
    Archive, ArchiveSettings, Archiver, Begin, CopyPlan, Error, Finding, Keep, SnapshotFacts, Store, Until, copy,
    forget, verify,
};
use longshore_format::ErrorKind;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name};

fn at_once() -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() }
}

fn memory(label: &str) -> (Arc<InMemory>, Store) {
    let objects = Arc::new(InMemory::new());
    (Arc::clone(&objects), Store::of(objects, label))
}

async fn objects(store: &InMemory) -> Vec<ObjectPath> {
    store.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap()
}

async fn opened(stores: &[Store]) -> Archive {
    Archive::open(stores, &name(), None).await.unwrap()
}

/// A backup of a log that is started beside the log, or after it.
#[tokio::test]
async fn f_111_of_two_copies_that_were_written_to_by_themselves_one_is_archived_and_the_other_is_told() {
    for records in [5, 700] {
        let (_, store) = memory("memory");
        let rig = Rig::new();
        rig.append(300);
        rig.archiver(&store, &at_once()).await.finish().await.unwrap();
        let (log, backup) = rig.and_its_copy();
        assert_eq!(log.wal.history(), backup.wal.history(), "they are in one life");
        // Both at work at once: the one that is slower finds what the other has done.
        let mut behind = backup.archiver(&store, &at_once()).await;
        backup.append_other(records + 3);
        log.append(records);
        let end = log.archiver(&store, &at_once()).await.finish().await.unwrap();
        let refused = behind.finish().await.unwrap_err();
        assert!(matches!(refused, Error::Parted { .. }), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Diverged);
        // And one that comes later, whether it is ahead of the archive or behind it.
        let late = Archiver::open(store.clone(), name(), backup.wal.clone(), at_once()).await.err().unwrap();
        assert!(matches!(late, Error::Parted { .. }), "{late}");
        let archive = opened(&[store]).await;
        assert_eq!(archive.end(), end);
        let place = tempfile::tempdir().unwrap();
        archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
        let there = support::open(place.path());
        assert_eq!(support::records(there.reader(there.first()).unwrap()), log.records());
    }
}

#[tokio::test]
async fn a_damaged_archive_is_copied_but_for_what_is_damaged_and_that_comes_from_another_one_later() {
    for is_gone in [true, false] {
        let ((there, from), (_, good), (copied, to)) = (memory("from"), memory("good"), memory("to"));
        let rig = Rig::new();
        rig.append(900);
        rig.seal();
        let end = rig.archiver(&from, &at_once()).await.finish().await.unwrap();
        copy(&from, &good, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
        let all = objects(&there).await;
        let segments: Vec<_> = all.iter().filter(|path| path.as_ref().contains("/segments/")).collect();
        let lost = segments[segments.len() / 2];
        if is_gone {
            there.delete(lost).await.unwrap();
        } else {
            let mut flipped = there.get(lost).await.unwrap().bytes().await.unwrap().to_vec();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 1;
            there.put(lost, flipped.into()).await.unwrap();
        }
        for _ in 0..2 {
            let told = copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap_err();
            assert!(told.is_damage() && told.to_string().contains(lost.as_ref()), "{told}");
            let left: Vec<_> = all.iter().filter(|path| *path != lost).cloned().collect();
            let mut ours = objects(&copied).await;
            ours.sort();
            assert_eq!(ours, left, "all but the damaged object is there");
        }
        let archive = opened(std::slice::from_ref(&to)).await;
        let found = verify(&archive, |_| {}).await.unwrap().findings;
        assert!(matches!(&found[..], [Finding::Missing { object, .. }] if object == lost.as_ref()), "{found:?}");
        copy(&good, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
        let archive = opened(std::slice::from_ref(&to)).await;
        assert_eq!((verify(&archive, |_| {}).await.unwrap().findings, archive.end()), (vec![], end));
    }
}

#[tokio::test]
async fn a_copy_brings_back_what_the_target_has_lost_and_mends_what_is_damaged_there() {
    let (_, from) = memory("from");
    let (there, to) = memory("to");
    let rig = Rig::new();
    rig.append(900);
    let mut archiver = rig.archiver(&from, &at_once()).await;
    let end = archiver.finish().await.unwrap();
    let facts = SnapshotFacts { position: end, time: 1 };
    assert!(archiver.put_snapshot(facts, &b"image"[..], |_| std::ops::ControlFlow::Continue(())).await.unwrap());
    copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    for object in objects(&there).await.into_iter().filter(|object| !object.as_ref().ends_with("/manifest")) {
        let whole = there.get(&object).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        for (damage, how) in [
            (None, CopyPlan::default()),
            (Some(whole[..whole.len() / 2].to_vec()), CopyPlan::default()),
            (Some(flipped), CopyPlan { full: true, ..CopyPlan::default() }),
        ] {
            match damage {
                Some(bytes) => there.put(&object, bytes.into()).await.map(|_| ()).unwrap(),
                None => there.delete(&object).await.unwrap(),
            }
            let copied = copy(&from, &to, &name(), None, how, |_| {}).await.unwrap();
            assert_eq!(copied.copied, 1, "{object}");
            assert_eq!(verify(&opened(std::slice::from_ref(&to)).await, |_| {}).await.unwrap().findings, []);
        }
    }
}

#[tokio::test]
async fn a_copy_keeps_what_only_its_target_reaches_back_to() {
    let (_, from) = memory("from");
    let (_, to) = memory("to");
    let rig = Rig::new();
    rig.append(900);
    let mut archiver = rig.archiver(&from, &at_once()).await;
    archiver.finish().await.unwrap();
    copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    rig.append(900);
    let end = archiver.finish().await.unwrap();
    let facts = SnapshotFacts { position: end, time: 1 };
    assert!(archiver.put_snapshot(facts, &b"image"[..], |_| std::ops::ControlFlow::Continue(())).await.unwrap());
    let keep = Keep { snapshots: Some(1), age: None };
    forget(&from, &name(), None, &keep, false).await.unwrap();
    let first = opened(std::slice::from_ref(&to)).await.first();
    assert!(first < opened(std::slice::from_ref(&from)).await.first());
    // What lies between the two is in neither: that is no copy.
    let refused = copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Gap, "{refused}");

    // Where they overlap, the target goes on from what it has.
    let (_, from) = memory("from");
    let (_, to) = memory("to");
    let mut archiver = rig.archiver(&from, &at_once()).await;
    archiver.finish().await.unwrap();
    copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    let position = archiver.archived();
    assert!(
        archiver
            .put_snapshot(SnapshotFacts { position, time: 1 }, &b"image"[..], |_| std::ops::ControlFlow::Continue(()))
            .await
            .unwrap()
    );
    forget(&from, &name(), None, &keep, false).await.unwrap();
    rig.append(900);
    let end = rig.archiver(&from, &at_once()).await.finish().await.unwrap();
    copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    let archive = opened(std::slice::from_ref(&to)).await;
    assert_eq!((archive.first(), archive.end()), (first, end));
    let found = verify(&archive, |_| {}).await.unwrap().findings;
    assert!(found.iter().all(|finding| matches!(finding, Finding::InFlight { .. })), "{found:?}");
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    let there = support::open(place.path());
    assert_eq!(support::records(there.reader(there.first()).unwrap()), rig.records());
}

#[tokio::test]
async fn a_tail_object_that_is_gone_is_taken_from_another_store_whichever_is_named_first() {
    let (broken, first) = memory("first");
    let (_, second) = memory("second");
    let rig = Rig::new();
    rig.append(100);
    rig.archiver(&first, &at_once()).await.finish().await.unwrap();
    copy(&first, &second, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    for object in objects(&broken).await.iter().filter(|object| object.as_ref().contains("/tail/")) {
        broken.delete(object).await.unwrap();
    }
    for stores in [[first.clone(), second.clone()], [second, first]] {
        let archive = opened(&stores).await;
        let place = tempfile::tempdir().unwrap();
        archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
        let there = support::open(place.path());
        assert_eq!(support::records(there.reader(there.first()).unwrap()), rig.records());
    }
}

#[tokio::test]
async fn f_049_a_directory_that_goes_away_is_waited_for_and_never_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("store");
    std::fs::create_dir(&root).unwrap();
    let store = Store::open(&format!("file://{}", root.display())).unwrap();
    let rig = Rig::new();
    rig.append(10);
    let mut archiver = rig.archiver(&store, &at_once()).await;
    archiver.finish().await.unwrap();
    std::fs::rename(&root, place.path().join("away")).unwrap();
    rig.append(10);
    let refused = archiver.finish().await.unwrap_err();
    assert!(refused.is_passing() && refused.to_string().contains("mounted"), "{refused}");
    let refused = Archiver::open(store.clone(), name(), rig.wal.clone(), at_once()).await.err().unwrap();
    assert!(refused.is_passing(), "{refused}");
    assert!(!root.exists());
    std::fs::rename(place.path().join("away"), &root).unwrap();
    let end = rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    assert_eq!(end, rig.wal.end());
}

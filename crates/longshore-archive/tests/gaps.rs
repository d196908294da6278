//! A log that no longer reaches back to where its archive ends: the archive stops, or goes on behind a gap that it names.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use longshore_archive::{
    Archive, ArchiveSettings, Archiver, Begin, CopyPlan, Finding, Keep, Proven, SnapshotFacts, Store, Until, copy,
    forget, list, orphans, verify, verify_since,
};
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::Retention;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name, open, records};

fn settings(go_on_behind_gaps: bool) -> ArchiveSettings {
    let go_on_behind_gaps = go_on_behind_gaps.then_some(Duration::ZERO);
    ArchiveSettings { tail_every: Duration::ZERO, go_on_behind_gaps, ..ArchiveSettings::default() }
}

fn memory() -> Store {
    Store::of(Arc::new(InMemory::new()), "memory")
}

async fn findings(store: &Store, proven: &Proven) -> (Vec<ErrorKind>, Proven) {
    let verified = verify_since(&opened(store).await, proven, |_| {}).await.unwrap();
    let errors = verified.findings.into_iter().filter_map(Finding::into_error);
    (errors.map(|error| error.kind()).collect(), verified.proven)
}

#[tokio::test]
async fn what_came_before_a_gap_is_verified_too() {
    let (rig, objects) = (Rig::new(), Arc::new(InMemory::new()));
    let store = Store::of(objects.clone(), "memory");
    parted(&rig, &store).await;
    let oldest: Vec<_> = objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    let oldest = oldest.into_iter().find(|path| path.as_ref().contains("/segments/")).unwrap();
    rig.archiver(&store, &settings(true)).await.finish().await.unwrap();
    let (found, whole) = findings(&store, &Proven::default()).await;
    assert_eq!(found, []);
    let bytes = objects.get(&oldest).await.unwrap().bytes().await.unwrap();
    objects.put(&oldest, bytes.slice(..bytes.len() - 1).into()).await.unwrap();
    for proven in [&Proven::default(), &whole] {
        let (found, proven) = findings(&store, proven).await;
        assert_eq!(found, [ErrorKind::Corrupt]);
        assert_eq!(findings(&store, &proven).await.0, [ErrorKind::Corrupt], "nor is it forgotten");
    }
    objects.delete(&oldest).await.unwrap();
    assert_eq!(findings(&store, &whole).await.0, [ErrorKind::Gap]);
}

/// A log of which only the beginning is archived, and whose middle is trimmed: where the archive ended, and where the log
/// begins.
async fn parted(rig: &Rig, store: &Store) -> (Lsn, Lsn) {
    rig.append(900);
    let end = rig.archiver(store, &settings(false)).await.finish().await.unwrap();
    rig.append(2000);
    rig.seal();
    rig.wal.set_retention(Retention { keep_bytes: 0, ..rig.wal.retention() });
    rig.wal.retain().unwrap();
    assert!(end < rig.wal.first());
    (end, rig.wal.first())
}

async fn opened(store: &Store) -> Archive {
    Archive::open(std::slice::from_ref(store), &name(), None).await.unwrap()
}

#[tokio::test]
async fn without_leave_an_archive_ends_at_a_gap_and_nothing_in_it_changes() {
    let (rig, store) = (Rig::new(), memory());
    let (end, _) = parted(&rig, &store).await;
    let refused = Archiver::open(store.clone(), name(), rig.wal.clone(), settings(false)).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Gap, "{refused}");
    assert_eq!(opened(&store).await.end(), end);
}

#[tokio::test]
async fn with_leave_it_goes_on_behind_the_gap_and_both_sides_come_back() {
    let (rig, store) = (Rig::new(), memory());
    let before = {
        rig.append(300);
        rig.records()
    };
    let (end, begin) = parted(&rig, &store).await;
    let mut archiver = rig.archiver(&store, &settings(true)).await;
    assert!(!archiver.is_snapshot_due(), "nothing of it is archived");
    let last = archiver.finish().await.unwrap();
    assert!(archiver.is_snapshot_due(), "without its beginning nothing can be made of it");

    let listed = list(&store, None).await.unwrap();
    let gaps: Vec<_> = listed[0].1.as_ref().unwrap().gaps.iter().map(|gap| (gap.start, gap.end)).collect();
    assert_eq!(gaps, [(end.get(), begin.get())]);
    let archive = opened(&store).await;
    let [Finding::AcknowledgedGap { start, end: to, .. }] = &verify(&archive, |_| {}).await.unwrap().findings[..]
    else {
        panic!("one gap, which is known");
    };
    assert_eq!((*start, *to), (end, begin));
    assert_eq!((archive.first(), archive.end()), (begin, last));

    // What is behind the gap.
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    assert_eq!(records(open(place.path()).reader(begin).unwrap()), rig.records());
    // What is before it.
    let earlier = opened(&store).await.reaching(Until::Position(end)).await.unwrap();
    assert_eq!(earlier.end(), end);
    let place = tempfile::tempdir().unwrap();
    earlier.fetch(&earlier.plan(Until::Position(end), Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    assert_eq!(records(open(place.path()).reader(earlier.first()).unwrap())[..before.len()], before);
    // And nothing in it.
    let within = Until::Position(Lsn::new(end.get() + 8));
    let refused = opened(&store).await.reaching(within).await.unwrap().plan(within, Begin::First).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    assert!(refused.to_string().contains(&end.to_string()), "the nearest is where the archive ended: {refused}");

    // All of it is needed, and goes along.
    assert_eq!(orphans(&store, &name(), None, Duration::ZERO, true).await.unwrap().objects, Vec::<String>::new());
    let other = memory();
    copy(&store, &other, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    assert_eq!(opened(&other).await.reaching(Until::Position(end)).await.unwrap().end(), end);

    // Another archiver finds it so and goes on.
    rig.append(100);
    let mut archiver = rig.archiver(&store, &settings(true)).await;
    let last = archiver.finish().await.unwrap();
    assert_eq!(list(&store, None).await.unwrap()[0].1.as_ref().unwrap().gaps.len(), 1);
    assert_eq!(opened(&store).await.end(), last);
}

#[tokio::test]
async fn what_one_store_lacks_behind_a_gap_comes_from_one_that_has_none() {
    let (rig, parted_store, whole) = (Rig::new(), memory(), memory());
    rig.append(900);
    let end = rig.archiver(&parted_store, &settings(false)).await.finish().await.unwrap();
    let within = rig.append(1);
    rig.append(2000);
    rig.seal();
    rig.archiver(&whole, &settings(false)).await.finish().await.unwrap();
    rig.wal.set_retention(Retention { keep_bytes: 0, ..rig.wal.retention() });
    rig.wal.retain().unwrap();
    // The one with the gap reaches further.
    rig.append(10);
    rig.archiver(&parted_store, &settings(true)).await.finish().await.unwrap();
    let stores = [parted_store, whole];
    for wanted in [end, within] {
        let until = Until::Position(wanted);
        let archive = Archive::open(&stores, &name(), None).await.unwrap();
        assert!(wanted < archive.first());
        let archive = archive.reaching(until).await.unwrap();
        let place = tempfile::tempdir().unwrap();
        archive.fetch(&archive.plan(until, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
        let log = open(place.path());
        assert!(records(log.reader(log.first()).unwrap()).iter().any(|(start, _)| end <= *start));
    }
}

#[tokio::test]
async fn what_came_before_a_gap_goes_once_no_snapshot_of_it_is_kept() {
    let (rig, store) = (Rig::new(), memory());
    let (end, _) = parted(&rig, &store).await;
    let mut archiver = rig.archiver(&store, &settings(true)).await;
    let last = archiver.finish().await.unwrap();
    let keep = Keep { snapshots: Some(1), age: None };
    let none = forget(&store, &name(), None, &keep, false).await.unwrap();
    assert_eq!(none.objects, Vec::<String>::new(), "without a snapshot everything stays");
    let facts = SnapshotFacts { position: last, time: 1 };
    assert!(archiver.put_snapshot(facts, &b"x"[..], |_| std::ops::ControlFlow::Continue(())).await.unwrap());
    let planned = forget(&store, &name(), None, &keep, true).await.unwrap();
    assert!(!planned.objects.is_empty());
    assert_eq!(opened(&store).await.reaching(Until::Position(end)).await.unwrap().end(), end, "that was a plan");
    assert_eq!(forget(&store, &name(), None, &keep, false).await.unwrap(), planned);
    let archive = opened(&store).await.reaching(Until::Position(end)).await.unwrap();
    assert_eq!(archive.plan(Until::Position(end), Begin::First).unwrap_err().kind(), ErrorKind::TooOld);
    assert_eq!(verify(&opened(&store).await, |_| {}).await.unwrap().findings, []);
    assert_eq!(orphans(&store, &name(), None, Duration::ZERO, true).await.unwrap().objects, Vec::<String>::new());
    // The archiver finds that somebody else changed it, and goes on.
    rig.append(10);
    archiver.finish().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_lacks_what_its_writer_is_about_to_archive_declares_no_gap() {
    let (rig, store) = (Rig::new(), memory());
    rig.append(900);
    rig.archiver(&store, &settings(false)).await.finish().await.unwrap();
    rig.append(2000);
    rig.seal();
    let (writer, copy) = rig.and_its_copy();
    copy.wal.set_retention(Retention { keep_bytes: 0, ..copy.wal.retention() });
    copy.wal.retain().unwrap();
    let patient = ArchiveSettings { go_on_behind_gaps: Some(Duration::from_secs(600)), ..settings(false) };
    let open = || longshore_archive::Archiver::open(store.clone(), name(), copy.wal.clone(), patient.clone());
    assert_eq!(open().await.err().map(|error| error.kind()), Some(ErrorKind::Gap), "somebody has just archived");
    let end = writer.archiver(&store, &settings(false)).await.finish().await.unwrap();
    assert_eq!(open().await.unwrap().archived(), end);
    assert!(list(&store, None).await.unwrap()[0].1.as_ref().unwrap().gaps.is_empty());
}

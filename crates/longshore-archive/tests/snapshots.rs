//! Snapshots in an archive: what a restore begins with, and what need not be kept before them.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt};
use longshore_archive::{
    Archive, ArchiveSettings, Archiver, Begin, CopyPlan, Finding, Keep, Proven, Reach, Schedule, SnapshotFacts, Store,
    Until, copy, forget, orphans, verify, verify_since,
};
use longshore_format::{ErrorKind, Lsn};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use support::{Rig, name, open, records};

/// Longer than a piece.
fn image(seed: u8) -> Vec<u8> {
    (0..(33 << 20) + 5).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn settings(keep: Keep) -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, level: None, keep, ..ArchiveSettings::default() }
}

fn memory() -> (Arc<InMemory>, Store) {
    let objects = Arc::new(InMemory::new());
    (Arc::clone(&objects), Store::of(objects, "memory"))
}

async fn put(archiver: &mut Archiver, position: Lsn, time: u64, image: &[u8]) -> bool {
    let facts = SnapshotFacts { position, time };
    archiver.put_snapshot(facts, image, |_| ControlFlow::Continue(())).await.unwrap()
}

/// A log of which a snapshot is archived in its middle: where it stands.
async fn with_snapshot(rig: &Rig, store: &Store, keep: Keep) -> (Archiver, Lsn) {
    let mut archiver = rig.archiver(store, &settings(keep)).await;
    let position = rig.append(900);
    rig.append(900);
    archiver.finish().await.unwrap();
    assert!(put(&mut archiver, position, 5_000_000, &image(1)).await);
    (archiver, position)
}

#[tokio::test]
async fn a_snapshot_comes_back_and_the_log_from_its_position_on() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let (_archiver, position) = with_snapshot(&rig, &store, Keep::default()).await;
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let all = archive.plan(Until::End, Begin::First).unwrap();
    let plan = archive.plan(Until::End, Begin::Snapshot(Reach::Upto)).unwrap();
    assert!(plan.segments() < all.segments(), "{plan:?}");
    let entry = plan.snapshot.clone().unwrap();
    assert_eq!(entry.position, position.get());

    let place = tempfile::tempdir().unwrap();
    let (file, log) = (place.path().join("snapshot"), place.path().join("log"));
    archive.fetch_snapshot(&entry, &file, |_| {}).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == image(1));
    archive.fetch(&plan, &log, |_| {}).await.unwrap();
    let wanted: Vec<_> = rig.records().into_iter().filter(|(start, _)| position <= *start).collect();
    assert_eq!(records(open(&log).reader(position).unwrap()), wanted);
}

#[tokio::test]
async fn a_target_gets_the_newest_snapshot_that_holds_nothing_beyond_it() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let (mut archiver, first) = with_snapshot(&rig, &store, Keep::default()).await;
    let end = archiver.archived();
    assert!(put(&mut archiver, end, 9_000_000, b"small").await);
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let chosen =
        |until| archive.plan(until, Begin::Snapshot(Reach::Upto)).unwrap().snapshot.map(|entry| entry.position);
    for (until, expected) in [
        (Until::End, Some(end)),
        (Until::Position(end), Some(end)),
        (Until::Position(Lsn::new(end.get() - 1)), Some(first)),
        (Until::Position(first), Some(first)),
        (Until::Position(Lsn::new(first.get() - 1)), None),
        (Until::Time(9_000_000), Some(end)),
        (Until::Time(8_999_999), Some(first)),
        (Until::Time(4_999_999), None),
        // The log is there from its beginning: what is looked for may come before any snapshot.
        (Until::Somewhere, None),
    ] {
        assert_eq!(chosen(until), expected.map(Lsn::get), "{until:?}");
    }
}

#[tokio::test]
async fn an_interrupted_fetch_of_a_snapshot_goes_on_behind_its_last_whole_piece() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let _archiver = with_snapshot(&rig, &store, Keep::default()).await;
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let entry = archive.plan(Until::End, Begin::Snapshot(Reach::Upto)).unwrap().snapshot.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (file, partial) = (place.path().join("snapshot"), place.path().join("snapshot.partial"));
    let whole = image(1);
    let mut torn = whole[..(32 << 20) + 3].to_vec();
    torn.extend([0; 9]);
    // (what is there, how many pieces are fetched)
    for (left, pieces) in [(&whole[..32 << 20], 1), (&torn, 1), (&whole[..1000], 2), (&[], 2), (&whole, 0)] {
        std::fs::write(&partial, left).unwrap();
        let mut fetched = 0;
        archive.fetch_snapshot(&entry, &file, |_| fetched += 1).await.unwrap();
        assert_eq!(fetched, pieces);
        assert!(std::fs::read(&file).unwrap() == whole);
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn what_need_not_be_kept_goes_and_all_that_is_promised_stays() {
    let (rig, (objects, store)) = (Rig::new(), memory());
    let keep = Keep { snapshots: Some(1), age: None };
    let (mut archiver, position) = with_snapshot(&rig, &store, keep).await;
    let size = rig.wal.segment_size();
    assert_eq!(archiver.first(), size.first_in(size.base_of(position)), "what came before the only snapshot is gone");

    // A second one takes the place of the first.
    let second = rig.append(900);
    archiver.finish().await.unwrap();
    assert!(put(&mut archiver, second, 9_000_000, &image(2)).await);
    assert_eq!(archiver.first(), size.first_in(size.base_of(second)));
    let nothing = orphans(&store, &name(), None, Duration::ZERO, true).await.unwrap();
    assert_eq!(nothing.objects, Vec::<String>::new());
    let left: Vec<_> = objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    let of = |what: &str| left.iter().filter(|name| name.contains(what)).count();
    assert_eq!((of("/snapshots/"), of("/segments/")), (3, 0), "{left:?}");

    // An archiver that finds it so goes on, and what follows the snapshot comes back.
    rig.append(900);
    let mut archiver = rig.archiver(&store, &settings(keep)).await;
    archiver.finish().await.unwrap();
    let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, []);
    let early = archive.plan(Until::Position(position), Begin::Snapshot(Reach::Upto)).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::TooOld);
    let plan = archive.plan(Until::End, Begin::Snapshot(Reach::Upto)).unwrap();
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&plan, place.path(), |_| {}).await.unwrap();
    let wanted: Vec<_> = rig.records().into_iter().filter(|(start, _)| second <= *start).collect();
    assert_eq!(records(open(place.path()).reader(second).unwrap()), wanted);
    // A mark may be anywhere in what is left: it is looked for from the oldest snapshot on.
    assert!(archive.plan(Until::Somewhere, Begin::Snapshot(Reach::Upto)).unwrap().snapshot.is_some());

    // A copy of it is as good.
    let (_, other) = memory();
    copy(&store, &other, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    let archive = Archive::open(&[other], &name(), None).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, []);
}

#[tokio::test]
async fn an_old_snapshot_whose_list_is_gone_is_forgotten_and_its_pieces_are_found_by_who_looks() {
    let (rig, (objects, store)) = (Rig::new(), memory());
    let (mut archiver, _) = with_snapshot(&rig, &store, Keep { snapshots: Some(1), age: None }).await;
    let all: Vec<_> = objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    let list = all.iter().find(|path| path.as_ref().contains("/list-")).unwrap();
    objects.delete(list).await.unwrap();
    let second = archiver.archived();
    assert!(put(&mut archiver, second, 9_000_000, b"small").await);
    assert_eq!(archiver.first(), rig.wal.segment_size().first_in(rig.wal.segment_size().base_of(second)));
    assert_eq!(orphans(&store, &name(), None, Duration::ZERO, false).await.unwrap().objects.len(), 2, "its pieces");
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, []);
}

#[tokio::test]
async fn nothing_goes_before_a_snapshot_that_is_not_whole_itself() {
    let (rig, (objects, store)) = (Rig::new(), memory());
    let (mut archiver, position) = with_snapshot(&rig, &store, Keep::default()).await;
    let all: Vec<_> = objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    let piece = all.iter().find(|path| path.as_ref().contains("/000001-")).unwrap();
    objects.delete(piece).await.unwrap();
    let keep = Keep { snapshots: Some(1), age: None };
    let refused = forget(&store, &name(), None, &keep, false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Gap, "{refused}");
    assert!(refused.to_string().contains(piece.as_ref()), "{refused}");
    let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
    assert!(archive.first() < position, "all of it is there");
    // The next one takes its place.
    let second = archiver.archived();
    assert!(put(&mut archiver, second, 9_000_000, b"small").await);
    forget(&store, &name(), None, &keep, false).await.unwrap();
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, []);
}

/// All that lies in a store, with its bytes.
async fn held(objects: &InMemory) -> Vec<(Path, Bytes)> {
    let mut all: Vec<Path> = objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    all.sort();
    let mut held = Vec::new();
    for path in all {
        let bytes = objects.get(&path).await.unwrap().bytes().await.unwrap();
        held.push((path, bytes));
    }
    held
}

async fn damage(objects: &InMemory, path: &Path, damaged: Option<Vec<u8>>) {
    match damaged {
        Some(bytes) => objects.put(path, bytes.into()).await.map(|_| ()).unwrap(),
        None => objects.delete(path).await.unwrap(),
    }
}

#[tokio::test]
async fn nothing_goes_while_an_object_of_what_would_be_kept_is_gone_or_damaged() {
    let (rig, (objects, store)) = (Rig::new(), memory());
    let (mut archiver, _) = with_snapshot(&rig, &store, Keep::default()).await;
    let second = rig.append(900);
    rig.append_segments(2);
    rig.append(10);
    archiver.finish().await.unwrap();
    assert!(put(&mut archiver, second, 9_000_000, b"small").await);
    let keep = Keep { snapshots: Some(1), age: None };
    let removed = forget(&store, &name(), None, &keep, true).await.unwrap().objects;
    let base = rig.wal.segment_size().base_of(second);
    let of_second = format!("/{:020}/", second.get());
    let mut looked_at = 0;
    for (path, whole) in held(&objects).await {
        let is_of = |part: &str| path.as_ref().contains(part);
        if removed.contains(&path.to_string()) || is_of("/manifest") {
            continue;
        }
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 2] ^= 1;
        // What is in the log is told by its digest alone: that is for `verify`.
        let flipped = is_of(&of_second).then_some(Some(flipped));
        for damaged in [Some(None), Some(Some(whole[1..].to_vec())), flipped].into_iter().flatten() {
            let expected = if damaged.is_some() { ErrorKind::Corrupt } else { ErrorKind::Gap };
            damage(&objects, &path, damaged).await;
            let before = held(&objects).await;
            for plan_only in [true, false] {
                let refused = forget(&store, &name(), None, &keep, plan_only).await.unwrap_err();
                assert_eq!(refused.kind(), expected, "{refused}");
                let told = refused.to_string();
                assert!(told.contains(path.as_ref()) && told.contains("nothing is forgotten"), "{told}");
            }
            assert!(held(&objects).await == before, "nothing was changed");
            looked_at += 1;
        }
        objects.put(&path, whole.into()).await.unwrap();
    }
    // A list, a piece, the segments from the snapshot's on, and the tail.
    assert!(3 + 3 + 2 * (2 + 1) <= looked_at, "{looked_at} behind {base}");
    assert_eq!(forget(&store, &name(), None, &keep, false).await.unwrap().objects, removed);
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, []);
}

#[tokio::test]
async fn an_archiver_forgets_nothing_while_the_log_behind_the_snapshot_that_it_keeps_has_a_hole() {
    let (rig, (objects, store)) = (Rig::new(), memory());
    let keep = Keep { snapshots: Some(2), age: None };
    let (mut archiver, _) = with_snapshot(&rig, &store, keep).await;
    let second = rig.append(10);
    rig.append_segments(2);
    archiver.finish().await.unwrap();
    assert!(put(&mut archiver, second, 9_000_000, b"small").await);
    let base = rig.wal.segment_size().base_of(second);
    let behind = format!("/{:020}-", base.get());
    let segment = held(&objects).await.into_iter().find(|(path, _)| path.as_ref().contains(&behind)).unwrap();
    objects.delete(&segment.0).await.unwrap();
    let (first, third) = (archiver.first(), archiver.archived());
    assert!(put(&mut archiver, third, 10_000_000, b"small").await, "it is archived in any case");
    assert_eq!(archiver.first(), first);
    objects.put(&segment.0, segment.1.into()).await.unwrap();
    let fourth = archiver.archived();
    assert!(put(&mut archiver, fourth, 11_000_000, b"small").await);
    assert!(first < archiver.first());
}

#[tokio::test]
async fn a_snapshot_of_what_is_not_archived_is_none_and_one_that_was_ended_leaves_nothing_named() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let mut archiver = rig.archiver(&store, &settings(Keep::default())).await;
    rig.append(10);
    archiver.finish().await.unwrap();
    let beyond = rig.append(10);
    assert!(!put(&mut archiver, beyond, 1, b"x").await);
    archiver.finish().await.unwrap();
    let facts = SnapshotFacts { position: beyond, time: 1 };
    assert!(!archiver.put_snapshot(facts, &b"x"[..], |_| ControlFlow::Break(())).await.unwrap());
    assert_eq!(archiver.snapshot(), None);
    let left = orphans(&store, &name(), None, Duration::ZERO, false).await.unwrap();
    assert_eq!(left.objects.len(), 1);
    assert!(put(&mut archiver, beyond, 1, b"x").await);
    assert_eq!(archiver.snapshot(), Some((beyond, 1)));
}

#[tokio::test]
async fn the_log_goes_on_being_archived_while_a_snapshot_is_sent() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let mut archiver = rig.archiver(&store, &settings(Keep::default())).await;
    let position = rig.append(10);
    archiver.finish().await.unwrap();
    let mut ends = Vec::new();
    let watch = |round: longshore_archive::Round| {
        ends.push(round.archived);
        rig.append(10);
        ControlFlow::Continue(())
    };
    archiver.put_snapshot(SnapshotFacts { position, time: 1 }, &image(1)[..], watch).await.unwrap();
    assert_eq!(ends.len(), 2);
    assert!(position <= ends[0] && ends[0] < ends[1], "{ends:?}");
}

#[tokio::test]
async fn a_snapshot_that_a_clean_up_has_taken_for_waste_while_it_was_sent_is_none() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let mut archiver = rig.archiver(&store, &settings(Keep::default())).await;
    let position = rig.append(10);
    archiver.finish().await.unwrap();
    let (log, mut removed) = (name(), 0);
    let clean_up = |_| {
        let orphans = orphans(&store, &log, None, Duration::ZERO, false).now_or_never().expect("memory does not wait");
        removed += orphans.unwrap().objects.len();
        ControlFlow::Continue(())
    };
    let facts = SnapshotFacts { position, time: 1 };
    assert!(!archiver.put_snapshot(facts, &image(1)[..], clean_up).await.unwrap());
    assert_eq!((removed, archiver.snapshot()), (2, None));
    assert!(put(&mut archiver, position, 1, &image(1)).await);
}

#[tokio::test]
async fn f_121_f_122_every_object_of_a_snapshot_that_is_damaged_or_gone_is_named_and_taken_from_another_store() {
    let rig = Rig::new();
    let ((broken, first), (_, second)) = (memory(), memory());
    let _archiver = with_snapshot(&rig, &first, Keep::default()).await;
    copy(&first, &second, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    let all: Vec<_> = broken.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    let of_snapshot: Vec<_> = all.into_iter().filter(|path| path.as_ref().contains("/snapshots/")).collect();
    assert_eq!(of_snapshot.len(), 3);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("snapshot");
    for object in &of_snapshot {
        let whole = broken.get(object).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        for damage in [Some(flipped), Some(whole[..whole.len() / 2].to_vec()), None] {
            match &damage {
                Some(bytes) => broken.put(object, bytes.clone().into()).await.map(|_| ()).unwrap(),
                None => broken.delete(object).await.unwrap(),
            }
            let alone = Archive::open(std::slice::from_ref(&first), &name(), None).await.unwrap();
            let entry = alone.plan(Until::End, Begin::Snapshot(Reach::Upto)).unwrap().snapshot.unwrap();
            let refused = alone.fetch_snapshot(&entry, &file, |_| {}).await.unwrap_err();
            let expected = if damage.is_some() { ErrorKind::Corrupt } else { ErrorKind::Gap };
            assert_eq!(refused.kind(), expected, "{refused}");
            assert!(refused.to_string().contains(object.as_ref()), "{refused}");
            assert_eq!(verify(&alone, |_| {}).await.unwrap().findings.len(), 1);
            let both = Archive::open(&[first.clone(), second.clone()], &name(), None).await.unwrap();
            both.fetch_snapshot(&entry, &file, |_| {}).await.unwrap();
            assert!(std::fs::read(&file).unwrap() == image(1));
            std::fs::remove_file(&file).unwrap();
        }
        broken.put(object, whole.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_of_which_no_store_has_all_is_put_together_from_what_each_has() {
    let rig = Rig::new();
    let ((in_first, first), (in_second, second)) = (memory(), memory());
    let _archiver = with_snapshot(&rig, &first, Keep::default()).await;
    copy(&first, &second, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    let whole = held(&in_first).await;
    // In the order of their names: two pieces, and the list of them.
    let of_snapshot = Vec::from_iter(whole.iter().filter(|(path, _)| path.as_ref().contains("/snapshots/")));
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("snapshot");
    // Which of the three each store has lost, and whether nothing is lost in both.
    for (lost_first, lost_second, is_there) in [
        (&[0][..], &[1][..], true),
        (&[1], &[0], true),
        (&[2], &[0, 1], true),
        (&[0, 2], &[1], true),
        (&[0, 1], &[2], true),
        (&[1], &[1, 2], false),
    ] {
        for (objects, lost) in [(&in_first, lost_first), (&in_second, lost_second)] {
            for (at, (path, bytes)) in of_snapshot.iter().enumerate() {
                let kept = if lost.contains(&at) { bytes.slice(1..) } else { bytes.clone() };
                objects.put(path, kept.into()).await.unwrap();
            }
        }
        for stores in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
            let archive = Archive::open(&stores, &name(), None).await.unwrap();
            let entry = archive.plan(Until::End, Begin::Snapshot(Reach::Upto)).unwrap().snapshot.unwrap();
            let fetched = archive.fetch_snapshot(&entry, &file, |_| {}).await;
            assert_eq!(fetched.is_ok(), is_there, "{lost_first:?} {lost_second:?}: {fetched:?}");
            match fetched {
                Ok(()) => assert!(std::fs::read(&file).unwrap() == image(1)),
                Err(refused) => assert!(refused.is_of_snapshot(), "{refused}"),
            }
            let _none = std::fs::remove_file(&file);
            let _none = std::fs::remove_file(place.path().join("snapshot.partial"));
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_was_proven_is_looked_for_and_not_fetched_again() {
    let rig = Rig::new();
    let (objects, store) = memory();
    let _archiver = with_snapshot(&rig, &store, Keep::default()).await;
    let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
    let first = verify(&archive, |_| {}).await.unwrap();
    let second = verify_since(&archive, &first.proven, |_| {}).await.unwrap();
    assert_eq!((&second.findings[..], second.proven == first.proven), (&[][..], true));
    assert_eq!(second.objects + second.known, second.of);
    assert!(second.bytes < 33 << 20, "only its list and what is not sealed: {second:?}");
    // What it is remembered by is read by whoever looks next, and was written by one who remembered no snapshots.
    let mut written = serde_json::to_value(&first.proven).unwrap();
    assert_eq!(serde_json::from_value::<Proven>(written.clone()).unwrap(), first.proven);
    written[0].as_object_mut().unwrap().remove("snapshots").unwrap();
    let before: Proven = serde_json::from_value(written).unwrap();
    assert_eq!(verify_since(&archive, &before, |_| {}).await.unwrap().proven, first.proven);

    let all: Vec<_> = objects.list(None).map_ok(|meta| (meta.size, meta.location)).try_collect().await.unwrap();
    let (_, piece) = all.into_iter().max().unwrap();
    let whole = objects.get(&piece).await.unwrap().bytes().await.unwrap();
    objects.put(&piece, whole.slice(1..).into()).await.unwrap();
    for is_gone in [false, true] {
        if is_gone {
            objects.delete(&piece).await.unwrap();
        }
        let found = verify_since(&archive, &first.proven, |_| {}).await.unwrap();
        let is_named = match &found.findings[..] {
            [Finding::Corrupt { object, .. }] => !is_gone && *object == piece.to_string(),
            [Finding::Missing { object, .. }] => is_gone && *object == piece.to_string(),
            _ => false,
        };
        assert!(is_named, "{:?}", found.findings);
        assert_ne!(found.proven, first.proven, "it is fetched by whoever looks next");
    }
}

#[tokio::test]
async fn a_snapshot_is_due_as_scheduled() {
    let (rig, (_, store)) = (Rig::new(), memory());
    let snapshots = Schedule { every: None, after: Some(10_000) };
    let mut archiver = rig.archiver(&store, &ArchiveSettings { snapshots, ..settings(Keep::default()) }).await;
    assert!(!archiver.is_snapshot_due());
    rig.append(200);
    let end = archiver.finish().await.unwrap();
    assert!(archiver.is_snapshot_due());
    assert!(put(&mut archiver, end, 1, b"x").await);
    assert!(!archiver.is_snapshot_due());
}

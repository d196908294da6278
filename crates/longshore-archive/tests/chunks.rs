//! A manifest that keeps its oldest entries in objects of their own: one of them that does not hold hides no more than it names.

#[path = "support/chunked.rs"]
mod chunked;
mod support;

use std::sync::Arc;
use std::time::Duration;

use chunked::in_two_chunks;
use longshore_archive::{Archive, ArchiveSettings, Begin, Reach, SnapshotFacts, Store, Until, list, verify};
use longshore_format::{ErrorKind, Lsn};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use support::{Rig, name, open, records};

fn at_once() -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() }
}

fn memory(label: &str) -> (Arc<InMemory>, Store) {
    let objects = Arc::new(InMemory::new());
    (Arc::clone(&objects), Store::of(objects, label))
}

async fn opened(stores: &[&Store]) -> Archive {
    let stores: Vec<Store> = stores.iter().map(|store| (*store).clone()).collect();
    Archive::open(&stores, &name(), None).await.unwrap()
}

/// What is damaged in each way that there is.
fn damages(whole: &[u8]) -> [(&'static str, Option<Vec<u8>>); 3] {
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    [("flipped", Some(flipped)), ("cut", Some(whole[..whole.len() / 2].to_vec())), ("gone", None)]
}

async fn damage(objects: &InMemory, path: &ObjectPath, damaged: Option<Vec<u8>>) {
    match damaged {
        Some(bytes) => objects.put(path, bytes.into()).await.map(|_| ()).unwrap(),
        None => objects.delete(path).await.unwrap(),
    }
}

async fn comes_back(rig: &Rig, archive: &Archive, begin: Begin) {
    let place = tempfile::tempdir().unwrap();
    let plan = archive.plan(Until::End, begin).unwrap();
    archive.fetch(&plan, place.path(), |_| {}).await.unwrap();
    let log = open(place.path());
    let (first, ours) = (log.first(), records(log.reader(log.first()).unwrap()));
    let theirs: Vec<_> = rig.records().into_iter().filter(|(start, _)| first <= *start).collect();
    assert!(!ours.is_empty() && ours == theirs);
}

#[tokio::test]
async fn a_chunk_that_does_not_hold_hides_its_own_segments_and_no_other() {
    let ((objects, store), (_, good)) = (memory("bad"), memory("good"));
    let rig = Rig::new();
    rig.append(1200);
    rig.seal();
    let mut archiver = rig.archiver(&store, &at_once()).await;
    archiver.finish().await.unwrap();
    rig.archiver(&good, &at_once()).await.finish().await.unwrap();
    let (id, size) = (rig.wal.id(), rig.wal.segment_size());
    let position = rig.records().iter().map(|(start, _)| *start).find(|start| 6 * size.get() < start.get()).unwrap();
    archiver
        .put_snapshot(SnapshotFacts { position, time: 1 }, &b"image"[..], |_| std::ops::ControlFlow::Continue(()))
        .await
        .unwrap();
    let chunks = in_two_chunks(&objects, id, 3).await;
    let segments = list(&store, None).await.unwrap()[0].1.as_ref().unwrap().segments;
    assert!(7 < segments, "{segments} segments");
    let whole = verify(&opened(&[&store]).await, |_| {}).await.unwrap();
    assert_eq!((whole.findings, whole.objects), (vec![], whole.of));
    comes_back(&rig, &opened(&[&store]).await, Begin::First).await;

    for (at, path) in chunks.iter().enumerate() {
        let bytes = objects.get(path).await.unwrap().bytes().await.unwrap();
        for (what, damaged) in damages(&bytes) {
            damage(&objects, path, damaged).await;
            let archive = opened(&[&store]).await;
            let (start, end) = (at as u64 * 3 * size.get(), (at as u64 + 1) * 3 * size.get());
            let verified = verify(&archive, |_| {}).await.unwrap();
            let [finding] = &verified.findings[..] else { panic!("{what}: {verified:?}") };
            assert_eq!(finding.range(), Some((Lsn::new(start), Lsn::new(end))), "{what}");
            assert_eq!(verified.objects, whole.of - 3, "{what}: all others are looked at");
            // From the first segment behind it on only the snapshot leads to the rest.
            let (first, end) = (archive.first(), archive.end());
            let before = (at == 1).then(|| (first, size.first_in(Lsn::new(3 * size.get()))));
            let ranges: Vec<_> = before.into_iter().chain([(position, end)]).collect();
            assert_eq!(archive.restorable(&verified.findings), ranges, "{what}");
            let both = opened(&[&store, &good]).await;
            let found = verify(&both, |_| {}).await.unwrap().findings;
            assert_eq!(both.restorable(&found), [(first, end)], "{what}: the other store has it");
            // What needs it is refused, and says why.
            let refused = archive.plan(Until::End, Begin::First).unwrap_err();
            assert!(refused.to_string().contains(&path.to_string()), "{what}: {refused}");
            assert_eq!(refused.kind(), if what == "gone" { ErrorKind::Gap } else { ErrorKind::Corrupt });
            let refused = archive.read_from(Lsn::new(start).max(archive.first())).await.unwrap_err();
            assert!(refused.to_string().contains(&path.to_string()), "{what}: {refused}");
            // What does not need it comes back: what is before it, and what is behind it.
            let last = Until::Position(size.first_in(Lsn::new(3 * size.get())));
            assert_eq!(archive.plan(last, Begin::First).is_ok(), at == 1, "{what}");
            let after = Until::Position(Lsn::new(3 * size.get() + 5000));
            assert!(archive.plan(after, Begin::First).is_err(), "{what}");
            comes_back(&rig, &archive, Begin::Snapshot(Reach::Upto)).await;
            // And with another store all of it does, whichever is named first.
            comes_back(&rig, &opened(&[&store, &good]).await, Begin::First).await;
            comes_back(&rig, &opened(&[&good, &store]).await, Begin::First).await;
            damage(&objects, path, Some(bytes.to_vec())).await;
        }
    }
}

#[tokio::test]
async fn a_manifest_that_does_not_hold_hides_no_other_log_and_is_told_of() {
    let ((objects, store), (_, good)) = (memory("bad"), memory("good"));
    let rig = Rig::new();
    rig.append(5);
    for store in [&store, &good] {
        rig.archiver(store, &at_once()).await.finish().await.unwrap();
    }
    let manifest = objects.get(&"app/manifest".into()).await.unwrap().bytes().await.unwrap();
    for (log, damaged) in ["cut", "zzz"].into_iter().zip([manifest[..99].to_vec(), b"not a manifest".to_vec()]) {
        objects.put(&format!("{log}/manifest").into(), damaged.into()).await.unwrap();
    }
    let mut logs = list(&store, None).await.unwrap();
    logs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let told: Vec<_> =
        logs.iter().map(|(log, listed)| (log.as_str(), listed.as_ref().err().map(|e| e.kind()))).collect();
    assert_eq!(told, [("app", None), ("cut", Some(ErrorKind::Corrupt)), ("zzz", Some(ErrorKind::Corrupt))]);
    assert!(logs[2].1.as_ref().unwrap_err().to_string().contains("zzz/manifest"));

    objects.put(&"app/manifest".into(), b"not a manifest".to_vec().into()).await.unwrap();
    let archive = opened(&[&store, &good]).await;
    comes_back(&rig, &archive, Begin::First).await;
    let [passed_over] = archive.passed_over() else { panic!("one store is passed over") };
    assert!(passed_over.kind() == ErrorKind::Corrupt && passed_over.to_string().contains("app/manifest"));
    assert!(opened(&[&good]).await.passed_over().is_empty());
}

//! A later epoch that began before where the archive ends: what lies beyond is named by nobody who goes on, and comes back by
//! itself.

#[path = "support/chunked.rs"]
mod chunked;
mod support;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use chunked::in_two_chunks;
use longshore_archive::{
    Archive, ArchiveSettings, Begin, CopyPlan, Finding, ForkEntry, Keep, SnapshotFacts, Store, Until, copy, list,
    orphans, verify, verify_since,
};
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::RecordDraft;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use support::{Rig, name, open, records};

fn at_once() -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, level: None, ..ArchiveSettings::default() }
}

fn memory() -> (Arc<InMemory>, Store) {
    let objects = Arc::new(InMemory::new());
    (Arc::clone(&objects), Store::of(objects, "memory"))
}

async fn opened(store: &Store) -> Archive {
    Archive::open(std::slice::from_ref(store), &name(), None).await.unwrap()
}

async fn archive(rig: &Rig, store: &Store) -> Lsn {
    rig.archiver(store, &at_once()).await.finish().await.unwrap()
}

async fn forks(store: &Store) -> Vec<ForkEntry> {
    list(store, None).await.unwrap().remove(0).1.unwrap().forks
}

/// Fetches all of it, and compares it with the log it came from.
async fn comes_back(rig: &Rig, archive: &Archive) {
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    let log = open(place.path());
    assert_eq!(log.end(), archive.end());
    let (ours, theirs) = (records(log.reader(log.first()).unwrap()), rig.records());
    assert!(ours == theirs[..ours.len()], "{} records", ours.len());
}

/// Both branches are there, nothing of the one is part of the other, and nothing is taken for waste.
async fn both_come_back(store: &Store, live: &Rig, dead: &Rig, fork: Lsn) {
    let archive = opened(store).await;
    assert_eq!(archive.end(), live.wal.end());
    comes_back(live, &archive).await;
    let found = verify(&archive, |_| {}).await.unwrap();
    assert_eq!((&found.findings[..], found.objects), (&[][..], found.of));
    // The next look fetches what may still grow, and nothing of a branch.
    let again = verify_since(&archive, &found.proven, |_| {}).await.unwrap();
    assert_eq!((&again.findings[..], again.objects + again.known, &again.proven), (&[][..], found.of, &found.proven));
    let whole = archive.plan(Until::End, Begin::First).unwrap();
    assert_eq!(again.objects, whole.objects() - whole.segments());
    let [entry] = &forks(store).await[..] else { panic!("one branch is set aside") };
    assert_eq!((entry.start, entry.end), (fork.get(), dead.wal.end().get()));
    let branch = opened(store).await.branch(entry.epoch).await.unwrap();
    assert_eq!(branch.end(), dead.wal.end());
    comes_back(dead, &branch).await;
    assert_eq!(opened(store).await.branch(99).await.unwrap_err().kind(), ErrorKind::NotFound);
    let waste = orphans(store, &name(), None, Duration::ZERO, true).await.unwrap();
    assert_eq!(waste.objects, Vec::<String>::new());
}

#[tokio::test]
async fn a_branch_is_set_aside_wherever_the_fork_lies_and_both_come_back() {
    // Segments before the fork, and beyond it: two chunks of three each, and the rest in the manifest itself.
    for (before, in_chunks) in
        [(0, true), (1, true), (2, true), (3, true), (4, true), (5, true), (6, true), (8, true), (2, false)]
    {
        let (objects, store) = memory();
        let rig = Rig::new();
        if 0 < before {
            rig.append_segments(before);
        }
        rig.append(3);
        let fork = rig.wal.end();
        let live = rig.twin();
        rig.append_segments(10 - before);
        archive(&rig, &store).await;
        if in_chunks {
            in_two_chunks(&objects, rig.wal.id(), 3).await;
        }
        live.append_other(30);
        archive(&live, &store).await;
        both_come_back(&store, &live, &rig, fork).await;

        // The old writer learns that it is fenced.
        rig.append(1);
        let refused = longshore_archive::Archiver::open(store.clone(), name(), rig.wal.clone(), at_once()).await;
        assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Fenced));
        // What is copied holds both, too, and what is gone of the branch is told.
        let (other, target) = memory();
        copy(&store, &target, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
        let [entry] = &forks(&target).await[..] else { panic!("it goes along") };
        comes_back(&live, &opened(&target).await).await;
        let branch = opened(&target).await.branch(entry.epoch).await.unwrap();
        let last = branch.plan(Until::End, Begin::First).unwrap();
        assert!(0 < last.segments());
        other.delete(&format!("app/{}", entry.earlier).as_str().into()).await.unwrap();
        let found = verify(&opened(&target).await, |_| {}).await.unwrap().findings;
        assert!(
            matches!(&found[..], [Finding::Missing { object, .. }] if object.ends_with(&entry.earlier)),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_follower_that_is_behind_what_is_archived_parts_from_that_when_its_log_does() {
    for meets_a_boundary in [true, false] {
        let (_, store) = memory();
        let rig = Rig::new();
        rig.append(3);
        let fork = rig.wal.end();
        let (live, follower) = (rig.twin(), rig.follower());
        let archived = append_one(&rig, 4000);
        archive(&rig, &store).await;
        // It waits for the rest of what is archived, and gets what went on without that.
        let mut archiver = follower.archiver(&store, &at_once()).await;
        assert_eq!(archiver.archived(), archived);
        if meets_a_boundary {
            let frame = archived.since(fork) - 4000;
            assert_eq!(append_one(&live, (archived.since(live.wal.end()) - frame) as usize), archived);
        }
        live.append_other(60);
        follower.follow(&live);
        assert!(archived < follower.wal.end());
        assert_eq!(archiver.finish().await.unwrap(), follower.wal.end());
        both_come_back(&store, &live, &rig, fork).await;
    }
}

fn append_one(rig: &Rig, len: usize) -> Lsn {
    let end = rig.wal.append(&[RecordDraft::user(&vec![b'x'; len])], None).unwrap().end;
    rig.wal.wait_blocking(end, None).unwrap();
    end
}

#[tokio::test]
async fn a_fork_more_than_a_thousand_segments_back_leaves_nothing_of_the_branch_in_the_manifest() {
    let (_, store) = memory();
    let rig = Rig::new();
    rig.append_segments(500);
    let fork = rig.wal.end();
    let live = rig.twin();
    rig.append_segments(1510);
    archive(&rig, &store).await;
    let chunks = store.list("app/chunks").await.unwrap();
    assert_eq!(chunks.len(), 1, "the fork lies in it");

    live.append_other(500);
    archive(&live, &store).await;
    let archive = opened(&store).await;
    assert_eq!(archive.end(), live.wal.end());
    let segments = archive.plan(Until::End, Begin::First).unwrap().segments();
    assert!((500..510).contains(&segments), "{segments} segments");
    both_come_back(&store, &live, &rig, fork).await;
}

#[tokio::test]
async fn a_branch_goes_once_all_that_is_kept_was_written_after_it() {
    let (objects, store) = memory();
    let rig = Rig::new();
    rig.append_segments(4);
    let live = rig.twin();
    rig.append_segments(5);
    archive(&rig, &store).await;
    in_two_chunks(&objects, rig.wal.id(), 3).await;
    live.append_other(200);
    live.seal();
    let keep = Keep { snapshots: Some(1), age: None };
    let mut archiver = live.archiver(&store, &ArchiveSettings { keep, ..at_once() }).await;
    let end = archiver.finish().await.unwrap();
    assert_eq!(forks(&store).await.len(), 1);
    let facts = SnapshotFacts { position: end, time: 1 };
    assert!(archiver.put_snapshot(facts, &b"image"[..], |_| ControlFlow::Continue(())).await.unwrap());
    assert_eq!(forks(&store).await, []);
    assert_eq!(opened(&store).await.first(), live.wal.segment_size().first_in(live.wal.segment_size().base_of(end)));
    let waste = orphans(&store, &name(), None, Duration::ZERO, true).await.unwrap();
    assert_eq!(waste.objects, Vec::<String>::new(), "nor is anything of it left");
    let found = verify(&opened(&store).await, |_| {}).await.unwrap().findings;
    assert_eq!(found, []);
}

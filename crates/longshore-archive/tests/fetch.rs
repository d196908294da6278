//! What is fetched is what was sealed, to the last byte, however often a fetch is given up and begun again.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use longshore_archive::{Archive, ArchiveSettings, Begin, Finding, Store, Until, verify};
use longshore_format::ErrorKind;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name, open, records};

fn plain() -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, level: None, ..ArchiveSettings::default() }
}

/// F-121: the segment's digest does not cover its footer, and the object's header is not covered by the object's digest.
#[tokio::test]
async fn f_121_whichever_byte_of_a_segment_is_flipped_it_is_found_and_not_laid_out() {
    let objects = Arc::new(InMemory::new());
    let store = Store::of(objects.clone(), "memory");
    let rig = Rig::new();
    rig.append(250);
    rig.seal();
    rig.archiver(&store, &plain()).await.finish().await.unwrap();
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let plan = archive.plan(Until::End, Begin::First).unwrap();
    let path = {
        use futures_util::TryStreamExt;
        let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
        listed.into_iter().map(|meta| meta.location).find(|path| path.as_ref().contains("/segments/")).unwrap()
    };
    let whole = objects.get(&path).await.unwrap().bytes().await.unwrap();
    let file = format!("{}.seg", path.filename().unwrap().split_once('-').unwrap().0);
    let (header, footer) = (60, whole.len() - 4096);
    let positions = (0..header).chain((header..footer).step_by(997)).chain((footer..whole.len()).step_by(31));
    for at in positions.chain([whole.len() - 1]) {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x10;
        objects.put(&path, flipped.into()).await.unwrap();
        let verified = verify(&archive, |_| {}).await.unwrap_or_else(|error| panic!("byte {at}: {error}"));
        let [Finding::Corrupt { object, .. }] = &verified.findings[..] else { panic!("byte {at}: {verified:?}") };
        assert_eq!(*object, path.to_string(), "byte {at}");
        let place = tempfile::tempdir().unwrap();
        let refused = archive.fetch(&plan, place.path(), |_| {}).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "byte {at}: {refused}");
        assert!(!place.path().join(&file).exists(), "byte {at}");
    }
    objects.put(&path, whole.into()).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, []);
}

/// Where a fetch had laid out the beginning of a segment, the next one finds that segment sealed.
#[tokio::test]
async fn a_fetch_goes_on_from_an_earlier_one_to_what_was_archived_since() {
    let store = Store::of(Arc::new(InMemory::new()), "memory");
    let rig = Rig::new();
    let mut archiver = rig.archiver(&store, &plain()).await;
    let place = tempfile::tempdir().unwrap();
    for new in [30, 500, 3] {
        rig.append(new);
        rig.seal();
        archiver.finish().await.unwrap();
        let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
        archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
        let log = open(place.path());
        assert_eq!(log.end(), archive.end());
        assert_eq!(records(log.reader(log.first()).unwrap()), rig.records());
    }
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_nothing_that_the_next_one_takes_for_whole() {
    let store = Store::of(Arc::new(InMemory::new()), "memory");
    let rig = Rig::new();
    rig.append(1500);
    rig.seal();
    rig.archiver(&store, &plain()).await.finish().await.unwrap();
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let plan = archive.plan(Until::End, Begin::First).unwrap();
    let place = tempfile::tempdir().unwrap();
    // Dropped at its first wait, with threads of it still writing.
    for _ in 0..20 {
        let _given_up = archive.fetch(&plan, place.path(), |_| {}).now_or_never();
    }
    archive.fetch(&plan, place.path(), |_| {}).await.unwrap();
    let log = open(place.path());
    assert_eq!(records(log.reader(log.first()).unwrap()), rig.records());
}

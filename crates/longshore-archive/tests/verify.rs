//! What an archive lacks, holds damaged, or is about to hold is told apart, and what was proven is not fetched again.

#[path = "support/faulty.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod faulty;
#[allow(dead_code, reason = "shared by several test files")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use longshore_archive::{Archive, ArchiveSettings, Finding, Proven, Store, verify, verify_since};
use longshore_format::Lsn;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name};

struct Stage {
    rig: Rig,
    objects: Arc<InMemory>,
    store: Store,
}

impl Stage {
    async fn new() -> Stage {
        let objects = Arc::new(InMemory::new());
        let store = Store::of(Arc::clone(&objects) as Arc<dyn ObjectStore>, "memory");
        let stage = Stage { rig: Rig::new(), objects, store };
        stage.grow(1500).await;
        stage
    }

    /// More of the log, archived.
    async fn grow(&self, records: usize) {
        self.rig.append(records);
        self.rig.seal();
        let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
        self.rig.archiver(&self.store, &settings).await.finish().await.unwrap();
    }

    async fn open(&self) -> Archive {
        Archive::open(std::slice::from_ref(&self.store), &name(), None).await.unwrap()
    }

    async fn segments(&self) -> Vec<ObjectPath> {
        use futures_util::TryStreamExt;
        let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        let mut names: Vec<_> = listed.into_iter().map(|meta| meta.location).collect();
        names.retain(|name| name.to_string().contains("/segments/"));
        names.sort();
        names
    }

    async fn change(&self, object: &ObjectPath, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.objects.get(object).await.unwrap().bytes().await.unwrap().to_vec();
        change(&mut bytes);
        self.objects.put(object, bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_proven_is_looked_for_and_not_fetched_again() {
    let stage = Stage::new().await;
    let first = verify(&stage.open().await, |_| {}).await.unwrap();
    assert_eq!((first.findings.len(), first.known), (0, 0));
    assert_eq!(first.objects, first.of);
    let segments = stage.segments().await;

    stage.grow(300).await;
    // As it is kept between two runs.
    let proven: Proven = serde_json::from_str(&serde_json::to_string(&first.proven).unwrap()).unwrap();
    let second = verify_since(&stage.open().await, &proven, |_| {}).await.unwrap();
    assert_eq!(second.findings, []);
    assert_eq!(second.known, segments.len() as u64, "all of the first run");
    assert_eq!(second.objects + second.known, second.of);
    assert!(0 < second.objects, "and what is new is fetched");

    // A flip of the same length is found by a look at everything alone; what is gone or cut is found at once.
    stage.change(&segments[2], |bytes| *bytes.last_mut().unwrap() ^= 1).await;
    let archive = stage.open().await;
    assert_eq!(verify_since(&archive, &second.proven, |_| {}).await.unwrap().findings, []);
    let full = verify(&archive, |_| {}).await.unwrap();
    assert!(matches!(&full.findings[..], [Finding::Corrupt { object, .. }] if *object == segments[2].to_string()));
    stage.change(&segments[2], |bytes| bytes.truncate(100)).await;
    stage.objects.delete(&segments[4]).await.unwrap();
    let cut = verify_since(&archive, &second.proven, |_| {}).await.unwrap();
    let [Finding::Corrupt { object, start, end, .. }, Finding::Missing { object: gone, .. }] = &cut.findings[..] else {
        panic!("{:?}", cut.findings);
    };
    assert_eq!((object, gone), (&segments[2].to_string(), &segments[4].to_string()));
    let size = archive.facts().size.get();
    assert_eq!((start.get(), end.get()), (2 * size, 3 * size), "with what it should hold");
    // What is not whole is told each time, also of the first one.
    let again = verify_since(&archive, &cut.proven, |_| {}).await.unwrap();
    assert_eq!((again.findings.len(), again.known), (2, 2));
    stage.change(&segments[0], |bytes| *bytes.last_mut().unwrap() ^= 1).await;
    let mut proven = again.proven.clone();
    proven.update(verify(&archive, |_| {}).await.unwrap().proven);
    assert_eq!(verify_since(&archive, &proven, |_| {}).await.unwrap().findings.len(), 3);
}

#[tokio::test]
async fn an_object_that_nobody_names_is_in_flight_and_no_fault() {
    let stage = Stage::new().await;
    let archive = stage.open().await;
    let size = archive.facts().size.get();
    let beyond = format!("app/segments/0000000001-abc/{:020}-0123456789abcdef", 900 * size);
    stage.objects.put(&beyond.clone().into(), "soon".into()).await.unwrap();
    let verified = verify(&archive, |_| {}).await.unwrap();
    let range = Some((Lsn::new(900 * size), Lsn::new(901 * size)));
    let expected = Finding::InFlight { store: "memory".to_owned(), object: beyond, range, bytes: 4 };
    assert_eq!(verified.findings, std::slice::from_ref(&expected));
    assert!(expected.into_error().is_none());
    assert_eq!(verified.objects, verified.of);
}

#[tokio::test]
async fn what_goes_because_the_archive_goes_on_meanwhile_is_not_missing() {
    let stage = Stage::new().await;
    stage.rig.append(3);
    let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
    stage.rig.archiver(&stage.store, &settings).await.finish().await.unwrap();
    let before = stage.open().await;
    // The tail that the manifest of `before` names becomes a segment, and its objects go.
    stage.grow(400).await;
    let verified = verify(&before, |_| {}).await.unwrap();
    assert!(!verified.findings.iter().any(|finding| matches!(finding, Finding::Missing { .. })), "{verified:?}");
}

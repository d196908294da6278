//! A mark is found again in the archive, wherever it went meanwhile, and nothing else is taken for it.

#[allow(dead_code, reason = "this file uses its part")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use longshore_archive::keys::parse_keys;
use longshore_archive::{ArchiveSettings, Store, archived_to, read_mark};
use longshore_format::{ErrorKind, Lsn, Name};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name};

fn mark(rig: &Rig, name: &str) -> Lsn {
    let position = rig.wal.mark(&name.parse::<Name>().unwrap()).unwrap();
    rig.wal.wait_blocking(position, None).unwrap();
    position
}

#[tokio::test]
async fn a_mark_comes_back_from_the_tail_and_from_a_segment_through_keys() {
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    std::fs::write(&keys, format!("first {}\n", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=")).unwrap();
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let keys = Some(parse_keys(&format!("file:{}", keys.display())).unwrap());
    let settings = ArchiveSettings { tail_every: Duration::ZERO, keys: keys.clone(), ..ArchiveSettings::default() };
    let objects = Arc::new(InMemory::new());
    let store = Store::of(Arc::clone(&objects) as Arc<dyn ObjectStore>, "memory");
    let keys = keys.as_deref();
    let rig = Rig::new();
    let mut archiver = rig.archiver(&store, &settings).await;
    assert_eq!(archived_to(&store, &name(), keys).await.unwrap(), None, "nothing is archived yet");

    let first = mark(&rig, "first-of-all");
    assert_eq!(read_mark(&store, &name(), keys, first).await.unwrap(), None);
    archiver.finish().await.unwrap();
    let record = rig.append(1);
    let second = mark(&rig, "second");
    archiver.finish().await.unwrap();
    assert_eq!(archived_to(&store, &name(), keys).await.unwrap(), Some(second));
    let read = async |position| read_mark(&store, &name(), keys, position).await.unwrap().map(|name| name.to_string());
    assert_eq!(read(first).await.as_deref(), Some("first-of-all"));
    assert_eq!(read(second).await.as_deref(), Some("second"));
    assert_eq!(read(record).await, None, "another record is no mark");
    assert_eq!(read(Lsn::new(second.get() - 8)).await, None, "nothing ends there");

    // Their segment is archived whole, and the next ones after it.
    rig.append(1500);
    rig.seal();
    archiver.finish().await.unwrap();
    assert!(rig.wal.segment_size().base_of(rig.wal.end()) > second, "more than a segment was written");
    assert_eq!(read(first).await.as_deref(), Some("first-of-all"));
    assert_eq!(read(second).await.as_deref(), Some("second"));
    assert_eq!(read(Lsn::new(rig.wal.end().get() + 8)).await, None, "beyond the end there is none");

    let without = read_mark(&store, &name(), None, second).await.unwrap_err();
    assert!(without.to_string().contains("key"), "{without}");
}

#[tokio::test]
async fn an_object_that_is_gone_or_damaged_is_named() {
    let objects = Arc::new(InMemory::new());
    let store = Store::of(Arc::clone(&objects) as Arc<dyn ObjectStore>, "memory");
    let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
    let rig = Rig::new();
    let mut archiver = rig.archiver(&store, &settings).await;
    let position = mark(&rig, "here");
    archiver.finish().await.unwrap();
    let tail = objects.list_with_delimiter(Some(&Path::from("app/tail"))).await.unwrap().common_prefixes.remove(0);
    let object = objects.list_with_delimiter(Some(&tail)).await.unwrap().objects.remove(0).location;
    let good = objects.get(&object).await.unwrap().bytes().await.unwrap();

    let mut bad = good.to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    for (damaged, kind) in [(Some(bad), ErrorKind::Corrupt), (None, ErrorKind::Gap)] {
        match damaged {
            Some(bytes) => objects.put(&object, bytes.into()).await.map(|_| ()).unwrap(),
            None => objects.delete(&object).await.unwrap(),
        }
        let error = read_mark(&store, &name(), None, position).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(object.as_ref()), "{error}");
    }
    objects.put(&object, good.into()).await.unwrap();
    assert_eq!(read_mark(&store, &name(), None, position).await.unwrap().unwrap().as_str(), "here");
}

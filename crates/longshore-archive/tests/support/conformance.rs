//! What an archive relies on, asked of a store: one suite for every kind of store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_archive::keys::{KeyProvider, parse_keys};
use longshore_archive::{
    Archive, ArchiveSettings, Begin, CopyPlan, Finding, Store, Until, copy, list, orphans, verify,
};
use longshore_format::ErrorKind;

use crate::support::{Rig, name, open, records};

/// What a stand-in does not do as the store that it stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Races {
    /// Of several that swap at once, one wins.
    OneWins,
    /// It compares and then writes, so that two may win.
    NotTested,
}

/// The whole suite, of a store that is empty.
pub(crate) async fn conforms(store: &Store, races: Races) {
    objects_are_made_once(store).await;
    a_swap_is_won_once(store, races).await;
    objects_are_listed_with_their_ages(store).await;
    archives_come_back(store, None).await;
    let disk = tempfile::tempdir().unwrap();
    archives_come_back(store, Some(key_file(disk.path()))).await;
}

async fn objects_are_made_once(store: &Store) {
    assert!(store.get("app/a").await.unwrap().is_none());
    assert_eq!(store.len("app/a").await.unwrap(), None);
    assert!(store.create("app/a", "one".into()).await.unwrap());
    assert!(!store.create("app/a", "two".into()).await.unwrap(), "the first one stays");
    assert!(store.create("app/a", "one".into()).await.unwrap(), "the same again, as after an answer that was lost");
    assert_eq!(content(store, "app/a").await.unwrap(), "one");
    for bytes in [Bytes::new(), vec![7; 3 << 20].into()] {
        store.replace("app/a", bytes.clone()).await.unwrap();
        assert_eq!(store.len("app/a").await.unwrap(), Some(bytes.len() as u64));
        assert!(content(store, "app/a").await.unwrap() == bytes);
        let (short, version) = store.get_short("app/a", 100).await.unwrap().unwrap();
        assert_eq!(short, bytes[..bytes.len().min(101)]);
        if bytes.len() <= 100 {
            store.swap("app/a", "short".into(), Some(version)).await.unwrap().expect("what was read may be swapped");
        }
    }
    store.remove("app/a").await.unwrap();
    store.remove("app/a").await.unwrap();
    assert_eq!(content(store, "app/a").await, None);
    assert!(store.get_short("app/a", 100).await.unwrap().is_none());
}

async fn a_swap_is_won_once(store: &Store, races: Races) {
    let first = store.swap("app/swapped", "one".into(), None).await.unwrap().expect("none was seen, and there is none");
    assert!(store.swap("app/swapped", "other".into(), None).await.unwrap().is_none(), "there is one now");
    let second = store.swap("app/swapped", "two".into(), Some(first.clone())).await.unwrap().expect("nobody else did");
    assert!(store.swap("app/swapped", "late".into(), Some(first)).await.unwrap().is_none(), "it was changed since");
    assert_eq!(content(store, "app/swapped").await.unwrap(), "two");
    let (_, read) = store.get("app/swapped").await.unwrap().unwrap();
    let third =
        store.swap("app/swapped", "three".into(), Some(read)).await.unwrap().expect("what was read may be swapped");
    assert!(store.swap("app/swapped", "late".into(), Some(second)).await.unwrap().is_none());
    if races == Races::OneWins {
        let swaps = (0..8).map(|n| store.swap("app/swapped", format!("racer {n}").into(), Some(third.clone())));
        let won = futures_util::future::join_all(swaps).await;
        let winners: Vec<usize> = (0..8).filter(|n| matches!(won[*n], Ok(Some(_)))).collect();
        assert_eq!(winners.len(), 1, "{won:?}");
        assert_eq!(content(store, "app/swapped").await.unwrap(), format!("racer {}", winners[0]));
    }
    store.remove("app/swapped").await.unwrap();
    assert!(store.swap("app/swapped", "late".into(), Some(third)).await.unwrap().is_none(), "it is gone");
    assert_eq!(content(store, "app/swapped").await, None);
}

async fn objects_are_listed_with_their_ages(store: &Store) {
    assert_eq!(store.list("app").await.unwrap(), vec![]);
    for (object, len) in [("app/x", 1), ("app/y/z", 2), ("application/x", 3)] {
        store.replace(object, vec![0; len].into()).await.unwrap();
    }
    let mut listed = store.list("app").await.unwrap();
    listed.sort();
    // A stand-in rounds to seconds.
    assert!(listed.iter().all(|(_, _, age)| *age < Duration::from_secs(60)), "{listed:?}");
    let listed: Vec<_> = listed.iter().map(|(name, len, _)| (name.as_str(), *len)).collect();
    assert_eq!(listed, [("app/x", 1), ("app/y/z", 2)], "below the name, and not what begins like it");
    for object in ["app/x", "app/y/z", "application/x"] {
        store.remove(object).await.unwrap();
    }
}

/// A log is archived, comes back, is copied away and back; and of two writers that part one is fenced.
async fn archives_come_back(store: &Store, keys: Option<Arc<dyn KeyProvider>>) {
    let settings = ArchiveSettings { tail_every: Duration::ZERO, keys: keys.clone(), ..ArchiveSettings::default() };
    let keys = keys.as_deref();
    let rig = Rig::new();
    let mut archiver = rig.archiver(store, &settings).await;
    for records in [1, 300, 200] {
        let end = rig.append(records);
        rig.seal();
        assert_eq!(archiver.finish().await.unwrap(), end);
        comes_back(&rig, store, &settings).await;
    }
    let listed = list(store, keys).await.unwrap();
    assert_eq!((listed.len(), listed[0].1.as_ref().unwrap().end), (1, archiver.archived()));
    let archive = Archive::open(std::slice::from_ref(store), &name(), settings.keys.clone()).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, Vec::<Finding>::new());
    assert_eq!(orphans(store, &name(), keys, Duration::ZERO, true).await.unwrap().objects, Vec::<String>::new());

    let place = tempfile::tempdir().unwrap();
    let disk = Store::open(&format!("file://{}", place.path().display())).unwrap();
    assert!(0 < copy(store, &disk, &name(), keys, CopyPlan::default(), |_| {}).await.unwrap().copied);
    comes_back(&rig, &disk, &settings).await;
    assert_eq!(copy(&disk, store, &name(), keys, CopyPlan::default(), |_| {}).await.unwrap().copied, 0);

    // Who swaps the manifest first goes on.
    let (one, two) = (rig.twin(), rig.twin());
    let (mut first, mut second) = (one.archiver(store, &settings).await, two.archiver(store, &settings).await);
    let end = one.append(40);
    two.append(50);
    assert_eq!(first.finish().await.unwrap(), end);
    assert_eq!(second.finish().await.unwrap_err().kind(), ErrorKind::Fenced);
    comes_back(&one, store, &settings).await;
    for (object, _, _) in store.list("app").await.unwrap() {
        store.remove(&object).await.unwrap();
    }
}

async fn comes_back(rig: &Rig, store: &Store, settings: &ArchiveSettings) {
    let archive = Archive::open(std::slice::from_ref(store), &name(), settings.keys.clone()).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    let log = open(place.path());
    let ours = records(log.reader(log.first()).unwrap());
    assert!(!ours.is_empty() && ours[..] == rig.records()[..ours.len()]);
}

pub(crate) async fn content(store: &Store, name: &str) -> Option<Bytes> {
    store.get(name).await.unwrap().map(|(bytes, _)| bytes)
}

fn key_file(dir: &std::path::Path) -> Arc<dyn KeyProvider> {
    let path = dir.join("keys");
    std::fs::write(&path, longshore_archive::keys::file::generate_line("first").unwrap()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    parse_keys(&format!("file:{}", path.display())).unwrap()
}

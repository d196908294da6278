//! What is archived comes back, from stores that fail, from the best of several, and never wrong.

#[path = "support/faulty.rs"]
mod faulty;
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use faulty::Faulty;
use longshore_archive::envelope::{self, Sealing};
use longshore_archive::keys::{Context, parse_keys};
use longshore_archive::{
    Archive, ArchiveSettings, Archiver, Begin, CopyPlan, Error, Finding, Store, Until, copy, list, orphans, verify,
};
use longshore_format::{ErrorKind, LogId, Lsn};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name, open, records};

fn at_once() -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() }
}

fn memory() -> (Arc<InMemory>, Store) {
    let objects = Arc::new(InMemory::new());
    (Arc::clone(&objects), Store::of(objects, "memory"))
}

async fn objects(store: &dyn ObjectStore) -> Vec<String> {
    use futures_util::TryStreamExt;
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    listed.iter().map(|meta| meta.location.to_string()).collect()
}

/// Fetches everything, and compares it with the log it came from.
async fn comes_back(rig: &Rig, stores: &[Store], settings: &ArchiveSettings) {
    let archive = Archive::open(stores, &name(), settings.keys.clone()).await.unwrap();
    let plan = archive.plan(Until::End, Begin::First).unwrap();
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&plan, &place.path().join("app"), |_| {}).await.unwrap();
    let log = open(&place.path().join("app"));
    assert_eq!(log.end(), archive.end());
    assert_eq!(log.id(), rig.wal.id());
    let theirs = rig.records();
    let ours = records(log.reader(log.first()).unwrap());
    assert!(!ours.is_empty() && ours[..] == theirs[..ours.len()], "{} records are those of the log", ours.len());
}

#[tokio::test]
async fn what_is_archived_comes_back_from_memory_and_from_a_directory_encrypted_and_not() {
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    std::fs::write(&keys, format!("first {}\n", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=")).unwrap();
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let keys = parse_keys(&format!("file:{}", keys.display())).unwrap();
    for keys in [None, Some(keys)] {
        for store in
            [memory().1, Store::open(&format!("file://{}", tempfile::tempdir().unwrap().keep().display())).unwrap()]
        {
            let settings = ArchiveSettings { keys: keys.clone(), ..at_once() };
            let rig = Rig::new();
            let mut archiver = rig.archiver(&store, &settings).await;
            for records in [1, 50, 400, 3] {
                let end = rig.append(records);
                rig.seal();
                assert_eq!(archiver.finish().await.unwrap(), end);
                comes_back(&rig, std::slice::from_ref(&store), &settings).await;
            }
            // Another life of the archiver goes on where the manifest is.
            let mut archiver = rig.archiver(&store, &settings).await;
            let end = rig.append(20);
            rig.seal();
            assert_eq!(archiver.finish().await.unwrap(), end);
            comes_back(&rig, std::slice::from_ref(&store), &settings).await;
            let listed = list(&store, settings.keys.as_deref()).await.unwrap();
            assert_eq!((listed.len(), listed[0].1.as_ref().unwrap().end), (1, end));
        }
    }
}

#[tokio::test]
async fn nothing_is_written_while_nothing_is_new_and_tail_objects_go_with_their_segment() {
    let faulty = Faulty::new(1, 0);
    let store = Store::of(faulty.clone(), "counted");
    let rig = Rig::new();
    let mut archiver = rig.archiver(&store, &at_once()).await;
    for _ in 0..5 {
        rig.append(2);
        archiver.round().await.unwrap();
    }
    assert_eq!(objects(&*faulty.inner).await.iter().filter(|object| object.contains("/tail/")).count(), 5);
    let puts = faulty.puts.lock().unwrap().len();
    assert_eq!(puts, 10, "an object and the manifest each time");
    archiver.round().await.unwrap();
    assert_eq!(faulty.puts.lock().unwrap().len(), puts, "nothing while idle");

    rig.append(400);
    rig.seal();
    archiver.finish().await.unwrap();
    let left = objects(&*faulty.inner).await;
    let tails = left.iter().filter(|object| object.contains("/tail/")).count();
    assert!(tails <= 1, "only of the segment that is being written: {left:?}");
}

#[tokio::test]
async fn at_full_rate_a_segment_is_one_object_and_manifests_are_batched() {
    let faulty = Faulty::new(1, 0);
    let store = Store::of(faulty.clone(), "counted");
    let rig = Rig::new();
    rig.append(3000);
    rig.seal();
    let mut archiver = rig.archiver(&store, &ArchiveSettings::default()).await;
    while archiver.round().await.unwrap().more {}
    let puts = faulty.puts.lock().unwrap().clone();
    let segments = puts.iter().filter(|put| put.contains("/segments/")).count();
    let manifests = puts.iter().filter(|put| put.ends_with("/manifest")).count();
    assert!(10 < segments && segments + manifests == puts.len(), "{puts:?}");
    assert!(manifests <= segments.div_ceil(4), "{manifests} manifests for {segments} segments");
}

/// F-119, F-120: requests that fail, and answers that are lost, in any order.
#[tokio::test]
async fn f_119_f_120_a_store_that_fails_loses_and_doubles_nothing() {
    for seed in 0..60 {
        let faulty = Faulty::new(seed, 4);
        let store = Store::of(faulty.clone(), "faulty");
        let rig = Rig::new();
        let mut archiver: Option<Archiver> = None;
        for _ in 0..6 {
            let end = rig.append(60);
            rig.seal();
            let mut attempts = 0;
            loop {
                attempts += 1;
                assert!(attempts < 1000, "seed {seed} comes to an end");
                let outcome = async {
                    let mut open = match archiver.take() {
                        Some(open) => open,
                        None => Archiver::open(store.clone(), name(), rig.wal.clone(), at_once()).await?,
                    };
                    let archived = open.finish().await?;
                    archiver = Some(open);
                    Ok::<Lsn, Error>(archived)
                };
                match outcome.await {
                    Ok(archived) => {
                        assert_eq!(archived, end, "seed {seed}");
                        break;
                    }
                    Err(error) => assert!(error.is_passing(), "seed {seed}: {error}"),
                }
            }
        }
        assert!(0 < faulty.struck.load(Ordering::Relaxed), "seed {seed}: something failed");
        faulty.one_in.store(0, Ordering::Relaxed);
        comes_back(&rig, std::slice::from_ref(&store), &at_once()).await;
        // What is new may be about to be named. What the failures left is found, and is all that goes.
        let hour = Duration::from_secs(3600);
        assert_eq!(orphans(&store, &name(), None, hour, true).await.unwrap().objects, Vec::<String>::new());
        orphans(&store, &name(), None, Duration::ZERO, false).await.unwrap();
        comes_back(&rig, &[store], &at_once()).await;
    }
}

#[tokio::test]
async fn two_that_archive_the_same_log_into_one_store_share_the_work() {
    let (_, store) = memory();
    let rig = Rig::new();
    let (mut one, mut two) = (rig.archiver(&store, &at_once()).await, rig.archiver(&store, &at_once()).await);
    for _ in 0..10 {
        let end = rig.append(30);
        rig.seal();
        one.round().await.unwrap();
        two.finish().await.unwrap();
        assert_eq!(one.finish().await.unwrap(), end);
    }
    comes_back(&rig, &[store], &at_once()).await;
}

#[tokio::test]
async fn an_archiver_that_was_slower_removes_nothing_that_the_other_one_names() {
    let (_, store) = memory();
    let rig = Rig::new();
    rig.append(5);
    let mut slower = rig.archiver(&store, &at_once()).await;
    slower.finish().await.unwrap();
    // The other one adds to the tail, while this one replaces it with its whole segment.
    rig.append(5);
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    rig.append(400);
    rig.seal();
    slower.round().await.unwrap();
    let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
    let found = verify(&archive, |_| {}).await.unwrap().findings;
    assert!(found.iter().all(|finding| matches!(finding, Finding::InFlight { .. })), "{found:?}");
    slower.finish().await.unwrap();
    comes_back(&rig, &[store], &at_once()).await;
}

/// Whoever can write to a store that is not encrypted can say anything; what is said is no reason to take all memory.
#[tokio::test]
async fn a_length_that_cannot_be_is_refused_before_it_is_allocated() {
    let (objects, store) = memory();
    let rig = Rig::new();
    rig.append(5);
    let settings = ArchiveSettings { level: None, ..at_once() };
    rig.archiver(&store, &settings).await.finish().await.unwrap();
    let listed = self::objects(&*objects).await;
    let tail = ObjectPath::from(listed.iter().find(|name| name.contains("/tail/")).unwrap().as_str());
    let mut object = objects.get(&tail).await.unwrap().bytes().await.unwrap().to_vec();
    let absurd = 1u64 << 60;
    // Compressed, and so long: flags and plain length of the header, whose checksum ends it.
    object[10] = 1;
    object[16..24].copy_from_slice(&absurd.to_le_bytes());
    let crc = crc32fast::hash(&object[..56]).to_le_bytes();
    object[56..60].copy_from_slice(&crc);
    objects.put(&tail, object.into()).await.unwrap();

    let manifest = ObjectPath::from("app/manifest");
    let context = Context { log: LogId::from_bytes([0; 16]), object: "app/manifest".to_owned() };
    let sealed = objects.get(&manifest).await.unwrap().bytes().await.unwrap();
    let mut json: serde_json::Value =
        serde_json::from_slice(&envelope::open(&sealed, &context, None, 1 << 20).unwrap()).unwrap();
    json["tail"][0]["end"] = absurd.into();
    let sealed = envelope::seal(serde_json::to_vec(&json).unwrap(), &context, &Sealing::default()).unwrap();
    objects.put(&manifest, sealed.into()).await.unwrap();

    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let plan = archive.plan(Until::End, Begin::First).unwrap();
    let refused = archive.fetch(&plan, place.path(), |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert_eq!(archive.read_from(archive.first()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings.len(), 1);
}

#[tokio::test]
async fn another_log_under_the_same_name_is_refused() {
    let (_, store) = memory();
    let (rig, other) = (Rig::new(), Rig::new());
    rig.append(3);
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    let refused = Archiver::open(store, name(), other.wal.clone(), at_once()).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Diverged, "{refused}");
}

/// F-121, F-122: every object flipped, cut short, and deleted, one at a time.
#[tokio::test]
async fn f_121_f_122_what_is_damaged_or_gone_is_named_and_taken_from_another_store() {
    let (bad, store) = memory();
    let (_, good) = memory();
    let rig = Rig::new();
    rig.append(500);
    rig.seal();
    for store in [&store, &good] {
        rig.archiver(store, &at_once()).await.finish().await.unwrap();
    }
    for object in objects(&*bad).await.into_iter().filter(|object| !object.ends_with("/manifest")) {
        let path = ObjectPath::from(object.as_str());
        let whole = bad.get(&path).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for (what, damaged) in [
            ("flipped", Some(flipped)),
            ("cut", Some(whole[..whole.len() / 2].to_vec())),
            ("empty", Some(Vec::new())),
            ("gone", None),
        ] {
            match damaged {
                Some(bytes) => bad.put(&path, bytes.into()).await.map(|_| ()).unwrap(),
                None => bad.delete(&path).await.unwrap(),
            }
            let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
            let verified = verify(&archive, |_| {}).await.unwrap();
            assert_eq!(verified.findings.len(), 1, "{object} {what}: {verified:?}");
            let (Finding::Missing { object: named, .. } | Finding::Corrupt { object: named, .. }) =
                &verified.findings[0]
            else {
                panic!("{object} {what}: {verified:?}");
            };
            assert_eq!(*named, object, "{what}");

            let place = tempfile::tempdir().unwrap();
            let plan = archive.plan(Until::End, Begin::First).unwrap();
            let refused = archive.fetch(&plan, place.path(), |_| {}).await.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::Gap | ErrorKind::Corrupt), "{object} {what}: {refused}");
            assert!(refused.to_string().contains(&object), "{refused}");
            if object.contains("/segments/") {
                comes_back(&rig, &[store.clone(), good.clone()], &at_once()).await;
            }
            bad.put(&path, whole.clone().into()).await.unwrap();
        }
    }
    let manifest = ObjectPath::from("app/manifest");
    bad.put(&manifest, b"not a manifest".to_vec().into()).await.unwrap();
    let refused = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    // Another store that holds the log is enough.
    comes_back(&rig, &[store, good], &at_once()).await;
}

#[tokio::test]
async fn a_fetch_that_is_interrupted_goes_on_where_it_was() {
    let faulty = Faulty::new(7, 0);
    let store = Store::of(faulty.clone(), "faulty");
    let rig = Rig::new();
    rig.append(1500);
    rig.seal();
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let plan = archive.plan(Until::End, Begin::First).unwrap();
    let place = tempfile::tempdir().unwrap();
    faulty.one_in.store(3, Ordering::Relaxed);
    let mut attempts = 0;
    while archive.fetch(&plan, place.path(), |_| {}).await.is_err() {
        attempts += 1;
        assert!(attempts < 200, "each attempt gets somewhere");
    }
    assert!(0 < attempts, "it was interrupted");
    let log = open(place.path());
    assert_eq!(records(log.reader(log.first()).unwrap()), rig.records());
}

#[tokio::test]
async fn what_an_interrupted_fetch_of_something_else_has_left_is_no_part_of_the_log() {
    let (_, store) = memory();
    let rig = Rig::new();
    rig.append(1500);
    rig.seal();
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let (place, complete) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let some = archive.plan(Until::Position(Lsn::new(5000)), Begin::First).unwrap();
    let all = archive.plan(Until::End, Begin::First).unwrap();
    archive.fetch(&all, complete.path(), |_| {}).await.unwrap();
    // Segments come in any order: of all of them, a late one was the first.
    let size = rig.wal.segment_size();
    let late = size.file_name(Lsn::new((some.segments() + 2) * size.get()));
    std::fs::copy(complete.path().join(&late), place.path().join(&late)).unwrap();
    archive.fetch(&some, place.path(), |_| {}).await.unwrap();
    assert!(!place.path().join(&late).exists());
    let log = open(place.path());
    let fetched = records(log.reader(log.first()).unwrap());
    assert_eq!(fetched, rig.records()[..fetched.len()]);
}

#[tokio::test]
async fn a_log_that_somebody_has_open_is_not_fetched_into() {
    let (_, store) = memory();
    let rig = Rig::new();
    rig.append(100);
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    rig.append(100);
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let log = rig.dir.path().join("log");
    let segment = log.join(rig.wal.segment_size().file_name(Lsn::ZERO));
    let file = || std::os::unix::fs::MetadataExt::ino(&segment.metadata().unwrap());
    let before = file();
    let plan = archive.plan(Until::End, Begin::First).unwrap();
    let refused = archive.fetch(&plan, &log, |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Preflight, "{refused}");
    assert_eq!(file(), before, "it is the owner's still");
}

#[tokio::test]
async fn a_copy_is_an_archive_and_takes_only_what_is_new() {
    let ((_, from), (objects_there, to)) = (memory(), memory());
    let rig = Rig::new();
    let mut archiver = rig.archiver(&from, &at_once()).await;
    for new in [400, 200] {
        rig.append(new);
        rig.seal();
        archiver.finish().await.unwrap();
        let before = objects(&*objects_there).await;
        let plan =
            copy(&from, &to, &name(), None, CopyPlan { plan_only: true, ..CopyPlan::default() }, |_| {}).await.unwrap();
        assert_eq!(objects(&*objects_there).await, before, "a plan changes nothing");
        let copied = copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
        assert_eq!(plan, copied);
        assert!(0 < copied.copied && (before.is_empty() || copied.copied < copied.objects), "{copied:?}");
        comes_back(&rig, std::slice::from_ref(&to), &at_once()).await;
    }
    assert_eq!(copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap().copied, 0);
}

#[tokio::test]
async fn a_plan_fetches_no_more_than_the_target_needs_and_names_what_can_be_had() {
    let (_, store) = memory();
    let rig = Rig::new();
    let early = rig.append(20);
    rig.append(2000);
    rig.seal();
    let end = rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    let archive = Archive::open(&[store], &name(), None).await.unwrap();
    let (all, some) =
        (archive.plan(Until::End, Begin::First).unwrap(), archive.plan(Until::Position(early), Begin::First).unwrap());
    assert!(some.objects() <= 3 && 10 < all.objects(), "{} of {}", some.objects(), all.objects());
    let refused = archive.plan(Until::Position(Lsn::new(end.get() + 8)), Begin::First).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable);
    assert!(refused.to_string().contains(&end.to_string()), "{refused}");
}

/// F-111, F-122: two writers of one log that parted, as a disk that was copied makes them. Who swaps the manifest first goes on;
/// the other one is told, and nothing of it is archived.
#[tokio::test]
async fn f_111_f_122_of_two_histories_one_is_archived_and_the_other_is_fenced() {
    let (_, store) = memory();
    let rig = Rig::new();
    rig.append(100);
    rig.seal();
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    // As a crash leaves it, twice.
    let (one, two) = (rig.twin(), rig.twin());
    let (mut first, mut second) = (one.archiver(&store, &at_once()).await, two.archiver(&store, &at_once()).await);
    // Whole segments of both, with the same bases and other bytes.
    let end = one.append(400);
    two.append_other(400);
    one.seal();
    two.seal();
    assert_eq!(first.finish().await.unwrap(), end);
    let refused = second.finish().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
    assert!(!refused.is_passing(), "it is not tried again");
    comes_back(&one, std::slice::from_ref(&store), &at_once()).await;
    // Nor did it touch what the first one had archived, though both wrote segments with the same base.
    let archive = Archive::open(std::slice::from_ref(&store), &name(), None).await.unwrap();
    let found = verify(&archive, |_| {}).await.unwrap().findings;
    // What the one that is fenced has made is named by nobody.
    assert!(found.iter().all(|finding| matches!(finding, Finding::InFlight { .. })), "{found:?}");
    let late = Archiver::open(store, name(), two.wal.clone(), at_once()).await.err().unwrap();
    assert_eq!(late.kind(), ErrorKind::Fenced, "{late}");
}

#[tokio::test]
async fn a_copy_never_takes_back_what_its_target_has_and_the_source_has_not() {
    let ((_, live), (_, disk), (_, other)) = (memory(), memory(), memory());
    let rig = Rig::new();
    let mut archiver = rig.archiver(&live, &at_once()).await;
    rig.append(100);
    archiver.finish().await.unwrap();
    for store in [&disk, &other] {
        copy(&live, store, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    }
    let (one, two) = (rig.twin(), rig.twin());
    let end = one.append(50);
    assert_eq!(one.archiver(&live, &at_once()).await.finish().await.unwrap(), end);
    assert_eq!(copy(&disk, &live, &name(), None, CopyPlan::default(), |_| {}).await.unwrap().copied, 0);
    comes_back(&one, std::slice::from_ref(&live), &at_once()).await;
    assert_eq!(list(&live, None).await.unwrap()[0].1.as_ref().unwrap().end, end);
    two.append_other(50);
    two.archiver(&other, &at_once()).await.finish().await.unwrap();
    let refused = copy(&other, &live, &name(), None, CopyPlan::default(), |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
}

/// `object_store` writes a file beside its name first, and a kill leaves it there.
#[tokio::test]
async fn what_killed_puts_have_left_in_a_directory_goes_once_nobody_writes_to_it() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", place.path().display())).unwrap();
    let rig = Rig::new();
    rig.append(20);
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    let part = |name: &str, written: Option<std::time::SystemTime>| {
        let path = place.path().join("app/tail").join(name);
        let file = std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut &file, b"part").unwrap();
        written.into_iter().for_each(|time| file.set_modified(time).unwrap());
        path
    };
    let (old, new, other) = (part("a-b#1", Some(long_ago)), part("a-b#2", None), part("a#b", Some(long_ago)));
    let found = orphans(&store, &name(), None, Duration::from_secs(3600), true).await.unwrap();
    assert!(found.objects.contains(&"app/tail/a-b#1".to_owned()) && found.bytes >= 4, "{found:?}");
    assert!(!found.objects.contains(&"app/tail/a-b#2".to_owned()));
    assert!(old.exists(), "that was a plan");
    rig.append(1);
    rig.archiver(&store, &at_once()).await.finish().await.unwrap();
    assert_eq!((old.exists(), new.exists(), other.exists()), (false, true, true));
    orphans(&store, &name(), None, Duration::ZERO, false).await.unwrap();
    assert!(!new.exists());
    comes_back(&rig, &[store], &at_once()).await;
}

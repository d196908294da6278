//! One conformance suite over every kind of store, against servers that speak its protocol.
//!
//! s3s and the stand-in for Google's are in this process and always tested; moto and azurite are servers of their own, which
//! `.ci/stores` installs. Credentials are found in the environment, which a test must not change in its own process: each
//! question is asked in a second one, which is this test's binary again.

#[path = "support/conformance.rs"]
mod conformance;
#[cfg(feature = "gcs")]
#[path = "support/gcs.rs"]
mod gcs;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/s3.rs"]
mod s3;
#[path = "support/servers.rs"]
mod servers;
mod support;

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conformance::{Races, conforms, content};
use longshore_archive::{Archive, ArchiveSettings, Archiver, CopyPlan, Store, copy, orphans};
use longshore_format::ErrorKind;
use proxy::Proxy;
use support::{Rig, name};

/// Where the child finds the server: an address of a store, with `BUCKET` and `ENDPOINT` to fill in; and the endpoint.
const STORE: &str = "LONGSHORE_TEST_STORE";
const SERVER: &str = "LONGSHORE_TEST_SERVER";
/// Set where a server keeps no checksum of an object that can be compared.
const NO_CHECKSUMS: &str = "LONGSHORE_TEST_NO_CHECKSUMS";
/// Set where uploads have no ids, and so no notes.
const NO_UPLOADS: &str = "LONGSHORE_TEST_NO_UPLOADS";
/// Set where a server compares and then writes.
const NO_RACES: &str = "LONGSHORE_TEST_NO_RACES";

const S3: &str = "s3://BUCKET/some/prefix?endpoint=http://ENDPOINT&region=us-east-1";
#[cfg(feature = "gcs")]
const GCS: &str = "gs://BUCKET/some/prefix?endpoint=http://ENDPOINT";
#[cfg(feature = "azure")]
const AZURE: &str = "az://BUCKET/some/prefix?account=devstoreaccount1&endpoint=http://ENDPOINT/devstoreaccount1";
/// Of every azurite, as Microsoft publishes it.
#[cfg(feature = "azure")]
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What is asked of each server. A child runs one of them by its name.
const ALL: &[&str] = &[
    "conformance",
    "a_lost_answer",
    "a_large_object",
    "a_large_object_that_fails",
    "a_large_object_whose_put_is_killed",
    "a_copy_within_a_bucket",
    "a_missing_bucket",
    "a_wrong_endpoint",
];

#[tokio::test]
async fn memory_conforms() {
    conforms(&Store::of(std::sync::Arc::new(object_store::memory::InMemory::new()), "memory"), Races::OneWins).await;
}

#[tokio::test]
async fn a_directory_conforms() {
    let disk = tempfile::tempdir().unwrap();
    conforms(&Store::open(&format!("file://{}", disk.path().display())).unwrap(), Races::OneWins).await;
}

/// Who gives up on a swap does not know what became of it; it must not be done after somebody else's.
#[test]
fn a_swap_in_a_directory_that_is_given_up_never_lands_on_anothers() {
    let disk = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", disk.path().display())).unwrap();
    for round in 0..200 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let last = runtime.block_on(async {
            let seen = store.get("swapped").await.unwrap().map(|(_, version)| version);
            let given_up = store.swap("swapped", format!("given up in round {round}").into(), seen);
            let _not_known = tokio::time::timeout(Duration::from_micros(20 * round), given_up).await;
            loop {
                let (seen, last) = (store.get("swapped").await.unwrap(), Bytes::from(format!("round {round}")));
                let seen = seen.map(|(_, version)| version);
                if store.swap("swapped", last.clone(), seen).await.unwrap().is_some() {
                    return last;
                }
            }
        });
        // Waits for whatever goes on.
        drop(runtime);
        assert_eq!(std::fs::read(disk.path().join("swapped")).unwrap(), last);
    }
}

#[tokio::test]
async fn what_is_damaged_is_not_copied() {
    let memory = || Store::of(std::sync::Arc::new(object_store::memory::InMemory::new()), "memory");
    let (from, to) = (memory(), memory());
    let rig = Rig::new();
    let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
    let mut archiver = rig.archiver(&from, &settings).await;
    rig.append(400);
    rig.seal();
    archiver.finish().await.unwrap();
    let (segment, _, _) = from.list("app/segments").await.unwrap().swap_remove(0);
    let whole = content(&from, &segment).await.unwrap();
    let mut damaged = whole.to_vec();
    damaged[whole.len() / 2] ^= 1;
    from.replace(&segment, damaged.into()).await.unwrap();
    let refused = copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains(&segment), "{refused}");
    let there = (to.len(&segment).await.unwrap(), to.len("app/manifest").await.unwrap().is_some());
    assert_eq!(there, (None, true), "the rest is an archive with that hole");
    from.replace(&segment, whole.clone()).await.unwrap();
    copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    assert_eq!(content(&to, &segment).await.unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_conforms() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let address = s3::serve(root.path()).await.to_string();
    let right = [("AWS_ACCESS_KEY_ID", s3::KEY), ("AWS_SECRET_ACCESS_KEY", s3::SECRET), (NO_RACES, "1")];
    ask(ALL, S3, &address, &right).await;
    let left = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name.contains("upload")).collect();
    assert!(left.is_empty(), "parts of uploads that failed: {left:?}");
    ask(&["a_put_that_is_damaged_on_its_way"], S3, &address, &right).await;
    // The same credentials from a program that a profile names, as SSO's are: found by AWS's own library, if it is there.
    let program = format!(r#"{{"Version":1,"AccessKeyId":"{}","SecretAccessKey":"{}"}}"#, s3::KEY, s3::SECRET);
    let config = root.path().join("config");
    std::fs::write(root.path().join("credentials.json"), program).unwrap();
    let program = format!("cat {}", root.path().join("credentials.json").display());
    std::fs::write(&config, format!("[profile archive]\ncredential_process = {program}\n")).unwrap();
    let profile = [("AWS_PROFILE", "archive"), ("AWS_CONFIG_FILE", config.to_str().unwrap()), (NO_RACES, "1")];
    if cfg!(feature = "aws-profiles") {
        ask(&["conformance"], S3, &address, &profile).await;
    }
    ask(&["wrong_credentials"], S3, &address, &[right[0], ("AWS_SECRET_ACCESS_KEY", "not-that-secret")]).await;
}

#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_for_google_conforms() {
    let key = r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
    let (server, environment) =
        (gcs::serve().await.to_string(), [("GOOGLE_SERVICE_ACCOUNT_KEY", key), (NO_CHECKSUMS, "1")]);
    ask(ALL, GCS, &server, &environment).await;
    assert_eq!(request(&server, "GET", "/bucket?uploads", &[]).lines().last(), Some("0 uploads"));
    ask(&["a_store_that_copies_badly"], GCS, &server, &environment).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs .ci/stores"]
async fn moto_conforms() {
    let moto = servers::moto(false);
    request(&moto.address, "PUT", "/bucket", &[]);
    ask(ALL, S3, &moto.address, &[("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")]).await;
    let left = request(&moto.address, "GET", "/bucket?uploads", &[]);
    assert!(left.contains("ListMultipartUploadsResult") && !left.contains("<UploadId>"), "{left}");
}

#[cfg(feature = "azure")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs .ci/stores"]
async fn azurite_conforms() {
    let azurite = servers::azurite();
    make_container(&azurite.address);
    let right = [("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY), (NO_CHECKSUMS, "1"), (NO_UPLOADS, "1")];
    ask(ALL, AZURE, &azurite.address, &right).await;
    let wrong = AZURITE_KEY.replace("Eby8", "8ybE");
    ask(&["wrong_credentials"], AZURE, &azurite.address, &[("AZURE_STORAGE_ACCOUNT_KEY", &wrong)]).await;
}

/// Asks each question in a process of its own, with an environment of its own.
async fn ask(questions: &[&str], store: &str, server: &str, environment: &[(&str, &str)]) {
    for question in questions {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", question]).envs(environment.iter().copied());
        child.env(STORE, store).env(SERVER, server);
        let done = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && out.contains("1 passed"), "{question} of {store}: {out}\n{err}");
    }
}

/// A bucket of the server; or `None` where nobody asks, as when all ignored tests are run.
fn store(bucket: &str) -> Option<Store> {
    Some(store_at(bucket, &std::env::var(SERVER).ok()?))
}

fn store_at(bucket: &str, endpoint: &str) -> Store {
    let address = std::env::var(STORE).unwrap();
    Store::open(&address.replace("BUCKET", bucket).replace("ENDPOINT", endpoint)).unwrap()
}

/// Another prefix of the bucket.
fn store_below(prefix: &str) -> Store {
    let (address, server) = (std::env::var(STORE).unwrap(), std::env::var(SERVER).unwrap());
    let address = address.replace("some/prefix", prefix).replace("BUCKET", "bucket").replace("ENDPOINT", &server);
    Store::open(&address).unwrap()
}

#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn conformance() {
    let Some(store) = store("bucket") else { return };
    let races = if std::env::var(NO_RACES).is_ok() { Races::NotTested } else { Races::OneWins };
    conforms(&store, races).await;
}

/// What was done is not done again, and is not taken for somebody else's. F-120.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_lost_answer() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let proxy = Proxy::new(&server).await;
    let store = store_at("bucket", &proxy.address.to_string());
    proxy.lose_the_next_answer();
    assert!(store.create("lost/a", "one".into()).await.unwrap());
    assert_eq!(proxy.lost(), 1);
    proxy.lose_the_next_answer();
    let first = store.swap("lost/swapped", "one".into(), None).await.unwrap().expect("it is ours");
    assert_eq!(proxy.lost(), 2);
    proxy.lose_the_next_answer();
    let second = store.swap("lost/swapped", "two".into(), Some(first.clone())).await.unwrap().expect("it is ours");
    assert_eq!(proxy.lost(), 3);
    // Neither is it won by who was too late.
    proxy.lose_the_next_answer();
    assert!(!store.create("lost/a", "two".into()).await.unwrap());
    proxy.lose_the_next_answer();
    assert!(store.swap("lost/swapped", "late".into(), Some(first)).await.unwrap().is_none());
    assert_eq!(
        (content(&store, "lost/a").await.unwrap(), content(&store, "lost/swapped").await.unwrap()),
        ("one".into(), "two".into())
    );
    assert!(store.swap("lost/swapped", "three".into(), Some(second)).await.unwrap().is_some());
    for object in ["lost/a", "lost/swapped"] {
        store.remove(object).await.unwrap();
    }
}

/// S3 alone: it is told a digest of what is sent, and compares.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_put_that_is_damaged_on_its_way() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let proxy = Proxy::new(&server).await;
    let store = store_at("bucket", &proxy.address.to_string());
    proxy.damage_the_next_put();
    // The server refuses it as a fault of its own, so that the client sends it again.
    assert!(store.create("damaged/a", "just a few bytes".into()).await.unwrap());
    assert_eq!(proxy.puts(), 2);
    assert_eq!(content(&store, "damaged/a").await.unwrap(), "just a few bytes");
    assert!(proxy.head().to_ascii_lowercase().contains("\r\nx-amz-checksum-sha256: "), "{}", proxy.head());
    store.remove("damaged/a").await.unwrap();
}

/// In parts, and whole again.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_large_object() {
    let Some(store) = store("bucket") else { return };
    let bytes = large();
    assert!(store.create("large/a", bytes.clone()).await.unwrap());
    assert_eq!(store.len("large/a").await.unwrap(), Some(bytes.len() as u64));
    assert!(content(&store, "large/a").await.unwrap() == bytes);
    assert!(!store.create("large/a", bytes).await.unwrap());
    store.remove("large/a").await.unwrap();
}

/// What was put of it is removed; whoever asked looks after that. What is on its way then may still arrive, and so the note stays.
/// F-121.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_large_object_that_fails() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let proxy = Proxy::new(&server).await;
    let store = store_at("bucket", &proxy.address.to_string());
    proxy.cut_puts_from(3);
    let refused = store.create("large/b", large()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert_eq!(store.len("large/b").await.unwrap(), None);
    proxy.cut_puts_from(usize::MAX);
    let notes = store.list("large/uploads").await.unwrap();
    assert_eq!(notes.len(), usize::from(std::env::var(NO_UPLOADS).is_err()), "{notes:?}");
    for (note, _, _) in notes {
        store.remove(&note).await.unwrap();
    }
}

/// What was put of it is seen in no listing of objects, and paid for: a note tells of it. F-121.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_large_object_whose_put_is_killed() {
    let (Ok(server), Err(_)) = (std::env::var(SERVER), std::env::var(NO_UPLOADS)) else { return };
    let (proxy, store) = (Proxy::new(&server).await, store("bucket").unwrap());
    let mut objects = archived(&store).await;
    let through = store_at("bucket", &proxy.address.to_string());
    tokio::select! {
        // The note, and two parts.
        () = proxy.hold_puts_from(3) => {}
        created = through.create("app/segments/large.seg", large()) => panic!("{created:?}"),
    }
    drop(through);
    let hour = Duration::from_secs(3600);
    assert_eq!(orphans(&store, &name(), None, hour, false).await.unwrap().objects, [""; 0], "it may be under way");
    let found = orphans(&store, &name(), None, Duration::ZERO, true).await.unwrap().objects;
    assert!(found.len() == 1 && found[0].starts_with("app/uploads/segments/large.seg."), "{found:?}");
    assert_eq!(orphans(&store, &name(), None, Duration::ZERO, false).await.unwrap().objects, found);
    assert_eq!(orphans(&store, &name(), None, Duration::ZERO, false).await.unwrap().objects, [""; 0]);
    assert_eq!(store.len("app/segments/large.seg").await.unwrap(), None);
    objects.push("app/manifest".into());
    for object in objects {
        store.remove(&object).await.unwrap();
    }
    assert_eq!(store.list("app").await.unwrap(), []);
}

/// Some segments and a tail in a store; their names.
async fn archived(store: &Store) -> Vec<String> {
    let rig = Rig::new();
    let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
    let mut archiver = rig.archiver(store, &settings).await;
    rig.append(400);
    rig.seal();
    archiver.finish().await.unwrap();
    rig.append(3);
    archiver.finish().await.unwrap();
    let listed = store.list("app").await.unwrap().into_iter().map(|(name, _, _)| name);
    listed.filter(|name| name != "app/manifest").collect()
}

async fn assert_equal(from: &Store, to: &Store, objects: &[String]) {
    for object in objects {
        assert!(content(from, object).await == content(to, object).await, "{object}");
    }
    let archive = Archive::open(std::slice::from_ref(to), &name(), None).await.unwrap();
    assert_eq!(longshore_archive::verify(&archive, |_| {}).await.unwrap().findings, []);
}

/// Of an archive's objects nothing is sent from here, and nothing is read but what the store says nothing of.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_copy_within_a_bucket() {
    let Some(from) = store("bucket") else { return };
    let objects = archived(&from).await;
    let keeps_checksums = std::env::var(NO_CHECKSUMS).is_err();
    let (from, reads) = from.metered();
    let (to, writes) = store_below("beside/it").metered();

    let planned = CopyPlan { plan_only: true, ..CopyPlan::default() };
    let planned = copy(&from, &to, &name(), None, planned, |_| {}).await.unwrap();
    assert_eq!((planned.by_store, writes.ledger().puts), (objects.len() as u64, 0));
    let (reads_before, writes_before) = (reads.ledger().received, writes.ledger().received);
    let copied = copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    assert_eq!((copied.by_store, copied.copied, copied.refused.as_deref()), (planned.by_store, planned.copied, None));
    assert_eq!((copied.by_store_bytes, copied.bytes), (planned.bytes, planned.bytes));
    let (read, sent) = (from.len("app/manifest").await.unwrap(), to.len("app/manifest").await.unwrap());
    assert_eq!(Some(writes.ledger().sent), sent, "the manifest, and nothing else");
    assert_eq!(writes.ledger().puts, copied.by_store + 1, "each copy is asked for once");
    assert_eq!(Some(reads.ledger().received - reads_before), read);
    assert_eq!(copied.read_back, if keeps_checksums { 0 } else { copied.bytes });
    assert_eq!(writes.ledger().received - writes_before, copied.read_back);
    assert_equal(&from, &to, &objects).await;
    assert_eq!(copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap().copied, 0);

    // What is damaged there is put right with what was looked at here, and with --full all is.
    let segment = objects.iter().find(|name| name.starts_with("app/segments/")).unwrap();
    to.replace(segment, flipped(&from, segment).await).await.unwrap();
    let full = CopyPlan { full: true, ..CopyPlan::default() };
    let copied = copy(&from, &to, &name(), None, full, |_| {}).await.unwrap();
    assert_eq!((copied.copied, copied.by_store), (1, 0));
    assert_equal(&from, &to, &objects).await;
    let whole = content(&from, segment).await.unwrap();
    let refused = |to: Store, how| {
        let from = from.clone();
        async move {
            let refused = copy(&from, &to, &name(), None, how, |_| {}).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
            assert!(refused.to_string().contains(segment), "{refused}");
            let there = (to.len(segment).await.unwrap(), to.len("app/manifest").await.unwrap().is_some());
            assert_eq!(there, (None, true), "the rest is an archive with that hole");
        }
    };
    from.replace(segment, flipped(&from, segment).await).await.unwrap();
    refused(store_below("with/full"), full).await;
    // The manifest tells how long it was.
    from.replace(segment, whole.slice(1..)).await.unwrap();
    refused(store_below("cut"), CopyPlan::default()).await;
    from.replace(segment, whole).await.unwrap();
    for into in ["some/prefix", "some/prefix/below", "some/prefix/app"] {
        let refused = copy(&from, &store_below(into), &name(), None, CopyPlan::default(), |_| {}).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    for object in from.list("app").await.unwrap() {
        from.remove(&object.0).await.unwrap();
    }
}

async fn flipped(store: &Store, object: &str) -> Bytes {
    let mut bytes = content(store, object).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

/// What a store does not copy, or not well, goes through here.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_store_that_copies_badly() {
    let Some(from) = store("bucket") else { return };
    let objects = archived(&from).await;
    for place in ["refusing", "damaging", "cutting"] {
        let to = store_below(place);
        let copied = copy(&from, &to, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
        assert_eq!((copied.copied, copied.by_store), (objects.len() as u64, 0), "{place}");
        assert_eq!(copied.refused.is_some_and(|why| why.contains("AccessDenied")), place == "refusing", "{place}");
        assert_equal(&from, &to, &objects).await;
    }
}

/// An object that goes in parts, of which no two are the same.
fn large() -> Bytes {
    let mut bytes = vec![7; (128 << 20) + 12_345];
    for (n, page) in bytes.chunks_exact_mut(4096).enumerate() {
        page[..8].copy_from_slice(&n.to_le_bytes());
    }
    bytes.into()
}

/// F-123.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_missing_bucket() {
    let Some(store) = store("there-is-no-such-bucket") else { return };
    let rig = Rig::new();
    let archiving = Archiver::open(store.clone(), name(), rig.wal.clone(), ArchiveSettings::default()).await;
    let reading = Archive::open(std::slice::from_ref(&store), &name(), None).await;
    let listing = longshore_archive::list(&store, None).await;
    for refused in [archiving.err().unwrap(), reading.err().unwrap(), listing.err().unwrap()] {
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
        assert!(refused.is_passing(), "an agent tries again, it may be made: {refused}");
        let told = refused.to_string();
        assert!(told.contains("there-is-no-such-bucket") && told.contains("no such bucket; make it"), "{told}");
    }
}

/// F-123.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn wrong_credentials() {
    let Some(store) = store("bucket") else { return };
    let rig = Rig::new();
    let refused = Archiver::open(store, name(), rig.wal.clone(), ArchiveSettings::default()).await.err().unwrap();
    let told = format!("{refused} {refused:?}");
    assert_eq!(refused.kind(), ErrorKind::Denied, "{told}");
    assert!(refused.is_passing(), "an agent tries again: {told}");
    assert!(told.contains("bucket") && told.contains("look at the credentials"), "{told}");
    for secret in ["AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"].map(std::env::var).into_iter().flatten() {
        assert!(!told.contains(&secret), "{told}");
    }
}

/// Nobody is there, or somebody else: soon told, and not taken for a store without the object.
#[tokio::test]
#[ignore = "asked of each server, in a process of its own"]
async fn a_wrong_endpoint() {
    if std::env::var(SERVER).is_err() {
        return;
    }
    let began = Instant::now();
    // A port that is bound and does not listen is refused, and nobody else gets it meanwhile.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").map(|listener| listener.local_addr().unwrap()).unwrap();
    let web = a_web_server().await;
    for (endpoint, kind, says) in [
        (nobody.to_string(), ErrorKind::Unavailable, "look at network, endpoint"),
        (web, ErrorKind::NotFound, "a web page answered"),
    ] {
        let refused = Archive::open(&[store_at("bucket", &endpoint)], &name(), None).await.err().unwrap();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.is_passing() && refused.to_string().contains(says), "{refused}");
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

async fn a_web_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let page = axum::response::Html("<!DOCTYPE html><html><title>Not here</title></html>");
    let router = axum::Router::new().fallback(async move || (axum::http::StatusCode::NOT_FOUND, page));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// One request without credentials or with those in `headers`; it must be answered with 2xx.
fn request(server: &str, method: &str, path: &str, headers: &[String]) -> String {
    let mut socket = std::net::TcpStream::connect(server).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let close = "Content-Length: 0\r\nConnection: close";
    write!(socket, "{method} {path} HTTP/1.1\r\nHost: {server}\r\n{close}\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    answer
}

/// Azure makes containers for those alone who sign.
#[cfg(feature = "azure")]
fn make_container(server: &str) {
    use aws_lc_rs::hmac;
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let date = jiff::fmt::rfc2822::DateTimePrinter::new();
    let date = date.timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap();
    let headers = format!("x-ms-date:{date}\nx-ms-version:2021-08-06");
    let signed =
        format!("PUT{}{headers}\n/devstoreaccount1/devstoreaccount1/bucket\nrestype:container", "\n".repeat(12));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(AZURITE_KEY).unwrap());
    let signature = BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let headers = [
        format!("x-ms-date: {date}"),
        "x-ms-version: 2021-08-06".to_owned(),
        format!("Authorization: SharedKey devstoreaccount1:{signature}"),
    ];
    request(server, "PUT", "/devstoreaccount1/bucket?restype=container", &headers);
}

//! The archive against a server that speaks S3, in this process: s3s, over a loopback port.
//!
//! Credentials are found in the environment, which a test must not change in its own process: the conformance runs in a second
//! one, which is this test's binary again.

mod support;

use std::process::Command;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use longshore_archive::{
    Archive, ArchiveSettings, Archiver, Begin, Finding, Store, Until, copy, list, orphans, verify,
};
use longshore_format::ErrorKind;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Result, s3_error};
use support::{Rig, name, open, records};

const ADDRESS: &str = "LONGSHORE_TEST_S3_ADDRESS";
const KEY: &str = "AKIDLONGSHORE";
const SECRET: &str = "a-secret-of-this-test";
const WRONG: &str = "not-that-secret";

/// Refuses what has no credentials, and a bucket that is not there: s3s-fs would make one for a put.
struct Buckets(std::path::PathBuf);

#[async_trait::async_trait]
impl S3Access for Buckets {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied));
        }
        match request.s3_path().get_bucket_name() {
            Some(bucket) if !self.0.join(bucket).is_dir() => Err(s3_error!(NoSuchBucket)),
            _ => Ok(()),
        }
    }
}

/// Serves the directories below `root` as buckets; where.
async fn serve(root: &std::path::Path) -> std::net::SocketAddr {
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    service.set_access(Buckets(root.to_owned()));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let http = Builder::new(TokioExecutor::new());
                // A client that goes away is an ordinary end.
                let _gone = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_conforms() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let address = serve(root.path()).await;
    for (test, secret) in [
        ("conditional_puts", SECRET),
        ("conformance", SECRET),
        ("a_missing_bucket", SECRET),
        ("wrong_credentials", WRONG),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", test]).env(ADDRESS, address.to_string());
        child.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", secret);
        let done = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && out.contains("1 passed"), "{test}: {out}\n{err}");
    }
}

fn store(bucket: &str) -> Store {
    let address = std::env::var(ADDRESS).unwrap();
    Store::open(&format!("s3://{bucket}/some/prefix?endpoint=http://{address}&region=us-east-1")).unwrap()
}

fn at_once() -> ArchiveSettings {
    ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() }
}

async fn comes_back(rig: &Rig, store: &Store) {
    let archive = Archive::open(std::slice::from_ref(store), &name(), None).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    let log = open(place.path());
    let ours = records(log.reader(log.first()).unwrap());
    assert!(!ours.is_empty() && ours[..] == rig.records()[..ours.len()]);
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&Store::of(std::sync::Arc::new(object_store::memory::InMemory::new()), "memory")).await;
}

#[tokio::test]
async fn a_directory_conforms() {
    let disk = tempfile::tempdir().unwrap();
    conforms(&Store::open(&format!("file://{}", disk.path().display())).unwrap()).await;
}

#[tokio::test]
#[ignore = "run by the test above, as a process of its own"]
async fn conformance() {
    conforms(&store("bucket")).await;
}

/// What the archive relies on, asked of the server itself.
#[tokio::test]
#[ignore = "run by the test above, as a process of its own"]
async fn conditional_puts() {
    let endpoint = format!("http://{}", std::env::var(ADDRESS).unwrap());
    let builder = AmazonS3Builder::from_env().with_bucket_name("bucket").with_region("us-east-1");
    let server = builder.with_allow_http(true).with_endpoint(endpoint).build().unwrap();
    let path = ObjectPath::from("conditional/put");
    let first = server.put_opts(&path, "one".into(), PutMode::Create.into()).await.unwrap();
    let second = server.put_opts(&path, "two".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(matches!(second, object_store::Error::AlreadyExists { .. }), "{second}");
    assert_eq!(server.get(&path).await.unwrap().bytes().await.unwrap(), "one", "the first one stays");
    let swap = PutMode::Update(first.into());
    server.put_opts(&path, "three".into(), swap.clone().into()).await.unwrap();
    let late = server.put_opts(&path, "four".into(), swap.into()).await.unwrap_err();
    assert!(matches!(late, object_store::Error::Precondition { .. }), "{late}");
    assert_eq!(server.get(&path).await.unwrap().bytes().await.unwrap(), "three");
}

/// An empty store that is given this archives, gives back, and fences.
async fn conforms(store: &Store) {
    let rig = Rig::new();
    let mut archiver = rig.archiver(store, &at_once()).await;
    for records in [1, 300, 200] {
        let end = rig.append(records);
        rig.seal();
        assert_eq!(archiver.finish().await.unwrap(), end);
        comes_back(&rig, store).await;
    }
    let listed = list(store, None).await.unwrap();
    assert_eq!((listed.len(), listed[0].end), (1, archiver.archived()));
    let archive = Archive::open(std::slice::from_ref(store), &name(), None).await.unwrap();
    assert_eq!(verify(&archive, |_| {}).await.unwrap().findings, Vec::<Finding>::new());
    assert_eq!(orphans(store, &name(), None, Duration::ZERO, true).await.unwrap().objects, Vec::<String>::new());

    let place = tempfile::tempdir().unwrap();
    let disk = Store::open(&format!("file://{}", place.path().display())).unwrap();
    assert!(0 < copy(store, &disk, &name(), None, false, |_| {}).await.unwrap().copied);
    comes_back(&rig, &disk).await;
    assert_eq!(copy(&disk, store, &name(), None, false, |_| {}).await.unwrap().copied, 0);

    // Two writers that part: who swaps the manifest first goes on.
    let (one, two) = (rig.twin(), rig.twin());
    let (mut first, mut second) = (one.archiver(store, &at_once()).await, two.archiver(store, &at_once()).await);
    let end = one.append(40);
    two.append(50);
    assert_eq!(first.finish().await.unwrap(), end);
    assert_eq!(second.finish().await.unwrap_err().kind(), ErrorKind::Fenced);
    comes_back(&one, store).await;
}

#[tokio::test]
#[ignore = "run by the test above, as a process of its own"]
async fn a_missing_bucket() {
    let store = store("there-is-no-such-bucket");
    let rig = Rig::new();
    rig.append(1);
    // Nothing that is read tells a bucket that is missing from one that is empty; what is written does.
    let mut archiver = rig.archiver(&store, &at_once()).await;
    let refused = archiver.finish().await.unwrap_err();
    assert!(refused.is_passing(), "it is tried again: {refused}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("there-is-no-such-bucket"), "{refused}");
}

#[tokio::test]
#[ignore = "run by the test above, as a process of its own"]
async fn wrong_credentials() {
    let rig = Rig::new();
    rig.append(1);
    let refused = Archiver::open(store("bucket"), name(), rig.wal.clone(), at_once()).await.err().unwrap();
    let told = format!("{refused} {refused:?}");
    assert!(matches!(refused.kind(), ErrorKind::Denied | ErrorKind::Unavailable), "{told}");
    assert!(refused.is_passing(), "it is tried again: {told}");
    assert!(told.contains("bucket") && !told.contains(WRONG) && !told.contains(SECRET), "{told}");
}

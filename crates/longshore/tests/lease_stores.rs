//! One conformance suite over every kind of store that a lease may stand in.

#[path = "lease/etcd.rs"]
mod etcd;
#[path = "lease/memory.rs"]
#[allow(dead_code, reason = "here it always answers")]
mod memory;
#[path = "lease/real_etcd.rs"]
mod real_etcd;
#[path = "../../longshore-archive/tests/support/s3.rs"]
mod s3;
#[path = "lease/suite.rs"]
mod suite;

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use longshore::lease::{self, Lease, LeaseObject, LeaseState, Swap};
use longshore::transport::certs::{self, Identity};
use longshore::{ErrorKind, Name, Settings};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use tokio::io::AsyncWriteExt;

use suite::{Races, conforms};

fn log() -> Name {
    "orders".parse().unwrap()
}

#[tokio::test]
async fn memory_conforms() {
    conforms(Arc::new(memory::Memory::default()), Races::OneWins).await;
}

#[tokio::test]
async fn a_directory_conforms() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("file://{}", place.path().display());
    conforms(lease::open(&url, &log()).unwrap(), Races::OneWins).await;
    assert!(place.path().join("orders.lease").is_file(), "beside the directories of archives, and a file that is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_conforms() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let builder = AmazonS3Builder::new()
        .with_bucket_name("bucket")
        .with_region("us-east-1")
        .with_endpoint(format!("http://{}", s3::serve(root.path()).await))
        .with_allow_http(true)
        .with_access_key_id(s3::KEY)
        .with_secret_access_key(s3::SECRET)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    let store = longshore::archive::Store::of(Arc::new(builder.build().unwrap()), "s3://bucket");
    conforms(lease::in_store(store, &log()), Races::NotTested).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_for_etcd_conforms() {
    let url = format!("etcd://{}/some/prefix", etcd::serve().await);
    conforms(lease::open(&url, &log()).unwrap(), Races::OneWins).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs .ci/etcd"]
async fn etcd_conforms() {
    let etcd = real_etcd::start(None);
    conforms(lease::open(&format!("etcd://{}/longshore", etcd.address), &log()).unwrap(), Races::OneWins).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs .ci/etcd"]
async fn etcd_conforms_over_mutual_tls() {
    let place = tempfile::tempdir().unwrap();
    let issue = |name: &str| Identity { name: name.parse().unwrap(), roles: vec![], hosts: vec![] };
    certs::init(place.path(), &[issue("server"), issue("client")]).unwrap();
    let etcd = real_etcd::start(Some(place.path()));
    let dir = place.path().display();
    let url = format!("etcd://{}/longshore?ca={dir}/ca.pem&cert={dir}/client.pem&key={dir}/client.key", etcd.address);
    conforms(lease::open(&url, &log()).unwrap(), Races::OneWins).await;
    // Of another CA: neither end believes the other.
    let other = tempfile::tempdir().unwrap();
    certs::init(other.path(), &[issue("client")]).unwrap();
    let url = url.replace(&dir.to_string(), &other.path().display().to_string());
    let refused = lease::open(&url, &log()).unwrap().read().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains("check the address, and that ca, cert and key"), "{refused}");
    // Without TLS it is not talked to.
    let refused = lease::open(&format!("etcd://{}", etcd.address), &log()).unwrap().read().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_an_etcd_that_is_gone_is_passed_over() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let there = etcd::serve().await;
    conforms(lease::open(&format!("etcd://{gone},{there}/one"), &log()).unwrap(), Races::OneWins).await;
    conforms(lease::open(&format!("etcd://{there},{gone}/two"), &log()).unwrap(), Races::OneWins).await;
    let refused = lease::open(&format!("etcd://{gone}"), &log()).unwrap().read().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains(&gone.to_string()), "{refused}");
}

/// Swaps of one file by several processes, each adding to the number that it saw: none is lost.
#[tokio::test]
async fn processes_that_swap_one_file_shut_each_other_out() {
    const ADDS: u64 = 40;
    if let Ok(url) = std::env::var(PLACE) {
        return add(&url, ADDS).await;
    }
    let place = tempfile::tempdir().unwrap();
    let url = format!("file://{}", place.path().display());
    let spawn = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["processes_that_swap_one_file_shut_each_other_out", "--exact"]).env(PLACE, &url);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..4).map(spawn).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let sum = lease::open(&url, &log()).unwrap().read().await.unwrap().object.unwrap();
    assert_eq!(sum, (4 * ADDS).to_string());
}

const PLACE: &str = "LONGSHORE_TEST_PLACE";

async fn add(url: &str, times: u64) {
    let store = lease::open(url, &log()).unwrap();
    for _ in 0..times {
        let mut seen = store.read().await.unwrap();
        loop {
            let sum: u64 = seen.object.as_deref().map_or(0, |sum| std::str::from_utf8(sum).unwrap().parse().unwrap());
            match store.swap(&seen.version, (sum + 1).to_string().into()).await.unwrap() {
                Swap::Swapped(_) => break,
                Swap::Conflict(found) => seen = found,
            }
        }
    }
}

#[test]
fn an_address_that_cannot_be_is_refused_before_anything_is_asked() {
    for (url, says) in [
        ("etcd://nowhere", "write etcd://"),
        ("ftp://host/x", "ftp:// is no kind of store"),
        ("file:///nowhere/at/all", "is the volume mounted?"),
        ("etcd://a:1?token=s3cr3t", "unknown option"),
    ] {
        let error = lease::open(url, &log()).unwrap_err();
        assert!(error.to_string().contains(says) && !error.to_string().contains("s3cr3t"), "{url}: {error}");
    }
}

#[tokio::test]
async fn plaintext_stays_on_this_machine() {
    // An address of documentation, which is nobody's; nothing is sent to it.
    let store = lease::open("etcd://192.0.2.1:2379", &log()).unwrap();
    let refused = store.read().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("add ?ca=FILE&cert=FILE&key=FILE"), "{refused}");
}

#[tokio::test]
async fn a_lease_is_joined_as_the_settings_say() {
    let node = || "a".parse().unwrap();
    let none = Settings::from_toml("").unwrap().lease;
    assert!(Lease::of(&none, &log(), node()).unwrap().is_none());
    let place = tempfile::tempdir().unwrap();
    let text = format!("[lease]\nurl = 'file://{}'\nttl = '500ms'", place.path().display());
    let lease = Lease::of(&Settings::from_toml(&text).unwrap().lease, &log(), node()).unwrap().unwrap();
    lease.watch().wait_for(|state| *state == LeaseState::Free).await.unwrap();
    lease.close().await;
    let written = std::fs::read(place.path().join("orders.lease")).unwrap();
    assert_eq!(LeaseObject::decode(&written).unwrap().ttl.get(), Duration::from_millis(500));
}

/// Bytes from the wire are an error and nothing worse (F-098).
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_etcd_is_an_error_that_passes() {
    for nonsense in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0xff; 4096], b""] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = lease::open(&format!("etcd://{}", listener.local_addr().unwrap()), &log()).unwrap();
        let stranger = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(nonsense).await.unwrap();
        });
        let refused = store.read().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
        stranger.await.unwrap();
    }
}

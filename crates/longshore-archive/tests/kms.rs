//! AWS KMS as moto plays it. F-123.
//!
//! Credentials are found in the environment, which a test must not change in its own process: each question is asked in a
//! second one, which is this test's binary again.

#[path = "support/servers.rs"]
mod servers;
mod support;

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use longshore_archive::keys::{Context, KeyProvider, WrappedKey, parse_keys};
use longshore_archive::{Archive, ArchiveSettings, Begin, Error, Store, Until};
use longshore_format::{ErrorKind, LogId};
use object_store::memory::InMemory;
use support::{Rig, name, open, records};

const SERVER: &str = "LONGSHORE_TEST_KMS";
const KEY: &str = "LONGSHORE_TEST_KMS_KEY";

#[test]
#[ignore = "needs .ci/stores"]
fn moto_wraps_and_unwraps() {
    let moto = servers::moto(false);
    let made = kms(&moto.address, "CreateKey", "{}");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let (arn, id) = (made["KeyMetadata"]["Arn"].as_str().unwrap(), made["KeyMetadata"]["KeyId"].as_str().unwrap());
    kms(&moto.address, "CreateAlias", &format!(r#"{{"AliasName":"alias/archive","TargetKeyId":"{id}"}}"#));
    for question in ["data_keys_are_wrapped", "an_archive_comes_back", "a_key_that_is_not_there"] {
        ask(question, &moto.address, arn);
    }
    // What KMS knows is enforced from here on, and it knows nobody.
    let strict = servers::moto(true);
    ask("nobody_is_allowed", &strict.address, arn);
}

/// Nothing is asked of KMS then, so that no server is needed.
#[cfg(feature = "aws-profiles")]
#[test]
fn without_credentials_it_says_so() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", "no_credentials"]).env_clear();
    child.env(SERVER, "127.0.0.1:1").env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
    child.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let done = child.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[cfg(feature = "aws-profiles")]
#[test]
#[ignore = "asked in a process of its own"]
fn no_credentials() {
    // With the credentials of whoever runs all ignored tests it is another question.
    if std::env::var_os("AWS_EC2_METADATA_DISABLED").is_none() {
        return;
    }
    let error = keys("alias/archive").unwrap().wrap(&context("segments/1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("no credentials are found"), "{error}");
}

fn ask(question: &str, server: &str, key: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", question]).env(SERVER, server).env(KEY, key);
    child.env("AWS_ACCESS_KEY_ID", "AKIDLONGSHORE").env("AWS_SECRET_ACCESS_KEY", "a-secret-of-this-test");
    let done = child.env("AWS_REGION", "us-east-1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{question}: {out}\n{err}");
}

/// The keys of the server that this process was started for; `None` where nobody asks.
fn keys(key: &str) -> Option<Arc<dyn KeyProvider>> {
    let server = std::env::var(SERVER).ok()?;
    Some(parse_keys(&format!("kms:{key}?endpoint=http://{server}")).unwrap())
}

fn key() -> String {
    std::env::var(KEY).unwrap_or_default()
}

fn context(object: &str) -> Context {
    Context { log: LogId::from_bytes([7; 16]), object: object.into() }
}

/// On a thread that drives a runtime, as whoever seals an object may be.
#[tokio::test]
#[ignore = "asked of moto, in a process of its own"]
async fn data_keys_are_wrapped() {
    let arn = key();
    for named in [arn.as_str(), arn.rsplit('/').next().unwrap(), "alias/archive"] {
        let Some(keys) = keys(named) else { return };
        let (first, wrapped) = keys.wrap(&context("segments/1")).unwrap();
        let (second, _) = keys.wrap(&context("segments/1")).unwrap();
        assert_ne!(first.as_bytes(), second.as_bytes());
        assert_eq!((wrapped.provider.as_str(), wrapped.key.as_str()), ("kms", arn.as_str()), "the alias may move on");
        assert_eq!(keys.unwrap(&wrapped, &context("segments/1")).unwrap().as_bytes(), first.as_bytes());

        let elsewhere = keys.unwrap(&wrapped, &context("segments/2")).unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::Corrupt, "{elsewhere}");
        let other_log = Context { log: LogId::from_bytes([8; 16]), ..context("segments/1") };
        assert_eq!(keys.unwrap(&wrapped, &other_log).unwrap_err().kind(), ErrorKind::Corrupt);
        let mut damaged = wrapped.clone();
        *damaged.bytes.last_mut().unwrap() ^= 1;
        assert_eq!(keys.unwrap(&damaged, &context("segments/1")).unwrap_err().kind(), ErrorKind::Corrupt);
        let file = WrappedKey { provider: "file".into(), ..wrapped };
        assert_eq!(keys.unwrap(&file, &context("segments/1")).unwrap_err().kind(), ErrorKind::Preflight);
        assert!(!format!("{keys:?}").contains("a-secret-of-this-test"));
    }
}

#[tokio::test]
#[ignore = "asked of moto, in a process of its own"]
async fn an_archive_comes_back() {
    let Some(keys) = keys("alias/archive") else { return };
    let store = Store::of(Arc::new(InMemory::new()), "memory");
    let settings =
        ArchiveSettings { tail_every: Duration::ZERO, keys: Some(keys.clone()), ..ArchiveSettings::default() };
    let rig = Rig::new();
    let mut archiver = rig.archiver(&store, &settings).await;
    rig.append(400);
    rig.seal();
    archiver.finish().await.unwrap();
    for (object, _, _) in store.list("app").await.unwrap() {
        let (bytes, _) = store.get(&object).await.unwrap().unwrap();
        assert!(
            bytes.windows(key().len()).any(|part| part == key().as_bytes()),
            "{object} names the key that wrapped it"
        );
    }
    let archive = Archive::open(std::slice::from_ref(&store), &name(), Some(keys)).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    archive.fetch(&archive.plan(Until::End, Begin::First).unwrap(), place.path(), |_| {}).await.unwrap();
    let log = open(place.path());
    assert_eq!(records(log.reader(log.first()).unwrap()), rig.records());
    // Without keys, and with those of another provider, nothing is taken for readable.
    assert!(Archive::open(std::slice::from_ref(&store), &name(), None).await.is_err());
}

#[tokio::test]
#[ignore = "asked of moto, in a process of its own"]
async fn a_key_that_is_not_there() {
    let Some(keys) = keys("alias/nobody-made-it") else { return };
    let error = keys.wrap(&context("segments/1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight, "{error}");
    assert!(
        error.to_string().contains("\"alias/nobody-made-it\" is not in kms:alias/nobody-made-it in us-east-1"),
        "{error}"
    );
    // Nobody answers there; and what cannot be wrapped is not archived in the clear.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").map(|listener| listener.local_addr().unwrap()).unwrap();
    let keys = parse_keys(&format!("kms:alias/archive?endpoint=http://{nobody}")).unwrap();
    let error = keys.wrap(&context("segments/1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("look at the network and the endpoint"), "{error}");
    let memory = Arc::new(InMemory::new());
    let store = Store::of(memory.clone(), "memory");
    let settings = ArchiveSettings { tail_every: Duration::ZERO, keys: Some(keys), ..ArchiveSettings::default() };
    let rig = Rig::new();
    let mut archiver = rig.archiver(&store, &settings).await;
    rig.append(3);
    let refused = archiver.finish().await.unwrap_err();
    assert!(refused.is_passing() && refused.kind() == ErrorKind::Unavailable, "{refused}");
    assert!(matches!(refused, Error::Envelope { .. } | Error::Keys(_)), "{refused:?}");
    assert_eq!(store.list("app").await.unwrap(), vec![]);
}

#[tokio::test]
#[ignore = "asked of moto, in a process of its own"]
async fn nobody_is_allowed() {
    let Some(keys) = keys("alias/archive") else { return };
    let error = keys.wrap(&context("segments/1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("alias/archive") && error.to_string().contains("the key's policy"), "{error}");
    let wrapped = WrappedKey { provider: "kms".into(), key: key(), bytes: vec![0; 100] };
    assert_eq!(keys.unwrap(&wrapped, &context("segments/1")).unwrap_err().kind(), ErrorKind::Denied);
}

/// One request to moto, which asks for no signature here; what it answers.
fn kms(server: &str, operation: &str, body: &str) -> String {
    let mut socket = std::net::TcpStream::connect(server).unwrap();
    let credential = "Credential=any/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0";
    let headers = format!(
        "Host: {server}\r\nX-Amz-Target: TrentService.{operation}\r\nContent-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 {credential}"
    );
    write!(socket, "POST / HTTP/1.1\r\n{headers}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

//! Certificates and grants that change while streams are open (F-124).

mod common;

use std::{fs, time::Instant};

use common::{PATIENCE, Pki, Running, agent::hello, connector, eventually, name, pki::Validity};
use longshore_format::{ErrorKind, Lsn};
use longshore_protocol::{Ack, ToReplica, ToUpstream};
use longshore_transport::{Client, Error, Read, ReplicaEnd};
use tokio::time::timeout;
use tokio_stream::StreamExt;

/// A stream that was welcomed. The client is what its connection lives by.
async fn follow(pki: &Pki, identity: &str, agent: &Running) -> (Client, ReplicaEnd) {
    let client = connector(pki.path(), identity).connect(&agent.pinned()).await.unwrap();
    let mut channel = client.follow(&name("orders"), hello(identity)).await.unwrap();
    assert!(matches!(channel.receive().await, Some(Ok(ToReplica::Welcome(_)))));
    (client, channel)
}

/// The error a stream ends with.
async fn end(channel: &mut ReplicaEnd) -> Error {
    let ended = timeout(PATIENCE, channel.receive()).await.expect("the stream ends");
    ended.expect("with a reason").expect_err("with an error")
}

/// Whether a stream still carries messages both ways.
async fn lives(channel: &mut ReplicaEnd) -> bool {
    let ack = Ack::new(Lsn::new(64 << 10), Lsn::ZERO, Lsn::ZERO).unwrap();
    let sent = channel.send(ToUpstream::Ack { ack, relayed: Vec::new() }).await;
    sent.is_ok() && matches!(channel.receive().await, Some(Ok(ToReplica::Frames(_))))
}

#[tokio::test]
async fn a_stream_whose_grant_is_taken_ends_and_the_others_stay() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let (client, mut channel) = follow(&pki, "replica", &agent).await;
    let (_other, mut other) = follow(&pki, "other", &agent).await;

    pki.edit_grants(
        "[replica]\nregion = \"replica\"\nlogs.\"*\" = [\"replicate\"]",
        "[replica]\nlogs.users = [\"replicate\"]",
    );
    let error = end(&mut channel).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().ends_with("write under [replica] in the agent's grants.toml: logs.orders = [\"replicate\"]"),
        "{error}"
    );
    // The service heard the same, and no message after it.
    eventually(|| agent.agent.seen(|seen| seen.ended == [("replica".to_owned(), Some(ErrorKind::Denied))])).await;
    assert!(lives(&mut other).await);
    // The connection stays for what is still granted.
    let mut users = client.follow(&name("users"), hello("replica")).await.unwrap();
    assert!(users.receive().await.unwrap().is_ok());
    assert_eq!(client.follow(&name("orders"), hello("replica")).await.err().unwrap().kind(), ErrorKind::Denied);
    agent.stop().await;
}

#[tokio::test]
async fn a_reader_whose_grant_is_taken_ends_too() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "app").connect(&agent.pinned()).await.unwrap();
    let read = Read { log: name("orders"), start: None, end: None, exclusive: false, follow: true };
    let mut batches = client.read(read).await.unwrap();
    batches.next().await.unwrap().unwrap();
    pki.edit_grants("\"append\", \"read\"", "\"append\"");
    let error = timeout(PATIENCE, async {
        loop {
            if let Err(error) = batches.next().await.expect("a reason") {
                return error;
            }
        }
    });
    assert_eq!(error.await.expect("it ends").kind(), ErrorKind::Denied);
    agent.stop().await;
}

#[tokio::test]
async fn a_revoked_identity_loses_its_streams_and_its_connection_and_the_others_stay() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let (client, mut channel) = follow(&pki, "replica", &agent).await;
    let (_other, mut other) = follow(&pki, "other", &agent).await;
    pki.revoke(&["replica"]);
    let error = end(&mut channel).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("the certificate of replica is no longer accepted"), "{error}");
    eventually(|| client.is_closed()).await;
    assert!(lives(&mut other).await);
    agent.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_certificate_expires() {
    let pki = Pki::new();
    pki.reissue("replica", Validity(-60, 3));
    let agent = Running::start(&pki).await;
    let (_client, mut channel) = follow(&pki, "replica", &agent).await;
    let (_other, mut other) = follow(&pki, "other", &agent).await;
    assert!(lives(&mut channel).await);
    let start = Instant::now();
    let error = end(&mut channel).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(start.elapsed().as_secs() < 6, "within a second or two of expiring");
    assert!(lives(&mut other).await);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_swapped_under_load_without_a_dropped_stream() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let (_client, mut channel) = follow(&pki, "replica", &agent).await;
    let load = tokio::spawn(async move {
        for _ in 0..600 {
            assert!(lives(&mut channel).await);
        }
        channel
    });
    let connector = connector(pki.path(), "other");
    for round in 1..=5 {
        let days = round * 10;
        pki.reissue("primary", Validity(-60, days * 86_400 + 3600));
        pki.reissue("other", Validity(-60, 3600));
        eventually(|| agent.access.certificate_days_left() == Some(days)).await;
        // New connections see the new certificates, on both sides.
        connector.connect(&agent.pinned()).await.unwrap();
    }
    let mut channel = load.await.unwrap();
    assert!(lives(&mut channel).await);
    agent.stop().await;
}

#[tokio::test]
async fn a_mismatched_pair_keeps_the_old_one_until_the_new_one_is_whole() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let key = fs::read_to_string(pki.path().join("primary.key")).unwrap();
    pki.reissue("primary", Validity(-60, 86_400 * 9 + 3600));
    let new_key = fs::read_to_string(pki.path().join("primary.key")).unwrap();
    pki.replace("primary.key", &key);
    let error = agent.access.reload().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert!(error.to_string().contains("replace certificate and key together"), "{error}");
    assert_ne!(agent.access.certificate_days_left(), Some(9));
    follow(&pki, "replica", &agent).await;

    pki.replace("primary.key", &new_key);
    eventually(|| agent.access.certificate_days_left() == Some(9)).await;
    follow(&pki, "replica", &agent).await;
    agent.stop().await;
}

#[tokio::test]
async fn grants_that_cannot_be_read_leave_the_old_ones_in_force() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let (_client, mut channel) = follow(&pki, "replica", &agent).await;
    let good = fs::read_to_string(pki.path().join("grants.toml")).unwrap();
    pki.replace("grants.toml", "[replica]\nlogs.orders = [\"replicat\"]\n");
    let error = agent.access.reload().unwrap_err();
    assert!(error.to_string().contains("did you mean \"replicate\"?"), "{error}");
    assert!(lives(&mut channel).await);
    follow(&pki, "other", &agent).await;
    pki.replace("grants.toml", &good);
    agent.access.reload().unwrap();
    agent.stop().await;
}

//! A lease as nodes hold it, and what an operator sees of it.

use longshore::format::{Epoch, WriterId};
use longshore::lease::{LeaseObject, Swap};
use longshore::transport::{LeaseHolder, LeaseStatus};

use super::*;

fn lease(agent: &Agent) -> Option<LeaseStatus> {
    status(agent).logs.first().and_then(|log| log.reign.lease.clone())
}

fn holder(agent: &Agent) -> Option<String> {
    match lease(agent)?.holder {
        LeaseHolder::Node(node) => Some(node.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_says_who_holds_the_lease_and_its_holder_for_how_long() {
    let mut cluster = Cluster::new("replicas:1", &["primary", "a"]);
    let place = tempfile::tempdir().unwrap();
    cluster.lease = Some(format!("file://{}", place.path().display()));
    let primary = cluster.primary().await;
    let a = cluster.replica("a").await;
    for agent in [&primary, &a] {
        until("it is known who holds it", || holder(agent).as_deref() == Some("primary")).await;
        assert_eq!(lease(agent).unwrap().epoch, 1);
    }
    let valid = lease(&primary).unwrap().valid.unwrap();
    assert!(Duration::ZERO < valid && valid <= Duration::from_millis(700), "0.7 of a second at most: {valid:?}");
    assert_eq!(lease(&a).unwrap().valid, None, "nobody else relies on it");
    for agent in [a, primary] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_is_no_lease_is_said() {
    let mut cluster = Cluster::new("replicas:1", &["primary", "a"]);
    let place = tempfile::tempdir().unwrap();
    cluster.lease = Some(format!("file://{}", place.path().display()));
    std::fs::write(place.path().join(format!("{LOG}.lease")), "something else").unwrap();
    let primary = cluster.primary().await;
    let trouble = || lease(&primary).and_then(|lease| lease.trouble).unwrap_or_default();
    until("it is told", || trouble().contains("lease")).await;
    assert_eq!(lease(&primary).unwrap().holder, LeaseHolder::Unknown);
    primary.stop().await.unwrap();
    cluster.lease = None;
    let primary = cluster.primary().await;
    assert_eq!(lease(&primary), None, "none is set");
    primary.stop().await.unwrap();
}

#[test]
fn a_lease_with_a_policy_that_no_failover_protects_is_refused_with_what_to_set() {
    let place = tempfile::tempdir().unwrap();
    for (policy, suits) in [("local", false), ("archived:1", false), ("replicas:1", true), ("regions:2", true)] {
        let mut settings = Settings::default();
        settings.ack.durability = durability(policy);
        settings.lease.url = Some(format!("file://{}", place.path().display()));
        match Node::primary(place.path().join("data"), &settings) {
            Ok(_) => assert!(suits, "{policy}"),
            Err(error) => {
                assert!(!suits && error.kind() == ErrorKind::Invalid, "{policy}: {error}");
                assert!(error.to_string().contains("--ack-durability"), "{error}");
            }
        }
    }
}

/// As it is left by a node that took the lease while its holder was silent, reached no other node and gave it back.
async fn mint_in_vain(url: &str) -> u64 {
    let store = longshore::lease::open(url, &LOG.parse().unwrap()).unwrap();
    loop {
        let found = store.read().await.unwrap();
        let there = LeaseObject::decode(&found.object.unwrap()).unwrap();
        let epoch = Epoch { number: there.epoch.number + 1, writer: WriterId::from_bytes([7; 16]) };
        let left = LeaseObject { holder: None, epoch, ..there };
        match store.swap(&found.version, left.encode().into()).await.unwrap() {
            Swap::Swapped(_) => return epoch.number,
            Swap::Conflict(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_goes_on_after_a_later_epoch_was_minted_in_vain() {
    let mut cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let place = tempfile::tempdir().unwrap();
    let url = format!("file://{}", place.path().display());
    cluster.lease = Some(url.clone());
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let log = writer(&primary);
    let appends = || log.append(&["any"]).is_ok();
    until("the primary holds the lease", appends).await;
    confirmed(&log, "before", "replicas:2").await;

    let vain = mint_in_vain(&url).await;
    let holds = || holder(&primary).as_deref() == Some("primary") && lease(&primary).is_some_and(|it| vain < it.epoch);
    until("it holds the lease again", || holds() && appends()).await;
    until("all of it is at the others", || [&a, &b].iter().all(|agent| end(agent) == end(&primary))).await;
    assert_eq!(status(&primary).logs[0].epoch.number, 1, "nobody began another epoch");
    for agent in [b, a, primary] {
        agent.stop().await.unwrap();
    }
}

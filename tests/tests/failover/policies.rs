//! What a policy promises while a log changes hands, and while it cannot be had.

use std::time::Duration;

use longshore::Event;
use longshore::settings::Shortfall;
use longshore::transport::LogSummary;
use longshore_testkit::proxy::{Link, Proxy};
use tokio::time::timeout;

use super::*;

/// Long enough for an answer that nothing keeps back.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_cannot_fence_is_refused_and_disturbs_nobody() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    // What a asks of the primary goes through a link that can be lost.
    let proxy = Proxy::start(primary.address);
    let through = format!("primary@{}", proxy.address());
    let a = cluster.replica_with("a", |settings| settings.replica.upstreams[0] = through).await;
    let log = writer(&primary);
    let last = confirmed(&log, "before", "replicas:1").await;
    until("a has it", || end(&a) >= Some(last)).await;
    proxy.set(Link::Stalled);
    proxy.reset();
    // b does not run: it could confirm what the primary writes, so that nothing may be written elsewhere.
    assert_eq!(cluster.promote("a", |_| {}).await.unwrap_err(), ErrorKind::Fenced);
    proxy.set(Link::Open);
    proxy.reset();
    confirmed(&log, "still here", "replicas:1").await;
    assert_eq!(log.status().epoch.number, 1);

    // What may be lost is said, and then it is so.
    proxy.set(Link::Stalled);
    proxy.reset();
    let promoted = cluster.promote("a", |promote| promote.accept_loss = true).await.unwrap();
    assert!(promoted.promoted, "{promoted:?}");
    let unfenced = match &promoted.fence {
        FenceState::Open(nodes) => nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>(),
        fence => panic!("{fence:?}"),
    };
    assert!(unfenced.contains(&"b".to_owned()), "{unfenced:?}");
    let b = cluster.replica("b").await;
    proxy.set(Link::Open);
    proxy.reset();
    confirmed(&writer(&a), "on its own", "replicas:2").await;
    assert_eq!(cluster.payloads("primary").await, ["before", "still here", "on its own"]);
    for agent in [primary, b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_once_it_is_durable_under_both_and_goes_on_at_the_next_writer() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let a = cluster.replica("a").await;
    confirmed(&writer(&primary), "before", "replicas:1").await;
    primary.stop().await.unwrap();

    let primary = cluster.primary_with(|settings| settings.ack.durability = durability("replicas:2")).await;
    let events = primary.node.events();
    let log = writer(&primary);
    let asked = log.append(&["more"]).unwrap();
    within(asked.wait(durability("replicas:1"))).await.unwrap();
    assert!(timeout(MOMENT, asked.wait(durability("replicas:2"))).await.is_err(), "b does not run");
    let held = |events: &longshore::Events| {
        std::iter::from_fn(|| events.take()).any(|event| matches!(event, Event::PolicyHolds { .. }))
    };
    assert!(!held(&events), "only a has it");
    let b = cluster.replica("b").await;
    within(asked.wait(durability("replicas:2"))).await.unwrap();
    until("the new policy holds", || held(&events)).await;

    let promoted = cluster.promote("a", |promote| promote.switchover = true).await.unwrap();
    assert_eq!(promoted.policy.as_deref(), Some("replicas:2"));
    confirmed(&writer(&a), "after", "replicas:2").await;
    for agent in [primary, b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_had_is_done_without_and_had_again() {
    let cluster = Cluster::new("replicas:1", &["primary", "a"]);
    let primary = cluster
        .primary_with(|settings| {
            settings.ack.shortfall = Shortfall::Degrade;
            settings.ack.degrade_after = Duration::from_millis(100);
        })
        .await;
    let log = writer(&primary);
    let events = primary.node.events();
    let mut degraded = Vec::new();
    let mut take = || {
        let events = std::iter::from_fn(|| events.take());
        degraded.extend(events.filter_map(|event| match event {
            Event::Degraded { degraded, .. } => Some(degraded),
            _ => None,
        }));
        degraded.clone()
    };
    confirmed(&log, "alone", "replicas:1").await;
    assert_eq!(take(), [true]);
    let a = cluster.replica("a").await;
    until("the policy is had again", || take() == [true, false]).await;
    let together = confirmed(&log, "together", "replicas:1").await;
    assert!(end(&a) >= Some(together), "a has what was confirmed");
    a.stop().await.unwrap();
    confirmed(&log, "alone again", "replicas:1").await;
    assert_eq!(take(), [true, false, true]);
    primary.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_at_a_replica_what_it_wrote_at_the_writer() {
    let cluster = Cluster::new("local", &["primary", "a"]);
    let primary = cluster.primary().await;
    let a = cluster.replica("a").await;
    let log = writer(&primary);
    let (first, second) = (confirmed(&log, "1", "replicas:1").await, confirmed(&log, "2", "replicas:1").await);
    let future = Lsn::new(second.get() + second.since(first));
    let at_a = cluster.client("a").await;
    let name = LOG.parse().unwrap();
    let early = at_a.wait(&name, future, &durability("local"), MOMENT).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Unconfirmed, "{early}");
    let waiting = tokio::spawn(async move { at_a.wait(&name, future, &durability("local"), support::PATIENCE).await });
    assert_eq!(confirmed(&log, "3", "local").await, future);
    assert!(future <= within(waiting).await.unwrap().unwrap());
    assert_eq!(cluster.payloads("a").await, ["1", "2", "3"]);
    for agent in [primary, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_one_list_of_upstreams_make_no_ring_when_the_writer_is_gone() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    primary.stop().await.unwrap();
    // Each says by whom its log comes: by nobody, and never by each other.
    let within_a_while = async {
        loop {
            let (a, b) = (summary(&cluster, "a").await, summary(&cluster, "b").await);
            if a.path.is_empty() && b.path.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(within_a_while).await;
    let primary = cluster.primary().await;
    let last = confirmed(&writer(&primary), "after", "replicas:2").await;
    assert!([&a, &b].iter().all(|agent| end(agent) >= Some(last)));
    for (name, agent) in [("a", a), ("b", b)] {
        // It may be just leaving a way through the other one for the direct one.
        let comes_from_the_writer = async {
            while summary(&cluster, name).await.path.last().is_none_or(|node| node.to_string() != "primary") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(comes_from_the_writer).await;
        agent.stop().await.unwrap();
    }
    primary.stop().await.unwrap();
}

async fn summary(cluster: &Cluster, at: &str) -> LogSummary {
    cluster.client(at).await.logs().await.unwrap().pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_policy_is_said_when_its_writer_starts() {
    for (policy, grants, expected) in [
        ("replicas:2", "provider = \"one\"", Some("all 3 copies are in one provider, one")),
        ("replicas:3", "", Some("replicas:3 can never be had from its voters")),
        ("regions:3", "", Some("regions:3 can never be had from its voters")),
        ("regions:2", "", None),
    ] {
        let cluster = Cluster::new(policy, &["primary", "a", "b"]);
        let grant = |(name, _): &(String, SocketAddr)| {
            format!("[{name}]\nregion = \"{name}\"\n{grants}\nlogs.\"*\" = [\"replicate\", \"promote\"]\n")
        };
        cluster.world.grant(&cluster.nodes.iter().map(grant).collect::<String>());
        let primary = cluster.primary().await;
        let mut warnings = Vec::new();
        while let Some(event) = primary.node.events().take() {
            if let Event::Warning { message } = event {
                warnings.push(message);
            }
        }
        match expected {
            Some(expected) => assert!(warnings.iter().any(|told| told.contains(expected)), "{policy}: {warnings:?}"),
            None => assert!(warnings.is_empty(), "{policy}: {warnings:?}"),
        }
        primary.stop().await.unwrap();
    }
}

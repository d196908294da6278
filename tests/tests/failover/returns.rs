//! What an old primary that was killed comes back with.

use super::*;

/// The primary has stopped, and `a` writes what all of them have; `b` follows.
async fn replaced(cluster: &Cluster) -> (Agent, Agent) {
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    primary.stop().await.unwrap();
    cluster.promote("a", |_| {}).await.unwrap();
    (a, b)
}

/// What the old primary runs with when it knows of nobody else.
fn alone(cluster: &Cluster) -> Settings {
    let mut alone = cluster.settings("primary");
    alone.replica.upstreams.clear();
    alone
}

/// The old primary writes what nobody else gets.
fn write_alone(cluster: &Cluster) {
    let primary = Primary::open(cluster.world.dir("primary"), LOG, &alone(cluster)).unwrap();
    let ticket = primary.append(&["never shipped"]).unwrap();
    ticket.wait_blocking(durability("local"), support::PATIENCE).unwrap();
    primary.close().unwrap();
}

/// Every return of one that was killed begins with a record of its own, which nobody else has.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_killed_and_returns_leaves_no_tail_unless_somebody_wrote_in_it() {
    for written in [false, true] {
        let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
        let primary = cluster.primary().await;
        let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
        confirmed(&writer(&primary), "before", "replicas:2").await;
        // While it runs: as a kill leaves it.
        let (place, killed) = (cluster.world.dir("primary"), cluster.world.dir("killed"));
        support::copy_dir(&place, &killed);
        primary.stop().await.unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::rename(&killed, &place).unwrap();
        cluster.promote("a", |_| {}).await.unwrap();
        let after = confirmed(&writer(&a), "after", "replicas:1").await;
        if written {
            write_alone(&cluster);
        }
        let returned = cluster.primary().await;
        until("it has rejoined", || end(&returned) >= Some(after)).await;
        let tails = &status(&returned).logs[0].tails;
        assert_eq!(tails.len(), usize::from(written), "{tails:?}");
        let events: Vec<_> = std::iter::from_fn(|| returned.node.events().take()).collect();
        let told = events.iter().any(|event| match event {
            longshore::Event::SetAside { .. } => written,
            longshore::Event::NothingAside { from, to, .. } => !written && from < to,
            _ => false,
        });
        assert!(told, "{events:?}");
        for agent in [returned, b, a] {
            agent.stop().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_to_rejoin_by_hand_changes_nothing_and_says_what_to_run() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (a, b) = replaced(&cluster).await;
    let place = cluster.world.dir("primary");
    write_alone(&cluster);
    let returned =
        cluster.primary_with(|settings| settings.replica.rejoin = longshore::settings::RejoinHow::Manual).await;
    let events = returned.node.events();
    let mut told = None;
    until("it says so", || {
        let event = events.take();
        if let Some(longshore::Event::NotFollowing { reason, .. }) = event {
            told = Some(reason).filter(|reason| reason.contains("longshore rejoin --data-dir")).or(told.take());
        }
        told.is_some()
    })
    .await;
    assert!(!place.join(LOG).join("diverged").exists(), "nothing is set aside");
    // It may have ended by itself: no other log is left to follow.
    let _refused = returned.stop().await;

    let (settings, upstream) = (cluster.settings("primary"), format!("a@{}", cluster.nodes[1].1));
    let rejoin = longshore::Rejoin::ask(&place, LOG, &upstream, &settings).await.unwrap();
    rejoin.set_aside().unwrap().expect("there is something that only it has");
    let error = Node::primary(&place, &alone(&cluster)).unwrap().open_all().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "nor does it write again without knowing of anybody else: {error}");
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

/// As a crash between the two steps of a rejoin leaves it, or a primary that had nothing of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_rejoined_by_hand_with_nothing_to_set_aside_writes_no_more_either() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (a, b) = replaced(&cluster).await;
    let (place, upstream) = (cluster.world.dir("primary"), format!("a@{}", cluster.nodes[1].1));
    let rejoin = longshore::Rejoin::ask(&place, LOG, &upstream, &cluster.settings("primary")).await.unwrap();
    assert_eq!(rejoin.set_aside().unwrap(), None, "its log is a beginning of the other's");
    let error = Node::primary(&place, &alone(&cluster)).unwrap().open_all().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

//! A node that swallows what it is sent: it costs a promotion its patience once, and less where it is not needed.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_answers_is_not_waited_for_in_full_where_the_others_are_enough() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    primary.stop().await.unwrap();
    // Where the primary was, connections are taken and nothing is said.
    let _silent = TcpListener::bind(cluster.nodes[0].1).unwrap();
    let timed = async |change: fn(&mut Promote)| {
        let begun = Instant::now();
        let promoted = cluster.promote("a", change).await;
        println!("{:?}", begun.elapsed());
        (promoted, begun.elapsed())
    };
    let (plan, planned) = timed(|promote| promote.plan = true).await;
    let silent = plan.unwrap().nodes.into_iter().find(|node| node.problem.is_some()).unwrap();
    assert!(silent.problem.as_ref().unwrap().contains("no answer within 2 s"), "{silent:?}");
    let (promoted, acted) = timed(|_| {}).await;
    assert!(promoted.unwrap().promoted);
    // Whoever is needed is waited for five seconds.
    let enough = Duration::from_millis(3500);
    assert!(planned < enough && acted < enough, "{planned:?}, {acted:?}");
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_needed_is_waited_for() {
    let cluster = Cluster::new("replicas:1", &["primary", "a"]);
    let primary = cluster.primary().await;
    let a = cluster.replica("a").await;
    confirmed(&writer(&primary), "before", "replicas:1").await;
    a.stop().await.unwrap();
    let a = cluster.replica("a").await;
    // So far away that others would long have answered.
    let far = longshore_testkit::proxy::Proxy::start(primary.address);
    far.set(longshore_testkit::proxy::Link::Stalled);
    let opens = async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        far.set(longshore_testkit::proxy::Link::Open);
    };
    let peer = format!("primary@{}", far.address());
    primary.stop().await.unwrap();
    let primary = cluster.primary().await;
    far.aim(primary.address);
    let promoted = async {
        let switchover = |promote: &mut Promote| {
            promote.switchover = true;
            promote.peers = vec![peer];
        };
        cluster.promote("a", switchover).await
    };
    let (promoted, ()) = tokio::join!(promoted, opens);
    assert!(promoted.unwrap().promoted);
    for agent in [primary, a] {
        agent.stop().await.unwrap();
    }
}

//! A node that does not answer for a while, or for good: it costs a promotion its patience once, and less where it is not needed.

use longshore::transport::NodeReport;
use longshore_testkit::proxy::{Link, Proxy};

use super::*;

/// What a promotion, or a plan of one, says of a node that said nothing.
fn problem_of(promoted: &Promoted, node: &str) -> String {
    let of = |report: &&NodeReport| report.node == node;
    promoted.nodes.iter().find(of).and_then(|report| report.problem.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_answers_is_not_waited_for_in_full_where_the_others_are_enough() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    primary.stop().await.unwrap();
    // Where the primary was, connections are taken and nothing is said.
    let _silent = TcpListener::bind(cluster.nodes[0].1).unwrap();
    let plan = cluster.promote("a", |promote| promote.plan = true).await.unwrap();
    let promoted = cluster.promote("a", |_| {}).await.unwrap();
    assert!(!plan.promoted && promoted.promoted, "{promoted:?}");
    for told in [plan, promoted] {
        let why = problem_of(&told, "primary");
        // Where b takes its time to answer, the whole of it is waited.
        assert!(["no answer within 2 s", "no answer within 5 s"].contains(&&*why), "{told:?}");
    }
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_waits_as_long_as_the_promotion_for_a_node_that_is_needed() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    for agent in [primary, b] {
        agent.stop().await.unwrap();
    }
    // The primary refuses connections at once; without b, which says nothing, it may still confirm.
    let _silent = TcpListener::bind(cluster.nodes[2].1).unwrap();
    let plan = cluster.promote("a", |promote| promote.plan = true).await.unwrap();
    assert!(
        matches!(&plan.fence, FenceState::Open(unfenced) if unfenced.iter().any(|node| node.as_str() == "b")),
        "{plan:?}"
    );
    assert!(problem_of(&plan, "b").starts_with("no answer within 5 s"), "{plan:?}");
    assert_eq!(cluster.promote("a", |_| {}).await.unwrap_err(), ErrorKind::Fenced);
    a.stop().await.unwrap();
}

/// A switchover needs the writer, and so does its plan.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_to_give_its_role_up_is_waited_for() {
    let cluster = Cluster::new("replicas:1", &["primary", "a"]);
    let primary = cluster.primary().await;
    let far = Proxy::start(primary.address);
    let a = cluster.replica_with("a", |a| a.replica.upstreams = vec![format!("primary@{}", far.address())]).await;
    confirmed(&writer(&primary), "before", "replicas:1").await;
    let switchover = |promote: &mut Promote| promote.switchover = true;
    far.set(Link::Stalled);
    let plan = cluster.promote("a", |promote| (promote.switchover, promote.plan) = (true, true)).await.unwrap();
    assert!(problem_of(&plan, "primary").starts_with("no answer within 5 s"), "{plan:?}");
    assert_eq!(cluster.promote("a", switchover).await.unwrap_err(), ErrorKind::Unavailable);
    far.set(Link::Open);
    assert!(cluster.promote("a", switchover).await.unwrap().promoted);
    for agent in [primary, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_closed_for_a_moment_is_waited_for() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    for agent in [primary, b] {
        agent.stop().await.unwrap();
    }
    // As it is while a role changes there: the log is in its directory, and not open.
    let b = Agent::serve_node(&Node::primary(cluster.world.dir("b"), &cluster.settings("b")).unwrap()).await;
    let log = LOG.parse().unwrap();
    let closed = cluster.client("b").await.survey(&log, None).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Unavailable, "{closed}");
    let mut promotion = std::pin::pin!(cluster.promote("a", |_| {}));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut promotion).await;
    assert!(early.is_err(), "without b the primary may still confirm: {early:?}");
    b.node.open_all().unwrap();
    assert_eq!(promotion.await.unwrap().fence, FenceState::Whole);
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

//! The live tail of one log beside the catch-up of another, over one upstream.

#[path = "library/support.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod support;

use longshore::{Content, Node, Replica};
use longshore_testkit::proxy::Proxy;
use support::{Agent, World, append, segments, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_live_tail_of_one_log_does_not_wait_behind_the_catch_up_of_another() {
    let world = World::new(&["eu-west"]);
    let node = Node::primary(world.dir("primary"), &world.settings("primary")).unwrap();
    let live = node.create_log("live", Content::Bytes).unwrap();
    let past = node.create_log("past", Content::Bytes).unwrap();
    append(&live, 1, 100, "local").await;
    let end_of_past = append(&past, 600, 10_000, "local").await;
    let served = Agent::serve_node(&node).await;

    // The first connection is for live tails. The second, for what is more than four segments behind, does not get through.
    let proxy = Proxy::start(served.address);
    proxy.stall_from(2);
    let mut settings = world.replica_settings("eu-west", &served);
    settings.replica.upstreams = vec![proxy.address().to_string()];
    let replica = Agent::replica(Replica::open(world.dir("eu-west"), &settings).unwrap()).await;

    append(&live, 50, 100, "replicas:1").await;
    until("the catch-up has asked for a connection of its own", || proxy.connections() >= 2).await;
    append(&live, 50, 100, "replicas:1").await;
    let status = past.status();
    assert!(status.replicas.iter().all(|replica| replica.durable < end_of_past), "{status:?}");

    proxy.stall_from(u64::MAX);
    past.ticket(end_of_past).wait(support::durability("replicas:1")).await.unwrap();
    append(&past, 50, 100, "replicas:1").await;
    replica.stop().await.unwrap();
    served.stop().await.unwrap();
    for log in ["live", "past"] {
        let (ours, theirs) = (segments(&world.dir("primary"), log), segments(&world.dir("eu-west"), log));
        assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| ours == theirs), "log {log} is the same bytes");
    }
}

//! A switchover that fails leaves a writer: the one before, or the next.

use longshore_testkit::proxy::Proxy;

use super::*;

/// A primary that `a` reaches by a link that may break, and two replicas.
async fn behind_a_link(cluster: &Cluster) -> (Proxy, [Agent; 3]) {
    let primary = cluster.primary().await;
    let link = Proxy::start(primary.address);
    let through = format!("primary@{}", link.address());
    let a = cluster.replica_with("a", |settings| settings.replica.upstreams[0] = through).await;
    let b = cluster.replica("b").await;
    confirmed(&writer(&primary), "before", "replicas:2").await;
    (link, [primary, a, b])
}

/// Appends at whoever writes until that is confirmed; who it was.
async fn writes(agents: &[Agent; 3]) -> usize {
    let writing = async {
        loop {
            for (index, agent) in agents.iter().enumerate() {
                let ticket = agent.node.log(LOG).and_then(|log| log.append(&["goes on"]));
                let Ok(ticket) = ticket else { continue };
                let waited = tokio::time::timeout(Duration::from_secs(2), ticket.wait(durability("replicas:1"))).await;
                if waited.is_ok_and(|waited| waited.is_ok()) {
                    return index;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(writing).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_whose_link_breaks_at_any_byte_leaves_a_writer_without_anybodys_help() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (link, agents) = behind_a_link(&cluster).await;
    let mut failed = 0;
    for bytes in (1..).step_by(331).take_while(|bytes| *bytes < 9000) {
        link.cut_after(bytes);
        match cluster.promote("a", |promote| promote.switchover = true).await {
            Ok(promoted) => assert!(promoted.promoted, "{promoted:?}"),
            Err(_) => {
                failed += 1;
                // At once: not once somebody happens to hear of it.
                let appended = agents[0].node.log(LOG).and_then(|log| log.append(&["at once"]).map(drop));
                let stand = || agents.each_ref().map(|agent| status(agent).logs);
                assert!(appended.is_ok(), "cut after {bytes}: {appended:?}\n{:#?}", stand());
            }
        }
        link.cut_after(u64::MAX);
        let by = writes(&agents).await;
        println!("cut after {bytes}: written by {by}");
        if by != 0 {
            // Its log may just be becoming one that follows.
            let back =
                async { while cluster.promote("primary", |promote| promote.switchover = true).await.is_err() {} };
            within(back).await;
        }
        until("a follows again", || end(&agents[1]) >= end(&agents[0])).await;
    }
    println!("{failed} failed");
    assert!(0 < failed, "the link never broke while it mattered");
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

/// What the writer appended while the replica came near is given up as little as the rest: the one step that is refused although
/// the writer has stopped by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_that_is_refused_once_the_writer_has_stopped_gives_the_role_back() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let (_link, [primary, a, b]) = behind_a_link(&cluster).await;
    a.stop().await.unwrap();
    support::append(&writer(&primary), 40, 200 << 10, "replicas:1").await;
    // It follows nobody, and so lacks all that when it is to take the role.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let a = cluster.replica_with("a", |settings| settings.replica.upstreams = vec![nowhere]).await;
    let (before, to) = (end(&a), end(&primary));
    let peers = [0, 2].map(|node: usize| format!("{}@{}", cluster.nodes[node].0, cluster.nodes[node].1)).to_vec();
    let refused = cluster.promote("a", |promote| {
        (promote.switchover, promote.to, promote.peers) = (true, to, peers);
    });
    let meanwhile = async {
        until("it comes near", || before < end(&a)).await;
        writer(&primary).append(&["meanwhile"]).unwrap();
    };
    let (refused, ()) = tokio::join!(refused, meanwhile);
    assert_eq!(refused.unwrap_err(), ErrorKind::Fenced);
    assert!(1 < primary.node.status().logs[0].epoch.number, "it had stopped, and begun anew");
    primary.node.log(LOG).unwrap().append(&["at once"]).unwrap();
    let agents = [primary, a, b];
    assert_eq!(writes(&agents).await, 0);
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

/// Found out before anybody is asked to accept an epoch: afterwards nobody would write.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_not_fetch_what_the_writer_has_fences_nobody() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let voters = |settings: &mut Settings| settings.ack.voters = ["primary", "a", "b"].map(str::to_owned).into();
    let (primary, a, b) = (cluster.primary_with(voters).await, cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "before", "replicas:2").await;
    for agent in [primary, a, b] {
        agent.stop().await.unwrap();
    }
    let granted = |name: &str, replicate: &str| {
        format!(
            "[{name}]\nregion = \"{name}\"\nlogs.\"*\" = [{replicate}\"promote\", \"admin\", \"append\", \"read\"]\n"
        )
    };
    let may = "\"replicate\", ";
    cluster.world.grant(&[granted("primary", may), granted("a", ""), granted("b", may)].concat());
    let (primary, a, b) = (cluster.primary_with(voters).await, cluster.replica("a").await, cluster.replica("b").await);
    confirmed(&writer(&primary), "beyond a", "replicas:1").await;
    assert_eq!(cluster.promote("a", |_| {}).await.unwrap_err(), ErrorKind::Denied);
    writer(&primary).append(&["at once"]).unwrap();
    assert_eq!(status(&primary).logs[0].epoch.number, 1);
    for agent in [primary, a, b] {
        agent.stop().await.unwrap();
    }
}

/// The same of the role that it takes to fence somebody: whoever has accepted an epoch follows no earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_promote_nowhere_accepts_no_epoch_itself() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let granted = |name: &str, promote: &str| {
        format!(
            "[{name}]\nregion = \"{name}\"\nlogs.\"*\" = [{promote}\"replicate\", \"admin\", \"append\", \"read\"]\n"
        )
    };
    let may = "\"promote\", ";
    cluster.world.grant(&[granted("primary", may), granted("a", ""), granted("b", may)].concat());
    let (primary, a) = (cluster.primary().await, cluster.replica("a").await);
    confirmed(&writer(&primary), "before", "replicas:1").await;
    let asked = cluster.client_as("b", "a").await;
    for switchover in [true, false] {
        let plan = Promote { plan: true, switchover, ..Promote::of(LOG.parse().unwrap()) };
        let planned = asked.promote(&plan).await.unwrap();
        let told = planned.nodes.iter().find_map(|node| node.problem.clone().filter(|told| told.contains("promote")));
        assert!(told.is_some(), "{planned:?}");
        let refused = asked.promote(&Promote { plan: false, ..plan }).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
        assert!(refused.to_string().contains("[a]") && refused.to_string().contains("Nobody was fenced"), "{refused}");
        confirmed(&writer(&primary), "undisturbed", "replicas:1").await;
    }
    for agent in [primary, a] {
        agent.stop().await.unwrap();
    }
}

//! A log that changes hands while it is written: nothing is lost, and nothing is written twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore::Node;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Appends numbers at whichever of some nodes writes the log, without pause, and writes down what was confirmed.
struct Client {
    confirmed: Arc<Mutex<Vec<u64>>>,
    /// The longest time between two confirmations.
    pause: Arc<Mutex<Duration>>,
    task: JoinHandle<()>,
}

impl Client {
    fn start(agents: &[&Agent], policy: &str) -> Self {
        let (confirmed, pause) = <(Arc<Mutex<Vec<u64>>>, Arc<Mutex<Duration>>)>::default();
        let nodes = agents.iter().map(|agent| agent.node.clone()).collect();
        let task = tokio::spawn(write(nodes, durability(policy), Arc::clone(&confirmed), Arc::clone(&pause)));
        Self { confirmed, pause, task }
    }

    async fn confirms(&self, more: usize) {
        let confirmed = || self.confirmed.lock().unwrap().len();
        let wanted = confirmed() + more;
        until("the client's appends are confirmed", || wanted <= confirmed()).await;
    }

    fn pause(&self) -> Duration {
        std::mem::take(&mut *self.pause.lock().unwrap())
    }

    /// Ends it, and checks that what was confirmed is on every node, once and in order.
    async fn check(self, cluster: &Cluster, writer: &Agent, nodes: &[&str]) {
        self.task.abort();
        let _aborted = self.task.await;
        confirmed(&writer.node.log(LOG).unwrap(), &u64::MAX.to_string(), &format!("replicas:{}", nodes.len() - 1))
            .await;
        let expected = cluster.payloads(nodes[0]).await;
        let numbers: Vec<u64> = expected.iter().map(|number| number.parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "each once, and in order: {numbers:?}");
        for number in self.confirmed.lock().unwrap().iter() {
            assert!(numbers.binary_search(number).is_ok(), "{number} was confirmed and is gone");
        }
        for node in nodes {
            assert!(cluster.payloads(node).await == expected, "{node} holds something else");
        }
    }
}

async fn write(nodes: Vec<Node>, safe: longshore::Durability, to: Arc<Mutex<Vec<u64>>>, pause: Arc<Mutex<Duration>>) {
    let mut last = Instant::now();
    for number in 0.. {
        let writers = nodes.iter().filter_map(|node| node.log(LOG).ok());
        let ticket = writers.into_iter().find_map(|log| log.append(&[number.to_string()]).ok());
        let confirmed = match ticket {
            Some(ticket) => timeout(Duration::from_secs(5), ticket.wait(safe.clone())).await.is_ok_and(|w| w.is_ok()),
            None => false,
        };
        if confirmed {
            to.lock().unwrap().push(number);
            let mut pause = pause.lock().unwrap();
            *pause = pause.max(last.elapsed());
            last = Instant::now();
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_moves_the_role_under_a_client_that_never_pauses_and_loses_nothing() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let client = Client::start(&[&primary, &a], "replicas:1");
    let mut pauses = Vec::new();
    for to in ["a", "primary", "a", "primary", "a"] {
        client.confirms(50).await;
        client.pause();
        let switched = cluster.promote(to, |promote| promote.switchover = true).await.unwrap();
        assert!(switched.promoted && switched.loss.is_none(), "{switched:?}");
        client.confirms(1).await;
        println!("{:?} by the agents, {:?} as the client saw it", switched.write_pause, client.pause());
        pauses.push(switched.write_pause.unwrap());
    }
    pauses.sort();
    assert!(pauses[2] < Duration::from_secs(1), "{pauses:?}");
    client.check(&cluster, &a, &["primary", "a", "b"]).await;
    for agent in [primary, b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_114_a_promotion_that_is_dropped_anywhere_can_be_run_again() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let client = Client::start(&[&primary, &a], "replicas:1");
    client.confirms(20).await;
    let mut dropped = 0;
    for (turn, to) in ["a", "primary", "a", "primary", "a"].into_iter().enumerate() {
        // Each time a little further, until it has the time to end.
        for limit in (turn as u64..).step_by(5).map(|step| Duration::from_millis(step * step / 8)) {
            match timeout(limit, cluster.promote(to, |_| {})).await {
                Ok(Ok(promoted)) => {
                    assert!(promoted.promoted, "{promoted:?}");
                    break;
                }
                // The one before may still be about to end.
                Ok(Err(kind)) => {
                    assert!(matches!(kind, ErrorKind::Busy | ErrorKind::Fenced | ErrorKind::Unavailable), "{kind:?}")
                }
                Err(_) => dropped += 1,
            }
        }
        client.confirms(20).await;
    }
    println!("dropped {dropped} times");
    assert!(0 < dropped, "none was dropped");
    client.check(&cluster, &a, &["primary", "a", "b"]).await;
    for agent in [primary, b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_112_two_promotions_that_race_never_share_a_number_and_end_with_one_writer() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let client = Client::start(&[&primary, &a, &b], "replicas:1");
    let mut holders = BTreeMap::new();
    for _ in 0..5 {
        client.confirms(20).await;
        let (one, other) = tokio::join!(cluster.promote("a", |_| {}), cluster.promote("b", |_| {}));
        let mut outcomes = vec![("a", one), ("b", other)];
        // Where one fenced the other and did not begin itself, an operator tries again.
        let writes = |agent: &Agent| status(agent).logs.iter().any(|log| log.writer && !log.reign.fenced);
        while ![&primary, &a, &b].into_iter().any(writes) {
            outcomes.push(("a", cluster.promote("a", |_| {}).await));
        }
        for (node, outcome) in outcomes {
            let Ok(promoted) = outcome else { continue };
            let holder = *holders.entry(promoted.epoch).or_insert(node);
            assert_eq!(holder, node, "epoch {} has two writers", promoted.epoch);
        }
    }
    println!("epochs {holders:?}");
    within(async { while cluster.promote("a", |_| {}).await.is_err() {} }).await;
    client.confirms(20).await;
    client.check(&cluster, &a, &["primary", "a", "b"]).await;
    for agent in [primary, b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_to_a_position_sets_aside_what_lies_behind_it() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let log = writer(&primary);
    let mut positions = Vec::new();
    for n in 0..20 {
        positions.push(confirmed(&log, &n.to_string(), "replicas:2").await);
    }
    primary.stop().await.unwrap();
    let to = positions[9];
    let nowhere = cluster.promote("a", |promote| promote.to = Some(Lsn::new(to.get() + 1))).await;
    assert!(nowhere.is_err(), "no record ends there: {nowhere:?}");
    let refused = cluster.promote("a", |promote| promote.to = Some(to)).await.unwrap_err();
    assert_eq!(refused, ErrorKind::Fenced, "what lies behind it was confirmed");
    let to_there = |promote: &mut Promote| {
        promote.to = Some(to);
        promote.accept_loss = true;
    };
    let promoted = cluster.promote("a", to_there).await.unwrap();
    assert!(promoted.promoted && promoted.position == to, "{promoted:?}");
    confirmed(&writer(&a), "after", "replicas:1").await;
    let expected: Vec<_> = (0..10).map(|n| n.to_string()).chain(["after".to_owned()]).collect();
    assert_eq!(cluster.payloads("a").await, expected);
    assert_eq!(cluster.payloads("b").await, expected);
    let aside = std::fs::read_dir(cluster.world.dir("a").join(LOG).join("diverged")).unwrap().count();
    assert_eq!(aside, 1, "what lay behind is kept");
    for agent in [b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_find_the_next_writer_before_they_would_look_again() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let seldom = |settings: &mut Settings| settings.replica.discover_every = Duration::from_secs(3600);
    let primary = cluster.primary_with(seldom).await;
    let (a, b) = (cluster.replica_with("a", seldom).await, cluster.replica_with("b", seldom).await);
    confirmed(&writer(&primary), "first", "replicas:2").await;
    for (to, agent) in [("a", &a), ("primary", &primary)].into_iter().cycle().take(12) {
        cluster.promote(to, |promote| promote.switchover = true).await.unwrap();
        confirmed(&writer(agent), to, "replicas:2").await;
    }
    for agent in [b, a, primary] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_finds_the_lease_free_promotes_itself_and_the_old_primary_follows_it() {
    let mut cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let place = tempfile::tempdir().unwrap();
    cluster.lease = Some(format!("file://{}", place.path().display()));
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let log = writer(&primary);
    // The first lease of a log is taken once it was seen to be nobody's for a while; until then nothing is appended.
    until("the primary holds the lease", || log.append(&["first"]).is_ok()).await;
    let before = confirmed(&log, "before", "replicas:2").await;
    drop(log);
    primary.stop().await.unwrap();

    let writes = |agent: &Agent| agent.node.log(LOG).is_ok_and(|log| log.append(&["after"]).is_ok());
    until("one of the two writes", || writes(&a) || writes(&b)).await;
    assert!(!(writes(&a) && writes(&b)), "and only one");
    let (new, other) = if writes(&a) { (&a, &b) } else { (&b, &a) };
    let after = confirmed(&writer(new), "confirmed", "replicas:1").await;
    assert!(before < after);
    until("the other follows", || end(other) >= Some(after)).await;
    let returned = cluster.primary().await;
    until("so does the old primary", || end(&returned) >= Some(after)).await;
    assert!(returned.node.log(LOG).is_err(), "it only follows");
    for agent in [returned, b, a] {
        agent.stop().await.unwrap();
    }
}

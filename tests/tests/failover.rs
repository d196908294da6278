//! A region is lost and comes back: promotion, fencing and rejoin, with agents in this process over real TLS.

#[path = "library/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod support;

#[path = "failover/archives.rs"]
mod archives;
#[path = "failover/back.rs"]
mod back;
#[path = "failover/damaged.rs"]
mod damaged;
#[path = "failover/hands.rs"]
mod hands;
#[path = "failover/leases.rs"]
mod leases;
#[path = "failover/policies.rs"]
mod policies;
#[path = "failover/returns.rs"]
mod returns;
#[path = "failover/silent.rs"]
mod silent;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use longshore::transport::{Client, FenceState, Promote, Promoted, Read};
use longshore::{Content, ErrorKind, Lsn, Node, Primary, Replica, Settings, Status};
use support::{Agent, World, durability, until, within};
use tokio_stream::StreamExt;

const LOG: &str = "orders";

/// Nodes that know each other's addresses before they run.
struct Cluster {
    world: World,
    nodes: Vec<(String, SocketAddr)>,
    policy: String,
    /// Where the lease stands, if there is one.
    lease: Option<String>,
}

impl Cluster {
    /// The first node is the primary.
    fn new(policy: &str, nodes: &[&str]) -> Self {
        let world = World::new(&nodes[1..]);
        let grant = |name: &&str| {
            let roles = r#"["replicate", "promote", "admin", "append", "read"]"#;
            format!("[{name}]\nregion = \"{name}\"\nlogs.\"*\" = {roles}\n")
        };
        world.grant(&nodes.iter().map(grant).collect::<String>());
        // Held at once, so that no two are the same.
        let ports: Vec<_> = nodes.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = ports.iter().map(|port| port.local_addr().unwrap());
        let nodes = nodes.iter().map(|name| (*name).to_owned()).zip(addresses).collect();
        Self { world, nodes, policy: policy.to_owned(), lease: None }
    }

    fn settings(&self, name: &str) -> Settings {
        let mut settings = self.world.settings(name);
        settings.network.listen = self.nodes.iter().find(|(node, _)| node == name).unwrap().1;
        settings.replica.upstreams = self.nodes.iter().map(|(name, address)| format!("{name}@{address}")).collect();
        settings.lease.url = self.lease.clone();
        settings.lease.ttl = Duration::from_secs(1);
        settings
    }

    /// Starts the primary, on a new log or on the one it has.
    async fn primary(&self) -> Agent {
        self.primary_with(|_| {}).await
    }

    async fn primary_with(&self, change: impl FnOnce(&mut Settings)) -> Agent {
        let name = &self.nodes[0].0;
        let mut settings = self.settings(name);
        settings.ack.durability = durability(&self.policy);
        change(&mut settings);
        let node = Node::primary(self.world.dir(name), &settings).unwrap();
        match self.world.dir(name).join(LOG).exists() {
            true => drop(node.open_all().unwrap()),
            false => drop(node.create_log(LOG, Content::Bytes).unwrap()),
        }
        Agent::serve_node(&node).await
    }

    async fn replica(&self, name: &str) -> Agent {
        self.replica_with(name, |_| {}).await
    }

    async fn replica_with(&self, name: &str, change: impl FnOnce(&mut Settings)) -> Agent {
        let mut settings = self.settings(name);
        change(&mut settings);
        Agent::replica(Replica::open(self.world.dir(name), &settings).unwrap()).await
    }

    /// An agent's calls.
    async fn client(&self, at: &str) -> Client {
        self.client_as(at, at).await
    }

    async fn client_as(&self, identity: &str, at: &str) -> Client {
        let connector = longshore::transport::Connector::new(
            longshore::transport::tls::ClientTls::load(longshore::transport::tls::TlsFiles::in_directory(
                &self.world.dir("tls"),
                &identity.parse().unwrap(),
            ))
            .unwrap(),
            Default::default(),
        );
        let address = self.settings(at).network.listen.to_string().parse().unwrap();
        connector.connect(&address).await.unwrap()
    }

    async fn promote(&self, at: &str, change: impl FnOnce(&mut Promote)) -> Result<Promoted, ErrorKind> {
        let client = self.client(at).await;
        let mut promote = Promote::of(LOG.parse().unwrap());
        change(&mut promote);
        within(client.promote(&promote)).await.map_err(|error| {
            println!("{error}");
            error.kind()
        })
    }

    /// The payloads of all records, as a node has them.
    async fn payloads(&self, at: &str) -> Vec<String> {
        let read = Read { log: LOG.parse().unwrap(), start: None, end: None, exclusive: false, follow: false };
        let mut batches = self.client(at).await.read(read).await.unwrap();
        let mut payloads = Vec::new();
        while let Some(batch) = batches.next().await {
            let users = batch.unwrap().into_iter().filter(|record| record.kind.is_user());
            payloads.extend(users.map(|record| String::from_utf8(record.payload.to_vec()).unwrap()));
        }
        payloads
    }
}

fn writer(agent: &Agent) -> Primary {
    agent.node.log(LOG).unwrap()
}

fn status(agent: &Agent) -> Status {
    agent.node.status()
}

fn end(agent: &Agent) -> Option<Lsn> {
    status(agent).logs.first().map(|log| log.durable)
}

/// Appends and waits for what the policy promises.
async fn confirmed(at: &Primary, payload: &str, policy: &str) -> Lsn {
    let ticket = at.append(&[payload]).unwrap();
    within(ticket.wait(durability(policy))).await.unwrap();
    ticket.position()
}

#[tokio::test(flavor = "multi_thread")]
async fn f_111_f_117_a_region_is_lost_a_replica_is_promoted_and_the_old_primary_rejoins_with_its_tail_kept() {
    let cluster = Cluster::new("replicas:1", &["primary", "a", "b"]);
    let primary = cluster.primary().await;
    let (a, b) = (cluster.replica("a").await, cluster.replica("b").await);
    let log = writer(&primary);
    let mut last = Lsn::ZERO;
    for n in 0..50 {
        last = confirmed(&log, &format!("record {n}"), "replicas:1").await;
    }
    until("both replicas have it", || end(&a) >= Some(last) && end(&b) >= Some(last)).await;
    primary.stop().await.unwrap();

    let plan = cluster.promote("a", |promote| promote.plan = true).await.unwrap();
    assert!(!plan.promoted);
    assert_eq!(plan.fence, FenceState::Whole, "{plan:?}");
    let promoted = cluster.promote("a", |_| {}).await.unwrap();
    assert!(promoted.promoted && promoted.epoch == 2, "{promoted:?}");
    assert_eq!(promoted.fence, FenceState::Whole);
    let new = writer(&a);
    let after = confirmed(&new, "after", "replicas:1").await;
    until("b follows the new primary", || end(&b) >= Some(after)).await;

    // The old region comes back, with something that it never shipped.
    {
        let mut alone = cluster.settings("primary");
        alone.replica.upstreams.clear();
        let alone = Primary::open(cluster.world.dir("primary"), LOG, &alone).unwrap();
        alone.append(&["never shipped"]).unwrap().wait_blocking(durability("local"), support::PATIENCE).unwrap();
        alone.close().unwrap();
    }
    let returned = cluster.primary().await;
    until("the old primary has rejoined", || end(&returned) >= Some(after)).await;
    assert!(returned.node.log(LOG).is_err(), "it only follows");
    let tails = std::fs::read_dir(cluster.world.dir("primary").join(LOG).join("diverged")).unwrap().count();
    assert_eq!(tails, 1, "what it never shipped is kept");
    let last = confirmed(&new, "to all", "replicas:2").await;
    until("all are equal", || [&a, &b, &returned].iter().all(|agent| end(agent) >= Some(last))).await;
    for agent in [returned, b, a] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_each_write_a_log_and_follow_the_others_until_one_takes_both() {
    let cluster = Cluster::new("replicas:1", &["primary", "a"]);
    let serve = async |name: &str, log: &str| {
        let mut settings = cluster.settings(name);
        settings.ack.durability = durability("replicas:1");
        let node = Node::primary(cluster.world.dir(name), &settings).unwrap();
        node.create_log(log, Content::Bytes).unwrap();
        Agent::serve_node(&node).await
    };
    let (primary, a) = (serve("primary", LOG).await, serve("a", "users").await);
    for (agent, other, log) in [(&primary, &a, LOG), (&a, &primary, "users")] {
        let end = confirmed(&agent.node.log(log).unwrap(), "one", "replicas:1").await;
        assert!(other.node.log(log).is_err(), "{log} is only followed there");
        let held = other.node.status().logs.into_iter().find(|held| held.name.as_str() == log).unwrap();
        assert!(end <= held.durable, "{log}");
    }
    primary.stop().await.unwrap();
    // Without this node's ack the other confirms nothing more.
    assert!(cluster.promote("a", |_| {}).await.unwrap().promoted);
    for log in [LOG, "users"] {
        a.node.log(log).unwrap().append(&["two"]).unwrap();
    }
    a.stop().await.unwrap();
}

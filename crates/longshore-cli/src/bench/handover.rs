//! `bench commit`, its rows of a log that changes hands: how long nobody can write it.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use longshore::{Content, Primary, Replica, Settings};
use longshore_transport::{Promote, Promoted};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Plan;
use super::agents::Site;
use super::measure::percentile;
use super::place::Place;
use super::report::Row;
use crate::connect::name;
use crate::failure::Failure;
use crate::runtime;

const NODES: [&str; 3] = ["primary", "replica", "other"];
const LOG: &str = "bench";
/// Confirmed by one of the two others, so that a promotion needs both to fence a writer that is gone.
const POLICY: &str = "replicas:1";
const SWITCHOVERS: u64 = 24;
const PROMOTIONS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let place = Place::new(&plan.dir, "handover")?;
    let (mut reported, mut seen, mut promoted) = (Vec::new(), Vec::new(), Vec::new());
    runtime::for_agents()?.block_on(async {
        let mut region = Region::found(Site::new(place.path())?).await?;
        plan.progress.say("switchovers");
        for round in 0..plan.amount(SWITCHOVERS, 4) {
            let begun = Instant::now();
            let switched = region.promote((round as usize + 1) % 2, |promote| promote.switchover = true).await?;
            region.commit(POLICY).await?;
            seen.push(begun.elapsed().as_secs_f64());
            reported.push(switched.write_pause.unwrap_or_default().as_secs_f64());
            region.commit("replicas:2").await?;
        }
        plan.progress.say("promotions");
        for _ in 0..plan.amount(PROMOTIONS, 2) {
            let lost = region.writer;
            region.stop(lost).await?;
            let begun = Instant::now();
            region.promote((lost + 1) % NODES.len(), |_| {}).await?;
            region.commit(POLICY).await?;
            promoted.push(begun.elapsed().as_secs_f64());
            region.start(lost).await?;
            region.commit("replicas:2").await?;
        }
        region.end().await
    })?;
    let count = seen.len();
    let row = |what: String, percent, values: &mut Vec<f64>| Row::new(what, "ms", percentile(values, percent) * 1e3);
    Ok(vec![
        row(format!("switchover, write pause, p50 of {count}"), 50.0, &mut reported),
        row(format!("switchover, write pause, p99 of {count}"), 99.0, &mut reported).at_most(1000.0),
        row("switchover, from the call to the first commit at the new writer, p50".into(), 50.0, &mut seen),
        row("switchover, from the call to the first commit at the new writer, p99".into(), 99.0, &mut seen),
        row("promotion of a caught-up replica, to its first commit, p50".into(), 50.0, &mut promoted),
        row("promotion of a caught-up replica, to its first commit, most".into(), 100.0, &mut promoted).at_most(1000.0),
    ])
}

/// Three agents alike in this process, of which one writes.
struct Region {
    site: Site,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Option<Node>>,
    writer: usize,
}

/// One of them.
struct Node {
    node: longshore::Node,
    stop: oneshot::Sender<()>,
    running: JoinHandle<longshore::Result<()>>,
}

impl Region {
    async fn found(site: Site) -> Result<Self, Failure> {
        let failed = |error| Failure::internal(format!("no free port: {error}"));
        // Held at once, so that no two are the same.
        let ports = NODES.map(|_| TcpListener::bind("127.0.0.1:0"));
        let ports = ports.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let addresses = ports.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        drop(ports);
        let mut region = Self { site, addresses, nodes: NODES.map(|_| None).into(), writer: 0 };
        let mut settings = region.settings(0);
        settings.ack.durability = POLICY.parse().expect("a durability");
        settings.ack.voters = NODES.map(str::to_owned).into();
        let first = Primary::create(region.site.path(NODES[0]), LOG, Content::Bytes, &settings)?;
        // Its policy is in the log once its grants are known.
        drop(first.listen().await?);
        first.close()?;
        drop(first);
        for node in 0..NODES.len() {
            region.start(node).await?;
        }
        // Nobody else has a copy yet that could fence.
        region.promote(0, |promote| promote.accept_loss = true).await?;
        region.commit("replicas:2").await?;
        Ok(region)
    }

    fn settings(&self, node: usize) -> Settings {
        let mut settings = Settings::default();
        settings.log.accept_weak_storage = true;
        settings.network.listen = self.addresses[node];
        let addresses = NODES.iter().zip(&self.addresses);
        settings.replica.upstreams = addresses.map(|(name, address)| format!("{name}@{address}")).collect();
        settings.tls.dir = Some(self.site.path("tls"));
        settings.tls.identity = Some(NODES[node].to_owned());
        settings
    }

    async fn start(&mut self, node: usize) -> Result<(), Failure> {
        let replica = Replica::open(self.site.path(NODES[node]), &self.settings(node))?;
        let server = replica.listen().await?;
        let (stop, stopped) = oneshot::channel();
        let node_handle = replica.node().clone();
        let running = tokio::spawn(replica.run_on(server, async { drop(stopped.await) }));
        self.nodes[node] = Some(Node { node: node_handle, stop, running });
        Ok(())
    }

    async fn stop(&mut self, node: usize) -> Result<(), Failure> {
        let Some(Node { node, stop, running }) = self.nodes[node].take() else { return Ok(()) };
        drop((node, stop));
        running.await.map_err(|error| Failure::internal(format!("an agent panicked: {error}")))??;
        Ok(())
    }

    async fn end(mut self) -> Result<(), Failure> {
        for node in 0..NODES.len() {
            self.stop(node).await?;
        }
        Ok(())
    }

    async fn promote(&mut self, node: usize, change: impl FnOnce(&mut Promote)) -> Result<Promoted, Failure> {
        let mut promote = Promote::of(name("log", LOG)?);
        change(&mut promote);
        let client = self.site.connect_to(NODES[node], self.addresses[node]).await?;
        let promoted = client.promote(&promote).await?;
        self.writer = node;
        Ok(promoted)
    }

    /// A commit at the writer.
    async fn commit(&self, safe: &str) -> Result<(), Failure> {
        let writer = self.nodes[self.writer].as_ref().expect("the writer runs").node.log(LOG)?;
        let ticket = writer.append(&["a record"])?;
        let confirmed = ticket.wait(safe.parse().expect("a durability"));
        let late = |_| Failure::internal(format!("no commit at {safe} within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, confirmed).await.map_err(late)??;
        Ok(())
    }
}

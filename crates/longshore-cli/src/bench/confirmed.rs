//! `bench commit`, its rows of commits that replicas confirm: at a policy, by one client and by many.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longshore::{Content, Durability, Primary, Settings};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::agents::{Agent, Site};
use super::measure::{median, p50_micros, p99_micros};
use super::place::Place;
use super::report::Row;
use super::{Plan, RECORD, raw_commit, raw_sync};
use crate::failure::Failure;
use crate::runtime;

/// What stands before every payload.
const HEADER: usize = 32;
/// Commits of each client.
const ROUNDS: u64 = 1000;
const CLIENTS: [usize; 3] = [1, 8, 64];
const PATIENCE: Duration = Duration::from_secs(60);

/// What is waited for, and the replicas there are, each in a region of its own.
const POLICIES: [(&str, &[&str]); 2] = [("replicas:1", &["replica"]), ("regions:2", &["replica", "other"])];

/// What the rows are called that ship what is appended while it is still synced, and those that ship it afterwards.
const WAYS: [(&str, bool); 2] = [("", false), (", shipped ahead", true)];

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (policy, replicas) in POLICIES {
        rows.extend(of_policy(plan, policy, replicas)?);
    }
    Ok(rows)
}

fn of_policy(plan: &Plan, policy: &str, replicas: &[&str]) -> Result<Vec<Row>, Failure> {
    let rounds = plan.amount(ROUNDS, 50) as usize;
    let (mut ways, mut raw) = <([[Figures; 3]; 2], [Figures; 3])>::default();
    for _ in plan.runs(&format!("commits at {policy}")) {
        let place = Place::new(&plan.dir, "raw")?;
        for (figures, clients) in raw.iter_mut().zip(CLIENTS) {
            let group = (HEADER + RECORD) * clients;
            let times = raw_commit::commit(place.path(), raw_sync::prepared, replicas.len(), group, rounds)
                .map_err(|error| Failure::file("raw files in", place.path(), &error))?;
            figures.add(&times, clients, times.iter().sum());
        }
        drop(place);
        for (ours, (_, ahead)) in ways.iter_mut().zip(WAYS) {
            let place = Place::new(&plan.dir, "confirmed")?;
            let stage = Stage::set(&place, replicas, ahead)?;
            for (figures, clients) in ours.iter_mut().zip(CLIENTS) {
                let (times, took) = stage.commit(clients, rounds, policy)?;
                figures.add(&times, 1, took);
            }
            stage.clear()?;
        }
    }
    let rows = ways.iter().zip(WAYS).flat_map(|(ours, (way, _))| of_way(policy, way, ours, &raw));
    Ok(rows.collect())
}

fn of_way(policy: &str, way: &str, ours: &[Figures], raw: &[Figures]) -> Vec<Row> {
    let file = "bench/raw_commit.rs";
    let figures = ours.iter().zip(raw).zip(CLIENTS);
    figures
        .flat_map(|((ours, raw), clients)| {
            let name = |what: &str| match clients {
                1 => format!("{policy} durable 1 KiB, one client{way}{what}"),
                many => format!("{policy} durable 1 KiB, {many} clients{way}{what}"),
            };
            let beside = |row: Row, raw: &[f64]| row.beside(median(raw.to_vec()), file);
            let p50 = beside(Row::new(name(", p50"), "µs", median(ours.p50.clone())), &raw.p50);
            let p99 = beside(Row::new(name(", p99"), "µs", median(ours.p99.clone())), &raw.p99);
            let rate = beside(Row::new(name(""), "thousand commits/s", median(ours.rate.clone())), &raw.rate);
            [
                if clients == 1 { p50.ratio_at_most(1.5) } else { p50 },
                p99,
                if clients == 64 { rate.at_least(25.0) } else { rate },
            ]
        })
        .collect()
}

#[derive(Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Thousand commits a second.
    rate: Vec<f64>,
}

impl Figures {
    /// Takes times of `each` commits that together took so long.
    fn add(&mut self, times: &[Duration], each: usize, took: Duration) {
        self.p50.push(p50_micros(times));
        self.p99.push(p99_micros(times));
        self.rate.push((times.len() * each) as f64 / took.as_secs_f64() / 1e3);
    }
}

/// A primary in this process, served, and replicas in processes of their own.
struct Stage {
    runtime: tokio::runtime::Runtime,
    primary: Primary,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<longshore::Result<()>>,
    replicas: Vec<Agent>,
}

impl Stage {
    fn set(place: &Place, replicas: &[&str], ahead: bool) -> Result<Self, Failure> {
        let site = Site::new(place.path())?;
        let runtime = runtime::for_agents()?;
        let mut settings = Settings::default();
        settings.log.accept_weak_storage = true;
        settings.network.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.network.ship_ahead = ahead;
        settings.tls.dir = Some(site.path("tls"));
        settings.tls.identity = Some("primary".to_owned());
        let primary = Primary::create(site.path("data"), "bench", Content::Bytes, &settings)?;
        let server = runtime.block_on(primary.listen())?;
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(server.run(async { drop(stopped.await) }));
        let replicas = replicas.iter().map(|replica| site.follower(replica, address)).collect::<Result<Vec<_>, _>>()?;
        let stage = Self { runtime, primary, stop, serving, replicas };
        // The clock starts once all of them follow, and a segment to come is ready.
        stage.commit(1, 20, &format!("replicas:{}", stage.replicas.len()))?;
        while stage.primary.wal().pressure().prepared == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(stage)
    }

    /// The time of every commit, and of all together. One client is a thread, more are tasks.
    fn commit(&self, clients: usize, rounds: usize, policy: &str) -> Result<(Vec<Duration>, Duration), Failure> {
        let durability: Durability = policy.parse().expect("a durability");
        let begin = Instant::now();
        let times = match clients {
            1 => thread(&self.primary, &durability, rounds)?,
            many => self.runtime.block_on(tasks(&self.primary, &durability, many, rounds))?,
        };
        Ok((times, begin.elapsed()))
    }

    fn clear(self) -> Result<(), Failure> {
        self.replicas.into_iter().try_for_each(Agent::stop)?;
        drop(self.stop);
        let served = self.runtime.block_on(self.serving);
        served.map_err(|error| Failure::internal(format!("the primary panicked: {error}")))?.map_err(Failure::from)
    }
}

fn thread(primary: &Primary, durability: &Durability, rounds: usize) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        primary.append(&[[7; RECORD]])?.wait_blocking(durability.clone(), PATIENCE)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

async fn tasks(
    primary: &Primary,
    durability: &Durability,
    clients: usize,
    rounds: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(task(primary.clone(), durability.clone(), rounds));
    }
    let mut times = Vec::with_capacity(clients * rounds);
    while let Some(ended) = running.join_next().await {
        times.extend(ended.map_err(|error| Failure::internal(format!("a client panicked: {error}")))??);
    }
    Ok(times)
}

async fn task(primary: Primary, durability: Durability, rounds: usize) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        let ticket = primary.append(&[[7; RECORD]])?;
        let late = |_| Failure::internal("a commit is not confirmed: do the replicas follow?");
        tokio::time::timeout(PATIENCE, ticket.wait(durability.clone())).await.map_err(late)??;
        times.push(begin.elapsed());
    }
    Ok(times)
}

//! Three agents alike, each on a machine of its own, and what an operator asks of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore::transport::certs::{self, Identity};
use longshore::transport::tls::{ClientTls, TlsFiles};
use longshore::transport::{Append, Client, Connector, Draft, LogStatus, Promote, Promoted, Read};
use longshore::{ErrorKind, Kind};
use longshore_testkit::network::Network;
use longshore_testkit::process::{PATIENCE, Running, longshore, must};
use tokio_stream::StreamExt;

pub(crate) const LOG: &str = "orders";
/// What the log's writer promises, and so what a promotion protects.
pub(crate) const POLICY: &str = "replicas:1";
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Far longer than an answer takes here, and shorter than what the agents themselves wait for each other.
const ANSWER: Duration = Duration::from_secs(3);

/// Agents a, b and c. Each knows the others and may write the log; a does so first.
pub(crate) struct Cluster {
    pub(crate) network: Network,
    agents: [Option<Running>; 3],
    connector: Connector,
    place: tempfile::TempDir,
}

impl Cluster {
    /// Runs a story with a cluster, on threads that reach all of it. Says so and does nothing where no network can be made.
    pub(crate) fn tell(story: impl AsyncFnOnce(&mut Cluster)) {
        let Some(network) = Network::new(NAMES.len()) else { return };
        let mut cluster = Cluster::found(network);
        // The threads of the runtime are made by this one, and so are where it is.
        cluster.network.enter();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            (0..NAMES.len()).for_each(|node| cluster.start(node));
            // The others have no copy yet, so that they can fence nobody.
            cluster.ask(0, |promote| promote.accept_loss = true).await.unwrap();
            story(&mut cluster).await;
        });
    }

    /// Certificates, and at a the log with its policy.
    fn found(network: Network) -> Cluster {
        let place = tempfile::tempdir().unwrap();
        let tls = place.path().join("tls");
        let names = NAMES.iter().chain(&["app"]);
        let identity = |name: &&str| Identity { name: name.parse().unwrap(), roles: vec![], hosts: vec![] };
        certs::init(&tls, &names.map(identity).collect::<Vec<_>>()).unwrap();
        let mut grants = String::from("[app]\nlogs.\"*\" = [\"append\", \"read\", \"admin\", \"promote\"]\n");
        for name in NAMES {
            grants += &format!("[{name}]\nregion = \"{name}\"\nlogs.\"*\" = [\"replicate\", \"promote\", \"admin\"]\n");
        }
        std::fs::write(tls.join("grants.toml"), grants).unwrap();
        let files = TlsFiles::in_directory(&tls, &"app".parse().unwrap());
        let connector = Connector::new(ClientTls::load(files).unwrap(), Default::default());
        let cluster = Cluster { network, agents: [const { None }; 3], connector, place };
        let data = cluster.data(0);
        must(longshore(["init", "--data-dir", &data, "--log", LOG, "--segment-size", "1MiB"]), b"");
        let mut first = cluster.agent(0, &["primary", "--ack-durability", POLICY]);
        first.listening();
        assert!(first.terminate().success());
        cluster
    }

    fn data(&self, node: usize) -> String {
        self.place.path().join(NAMES[node]).display().to_string()
    }

    fn agent(&self, node: usize, command: &[&str]) -> Running {
        let (tls, data, listen) = (self.place.path().join("tls"), self.data(node), address(node));
        let common = ["--identity", NAMES[node], "--listen", &listen, "--http", "127.0.0.1:0", "--data-dir", &data];
        let tls = ["--tls-dir", tls.to_str().unwrap()];
        let rhythm = ["--network-heartbeat", "50ms", "--network-silence", "1s", "--network-handshake", "2s"];
        let command = longshore([command, &common, &tls, &rhythm].concat());
        Running::start(self.network.on(node, &command))
    }

    /// Starts an agent, and waits until it serves.
    pub(crate) fn start(&mut self, node: usize) {
        let upstreams = [0, 1, 2].map(|node| format!("{}@{}", NAMES[node], address(node)));
        let mut command = vec!["replica", "--replica-backoff-min", "5ms", "--replica-backoff-max", "100ms"];
        command.extend(["--replica-discover-every", "100ms"]);
        upstreams.iter().for_each(|upstream| command.extend(["--upstream", upstream]));
        let mut agent = self.agent(node, &command);
        agent.listening();
        self.agents[node] = Some(agent);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, node: usize) {
        self.agents[node].take().expect("it runs").kill();
    }

    /// Sends an agent a signal.
    pub(crate) fn signal(&self, node: usize, name: &str) {
        self.agents[node].as_ref().expect("it runs").signal(name);
    }

    /// Loses all that goes between two machines.
    pub(crate) fn part(&self, one: usize, other: usize) {
        self.network.cut(one, other);
        self.network.cut(other, one);
    }

    /// Mends every link.
    pub(crate) fn heal(&self) {
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            self.network.heal(from, to);
        }
    }

    /// How to reach the agents.
    pub(crate) fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Makes an agent the writer.
    pub(crate) async fn promote(&self, node: usize) -> Result<Promoted, ErrorKind> {
        self.ask(node, |_| {}).await
    }

    /// Moves the role to an agent, with nothing lost.
    pub(crate) async fn switchover(&self, node: usize) -> Result<Promoted, ErrorKind> {
        self.ask(node, |promote| promote.switchover = true).await
    }

    async fn ask(&self, node: usize, change: impl FnOnce(&mut Promote)) -> Result<Promoted, ErrorKind> {
        let client = connect(&self.connector, node).await?;
        let mut promote = Promote::of(LOG.parse().unwrap());
        change(&mut promote);
        client.promote(&promote).await.map_err(|error| {
            println!("{} is not promoted: {error}", NAMES[node]);
            error.kind()
        })
    }

    /// What an agent says of the log.
    pub(crate) async fn status(&self, node: usize) -> Option<LogStatus> {
        let status = async { connect(&self.connector, node).await.ok()?.status(None).await.ok() };
        tokio::time::timeout(ANSWER, status).await.ok()??.logs.pop()
    }

    /// Every number in the log, as an agent has it.
    pub(crate) async fn numbers(&self, node: usize) -> Vec<u64> {
        let client = connect(&self.connector, node).await.unwrap();
        let read = Read { log: LOG.parse().unwrap(), start: None, end: None, exclusive: false, follow: false };
        let mut batches = client.read(read).await.unwrap();
        let mut numbers = Vec::new();
        while let Some(batch) = batches.next().await {
            let users = batch.unwrap().into_iter().filter(|record| record.kind == Kind::USER);
            numbers.extend(users.map(|record| std::str::from_utf8(&record.payload).unwrap().parse::<u64>().unwrap()));
        }
        numbers
    }
}

fn address(node: usize) -> String {
    format!("{}:7420", Network::address(node))
}

pub(crate) async fn connect(connector: &Connector, node: usize) -> Result<Client, ErrorKind> {
    let address = format!("{}@{}", NAMES[node], address(node)).parse().unwrap();
    let connected = tokio::time::timeout(ANSWER, connector.connect(&address)).await;
    connected.map_err(|_| ErrorKind::Unavailable)?.map_err(|error| error.kind())
}

/// Appends a number, and waits until it is as safe as asked.
pub(crate) async fn append(client: &Client, number: u64, wait: &str) -> Result<(), ErrorKind> {
    append_as(client, Kind::USER, number.to_string().into(), wait).await
}

/// Appends what is no number.
pub(crate) async fn fill(client: &Client, bytes: usize) {
    let ballast = Kind::new(Kind::USER.get() + 1);
    append_as(client, ballast, vec![0; bytes].into(), POLICY).await.unwrap();
}

async fn append_as(client: &Client, kind: Kind, payload: Bytes, wait: &str) -> Result<(), ErrorKind> {
    let append = Append {
        log: LOG.parse().unwrap(),
        records: vec![Draft { kind, payload }],
        expect: None,
        wait: Some(wait.parse().unwrap()),
        timeout: ANSWER / 3,
    };
    let answer = tokio::time::timeout(ANSWER, client.append(append)).await;
    answer.map_err(|_| ErrorKind::Unconfirmed)?.map(drop).map_err(|error| error.kind())
}

/// Looks until it is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "it never came so far that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

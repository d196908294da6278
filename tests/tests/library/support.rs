//! A world of agents in this process: certificates in a temporary directory, real TLS on loopback.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore::transport::certs::{self, Identity};
use longshore::{Content, Durability, Error, Node, Primary, Replica, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Everything here ends within this, or has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    place: tempfile::TempDir,
}

impl World {
    /// Certificates for `primary` and the given replicas; each replica is in the region of its name.
    pub(crate) fn new(replicas: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let names = ["primary"].iter().chain(replicas);
        let identity = |name: &&str| Identity { name: name.parse().unwrap(), roles: vec![], hosts: vec![] };
        certs::init(&place.path().join("tls"), &names.map(identity).collect::<Vec<_>>()).unwrap();
        let world = Self { place };
        let grants =
            replicas.iter().map(|name| format!("[{name}]\nregion = \"{name}\"\nlogs.\"*\" = [\"replicate\"]\n"));
        let all = "[primary]\nlogs.\"*\" = [\"admin\", \"append\", \"read\", \"promote\"]\n".to_owned();
        world.grant(&(all + &grants.collect::<String>()));
        world
    }

    pub(crate) fn grant(&self, grants: &str) {
        std::fs::write(self.place.path().join("tls/grants.toml"), grants).unwrap();
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Settings with rhythms fit for a test.
    pub(crate) fn settings(&self, identity: &str) -> Settings {
        let mut settings = Settings::from_toml(
            "
            [log]
            segment_size = '1MiB'
            [network]
            listen = '127.0.0.1:0'
            heartbeat = '50ms'
            silence = '5s'
            [replica]
            backoff_min = '5ms'
            backoff_max = '50ms'
            discover_every = '50ms'
            [retention]
            min_free = '1MiB'
            ",
        )
        .unwrap();
        settings.tls.dir = Some(self.dir("tls"));
        settings.tls.identity = Some(identity.to_owned());
        settings
    }

    pub(crate) fn create(&self, dir: &str, log: &str) -> Primary {
        Primary::create(self.dir(dir), log, Content::Bytes, &self.settings("primary")).unwrap()
    }

    pub(crate) fn open(&self, dir: &str, log: &str) -> Primary {
        Primary::open(self.dir(dir), log, &self.settings("primary")).unwrap()
    }

    pub(crate) fn replica_settings(&self, identity: &str, upstream: &Agent) -> Settings {
        let mut settings = self.settings(identity);
        settings.replica.upstreams = vec![upstream.address.to_string()];
        settings
    }

    /// A replica of `upstream`, with its data in a directory of its name.
    pub(crate) async fn follow(&self, identity: &str, upstream: &Agent) -> Agent {
        self.follow_with(&self.dir(identity), &self.replica_settings(identity, upstream)).await
    }

    pub(crate) async fn follow_with(&self, dir: &Path, settings: &Settings) -> Agent {
        let replica = Replica::open(dir, settings).unwrap();
        Agent::replica(replica).await
    }
}

/// An agent that runs until it is stopped.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), Error>>,
}

impl Agent {
    pub(crate) async fn serve(primary: &Primary) -> Self {
        Self::serve_node(primary.node()).await
    }

    pub(crate) async fn serve_node(node: &Node) -> Self {
        let server = node.listen().await.unwrap();
        let (address, node) = (server.local_addr(), node.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, node, stop: Some(stop), running }
    }

    pub(crate) async fn replica(replica: Replica) -> Self {
        let server = replica.listen().await.unwrap();
        let (address, node) = (server.local_addr(), replica.node().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(replica.run_on(server, async { drop(stopped.await) }));
        Self { address, node, stop: Some(stop), running }
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop.take());
        within(self.running).await.unwrap()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        let _keep = self.stop;
        within(self.running).await.unwrap()
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Looks until it is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let looking = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("it never came so far that {what}"));
}

pub(crate) fn durability(text: &str) -> Durability {
    text.parse().unwrap()
}

/// Appends `count` records of `len` bytes, each different, and waits until they are as safe as asked.
pub(crate) async fn append(primary: &Primary, count: usize, len: usize, safe: &str) -> longshore::Lsn {
    let mut last = None;
    for n in 0..count {
        let mut payload = format!("{} {n} ", primary.end()).into_bytes();
        payload.resize(len.max(payload.len()), b'.');
        last = Some(loop {
            match primary.append(&[&payload]) {
                Ok(ticket) => break ticket,
                Err(error) if error.kind() == longshore::ErrorKind::Full => {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
                Err(error) => panic!("{error}"),
            }
        });
    }
    within(last.expect("at least one record").wait(durability(safe))).await.unwrap()
}

/// The segment files of a log, by name, up to `end`: everything that must be equal in every copy.
pub(crate) fn segments(dir: &Path, log: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join(log))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".seg"))
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
        .collect();
    files.sort();
    files
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

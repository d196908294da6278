//! Four nodes in three regions, and the links of the one that is lost.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use longshore_format::Lsn;
use longshore_transport::LogStatus;
use tokio::runtime::Runtime;

use super::client::Client;
use crate::cli::Tls;
use crate::connect::connect;
use crate::demo::proxy::Proxy;
use crate::demo::site::Site;
use crate::failure::Failure;
use crate::process::Process;

pub(super) const LOG: &str = "orders";
/// An acknowledged order is in another region than the primary's.
pub(super) const POLICY: &str = "regions:1";
/// The primary whose region is lost.
pub(super) const OLD: &str = "eu-west";
/// The replica that is promoted.
pub(super) const NEW: &str = "us-east";
/// The replica that follows a replica.
const BELOW: &str = "us-east-2";
/// Everybody; the first three vote.
pub(super) const NODES: [&str; 4] = [OLD, NEW, "ap-south", BELOW];
const VOTERS: [&str; 3] = [OLD, NEW, "ap-south"];

/// Where everybody is.
pub(super) struct Stage<'a> {
    site: &'a Site,
    addresses: BTreeMap<&'static str, SocketAddr>,
    /// The links of the old primary's region: into it, and out of it to each of the others that vote.
    links: BTreeMap<&'static str, Proxy>,
    runtime: Runtime,
    tls: Tls,
    begun: Instant,
}

impl<'a> Stage<'a> {
    /// Certificates, a log, and addresses that everybody knows before anybody runs.
    pub(super) fn set(site: &'a Site) -> Result<Self, Failure> {
        let mut certs = vec!["certs".to_owned(), site.path("tls")];
        let nodes = NODES.map(|node| format!("{node}=replicate,promote"));
        let people = ["operator=admin,promote,read", "client=append,read"].map(str::to_owned);
        certs.extend(nodes.into_iter().chain(people).flat_map(|name| ["--name".to_owned(), name]));
        site.command(&certs)?;
        let grants = site.dir.join("tls/grants.toml");
        let failed = |error| Failure::file("grants", &grants, &error);
        let text = std::fs::read_to_string(&grants).map_err(failed)?;
        let text = text.replace(&format!("region = \"{BELOW}\""), &format!("region = \"{NEW}\""));
        std::fs::write(&grants, text).map_err(failed)?;
        let data_dir = site.data_dir(OLD).display().to_string();
        site.command(&["init", "--data-dir", &data_dir, "--log", LOG, "--segment-size", "1MiB"])?;

        let addresses: BTreeMap<_, _> = NODES.into_iter().zip(free_addresses()?).collect();
        let links = VOTERS.map(|node| Ok((node, Proxy::start(addresses[node])?)));
        Ok(Self {
            site,
            links: links.into_iter().collect::<Result<_, Failure>>()?,
            addresses,
            runtime: crate::runtime::for_commands()?,
            tls: Tls::in_directory(&site.dir.join("tls"), "operator"),
            begun: Instant::now(),
        })
    }

    /// Starts the agent in the region that is lost, for the first time or again.
    pub(super) fn primary(&self) -> Result<Process, Failure> {
        let mut args = self.agent(OLD, "primary");
        args.extend(["--ack-durability", POLICY, "--ack-voters", &VOTERS.join(",")].map(str::to_owned));
        for node in VOTERS {
            args.extend(["--upstream".to_owned(), format!("{node}@{}", self.links[node].address())]);
        }
        self.start(OLD, &args)
    }

    pub(super) fn replicas(&self) -> Result<Vec<Process>, Failure> {
        let replica = |node: &&'static str| {
            let mut args = self.agent(node, "replica");
            let upstreams: &[&str] = if *node == BELOW { &[NEW] } else { &VOTERS };
            for upstream in upstreams {
                let address = if *upstream == OLD { self.links[OLD].address() } else { self.addresses[upstream] };
                args.extend(["--upstream".to_owned(), format!("{upstream}@{address}")]);
            }
            self.start(node, &args)
        };
        NODES[1..].iter().map(replica).collect()
    }

    fn agent(&self, node: &str, role: &str) -> Vec<String> {
        let mut args = vec![role.to_owned(), "--data-dir".to_owned(), self.site.data_dir(node).display().to_string()];
        args.extend(["--listen".to_owned(), self.addresses[node].to_string()]);
        let rest = ["--http", "127.0.0.1:0", "--log-accept-weak-storage", "true", "--replica-backoff-max", "500ms"];
        args.extend(rest.map(str::to_owned));
        args.extend(["--replica-discover-every".to_owned(), "1s".to_owned()]);
        args.extend(self.site.identity(node));
        args
    }

    fn start(&self, node: &str, args: &[String]) -> Result<Process, Failure> {
        let mut process = Process::start(node, &self.site.dir, args)?;
        process.hear("listening")?;
        Ok(process)
    }

    /// How a node is called from its own region.
    pub(super) fn server(&self, node: &str) -> String {
        format!("{node}@{}", self.addresses[node])
    }

    /// The site's command, as the operator.
    pub(super) fn command(&self, args: &[&str]) -> Result<String, Failure> {
        let args: Vec<String> =
            args.iter().map(|arg| (*arg).to_owned()).chain(self.site.identity("operator")).collect();
        self.site.command(&args)
    }

    pub(super) fn data_dir(&self, node: &str) -> String {
        self.site.data_dir(node).display().to_string()
    }

    /// Nothing passes into the region or out of it, and no connection is closed.
    pub(super) fn cut(&self) {
        self.links.values().for_each(Proxy::cut);
    }

    pub(super) fn mend(&self) {
        self.links.values().for_each(Proxy::mend);
    }

    /// What happens now.
    pub(super) fn say(&self, what: &str) {
        eprintln!("{:5.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Shows for a while where everybody is and what the client knows.
    pub(super) fn watch(&self, client: &Client, for_so_long: Duration) -> Result<(), Failure> {
        let end = Instant::now() + for_so_long;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(500).min(end.saturating_duration_since(Instant::now())));
            let told = client.told();
            let mut line = format!("  {} acknowledged, {} not", told.acknowledged.len(), told.unconfirmed.len());
            for (node, at) in self.ends() {
                line += &format!("   {node} {at}");
            }
            self.say(&line);
        }
        Ok(())
    }

    /// Where the log ends at every node that can be asked.
    fn ends(&self) -> BTreeMap<&'static str, Lsn> {
        NODES.into_iter().filter_map(|node| Some((node, self.status(node).ok()?.durable))).collect()
    }

    pub(super) fn status(&self, node: &str) -> Result<LogStatus, Failure> {
        let status = self.runtime.block_on(async {
            let client = connect(&self.tls, &self.server(node)).await?;
            Ok::<_, Failure>(client.status(None).await?)
        })?;
        let log = status.logs.into_iter().next();
        log.ok_or_else(|| Failure::internal(format!("{node} has no log")))
    }

    /// Waits until the ends of all nodes are as asked.
    pub(super) fn await_ends(
        &self,
        what: &str,
        patience: Duration,
        done: impl Fn(&BTreeMap<&'static str, Lsn>) -> bool,
    ) -> Result<(), Failure> {
        self.until(what, patience, || {
            let ends = self.ends();
            ends.contains_key(NEW) && done(&ends)
        })
    }

    /// Waits until the old primary follows.
    pub(super) fn await_rejoined(&self, patience: Duration) -> Result<(), Failure> {
        self.until("eu-west rejoins", patience, || {
            self.status(OLD).is_ok_and(|log| !log.writer && !log.reign.path.is_empty())
        })
    }

    fn until(&self, what: &str, patience: Duration, done: impl Fn() -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !done() {
            if patience < begun.elapsed() {
                return Err(Failure::internal(format!("{what}: not within {patience:?}"))
                    .next("run it with --keep and look into the .stderr files"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Addresses that nobody has now, each another.
fn free_addresses() -> Result<Vec<SocketAddr>, Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("no free port: {error}"));
    let held = NODES.map(|_| TcpListener::bind("127.0.0.1:0"));
    let held: Vec<TcpListener> = held.into_iter().collect::<Result<_, _>>().map_err(failed)?;
    held.iter().map(|listener| listener.local_addr().map_err(failed)).collect()
}

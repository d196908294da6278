//! Processes for measurements: agents, and the raw workers beside them.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_format::ErrorKind;
use longshore_transport::certs::{self, Identity};
use longshore_transport::grants::Role;
use longshore_transport::{Client, Forget, Forgettable};
use tokio::runtime::Runtime;

use super::measure;
use crate::cli::Tls;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::process::Process;
use crate::runtime;

/// Certificates and directories of one measurement.
pub(super) struct Site {
    dir: PathBuf,
}

impl Site {
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        let identity = |who, roles: &[Role]| {
            Ok::<_, Failure>(Identity { name: name("name", who)?, roles: roles.to_vec(), hosts: Vec::new() })
        };
        let everything = [Role::Admin, Role::Append, Role::Read, Role::Replicate, Role::Promote];
        certs::init(
            &dir.join("tls"),
            &["primary", "replica", "other", "deaf"]
                .map(|who| identity(who, &everything))
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?,
        )?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    pub(super) fn remove(&self, relative: &str) -> Result<(), Failure> {
        let path = self.path(relative);
        std::fs::remove_dir_all(&path).map_err(|error| Failure::file("directory", &path, &error))
    }

    /// An agent over an existing data directory.
    pub(super) fn primary(&self, data: &Path) -> Result<Agent, Failure> {
        self.agent("primary", &["primary".as_ref(), "--data-dir".as_ref(), data.as_os_str()])
    }

    /// A replica that begins anew.
    pub(super) fn replica(&self, dir: &str, upstream: SocketAddr) -> Result<Agent, Failure> {
        let (data, upstream) = (self.path(dir), upstream.to_string());
        let args: [&OsStr; 6] = [
            "replica".as_ref(),
            "--data-dir".as_ref(),
            data.as_os_str(),
            "--upstream".as_ref(),
            upstream.as_ref(),
            "--reseed".as_ref(),
        ];
        self.agent("replica", &args)
    }

    pub(super) fn agent(&self, identity: &str, args: &[&OsStr]) -> Result<Agent, Failure> {
        let tls = self.path("tls");
        let common: [&OsStr; 10] = [
            "--tls-dir".as_ref(),
            tls.as_os_str(),
            "--identity".as_ref(),
            identity.as_ref(),
            "--listen".as_ref(),
            "127.0.0.1:0".as_ref(),
            "--http".as_ref(),
            "127.0.0.1:0".as_ref(),
            "--log-accept-weak-storage".as_ref(),
            "true".as_ref(),
        ];
        let mut process = Process::start(identity, &self.dir, args.iter().chain(&common))?;
        let mut hear = |what: &str| {
            let said = process.hear(what)?;
            said.parse().map_err(|_| Failure::internal(format!("{identity} said {said:?} for `{what}`")))
        };
        let (address, http) = (hear("listening")?, hear("http")?);
        Ok(Agent { process, address, http })
    }

    /// A raw worker: `send FILE` or `receive ADDR FILE`.
    pub(super) fn worker(&self, what: &str, args: &[&OsStr]) -> Result<Process, Failure> {
        let tls = self.path("tls");
        let own: [&OsStr; 3] = ["bench-worker".as_ref(), what.as_ref(), tls.as_os_str()];
        Process::start("worker", &self.dir, own.iter().chain(args))
    }

    /// A replica of any name that begins anew in a directory of that name.
    pub(super) fn follower(&self, identity: &str, upstream: SocketAddr) -> Result<Agent, Failure> {
        let (data, upstream) = (self.path(identity), upstream.to_string());
        let args = ["replica".as_ref(), "--data-dir".as_ref(), data.as_os_str(), "--upstream".as_ref()];
        self.agent(identity, &[&args[..], &[upstream.as_ref()]].concat())
    }

    /// Calls an agent that must prove this name, as the primary.
    pub(super) async fn connect_to(&self, server: &str, address: SocketAddr) -> Result<Client, Failure> {
        let tls = Tls::in_directory(&self.path("tls"), "primary");
        connect(&tls, &format!("{server}@{address}")).await
    }

    pub(super) async fn connect(&self, identity: &str, address: SocketAddr) -> Result<Client, Failure> {
        let tls = Tls::in_directory(&self.path("tls"), identity);
        connect(&tls, &format!("primary@{address}")).await
    }

    /// Drops the slot of a replica that has gone, once its primary has noticed.
    pub(super) fn forget(&self, primary: &Agent, log: &str, replica: &str) -> Result<(), Failure> {
        let what = Forgettable::Replica(name("replica", replica)?.into());
        let request = Forget { log: name("log", log)?, what, plan: false };
        runtime::for_commands()?.block_on(async {
            let client = self.connect("primary", primary.address).await?;
            let begun = Instant::now();
            loop {
                match client.forget(&request).await {
                    Err(error) if error.kind() == ErrorKind::Busy && begun.elapsed() < NOTICED => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    forgotten => return Ok(forgotten.map(drop)?),
                }
            }
        })
    }

    /// Watches one replica of the primary, over one connection: a handshake costs as much as a MiB of frames.
    pub(super) fn watch(&self, primary: &Agent, replica: &str) -> Result<Watch, Failure> {
        let runtime = runtime::for_commands()?;
        let client = runtime.block_on(self.connect("primary", primary.address))?;
        Ok(Watch { runtime, client, replica: replica.to_owned() })
    }
}

/// How long a primary may take to notice that a replica has gone.
const NOTICED: Duration = Duration::from_secs(30);

/// Looks at how far a replica is, as its primary knows.
pub(super) struct Watch {
    runtime: Runtime,
    client: Client,
    replica: String,
}

impl Watch {
    /// Whether the replica has everything that the primary has.
    pub(super) fn is_durable(&self) -> Result<bool, Failure> {
        let status = self.runtime.block_on(self.client.status(None))?;
        let log = status.logs.first().ok_or_else(|| Failure::internal("the primary has no log"))?;
        let watched = |name: &str| name == self.replica;
        Ok(log.replicas.iter().any(|replica| watched(replica.name.as_str()) && replica.durable >= log.end))
    }

    pub(super) fn wait_durable(&self, patience: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        while !self.is_durable()? {
            if patience < begun.elapsed() {
                return Err(Failure::internal("the replica does not catch up"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// A running agent.
pub(super) struct Agent {
    process: Process,
    address: SocketAddr,
    http: SocketAddr,
}

impl Agent {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a metric of one log says, if there is one.
    pub(super) fn metric(&self, name: &str) -> Result<Option<f64>, Failure> {
        let mut text = String::new();
        let asked = TcpStream::connect(self.http).and_then(|mut stream| {
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut text)
        });
        asked.map_err(|error| Failure::internal(format!("an agent does not answer at {}: {error}", self.http)))?;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
        Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
    }

    pub(super) fn cpu_seconds(&self) -> f64 {
        measure::cpu_seconds(self.process.id()).unwrap_or_default()
    }

    pub(super) fn anonymous_memory(&self) -> u64 {
        measure::anonymous_memory(self.process.id()).unwrap_or_default()
    }

    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let status = self.process.terminate()?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::internal(format!("an agent ended with {status}")))
    }
}

//! `longshore primary`: the agent that owns logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use longshore::Node;
use longshore_format::ErrorKind;

use crate::agent;
use crate::cli::Global;
use crate::failure::Failure;
use crate::runtime;
use crate::tuning::{PrimaryRole, Tuning};

/// Serve every log of a directory: append, read, and stream to replicas
#[derive(Debug, Args)]
#[command(after_help = "\
Once it serves it prints `listening HOST:PORT` and `http HOST:PORT`. SIGTERM ends it cleanly, a
second one at once; SIGHUP reads certificates and grants again. --help shows the tuning flags.

Example:
  longshore primary --data-dir data --tls-dir tls --identity primary --listen 0.0.0.0:7420")]
pub(crate) struct Primary {
    /// The directory that holds the logs; `longshore init` makes them
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where to serve replicas and clients (gRPC)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,

    /// Where to serve /metrics, /livez and /readyz (plain HTTP)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7421")]
    http: SocketAddr,

    #[command(flatten)]
    tuning: Tuning<PrimaryRole>,
}

impl Primary {
    /// A volume that is not mounted must not look like an agent without logs (F-049).
    fn check_data_dir(&self) -> Result<(), Failure> {
        match self.data_dir.is_dir() {
            true => Ok(()),
            false => {
                let what = format!("there is no data directory {}", self.data_dir.display());
                Err(Failure::new(ErrorKind::NotFound, what)
                    .next("is the volume mounted? `longshore init --data-dir DIR --log NAME` makes both"))
            }
        }
    }

    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        agent::trace(global)?;
        agent::record()?;
        let mut settings = self.tuning.settings()?;
        settings.network.listen = self.listen;
        settings.network.http = self.http;
        settings.tls = global.tls.settings();
        self.check_data_dir()?;
        runtime::for_agents()?.block_on(async {
            let node = Node::primary(&self.data_dir, &settings)?;
            node.open_all()?;
            let server = node.listen().await?;
            agent::run(node, server, self.http, |server, shutdown| server.run(shutdown)).await
        })
    }
}

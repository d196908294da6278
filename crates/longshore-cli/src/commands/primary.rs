//! `longshore primary`: the agent that owns logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::Global;
use crate::failure::Failure;

/// Serve every log of a directory: append, read, and stream to replicas
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM ends it cleanly, a second one at once; SIGHUP reloads certificates and grants.

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
}

impl Primary {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

//! `longshore replica`: the agent that follows.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::Global;
use crate::failure::Failure;

/// Follow the logs of an upstream agent that this identity is granted, and apply them
#[derive(Debug, Args)]
#[command(after_help = "\
A log that upstream holds a slot for, but that is not in the data directory, is refused: a volume
that is not mounted looks the same as one that was lost. --reseed says it was lost.

Example:
  longshore replica --data-dir data --upstream primary@db1.example.net:7420 \\
      --tls-dir tls --identity eu-west --apply orders=sqlite:orders.db")]
pub(crate) struct Replica {
    /// The directory that holds the logs; made if it is missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Whom to follow: a primary or another replica, NAME being the identity it must prove
    #[arg(long, value_name = "[NAME@]HOST:PORT")]
    upstream: String,

    /// Where to apply the records of LOG (of the only log, without LOG): repeat it for several
    #[arg(long, value_name = "[LOG=]sqlite:PATH|jsonl:PATH|exec:CMD")]
    apply: Vec<String>,

    /// Begin a log anew that upstream has a slot for and this directory has lost
    #[arg(long)]
    reseed: bool,

    /// Where to serve replicas of this replica and clients (gRPC); not served without it
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Where to serve /metrics, /livez and /readyz (plain HTTP)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7421")]
    http: SocketAddr,
}

impl Replica {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

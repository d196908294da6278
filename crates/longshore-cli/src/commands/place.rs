//! Where a log is: in a directory of this machine, or behind an agent.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

/// `--data-dir D` or `--server ADDR`, one of them.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceArgs {
    /// The directory that holds the logs; no agent may be writing it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The agent that serves the log: [NAME@]HOST:PORT, NAME being the identity it must prove
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
}

/// The place that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Directory(PathBuf),
    Server(String),
}

impl PlaceArgs {
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        match (&self.data_dir, &self.server) {
            (Some(dir), None) => Ok(Place::Directory(dir.clone())),
            (None, Some(server)) => Ok(Place::Server(server.clone())),
            (Some(dir), Some(server)) => {
                Err(Failure::invalid(format!("both --data-dir {} and --server {server} are set", dir.display()))
                    .next("name one of them; `longshore config --show COMMAND` tells where each comes from"))
            }
            (None, None) => Err(Failure::invalid("neither --data-dir nor --server is set")
                .next("name the directory that holds the log, or the agent that serves it")),
        }
    }
}

//! `longshore dump`: what a directory holds.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

/// Show what a directory holds: logs, segments, and the records of a range
#[derive(Debug, Args)]
#[command(after_help = "\
It changes nothing and may run beside a live agent.

Example:
  longshore dump --data-dir data --log orders --start 4096 --end latest")]
pub(crate) struct Dump {
    /// The directory that holds the logs
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log to show; without it, every one
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    /// Show records too, from here
    #[arg(long, value_name = "TARGET")]
    start: Option<String>,

    /// Show records too, up to here
    #[arg(long, value_name = "TARGET")]
    end: Option<String>,

    /// One JSON document a line
    #[arg(long)]
    json: bool,
}

impl Dump {
    pub(crate) fn run(self) -> Result<(), Failure> {
        todo!()
    }
}

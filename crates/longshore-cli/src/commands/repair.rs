//! `longshore repair`: one damaged sealed segment replaced.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Global;
use crate::failure::Failure;

/// Replace one damaged sealed segment by a good copy; the damaged one is kept aside
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore repair --data-dir data --log orders --segment 134217728 --from eu-west@db2:7420 --plan")]
pub(crate) struct Repair {
    /// The directory that holds the log; no agent may be writing it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The base position of the segment, as `verify` and error messages name it
    #[arg(long, value_name = "N")]
    segment: u64,

    /// Where the good copy is: an agent's [NAME@]HOST:PORT, or a data directory
    #[arg(long, value_name = "ADDR|DIR")]
    from: String,

    /// Check and say what would be done, and change nothing
    #[arg(long)]
    plan: bool,
}

impl Repair {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

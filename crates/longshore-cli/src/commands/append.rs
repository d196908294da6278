//! `longshore append`: records from stdin into a log.

use std::time::Duration;

use clap::Args;

use super::place::PlaceArgs;
use crate::cli::Global;
use crate::failure::Failure;

/// Append records from stdin and print the last position
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  printf 'one\\ntwo\\n' | longshore append --data-dir data --log orders
  longshore append --server primary@db1:7420 --log orders --wait regions:2 < records.txt")]
pub(crate) struct Append {
    #[command(flatten)]
    place: PlaceArgs,

    /// The log to append to
    #[arg(long, value_name = "NAME")]
    log: String,

    /// How records stand on stdin: raw (one a line), framed (u32 little-endian length), json
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    format: String,

    /// What to wait for: local, replicas:K, regions:K[@a,b], each with /received, /durable, /applied.
    /// Waits weaker than the log's policy are not protected by failover
    #[arg(long, value_name = "DURABILITY", default_value = "local")]
    wait: String,

    /// How long to wait; after it the records are durable at the primary but not confirmed (exit 12)
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = crate::quantity::duration)]
    wait_timeout: Duration,

    /// Append only if the log ends here, so that a retry cannot write twice
    #[arg(long, value_name = "LSN")]
    expect: Option<u64>,
}

impl Append {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

//! `longshore forget`: a replica's slot dropped.

use clap::Args;

use crate::cli::Global;
use crate::failure::Failure;

/// Drop the slot of a replica that will not come back, and say what that frees
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore forget --server primary@db1:7420 --log orders --replica us-east --plan")]
pub(crate) struct Forget {
    /// The agent that holds the slot: [NAME@]HOST:PORT
    #[arg(long, value_name = "ADDR")]
    server: String,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The replica's identity
    #[arg(long, value_name = "NAME")]
    replica: String,

    /// Say what would be freed, and change nothing
    #[arg(long)]
    plan: bool,
}

impl Forget {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

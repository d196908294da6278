//! `longshore status`: positions, replicas, lag.

use clap::Args;

use super::place::PlaceArgs;
use crate::cli::Global;
use crate::failure::Failure;

/// Show positions, every replica connected or not, lag, proof of equality and headroom
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore status --server primary@db1:7420 --tls-dir tls --identity primary")]
pub(crate) struct Status {
    #[command(flatten)]
    place: PlaceArgs,

    /// One JSON document: bytes, seconds, RFC 3339 UTC
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

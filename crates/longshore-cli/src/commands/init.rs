//! `longshore init`: a new log.

use clap::Args;

use super::place::PlaceArgs;
use crate::cli::Global;
use crate::failure::Failure;

/// Create a log, in a directory or on a live agent
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore init --data-dir data --log orders --content sql")]
pub(crate) struct Init {
    #[command(flatten)]
    place: PlaceArgs,

    /// The name of the log: a-z, 0-9, - and _, at most 63
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The size of its segments, for ever: a power of two from 1MiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = crate::quantity::bytes)]
    segment_size: u64,

    /// What its records hold, for ever: bytes, sql or sqlite-pages
    #[arg(long, value_name = "CONTENT", default_value = "bytes")]
    content: String,
}

impl Init {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

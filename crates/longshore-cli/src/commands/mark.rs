//! `longshore mark`: a named point in a log.

use clap::Args;

use super::place::PlaceArgs;
use crate::cli::Global;
use crate::failure::Failure;

/// Put a named point into a log and print its position
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore mark before-migration --server primary@db1:7420 --log orders")]
pub(crate) struct Mark {
    /// The name, to be used as mark:NAME where a target is asked for
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    place: PlaceArgs,

    /// The log to mark
    #[arg(long, value_name = "NAME")]
    log: String,
}

impl Mark {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

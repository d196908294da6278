//! `longshore read`: records of a log to stdout.

use clap::Args;

use super::place::PlaceArgs;
use crate::cli::Global;
use crate::failure::Failure;

/// Print the records of a log
#[derive(Debug, Args)]
#[command(after_help = "\
Targets: latest, lsn:N or N, time:RFC3339 with offset, mark:NAME. The range holds what lies after
--start and up to --end. A closed pipe ends it quietly.

Example:
  longshore read --data-dir data --log orders --start mark:monday --format json")]
pub(crate) struct Read {
    #[command(flatten)]
    place: PlaceArgs,

    /// The log to read
    #[arg(long, value_name = "NAME")]
    log: String,

    /// Where to begin; without it, at the first record there is
    #[arg(long, value_name = "TARGET")]
    start: Option<String>,

    /// Where to stop; without it, at the end
    #[arg(long, value_name = "TARGET")]
    end: Option<String>,

    /// Go on as the log grows
    #[arg(long)]
    follow: bool,

    /// How records are printed: raw (one a line), framed (u32 little-endian length), json (base64)
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    format: String,
}

impl Read {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

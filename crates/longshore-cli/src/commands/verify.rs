//! `longshore verify`: proof that a directory is intact.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Global;
use crate::failure::Failure;

/// Prove that a directory is intact, and equal to a peer's, segment by segment
#[derive(Debug, Args)]
#[command(after_help = "\
It changes nothing and may run beside a live agent.

Example:
  longshore verify --data-dir data --deep --against primary@db1:7420")]
pub(crate) struct Verify {
    /// The directory that holds the logs
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log to verify; without it, every one
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    /// Read every byte of every segment, not the headers and footers alone
    #[arg(long)]
    deep: bool,

    /// An agent whose segments must have the same digests
    #[arg(long, value_name = "ADDR")]
    against: Option<String>,

    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self, _global: &Global) -> Result<(), Failure> {
        todo!()
    }
}

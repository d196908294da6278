//! `longshore demo`: the tour.

use clap::Args;

use crate::demo;
use crate::failure::Failure;

/// See it all work: a database, two regions, a crash, a cut link, a recovery, and the proofs
#[derive(Debug, Args)]
#[command(after_help = "\
Real processes on loopback, in a temporary directory, under a minute. Exit 0 only if every proof holds.")]
pub(crate) struct Demo {
    /// The report as one JSON document on stdout
    #[arg(long)]
    json: bool,

    /// Corrupt one replicated record on disk: the proofs must fail
    #[arg(long = "break")]
    break_it: bool,

    /// Keep the directory, and name it at the end
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let report = demo::tell(demo::Options { break_it: self.break_it, keep: self.keep })?;
        report.print(self.json)?;
        report.outcome()
    }
}

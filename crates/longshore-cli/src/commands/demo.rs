//! `longshore demo`: the tour.

use clap::Args;

use crate::demo;
use crate::failure::Failure;

/// See it all work: a database, two regions, a crash, a cut link, a recovery, and the proofs
#[derive(Debug, Args)]
#[command(after_help = "\
Real processes on loopback, in a temporary directory, under a minute. Exit 0 only if every proof holds.

With --failover it tells of a region that is lost: a primary and two replicas in three regions, a replica that \
follows a replica, a client that writes down what was acknowledged, the primary cut off and killed, a promotion, \
and the old primary that comes back with a tail nobody else has.")]
pub(crate) struct Demo {
    /// The report as one JSON document on stdout
    #[arg(long)]
    json: bool,

    /// Lose a region, promote a replica, and prove that nothing acknowledged was lost
    #[arg(long)]
    failover: bool,

    /// Corrupt one replicated record on disk; with --failover, give up what was acknowledged: the proofs must fail
    #[arg(long = "break")]
    break_it: bool,

    /// Keep the directory, and name it at the end
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let report = demo::tell(demo::Options { failover: self.failover, break_it: self.break_it, keep: self.keep })?;
        report.print(self.json)?;
        report.outcome()
    }
}

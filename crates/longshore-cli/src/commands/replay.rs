//! `longshore replay`: a log turned back into a database.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

/// Rebuild a database from a log, at any point in time
#[derive(Debug, Args)]
#[command(after_help = "\
The plan comes first: what is read, how much, where it stops and what comes next. The output is
made under a temporary name, synced, checked and renamed; interrupted, it resumes when run again.

Targets: latest, lsn:N or N, time:RFC3339 with offset, mark:NAME.

Example:
  longshore replay --from data --log orders --to time:2026-11-22T09:30:00+01:00 \\
      --into sqlite:restored.db")]
pub(crate) struct Replay {
    /// The directory that holds the log: an agent's, or a copy of one
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The log to replay
    #[arg(long, value_name = "NAME")]
    log: String,

    /// Where to stop: every transaction committed at or before it is kept
    #[arg(long, value_name = "TARGET", default_value = "latest")]
    to: String,

    /// Stop before the target instead of after it
    #[arg(long)]
    exclusive: bool,

    /// What to rebuild: sqlite:PATH, jsonl:PATH, jsonl:- (stdout) or exec:CMD
    #[arg(long, value_name = "SINK")]
    into: String,

    /// Print the plan and change nothing
    #[arg(long)]
    plan: bool,

    /// Go on as the log grows
    #[arg(long)]
    follow: bool,
}

impl Replay {
    pub(crate) fn run(self) -> Result<(), Failure> {
        todo!()
    }
}

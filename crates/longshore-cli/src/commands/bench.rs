//! `longshore bench`: the measurements, ours beside the raw limit of this machine.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::{self, Plan};
use crate::failure::Failure;

/// Measure this machine: longshore beside a raw row of the same work, interleaved, median of five
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure
    what: What,

    /// The report as one JSON document
    #[arg(long)]
    json: bool,

    /// Where to work: a directory on the disk to measure; without it, the current one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Runs of each row; the median is shown
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,

    /// The part of the full amount of data to use, for a quick look: figures shrink with it
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Append, sync and open: the local log
    Wal,
    /// Catch-up over mutual TLS to a durable replica, and memory
    Ship,
    /// Durable appends, one at a time and 64 in flight
    Commit,
    /// An unmodified application on SQLite, with an agent beside its database and without
    Sqlite,
    /// Archive a log into a directory, verify it, and restore it: also from a store that is far away
    Archive,
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.runs == 0 || !(self.scale > 0.0 && self.scale <= 100.0) {
            return Err(Failure::invalid("--runs must be at least 1, and --scale above 0 and at most 100"));
        }
        let above = self.dir.unwrap_or_else(|| ".".into());
        let place = Place::new(&above, &format!("longshore-bench-{}", std::process::id()))?;
        let progress = Progress::new();
        let plan = Plan { dir: place.path().to_owned(), runs: self.runs, scale: self.scale, progress };
        let (name, rows) = match self.what {
            What::Wal => ("wal", bench::wal::run(&plan)?),
            What::Ship => ("ship", bench::ship::run(&plan)?),
            What::Commit => ("commit", bench::commit::run(&plan)?),
            What::Sqlite => ("sqlite", bench::sqlite::run(&plan)?),
            What::Archive => ("archive", bench::archive::run(&plan)?),
        };
        plan.progress.clear();
        Report::new(name, &plan, rows).print(self.json)
    }
}

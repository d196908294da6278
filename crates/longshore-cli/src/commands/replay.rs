//! `longshore replay`: a log turned back into a database.

mod progress;
mod told;

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use longshore::{Replay as Library, Stage};

use crate::failure::Failure;
use crate::interrupt::Interruptible;
use crate::sinks::SinkSpec;
use crate::{logs, output};
use progress::Bar;

/// Rebuild a database from a log, at any point in time
#[derive(Debug, Args)]
#[command(after_help = "\
The plan comes first: what is read, how much, where it stops and what comes next. The output is \
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
    into: SinkSpec,

    /// Print the plan and change nothing
    #[arg(long)]
    plan: bool,

    /// Go on as the log grows, until interrupted
    #[arg(long)]
    follow: bool,

    /// The plan, and what was done, as JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let target = logs::target("to", &self.to)?;
        let target = if self.exclusive { target.before() } else { target };
        let replay = Library::open(&self.from, &self.log)?.to(target);
        let output = self.into.output();
        if self.plan {
            return self.tell(&told::Plan::from(&replay.plan(&output)?));
        }
        let interrupted = Interruptible::listen()?;
        let mut bar = Bar::new();
        let watch = |stage: Stage<'_>| {
            if let Stage::Planned { plan, interrupt } = &stage {
                interrupted.then(interrupt.clone());
                // A file's plan is talk here: the file is the output.
                eprint!("{}", told::Plan::from(*plan));
            }
            bar.show(&stage);
            if interrupted.was() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let done = if self.follow { replay.follow(&output, watch) } else { replay.run(&output, watch) };
        bar.clear();
        let done = match done {
            // Whoever reads our output has gone away: an ordinary end.
            Err(longshore::Error::Apply(error)) if error.is_closed_pipe() => return Ok(()),
            done => told::Done::new(&self.into, &done?),
        };
        match self.into {
            // Stdout is the output: what was done is talk.
            SinkSpec::Stdout => eprint!("{done}"),
            _ => self.tell(&done)?,
        }
        Ok(())
    }

    fn tell(&self, told: &(impl serde::Serialize + std::fmt::Display)) -> Result<(), Failure> {
        match self.json {
            true => output::print_json(told),
            false => output::print(&told.to_string()),
        }
    }
}

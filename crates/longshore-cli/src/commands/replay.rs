//! `longshore replay`: a log turned back into a database.

mod alone;
mod archived;
mod continued;
mod fetched;
mod pending;
mod progress;
mod told;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use longshore::apply::Check;
use longshore::{Replay as Library, Stage};

use self::continued::{Continue, Continued, GoOn};
use crate::cli::Global;
use crate::failure::Failure;
use crate::interrupt::Interruptible;
use crate::progress::ProgressFlag;
use crate::sinks::SinkSpec;
use crate::stores::{self, Keys};
use crate::tails::TailArg;
use crate::{logs, output};
pub(crate) use progress::Phases;

/// Rebuild a database from a log, at any point in time
#[derive(Debug, Args)]
#[command(after_help = "\
The plan comes first: what is read, how much, where it stops and what comes next. The output is \
made under a temporary name, synced, checked and renamed; interrupted, it resumes when run again.

Targets: latest, lsn:N or N, time:RFC3339 with offset, mark:NAME.

Of a --tail, jsonl: and exec: get the transactions that the history which won has not, and nothing else; sqlite: becomes the \
database as this node had it before the tail was set aside.

Examples:
  longshore replay --from data --log orders \\
      --to time:2026-11-22T09:30:00+01:00 --into sqlite:restored.db
  longshore replay --from s3://bucket/prefix --log orders \\
      --to mark:before-upgrade --into sqlite:restored.db --plan
  longshore replay --from s3://bucket/prefix --log orders \\
      --into sqlite:orders.db --continue /var/lib/longshore --accept-loss")]
pub(crate) struct Replay {
    /// The directory that holds the log: an agent's, or a copy of one. Or the address of an object store; of
    /// several, the best copy of each segment is taken
    #[arg(long, value_name = "DIR|URL", required = true)]
    from: Vec<String>,

    /// The log to replay
    #[arg(long, value_name = "NAME")]
    log: String,

    #[command(flatten)]
    tail: TailArg,

    /// Where to stop: every transaction committed at or before it is kept
    #[arg(long, value_name = "TARGET", default_value = "latest")]
    to: String,

    /// Stop before the target instead of after it
    #[arg(long)]
    exclusive: bool,

    /// Rebuild what this epoch had archived before a later one parted from it, and not what the log went on with
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,

    /// What to rebuild: sqlite:PATH, jsonl:PATH, jsonl:- (stdout) or exec:CMD
    #[arg(long, value_name = "SINK")]
    into: SinkSpec,

    /// Print the plan and change nothing
    #[arg(long)]
    plan: bool,

    /// Go on as the log grows, until interrupted
    #[arg(long, conflicts_with = "tail")]
    follow: bool,

    /// Where a log from an object store lies while it is restored, in a directory of its own; beside the output unless it is
    /// told
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// Do nothing, and end with 0, if the output is there
    #[arg(long)]
    if_absent: bool,

    /// How much of a restored file is looked at before it gets its name: none; quick (SQLite's quick_check, the last lines
    /// of a JSON file); full (integrity_check and foreign_key_check, every line)
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Depth::Quick, hide_possible_values = true)]
    check: Depth,

    #[command(flatten)]
    go_on: Continue,

    #[command(flatten)]
    progress: ProgressFlag,

    #[command(flatten)]
    keys: Keys,

    /// The plan, and what was done, as JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let target = logs::target("to", &self.to)?;
        let target = if self.exclusive { target.before() } else { target };
        if !self.plan
            && self.go_on.pending(&self.log).is_none()
            && let Ok(scratch) = self.scratch()
        {
            match self.go_on.is_asked() {
                true => self.go_on.clear(&self.log, &self.into),
                false => archived::clear(&scratch, &self.into),
            }
        }
        if self.if_absent && self.into.is_there() && self.go_on.pending(&self.log).is_none() {
            return self.go_on.must_be_done(&self.log, &self.into);
        }
        if self.from.iter().any(|from| stores::is_address(from)) {
            if self.tail.tail.is_some() {
                return Err(Failure::invalid("--tail is of a directory; object stores hold none")
                    .next("name the node's directory"));
            }
            return self.run_from_archive(target, global);
        }
        if self.go_on.is_asked() {
            return Err(Failure::invalid("--continue is for object stores").next(
                "a log in a directory goes on by itself: start an agent on it, and `longshore promote` there; `--to` says from where on",
            ));
        }
        let [from] = &self.from[..] else {
            return Err(Failure::invalid("several --from are for object stores").next("name one directory"));
        };
        if self.epoch.is_some() {
            return Err(Failure::invalid("--epoch is for object stores")
                .next("what a replica sets aside is a log of its own: name it with --tail"));
        }
        let replay = match &self.tail.tail {
            Some(place) => Library::open_tail(from, &self.log, place)?,
            None => Library::open(from, &self.log).map_err(|error| self.not_a_log(from, error.into()))?,
        };
        let mut phases = Phases::new(self.progress.start());
        match self.run_with(&replay.to(target), &mut phases, &Interruptible::listen()?)? {
            Some(done) => self.tell_done(&done, &mut phases),
            None => Ok(()),
        }
    }

    /// A directory that holds an archive is easily taken for one that holds the log.
    fn not_a_log(&self, from: &str, failure: Failure) -> Failure {
        match Path::new(from).canonicalize() {
            Ok(dir) if dir.join(&self.log).join("manifest").is_file() => {
                failure.next(format!("an archive lies there: name it by its address, --from file://{}", dir.display()))
            }
            _ => failure,
        }
    }

    fn scratch(&self) -> Result<PathBuf, Failure> {
        match self.go_on.scratch(&self.log) {
            Some(scratch) => Ok(scratch),
            None => archived::scratch(self.scratch.as_ref(), &self.into, &self.log),
        }
    }

    /// Restores, and says what came of it; `None` of a plan, and where whoever reads our output has gone away.
    fn run_with(
        &self,
        replay: &Library,
        phases: &mut Phases,
        interrupted: &Interruptible,
    ) -> Result<Option<told::Done>, Failure> {
        let output = self.into.output();
        if self.plan {
            return self.tell(&told::Plan::from(&replay.plan(&output)?)).map(|()| None);
        }
        let replay = replay.clone().checking(self.check.into());
        let watch = |stage: Stage<'_>| {
            if let Stage::Planned { plan, interrupt } = &stage {
                interrupted.then(interrupt.clone());
                phases.talk(&told::Plan::from(*plan));
            }
            phases.show(&stage);
            if interrupted.was() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let done = if self.follow { replay.follow(&output, watch) } else { replay.run(&output, watch) };
        phases.finish();
        match done {
            // An ordinary end.
            Err(longshore::Error::Apply(error)) if error.is_closed_pipe() => Ok(None),
            done => Ok(Some(told::Done::new(&self.into, &done?))),
        }
    }

    fn tell_done(&self, done: &told::Done, phases: &mut Phases) -> Result<(), Failure> {
        match &self.into {
            // Stdout is the output: what was done is talk.
            SinkSpec::Stdout => phases.talk(done),
            _ => self.tell(done)?,
        }
        Ok(())
    }

    fn tell_continued(
        &self,
        go_on: &GoOn<'_>,
        continued: Option<&Continued>,
        phases: &mut Phases,
    ) -> Result<(), Failure> {
        let Some(continued) = continued else { return Ok(()) };
        let told = continued.told(go_on, &self.into);
        match (&self.into, self.json) {
            (SinkSpec::Stdout, _) => phases.talk(&told),
            (_, true) => output::print_json(serde_json::json!({ "continued": continued }))?,
            (_, false) => output::print(&told)?,
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

/// How much of a restored file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Depth {
    None,
    Quick,
    Full,
}

impl From<Depth> for Check {
    fn from(depth: Depth) -> Check {
        match depth {
            Depth::None => Check::None,
            Depth::Quick => Check::Quick,
            Depth::Full => Check::Full,
        }
    }
}

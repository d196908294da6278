//! `longshore replay`: a log turned back into a database.

mod archived;
mod continued;
mod price;
mod progress;
mod told;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use longshore::apply::{Check, Point, Target};
use longshore::archive::{Archive, Sample, Store};
use longshore::{ErrorKind, Lsn, Replay as Library, Stage};
use longshore_format::Name;

use self::continued::{Continue, Continued, GoOn};
use crate::cli::Global;
use crate::failure::Failure;
use crate::interrupt::Interruptible;
use crate::progress::ProgressFlag;
use crate::sinks::SinkSpec;
use crate::stores::{self, Keys};
use crate::tails::TailArg;
use crate::{logs, output, runtime};
pub(crate) use progress::Phases;

/// Rebuild a database from a log, at any point in time
#[derive(Debug, Args)]
#[command(after_help = "\
The plan comes first: what is read, how much, where it stops and what comes next. The output is \
made under a temporary name, synced, checked and renamed; interrupted, it resumes when run again.

Targets: latest, lsn:N or N, time:RFC3339 with offset, mark:NAME.

Of a --tail, jsonl: and exec: get the transactions that the history which won has not, and nothing else; sqlite: becomes the
database as this node had it before the tail was set aside.

Examples:
  longshore replay --from data --log orders --to time:2026-11-22T09:30:00+01:00 \\
      --into sqlite:restored.db
  longshore replay --from s3://bucket/prefix --log orders --to mark:before-upgrade \\
      --into sqlite:restored.db --plan
  longshore replay --from s3://bucket/prefix --log orders --into sqlite:orders.db \\
      --continue /var/lib/longshore --accept-loss")]
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
            && let Ok(scratch) = self.scratch()
            && self.go_on.noted(&scratch).is_none()
        {
            archived::clear(&scratch, &self.into);
        }
        if self.if_absent && self.into.is_there() {
            return Ok(());
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
            None => Library::open(from, &self.log)?,
        };
        let mut phases = Phases::new(self.progress.start());
        match self.run_with(&replay.to(target), &mut phases, &Interruptible::listen()?)? {
            Some(done) => self.tell_done(&done, &mut phases),
            None => Ok(()),
        }
    }

    fn scratch(&self) -> Result<PathBuf, Failure> {
        match self.go_on.scratch(&self.log) {
            Some(scratch) => Ok(scratch),
            None => archived::scratch(self.scratch.as_ref(), &self.into, &self.log),
        }
    }

    /// Fetches what the target needs, restores from that, and removes it again, or goes on with it.
    fn run_from_archive(self, target: Target, global: &Global) -> Result<(), Failure> {
        if self.follow {
            return Err(
                Failure::invalid("--follow is for directories").next("a replica follows a log: `longshore replica`")
            );
        }
        let stores = stores::open(&self.from)?;
        let name = self.log.parse();
        let name = name.map_err(|_| Failure::invalid("--log must match [a-z0-9][a-z0-9_-]{0,62}"))?;
        let scratch = self.scratch()?;
        let go_on = GoOn {
            log: &name,
            scratch: &scratch,
            stores: stores.clone(),
            keys: &self.keys,
            tls: &global.tls,
            to_end: matches!(target.point, Point::Latest),
        };
        self.go_on.check(&go_on, &self.into)?;
        let mut phases = Phases::new(self.progress.start());
        let (runtime, interrupted) = (runtime::for_agents()?, Interruptible::listen()?);
        if let Some(stop) = self.go_on.noted(&scratch).filter(|_| self.into.is_there()) {
            let continued = runtime.block_on(self.go_on.run(&go_on, Some(stop)))?;
            self.tell_continued(&name, continued.as_ref(), &mut phases)?;
            return archived::remove(&scratch).map_err(|error| Failure::file("cannot remove", &scratch, &error));
        }
        // Before anything is fetched: a file that is there is nobody's to replace.
        self.into.output().check_free()?;
        let (mut seen, mut end) = (None, None);
        let fetched = loop {
            let fetching = self.fetch(&stores, &name, &target, &scratch, &mut phases, &mut end);
            let Some(fetched) = runtime.block_on(interrupted.unless_asked(fetching)) else {
                // A store that does not answer is not waited for.
                runtime.shutdown_background();
                return Err(archived::interrupted(&scratch));
            };
            match fetched {
                // An archive that goes on puts what it has together: what is gone has another name by now, or is gone.
                Err(failure) if failure.kind() == ErrorKind::Gap && !self.plan && seen != end => seen = end,
                fetched => break fetched?,
            }
        };
        let Some((replay, store)) = fetched else { return Ok(()) };
        let done = self.run_with(&replay.to(target), &mut phases, &interrupted);
        let done = done.map_err(|failure| match failure.kind() {
            ErrorKind::NotFound | ErrorKind::TooOld | ErrorKind::Unreachable => {
                let next = "name a target that is there, or a store that reaches further; `longshore archive ls` shows how far each reaches";
                failure.after(format!("that is all of it in {store}")).next(next)
            }
            _ => failure,
        })?;
        if let Some(mut done) = done {
            self.go_on.note(&scratch, done.stop())?;
            done.continued = runtime.block_on(self.go_on.run(&go_on, done.stop()))?;
            self.tell_done(&done, &mut phases)?;
            if !self.json {
                self.tell_continued(&name, done.continued.as_ref(), &mut phases)?;
            }
        }
        archived::remove(&scratch).map_err(|error| Failure::file("cannot remove", &scratch, &error))
    }

    /// Plans, and fetches what was planned: the log, and the store that it is from. `None` if this is a plan; `end` is where the
    /// archive ended then.
    async fn fetch(
        &self,
        stores: &[Store],
        name: &Name,
        target: &Target,
        scratch: &Path,
        phases: &mut Phases,
        end: &mut Option<Lsn>,
    ) -> Result<Option<(Library, String)>, Failure> {
        let mut archive = Archive::open(stores, name, self.keys.open()?).await?;
        if let Some(epoch) = self.epoch {
            archive = archive.branch(epoch).await?;
        }
        *end = Some(archive.end());
        let until = Library::needs(&archive, target);
        let mut archive = archive.reaching(until).await?;
        loop {
            match self.fetch_from(&archive, target, scratch, phases).await {
                Err(Unfetched { snapshot: Some(position), failure }) if archive.leave_out_snapshot(position) => {
                    phases.talk(&format!("the snapshot at {position} is left out: {failure}\n"));
                }
                fetched => return fetched.map_err(|unfetched| unfetched.failure),
            }
        }
    }

    async fn fetch_from(
        &self,
        archive: &Archive,
        target: &Target,
        scratch: &Path,
        phases: &mut Phases,
    ) -> Result<Option<(Library, String)>, Unfetched> {
        let until = Library::needs(archive, target);
        let begin = Library::begins(archive, target, &self.into.output());
        let plan = archive.plan(until, begin)?;
        let glimpse = match self.plan || archived::is_worth_a_look(target) {
            true => Library::glimpse(archive, target).await?,
            false => (None, Sample::default()),
        };
        let known = archived::look(archive, &plan, glimpse, scratch, &self.into).await?;
        let refusal = archived::refusal(known.holes.as_deref());
        let told = archived::Plan::new(known, target, &self.into, scratch, &self.from);
        if self.plan {
            self.tell(&told)?;
            return refusal.map_or(Ok(None), |refusal| Err(refusal.into()));
        }
        phases.talk(&told);
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        self.go_on.make_directory()?;
        archived::claim(scratch, &self.into)?;
        match Library::fetch(archive, &plan, scratch, |bytes| phases.fetching(bytes, plan.bytes)).await {
            Ok(replay) => Ok(Some((replay, plan.store))),
            Err(error) => {
                let of_snapshot = matches!(&error, longshore::Error::Archive(error) if error.is_of_snapshot());
                let snapshot = plan.snapshot.as_ref().filter(|_| of_snapshot).map(|entry| entry.position);
                Err(Unfetched { snapshot, failure: error.into() })
            }
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

    fn tell_continued(&self, log: &Name, continued: Option<&Continued>, phases: &mut Phases) -> Result<(), Failure> {
        let Some(continued) = continued else { return Ok(()) };
        let told = continued.told(log, &self.into);
        match (&self.into, self.json) {
            (SinkSpec::Stdout, _) => phases.talk(&told),
            (_, true) => output::print_json(continued)?,
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

/// Why nothing was fetched, and the snapshot that is to blame, if one is.
struct Unfetched {
    snapshot: Option<u64>,
    failure: Failure,
}

impl<E: Into<Failure>> From<E> for Unfetched {
    fn from(error: E) -> Self {
        Unfetched { snapshot: None, failure: error.into() }
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

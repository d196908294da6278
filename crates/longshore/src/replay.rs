//! A log turned back into a database, at any point in time.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_apply::{Applier, Check, Cut, Held, Interrupt, LogFacts, Plan, Planner, Progress, Sink, Step, Target};
use longshore_format::{Content, Lsn, Name};
use longshore_storage::{Directory, FsDirectory};
use longshore_wal::ReadLog;

mod archived;
mod output;
mod room;
mod seed;
mod tail;

pub use self::archived::Foreseen;
pub use self::output::Output;
pub use self::room::Room;
use self::seed::Seed;
use self::tail::FromTail;
use crate::error::{Error, Result};
use crate::node::parse_name;

/// Recovery from a directory that holds a log: any node's, or a copy of one.
///
/// The directory is only read. Beside a live owner, the log ends at what the owner last wrote down as
/// durable. Every record is checked twice: when the plan is made, before anything is written, and when
/// it is applied.
///
/// ```
/// use longshore::apply::JsonLinesOutput;
/// use longshore::{Content, Output, Primary, Replay, Settings};
/// use std::ops::ControlFlow;
///
/// # let place = tempfile::tempdir()?;
/// # let data_dir = place.path();
/// let primary = Primary::create(data_dir, "orders", Content::Bytes, &Settings::default())?;
/// primary.append(&["one"])?;
/// let before = primary.append(&["two"])?.position();
/// primary.append(&["a mistake"])?;
/// primary.close()?;
///
/// let replay = Replay::open(data_dir, "orders")?.to(before.into());
/// let output = Output::file(JsonLinesOutput, place.path().join("orders.jsonl"));
/// let plan = replay.plan(&output)?;
/// assert_eq!((plan.plan.runs, plan.plan.next.is_some()), (2, true));
///
/// let restored = replay.run(&output, |_| ControlFlow::Continue(()))?;
/// assert_eq!(restored.position, Some(before));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Replay {
    name: Name,
    log: ReadLog,
    target: Target,
    seed: Option<Seed>,
    /// Where a tail begins, if it is one that is replayed.
    from: Option<FromTail>,
    /// What is known of the log behind its end here, if it was fetched no further because more cannot be had.
    cut: Option<Cut>,
    /// Whether this is all that the log is read for.
    only: bool,
    check: Check,
}

/// What a replay will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPlan {
    /// Which log.
    pub log: Name,
    /// What its records hold.
    pub content: Content,
    /// The target as it was asked for.
    pub target: Target,
    /// Where to, as the output calls itself.
    pub output: String,
    /// What an interrupted replay has left there already.
    pub resumes: Option<Lsn>,
    /// The position of the snapshot that it begins with.
    pub snapshot: Option<Lsn>,
    /// What, how much, where it stops and what comes next.
    pub plan: Plan,
    /// About how many bytes of disk it takes, and how many there are, when the output is a file.
    pub room: Option<Room>,
    /// About how long it takes, when the output is of a known kind.
    pub expected: Option<Duration>,
}

/// Where a replay is: told again and again while it runs.
#[non_exhaustive]
pub enum Stage<'a> {
    /// The log is being read to make the plan.
    Planning {
        /// Read up to here.
        position: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// The plan is made; nothing was written yet.
    Planned {
        /// The plan.
        plan: &'a ReplayPlan,
        /// Ends the replay from another thread, also when another program keeps it waiting.
        interrupt: Interrupt,
    },
    /// The output is given the snapshot that it begins with.
    Seeding {
        /// Bytes of it that are given.
        done: u64,
        /// Of so many, about.
        of: u64,
    },
    /// Records are being applied.
    Applying(Progress),
    /// Everything is applied; the output is being checked.
    Checking,
    /// Everything that is there is applied, and more is waited for.
    Following(Progress),
}

/// What a replay did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// What the output holds now: the end of the last run in it.
    pub position: Option<Lsn>,
    /// When that run was committed, microseconds UTC, if this replay applied it.
    pub time: Option<u64>,
    /// Runs applied now, not counting those of an interrupted replay before.
    pub runs: u64,
    /// Records in them.
    pub records: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// How long it took, planning included.
    pub elapsed: Duration,
}

impl Replay {
    /// Opens the log `log` in the data directory `from`, for reading only. It need not be whole: what is damaged or missing is
    /// an error where a target needs it, which names the last position before it.
    ///
    /// # Errors
    /// `NotFound` when there is no such log; `Corrupt`, `Gap` and their like when nothing there can be believed.
    pub fn open(from: impl AsRef<Path>, log: &str) -> Result<Replay> {
        let (name, directory) = Replay::find(from.as_ref(), log)?;
        let log = ReadLog::open_damaged(directory)?;
        let (target, check) = (Target::LATEST, Check::default());
        Ok(Replay { name, log, target, seed: None, from: None, cut: None, only: false, check })
    }

    /// Opens what a fork set aside of the log `log`, at `place` below its directory ([`longshore_wal::tails`]), for reading
    /// only.
    ///
    /// An output of lines, or a program, gets the transactions of the tail alone: those that the history which won has not. One
    /// that was open at the fork is among them, and begins before it. A database is restored as this node had it before the
    /// tail was set aside, as far as the log still reaches back. While it is replayed the tail cannot be forgotten.
    ///
    /// # Errors
    /// As [`open`](Self::open), but that it must be whole; `NotFound`, naming the tails there are.
    pub fn open_tail(from: impl AsRef<Path>, log: &str, place: &str) -> Result<Replay> {
        let (name, directory) = Replay::find(from.as_ref(), log)?;
        let (log, from) = FromTail::open(&directory, place)?;
        let (target, check) = (Target::LATEST, Check::default());
        Ok(Replay { name, log, target, seed: None, from: Some(from), cut: None, only: false, check })
    }

    fn find(dir: &Path, log: &str) -> Result<(Name, Arc<dyn Directory>)> {
        let name = parse_name("log", log)?;
        let directory = FsDirectory::open(dir).map_err(|error| Error::io("open", dir, error))?;
        let present = directory.list().map_err(|error| Error::io("list", dir, error))?;
        if !present.iter().any(|entry| entry.directory && entry.name == log) {
            return Err(Error::NoLog { log: name, dir: dir.to_owned() });
        }
        let directory = directory.open_subdir(log).map_err(|error| Error::io("open", &dir.join(log), error))?;
        Ok((name, directory))
    }

    /// Stops at `target` instead of the log's end.
    pub fn to(self, target: Target) -> Replay {
        Replay { target, ..self }
    }

    /// Looks so much at a restored file before it gets its name, instead of quickly.
    pub fn checking(self, check: Check) -> Replay {
        Replay { check, ..self }
    }

    /// Reads the log up to the target and says what [`run`](Self::run) would do. Writes nothing.
    ///
    /// # Errors
    /// `Busy` when the output exists; `TooOld` and `Unreachable` name the nearest target that can be had;
    /// `Preflight` when the disk has no room.
    pub fn plan(&self, output: &Output) -> Result<ReplayPlan> {
        output.check_free()?;
        self.make_plan(output, output.held()?, Reads::Everything, &mut |_| ControlFlow::Continue(()))
    }

    /// Restores: plans, applies, checks, and gives the output its name.
    ///
    /// `watch` is told each [`Stage`]; when it breaks, everything so far is made durable and the answer is
    /// an error of kind `Interrupted`. However it ends early, a file output is left as `PATH.partial` with
    /// its position, and the next run goes on there.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); `Preflight` when no file can be made there; `CheckFailed` when the restored file does not hold,
    /// which is then left as `PATH.damaged`; `Interrupted`; and whatever the sink says.
    pub fn run(&self, output: &Output, mut watch: impl FnMut(Stage<'_>) -> ControlFlow<()>) -> Result<Replayed> {
        let started = Instant::now();
        output.check_free()?;
        output.check_writable()?;
        self.restore(output, started, &mut watch)
    }

    /// As [`run`](Self::run), then goes on as the log grows, until the target is reached or `watch`
    /// breaks, which is then no error. An output that exists is gone on with, if it holds this log.
    ///
    /// # Errors
    /// As [`run`](Self::run), but that a target may still lie ahead.
    pub fn follow(&self, output: &Output, mut watch: impl FnMut(Stage<'_>) -> ControlFlow<()>) -> Result<Replayed> {
        let started = Instant::now();
        let mut restored = None;
        if matches!(output, Output::File { .. }) && output.check_free().is_ok() {
            let now = Replay { target: self.target_for_now(output)?, ..self.clone() };
            match now.restore(output, started, &mut watch) {
                Ok(done) => restored = Some(done),
                // There is nothing yet: that is what one waits for.
                Err(Error::Apply(longshore_apply::Error::Nothing { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let applier = Applier::open(self.log.clone(), self.beginning(output, output.live_sink()), self.target.clone())?;
        let mut followed = self.pursue(applier, started, &mut watch)?;
        if let Some(restored) = restored {
            followed.time = followed.time.or(restored.time);
            followed.runs += restored.runs;
            followed.records += restored.records;
            followed.bytes += restored.bytes;
        }
        Ok(followed)
    }

    fn restore(&self, output: &Output, started: Instant, watch: &mut Watch<'_>) -> Result<Replayed> {
        // What a file holds is known without opening it for writing; a program has to be asked.
        let (plan, mut applier) = match output {
            Output::Stream(_) if self.seed.is_none() => {
                let applier = self.applier(output)?;
                (self.make_plan(output, applier.held(), Reads::Headers, watch)?, applier)
            }
            output => {
                let plan = self.make_plan(output, self.held(output)?, Reads::Headers, watch)?;
                if let (Some(seed), Some(_)) = (&self.seed, plan.snapshot) {
                    return self.restore_from(seed, &plan, output, started, watch);
                }
                (plan, self.applier(output)?)
            }
        };
        applier.follow_plan(&plan.plan);
        let stage = Stage::Planned { plan: &plan, interrupt: applier.interrupt() };
        if watch(stage).is_break() {
            return Err(interrupted(applier));
        }
        self.apply(applier, output, started, watch)
    }

    /// Gives the output a snapshot, and then what follows it in the log.
    fn restore_from(
        &self,
        seed: &Seed,
        plan: &ReplayPlan,
        output: &Output,
        started: Instant,
        watch: &mut Watch<'_>,
    ) -> Result<Replayed> {
        // A file keeps nobody waiting: what breaks between two records is enough.
        let stopped = watch(Stage::Planned { plan, interrupt: Interrupt::default() }).is_break();
        let facts = self.facts();
        let go_on = |done| !stopped && watch(Stage::Seeding { done, of: seed.len }).is_continue();
        seed.apply(&mut *output.sink(), &facts, go_on)?;
        let mut applier = self.applier(output)?;
        applier.follow_plan(&plan.plan);
        self.apply(applier, output, started, watch)
    }

    fn apply(
        &self,
        mut applier: ReplayApplier,
        output: &Output,
        started: Instant,
        watch: &mut Watch<'_>,
    ) -> Result<Replayed> {
        let mut passed = self.log.first();
        loop {
            match applier.step()? {
                Step::Done | Step::Idle => break,
                Step::Applied(_) | Step::Working => {}
            }
            let progress = applier.progress();
            if self.only {
                passed = self.pass(passed, progress.passed);
            }
            if watch(Stage::Applying(progress)).is_break() {
                return Err(interrupted(applier));
            }
        }
        let progress = applier.finish()?;
        // From here on it takes a moment and cannot be stopped: run again, it would come here at once.
        let _too_late = watch(Stage::Checking);
        output.complete(self.check)?;
        Ok(Replayed::of(&progress, started))
    }

    /// Leaves the memory that holds the segments before a position to what the output writes: memory that was in use a moment
    /// ago is the cheapest there is. From where on that is to be done next.
    fn pass(&self, mut from: Lsn, position: Lsn) -> Lsn {
        let size = self.log.segment_size();
        while let Some(next) = size.next_base(from).filter(|next| *next <= position) {
            self.log.uncache(size.base_of(from));
            from = next;
        }
        from
    }

    /// Applies and waits, until the target or until told to stop.
    fn pursue(&self, mut applier: ReplayApplier, started: Instant, watch: &mut Watch<'_>) -> Result<Replayed> {
        loop {
            let step = applier.step()?;
            let progress = applier.progress();
            let told = match step {
                Step::Done => break,
                Step::Idle => watch(Stage::Following(progress)),
                Step::Applied(_) | Step::Working => watch(Stage::Applying(progress)),
            };
            if told.is_break() {
                break;
            }
            if step == Step::Idle && self.log.refresh()? <= progress.position {
                std::thread::sleep(LOOK);
            }
        }
        Ok(Replayed::of(&applier.finish()?, started))
    }

    /// What an output holds. A log that begins in its middle has no place yet for one that holds nothing, so such a one is asked by
    /// itself.
    fn held(&self, output: &Output) -> Result<Option<Held>> {
        match output {
            Output::File { .. } => output.held(),
            Output::Stream(make) => make().open(&self.facts()).map_err(|failure| output.failed(failure)),
        }
    }

    fn facts(&self) -> LogFacts {
        LogFacts { id: self.log.id(), content: self.log.content() }
    }

    fn applier(&self, output: &Output) -> Result<ReplayApplier> {
        Ok(Applier::open(self.log.clone(), self.beginning(output, output.sink()), Target::LATEST)?)
    }

    /// A sink of `output` that begins where this replay does.
    fn beginning(&self, output: &Output, sink: Box<dyn Sink>) -> Box<dyn Sink> {
        match self.part_for(output) {
            Some(from) => from.sink(sink),
            None => sink,
        }
    }

    /// The part of the log that `output` is given alone; `None`: all of it.
    fn part_for(&self, output: &Output) -> Option<&FromTail> {
        self.from.as_ref().filter(|_| output.takes_parts())
    }

    fn make_plan(
        &self,
        output: &Output,
        held: Option<Held>,
        reads: Reads,
        watch: &mut Watch<'_>,
    ) -> Result<ReplayPlan> {
        self.plan_from(output, held, reads, watch).map_err(|error| match held {
            Some(_) => output.of_leftover(error),
            None => error,
        })
    }

    /// What follows what an output holds.
    fn plan_from(
        &self,
        output: &Output,
        held: Option<Held>,
        reads: Reads,
        watch: &mut Watch<'_>,
    ) -> Result<ReplayPlan> {
        output.check_content(self.log.content())?;
        let end = self.log.end();
        let label = output.label();
        // A part begins somewhere, too; that nothing was interrupted there.
        let begins = self.part_for(output).map(|part| part.held().lsn);
        let resumes = held.map(|held| held.lsn).filter(|lsn| Some(*lsn) != begins);
        let seed = self.seed.as_ref().filter(|_| held.is_none() && output.takes_snapshot(self.log.content()));
        let held = held.or(seed.map(Seed::held)).or(self.part_for(output).map(FromTail::held));
        let snapshot = seed.map(|seed| seed.held().lsn);
        let mut planner = Planner::new(&self.log, &label, held, self.target.clone())?.cut(self.cut.clone());
        if reads == Reads::Headers {
            planner = planner.for_run();
        }
        let plan = loop {
            if let Some(plan) = planner.step()? {
                break plan;
            }
            let position = planner.position();
            if watch(Stage::Planning { position, end }).is_break() {
                return Err(longshore_apply::Error::Interrupted { position }.into());
            }
        };
        if plan.runs == 0 && held.is_none() {
            return Err(nothing(&self.target, &plan));
        }
        let room = output.check_room(&plan, seed.map_or(0, |seed| seed.len), &self.log)?;
        let expected = output.expected(&plan);
        let (log, content, target) = (self.name.clone(), self.log.content(), self.target.clone());
        Ok(ReplayPlan { log, content, target, output: label, resumes, snapshot, plan, room, expected })
    }

    /// A target that the log does not reach yet is everything that is there, for now.
    fn target_for_now(&self, output: &Output) -> Result<Target> {
        use longshore_apply::Error as E;
        match self.plan_from(output, output.held()?, Reads::Headers, &mut |_| ControlFlow::Continue(())) {
            Err(Error::Apply(E::BeyondEnd { .. } | E::NoSuchMark { .. })) => Ok(Target::LATEST),
            _ => Ok(self.target.clone()),
        }
    }
}

/// What a plan reads of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// What tells where to stop: the run that follows checks the rest.
    Headers,
    /// All of it, so that whoever only plans hears of damage.
    Everything,
}

type ReplayApplier = Applier<ReadLog, Box<dyn Sink>>;
type Watch<'w> = dyn FnMut(Stage<'_>) -> ControlFlow<()> + 'w;

impl Replayed {
    fn of(progress: &Progress, started: Instant) -> Replayed {
        Replayed {
            position: (progress.held != Lsn::ZERO).then_some(progress.held),
            time: (progress.runs > 0).then_some(progress.time),
            runs: progress.runs,
            records: progress.records,
            bytes: progress.bytes,
            elapsed: started.elapsed(),
        }
    }
}

/// Why a plan that keeps nothing is refused.
fn nothing(target: &Target, plan: &Plan) -> Error {
    use longshore_apply::Error as E;
    match &plan.next {
        Some(next) => {
            E::BeforeFirst { target: target.clone(), first: next.end, time: next.time, trimmed: false }.into()
        }
        None => E::Nothing { from: plan.from, end: plan.stop }.into(),
    }
}

/// Keeps what was applied so far, and says so.
fn interrupted(applier: ReplayApplier) -> Error {
    let finished = applier.finish();
    finished.map_or_else(Error::from, |progress| longshore_apply::Error::Interrupted { position: progress.held }.into())
}

/// How often a log of another process is looked at for more, and so how far behind a follower is.
const LOOK: Duration = Duration::from_millis(100);

//! The one loop: live apply on a replica, and recovery from a directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_format::{Lsn, Record};
use longshore_wal::Watermark;

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::runs::{Found, OpenRun, Run, Runs, close, mark_of};
use crate::sink::{Failure, Held, RunEnd, Sink, SinkError};
use crate::source::{Records, Source};
use crate::target::Target;

/// Gives a sink every complete run of a log after the position it holds, in order, up to a target.
///
/// [`step`](Applier::step) does a bounded amount of work and never waits for the log; when it says
/// [`Step::Idle`], wait until the log's durable end has moved past [`Progress::position`] and go on.
/// Dropping an applier at any moment loses nothing: the next one resumes at what the sink holds.
pub struct Applier<S: Source, K: Sink = Box<dyn Sink>> {
    source: S,
    sink: K,
    target: Target,
    /// What the sink held when it was opened.
    held: Option<Held>,
    /// `None` while the log has not grown to what the sink holds.
    readers: Option<Readers<S::Records>>,
    /// A run that the sink is being given.
    delivering: Option<Run>,
    /// A plan found that every run up to the target is complete: they need not be looked at before they are given.
    planned: bool,
    /// The run that is given without having been looked at.
    open: Option<OpenRun>,
    /// Bytes and runs committed since the last sync.
    unsynced: (u64, u64),
    /// The end of the last run that the sink was given, or what it held.
    given: Lsn,
    /// Everything before this is with the sink, or is the log's own.
    settled: Lsn,
    applied: Arc<Watermark>,
    interrupted: Arc<AtomicBool>,
    progress: Progress,
    state: State,
}

/// Two readers over one log: the first finds out where runs end, the second follows it run by run.
struct Readers<R> {
    runs: Runs<R>,
    feed: R,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done,
    Failed,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A run was committed; its end. It may not be durable in the sink yet.
    Applied(Lsn),
    /// There is more to do at once.
    Working,
    /// All that the log has is applied, and the sink was asked to make it durable.
    Idle,
    /// The target is reached, and the sink was asked to make it durable. Call
    /// [`Applier::finish`].
    Done,
}

/// How far an applier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Up to where the log was read: wait for the log to move past this.
    pub position: Lsn,
    /// Up to where records were given to the sink, or passed over: nothing before this is read again.
    pub passed: Lsn,
    /// Everything before this position that is to be applied is durable in the sink.
    pub applied: Lsn,
    /// What the sink would resume from, and so up to where the log is needed here.
    pub held: Lsn,
    /// Runs committed since this applier was opened.
    pub runs: u64,
    /// Records in them.
    pub records: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// When the last of them was committed, microseconds UTC; 0 before the first.
    pub time: u64,
}

impl<S: Source, K: Sink> Applier<S, K> {
    /// Opens the sink and finds its place in the log.
    pub fn open(source: S, mut sink: K, target: Target) -> Result<Self> {
        let held = sink.open(&source.facts()).map_err(|error| Error::SinkOpen { sink: sink.name(), failure: error })?;
        if sink.is_astray() {
            return Err(Error::SinkAstray { sink: sink.name() });
        }
        let from = held.map_or(Lsn::ZERO, |held| held.lsn);
        // What the sink holds beyond the log's end is not applied of this log yet.
        let known = from.min(source.end());
        let applied = Arc::new(Watermark::new(known));
        let progress = Progress {
            position: from,
            passed: from,
            applied: known,
            held: from,
            runs: 0,
            records: 0,
            bytes: 0,
            time: 0,
        };
        let mut applier = Applier {
            source,
            sink,
            target,
            held,
            readers: None,
            delivering: None,
            planned: false,
            open: None,
            unsynced: (0, 0),
            given: from,
            settled: from,
            applied,
            interrupted: Arc::default(),
            progress,
            state: State::Running,
        };
        applier.find_place()?;
        Ok(applier)
    }

    /// Does what was planned for a sink that holds what this one holds: stops where the plan does, and reads the log once if
    /// no run before was aborted. Before the first step.
    pub fn follow_plan(&mut self, plan: &Plan) {
        debug_assert_eq!(self.progress.runs, 0, "a plan is followed from the first step on");
        self.target = Target::lsn(plan.stop);
        self.planned = plan.aborted == 0;
    }

    /// Does a bounded amount of work.
    ///
    /// An error is final: every later call answers [`Error::Stopped`]. If
    /// [`is_passing`](Error::is_passing), open a new applier with a new sink after a pause.
    pub fn step(&mut self) -> Result<Step> {
        match self.state {
            State::Done => return Ok(Step::Done),
            State::Failed => return Err(Error::Stopped { position: self.progress.held }),
            State::Running => {}
        }
        let step =
            self.advance().map_err(|error| error.behind(Some(self.settled).filter(|settled| Lsn::ZERO < *settled)));
        if let Err(error) = &step {
            self.state = State::Failed;
            self.save_what_was_committed(error);
        }
        self.publish();
        step
    }

    /// Waits until the sink has made every complete run durable, and ends it; of a run that is being
    /// given nothing remains. An error means that the last runs may have to be applied again.
    pub fn finish(mut self) -> Result<Progress> {
        if self.state == State::Failed {
            return Err(Error::Stopped { position: self.progress.held });
        }
        self.sink.finish().map_err(|failure| self.sync_error(failure))?;
        self.publish();
        Ok(self.progress)
    }

    /// How far it is. A sink that makes things durable on its own time is asked anew.
    pub fn progress(&mut self) -> Progress {
        self.publish();
        self.progress
    }

    /// [`Progress::applied`] for whoever reports it: moves with every step.
    pub fn applied(&self) -> Arc<Watermark> {
        Arc::clone(&self.applied)
    }

    /// What the sink held when it was opened.
    pub fn held(&self) -> Option<Held> {
        self.held
    }

    /// The sink's name.
    pub fn sink_name(&self) -> String {
        self.sink.name()
    }

    /// A handle that ends this applier from another thread, also inside a step that blocks.
    pub fn interrupt(&self) -> Interrupt {
        Interrupt { flag: Arc::clone(&self.interrupted), sink: self.sink.interrupter().map(Arc::from) }
    }

    fn advance(&mut self) -> Result<Step> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { position: self.progress.held });
        }
        if self.delivering.is_some() {
            return self.deliver();
        }
        let Some(readers) = &mut self.readers else {
            self.find_place()?;
            return Ok(if self.readers.is_some() { Step::Working } else { Step::Idle });
        };
        if self.planned {
            return self.pass_on();
        }
        if self.target.is_reached(readers.runs.position()) {
            return self.stop();
        }
        match readers.runs.find(ALLOWANCE)? {
            Found::Run(run) if !self.target.keeps(&run) => self.stop(),
            Found::Run(run) if run.mark.is_some() => {
                self.settled = run.end.lsn;
                Ok(Step::Working)
            }
            Found::Run(run) => {
                self.sink.begin().map_err(|failure| run_error(&self.sink, &run, failure))?;
                self.delivering = Some(run);
                self.deliver()
            }
            Found::Working => {
                self.settled = readers.runs.settled();
                Ok(Step::Working)
            }
            Found::End => {
                self.settled = readers.runs.settled();
                let reached = self.target.is_reached(readers.runs.position());
                if reached { self.stop() } else { self.sync().map(|()| Step::Idle) }
            }
        }
    }

    /// Gives the sink the next records of the run that is known to be complete.
    fn deliver(&mut self) -> Result<Step> {
        let run = self.delivering.as_ref().expect("a run is being delivered");
        let feed = &mut self.readers.as_mut().expect("the run was read").feed;
        let begin = feed.chain().position;
        while let Some(record) = feed.next()? {
            let end = record.end;
            if run.end.start <= record.start && record.kind.is_user() {
                give(&mut self.sink, &record, &self.interrupted)
                    .map_err(|failure| run_error(&self.sink, run, failure))?;
            }
            if end == run.end.lsn {
                let run = self.delivering.take().expect("it is being delivered");
                return self.commit(&run);
            }
            if end.since(begin) >= ALLOWANCE {
                return Ok(Step::Working);
            }
        }
        // The run was there a moment ago: the log was cut or replaced under the readers.
        Err(Error::Log(longshore_wal::Error::Closed))
    }

    /// Gives the sink records as they come, each run being known to be complete.
    fn pass_on(&mut self) -> Result<Step> {
        let feed = &mut self.readers.as_mut().expect("they are open").feed;
        let begin = feed.chain().position;
        if self.target.is_reached(begin) {
            return self.stop();
        }
        while let Some(record) = feed.next()? {
            let (start, end) = (self.open.as_ref().map_or(record.start, |run| run.start), record.end);
            if record.kind.is_user() {
                let begun = if self.open.is_none() { self.sink.begin() } else { Ok(()) };
                begun.and_then(|()| give(&mut self.sink, &record, &self.interrupted)).map_err(|failure| {
                    let (crc, time) = (record.header_crc, record.time);
                    let part = RunEnd { start, lsn: end, crc, time, records: 0 };
                    run_error(&self.sink, &Run { last: part.start, end: part, bytes: 0, mark: None }, failure)
                })?;
            }
            match close(&mut self.open, &record.head(), mark_of(&record)?) {
                Some(run) if run.mark.is_none() => return self.commit(&run),
                Some(mark) => self.settled = mark.end.lsn,
                None => {}
            }
            if end.since(begin) >= ALLOWANCE || self.target.is_reached(end) {
                return Ok(Step::Working);
            }
        }
        // It was there when it was planned: the log was cut or replaced under the reader.
        Err(Error::Log(longshore_wal::Error::Closed))
    }

    fn commit(&mut self, run: &Run) -> Result<Step> {
        self.sink.commit(&run.end).map_err(|failure| run_error(&self.sink, run, failure))?;
        self.progress.runs += 1;
        self.progress.records += run.end.records;
        self.progress.bytes += run.bytes;
        self.progress.time = run.end.time;
        self.given = run.end.lsn;
        self.settled = run.end.lsn;
        self.unsynced = (self.unsynced.0 + run.bytes, self.unsynced.1 + 1);
        if self.unsynced.0 >= GROUP_BYTES || self.unsynced.1 >= GROUP_RUNS {
            self.sync()?;
        }
        Ok(Step::Applied(run.end.lsn))
    }

    fn stop(&mut self) -> Result<Step> {
        self.sync()?;
        self.state = State::Done;
        Ok(Step::Done)
    }

    fn sync(&mut self) -> Result<()> {
        self.unsynced = (0, 0);
        self.sink.sync().map_err(|failure| self.sync_error(failure))
    }

    /// A refused record must not take the runs before it with it. If this fails too, they are simply
    /// given again.
    fn save_what_was_committed(&mut self, error: &Error) {
        let refused = matches!(error, Error::Sink { failure, .. }
            if matches!(failure.failure(), Failure::Refused | Failure::Diverged));
        if refused
            && self.unsynced.1 > 0
            && let Err(error) = self.sync()
        {
            tracing::warn!(%error, "what was applied before the refused record could not be kept");
        }
    }

    /// Opens the readers at what the sink holds, once the log reaches that.
    fn find_place(&mut self) -> Result<()> {
        let size = self.source.segment_size();
        let from = size.normalise(self.held.map_or(Lsn::ZERO, |held| held.lsn));
        if self.source.end() < from {
            return self.source.damage().map_or(Ok(()), |damage| Err(damage.into()));
        }
        self.readers = Some(open_readers(&self.source, &self.sink.name(), self.held)?);
        self.progress.position = from;
        Ok(())
    }

    /// When the sink has made durable all that it was given, everything up to the reader's place is
    /// applied: what else there was in between belongs to the log alone.
    fn publish(&mut self) {
        let durable = self.sink.durable().unwrap_or(Lsn::ZERO);
        let applied = if durable >= self.given { self.settled.max(durable) } else { durable };
        self.progress.held = durable;
        self.progress.applied = self.progress.applied.max(applied.min(self.source.end()));
        if let Some(readers) = &self.readers {
            self.progress.passed = readers.feed.chain().position;
            self.progress.position = readers.runs.position().max(self.progress.passed);
        }
        self.applied.advance(self.progress.applied);
    }

    fn sync_error(&self, failure: SinkError) -> Error {
        Error::SinkSync { sink: self.sink.name(), held: self.progress.held, failure }
    }
}

/// Two readers where the sink stands, if what it holds is of this log.
fn open_readers<S: Source>(source: &S, sink: &str, held: Option<Held>) -> Result<Readers<S::Records>> {
    let (from, runs) = Runs::after(source, sink, held)?;
    Ok(Readers { runs, feed: source.read_from(from)? })
}

fn give(sink: &mut impl Sink, record: &Record<'_>, interrupted: &AtomicBool) -> std::result::Result<(), SinkError> {
    if interrupted.load(Ordering::Relaxed) {
        return Err(SinkError::new(Failure::Interrupted, "interrupted; run it again, it resumes"));
    }
    sink.record(record)
}

fn run_error(sink: &impl Sink, run: &Run, failure: SinkError) -> Error {
    match failure.failure() {
        Failure::Interrupted => Error::Interrupted { position: run.end.start },
        _ => Error::Sink { sink: sink.name(), start: run.end.start, end: run.end.lsn, failure },
    }
}

/// Ends an applier from another thread. Clones end the same one; one made by default ends none.
#[derive(Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    sink: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Interrupt {
    /// The step that runs now, or the next one, fails with [`Error::Interrupted`] soon.
    pub fn trigger(&self) {
        self.flag.store(true, Ordering::Relaxed);
        if let Some(sink) = &self.sink {
            sink();
        }
    }
}

/// How much one step reads: some milliseconds of work, so that stopping and reporting stay prompt.
const ALLOWANCE: u64 = 1 << 20;
/// A sink is asked to sync after so much, if the log is not drained before. One sync costs a
/// millisecond, so this keeps it under a tenth of the work at any record size.
const GROUP_BYTES: u64 = 4 << 20;
const GROUP_RUNS: u64 = 1000;

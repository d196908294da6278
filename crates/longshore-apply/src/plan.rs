//! What a replay will do, before it does anything.

use longshore_format::{Lsn, Name};

use crate::error::{Error, Result};
use crate::runs::{Found, Run, Runs};
use crate::sink::{Held, RunEnd};
use crate::source::Source;
use crate::target::{Point, Target};

/// What lies between what an output holds and a target: every record of it was found in its place, and read and checked
/// unless that was left to whoever [applies it at once](Planner::for_run).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where applying begins: what the output holds, or the log's beginning.
    pub from: Lsn,
    /// Where it stops: everything kept ends at or before this boundary.
    pub stop: Lsn,
    /// The last run that is kept; `None` when nothing after `from` is.
    pub last: Option<LastRun>,
    /// When the first run that is kept was committed.
    pub first_time: Option<u64>,
    /// Runs to apply.
    pub runs: u64,
    /// Records in them.
    pub records: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// Payload bytes of the largest but the first, which makes the file.
    pub largest: u64,
    /// Bytes of log to read.
    pub log_bytes: u64,
    /// Runs in between that were never finished, and are not applied.
    pub aborted: u64,
    /// The next complete run after the stop, which is left out.
    pub next: Option<Next>,
    /// A run at the log's end that is not complete, and is left out.
    pub unfinished: Option<Lsn>,
    /// Why what comes after the stop could not be looked at, if it could not: it is not needed.
    pub beyond: Option<String>,
    /// Where the log ends.
    pub end: Lsn,
}

/// The last run that a target keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// Where it ends.
    pub end: Lsn,
    /// When it was committed, microseconds UTC.
    pub time: u64,
    /// Where its last record starts.
    pub record: Lsn,
}

/// The first run that a target leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Where it starts.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// When it was committed, microseconds UTC.
    pub time: u64,
    /// Its records.
    pub records: u64,
}

/// Makes a [`Plan`], step by step.
pub struct Planner<S: Source> {
    target: Target,
    runs: Runs<S::Records>,
    /// Whether the log has lost its beginning.
    trimmed: bool,
    /// Whether the output holds nothing yet.
    fresh: bool,
    cut: Option<Cut>,
    plan: Plan,
    phase: Phase,
    marks: Marks,
}

/// What is known of a log behind the end that it has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// When the first record there was written, microseconds UTC; `None` if nobody knows: then it is behind every target.
    pub time: Option<u64>,
    /// Why it is not here.
    pub why: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Counting what is kept.
    Keeping,
    /// Looking for the next run, to name it, and for a second mark of the name.
    Beyond,
}

#[derive(Default)]
struct Marks {
    /// The last few, for the message.
    seen: Vec<(Name, Lsn)>,
    /// Of the name that was asked for.
    matching: u64,
    last: Lsn,
}

impl<S: Source> Planner<S> {
    /// Begins a plan for an output that holds so much of the log already. `sink` is its name, for
    /// messages.
    pub fn new(source: &S, sink: &str, held: Option<Held>, target: Target) -> Result<Self> {
        let (size, end) = (source.segment_size(), source.end());
        if let Some(Held { lsn, .. }) = held
            && end < lsn
        {
            if let Some(damage) = source.damage() {
                return Err(damage.into());
            }
            return Err(Error::SinkAhead { sink: sink.to_owned(), held: lsn, end });
        }
        let target = match target.point {
            Point::Lsn(lsn) => Target { point: Point::Lsn(size.normalise(lsn)), ..target },
            _ => target,
        };
        let (from, mut runs) = Runs::after(source, sink, held)?;
        runs.checks_payloads = true;
        runs.watched = match target.point {
            Point::Lsn(lsn) => Some(lsn),
            _ => None,
        };
        if let Some(Held { lsn, .. }) = held {
            // What it holds last is a run like any other: would the target have kept it?
            let end = RunEnd { start: lsn, lsn, crc: 0, time: runs.time(), records: 0 };
            if !target.keeps(&Run { last: end.start, end, bytes: 0, mark: None }) {
                return Err(Error::SinkPast { sink: sink.to_owned(), held: lsn, target });
            }
        }
        let plan = Plan {
            from,
            stop: from,
            last: None,
            first_time: None,
            runs: 0,
            records: 0,
            bytes: 0,
            largest: 0,
            log_bytes: 0,
            aborted: 0,
            next: None,
            unfinished: None,
            beyond: None,
            end,
        };
        let trimmed = size.normalise(Lsn::ZERO) < source.first();
        Ok(Planner {
            target,
            runs,
            trimmed,
            fresh: held.is_none(),
            cut: None,
            plan,
            phase: Phase::Keeping,
            marks: Marks::default(),
        })
    }

    /// Leaves the check of payloads to the run that follows the plan, which reads them anyway: before it begins only headers
    /// are read.
    #[must_use]
    pub fn for_run(mut self) -> Self {
        self.runs.checks_payloads = false;
        self
    }

    /// The log goes on behind the end that it has here.
    #[must_use]
    pub fn cut(mut self, cut: Option<Cut>) -> Self {
        self.cut = cut;
        self
    }

    /// Reads on, a bounded amount; the plan once it is made.
    pub fn step(&mut self) -> Result<Option<Plan>> {
        match self.runs.find(ALLOWANCE) {
            Err(error) if error.is_damage() => self.stop_at(error).map(Some),
            Err(error) => Err(error),
            Ok(Found::Working) => Ok(None),
            Ok(Found::End) => self.conclude(true).map(Some),
            Ok(Found::Run(run)) => {
                self.note_mark(&run);
                self.take(&run)?;
                // A mark may be there twice, which only its whole log can tell.
                let searching = matches!(self.target.point, Point::Mark(_));
                if self.plan.next.is_some() && !searching { self.conclude(false).map(Some) } else { Ok(None) }
            }
        }
    }

    /// Makes the whole plan.
    pub fn run(mut self) -> Result<Plan> {
        loop {
            if let Some(plan) = self.step()? {
                return Ok(plan);
            }
        }
    }

    /// Up to where the log was read, for progress.
    pub fn position(&self) -> Lsn {
        self.runs.position()
    }

    fn take(&mut self, run: &Run) -> Result<()> {
        if self.phase == Phase::Keeping {
            self.check_boundary()?;
            if self.target.keeps(run) {
                self.keep(run);
                return Ok(());
            }
            self.phase = Phase::Beyond;
            self.plan.aborted = self.runs.aborted;
            if self.keeps_nothing() {
                self.check_beginning(run)?;
            }
        }
        if run.mark.is_none() && self.plan.next.is_none() {
            let end = run.end;
            let next = Next { start: end.start, end: end.lsn, time: end.time, records: end.records };
            self.plan.next = Some(next);
        }
        Ok(())
    }

    fn keep(&mut self, run: &Run) {
        let plan = &mut self.plan;
        plan.stop = run.end.lsn;
        if run.mark.is_some() {
            return;
        }
        plan.last = Some(LastRun { end: run.end.lsn, time: run.end.time, record: run.last });
        plan.first_time.get_or_insert(run.end.time);
        plan.largest = if plan.runs == 0 { 0 } else { plan.largest.max(run.bytes) };
        plan.runs += 1;
        plan.records += run.end.records;
        plan.bytes += run.bytes;
    }

    /// What cannot be read behind a target is not needed, but for a mark, which may be there twice.
    fn stop_at(&mut self, damage: Error) -> Result<Plan> {
        let position = self.runs.position();
        let is_behind = match self.target.point {
            Point::Mark(_) => false,
            _ if self.phase == Phase::Beyond => true,
            Point::Time(limit) => self.runs.next_time().is_some_and(|time| limit < time),
            _ => self.target.is_reached(position),
        };
        if is_behind {
            self.plan.beyond = Some(damage.to_string());
            return self.conclude(false);
        }
        Err(damage.behind(Some(position).filter(|position| !self.fresh || self.plan.from < *position)))
    }

    /// A target among the runs must be a boundary. The search goes record by record, but only whole
    /// runs come here; so the check is made by the search.
    fn check_boundary(&self) -> Result<()> {
        match (self.runs.straddled, &self.target.point) {
            (Some((below, above)), Point::Lsn(lsn)) => {
                // What comes before everything is refused, too.
                let below = if self.keeps_nothing() { above } else { below };
                Err(Error::NotABoundary { lsn: *lsn, below, above })
            }
            _ => Ok(()),
        }
    }

    /// Nothing is kept: does the log begin after the target?
    fn check_beginning(&self, run: &Run) -> Result<()> {
        let before = match self.target.point {
            Point::Time(_) => true,
            Point::Lsn(lsn) => lsn < self.plan.from,
            Point::Latest | Point::Mark(_) => false,
        };
        if before {
            let (target, first, time) = (self.target.clone(), run.end.lsn, run.end.time);
            return Err(Error::BeforeFirst { target, first, time, trimmed: self.trimmed });
        }
        Ok(())
    }

    fn keeps_nothing(&self) -> bool {
        self.fresh && self.plan.last.is_none()
    }

    fn note_mark(&mut self, run: &Run) {
        let Some(name) = &run.mark else { return };
        if matches!(&self.target.point, Point::Mark(wanted) if wanted == name) {
            self.marks.matching += 1;
            self.marks.last = run.end.lsn;
        }
        if self.marks.seen.len() == MARKS_SHOWN {
            self.marks.seen.remove(0);
        }
        self.marks.seen.push((name.clone(), run.end.lsn));
    }

    fn conclude(&mut self, at_end: bool) -> Result<Plan> {
        let position = self.runs.position();
        self.check_boundary()?;
        if at_end {
            self.check_end(position)?;
            self.plan.unfinished = self.runs.unfinished().filter(|_| self.cut.is_none());
            self.plan.beyond = self.cut.as_ref().map(|cut| cut.why.clone());
            self.plan.end = position;
        }
        if self.phase == Phase::Keeping {
            self.plan.aborted = self.runs.aborted;
        }
        let mut plan = self.plan.clone();
        plan.log_bytes = plan.stop.since(plan.from);
        Ok(plan)
    }

    /// The log is read to its end: did it reach the target?
    fn check_end(&mut self, end: Lsn) -> Result<()> {
        let beyond = || Error::BeyondEnd { target: self.target.clone(), end, time: self.runs.time() };
        let time = self.cut.as_ref().map_or(self.runs.time(), |cut| cut.time.unwrap_or(u64::MAX));
        match &self.target.point {
            Point::Lsn(lsn) if end < *lsn => Err(beyond()),
            Point::Time(limit) if time < *limit => Err(beyond()),
            Point::Mark(name) if self.marks.matching == 0 => Err(Error::NoSuchMark {
                name: name.clone(),
                from: self.plan.from,
                end,
                marks: std::mem::take(&mut self.marks.seen),
            }),
            Point::Mark(name) if self.marks.matching > 1 => {
                Err(Error::AmbiguousMark { name: name.clone(), count: self.marks.matching, last: self.marks.last })
            }
            _ => Ok(()),
        }
    }
}

/// How much one step reads: some milliseconds, so that progress and stopping stay prompt.
const ALLOWANCE: u64 = 4 << 20;
const MARKS_SHOWN: usize = 5;

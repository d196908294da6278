//! What can stop an applier or a plan.

use longshore_format::{ErrorKind, Lsn, Name};
use thiserror::Error;

use crate::sink::{Failure, SinkError};
use crate::target::{Target, rfc3339};

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why applying or planning cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Log(#[from] longshore_wal::Error),
    /// The log does not hold from a position on, which lies before the target.
    #[error("{damage}; targets up to lsn:{position} do not need it")]
    Damaged {
        /// The last boundary before the damage.
        position: Lsn,
        /// What is wrong.
        damage: longshore_wal::Error,
    },
    /// The sink refused the log, or could not say what it holds.
    #[error("{failure}")]
    SinkOpen {
        /// Its name.
        sink: String,
        /// Why.
        failure: SinkError,
    },
    /// The sink failed at a run. What it made durable before that stays.
    #[error("applying stopped at the transaction from {start} to {end}: {failure}")]
    Sink {
        /// Its name.
        sink: String,
        /// Where the run begins.
        start: Lsn,
        /// Where it ends.
        end: Lsn,
        /// Why.
        failure: SinkError,
    },
    /// The sink could not make durable what it had been given.
    #[error("{failure}; everything after position {held} is applied again")]
    SinkSync {
        /// Its name.
        sink: String,
        /// What it holds.
        held: Lsn,
        /// Why.
        failure: SinkError,
    },
    /// The log is trimmed beyond what the sink holds.
    #[error(
        "{sink} {} and the log begins at {first}: what is between is gone here; apply from the archive, \
         or start from a copy of another replica's database", holds(*held)
    )]
    SinkTooOld {
        /// The sink's name.
        sink: String,
        /// What it holds.
        held: Option<Lsn>,
        /// The first position still in the log.
        first: Lsn,
    },
    /// The sink holds more than the log has.
    #[error(
        "{sink} holds position {held} but the log ends at {end}; let the log catch up, or apply into a \
         fresh output if that part of the log is lost for good"
    )]
    SinkAhead {
        /// The sink's name.
        sink: String,
        /// What it holds.
        held: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// What the sink holds is not a prefix of this log.
    #[error(
        "{sink} holds position {held} of another log, or of a branch of this one that was cut off; \
         name the log it was written from, or apply into a fresh output"
    )]
    SinkElsewhere {
        /// The sink's name.
        sink: String,
        /// What it holds.
        held: Lsn,
    },
    /// Somebody else has written what the sink holds.
    #[error(
        "{sink} holds what no position of the log does, for somebody else wrote it; it is given a snapshot where there is an \
         upstream to send one"
    )]
    SinkAstray {
        /// The sink's name.
        sink: String,
    },
    /// The sink is already past the target and cannot go back.
    #[error("{sink} holds position {held} already, which is past {target}; apply into a fresh output")]
    SinkPast {
        /// The sink's name.
        sink: String,
        /// What it holds.
        held: Lsn,
        /// Where to stop.
        target: Target,
    },
    /// The position is no boundary.
    #[error("{lsn} is not where a record of this log ends; the nearest {}", nearest(*below, *above))]
    NotABoundary {
        /// What was asked for.
        lsn: Lsn,
        /// The boundary before it; the one after it, if nothing comes before that.
        below: Lsn,
        /// The boundary after it.
        above: Lsn,
    },
    /// The position is between a run's first and last record.
    #[error("position {position} is inside the transaction that starts at {start}; take {start}")]
    InsideRun {
        /// What was asked for.
        position: Lsn,
        /// Where the run starts.
        start: Lsn,
    },
    /// The target is before everything that is there.
    #[error(
        "{target} is before the log's first transaction, committed at {} and ending at {first}; \
         {}", rfc3339(*time), if *trimmed { "the log no longer reaches back so far: take it from the archive" } else { "nothing was committed by then" }
    )]
    BeforeFirst {
        /// What was asked for.
        target: Target,
        /// The nearest that can be had: where the first run ends.
        first: Lsn,
        /// When it was committed, microseconds UTC.
        time: u64,
        /// Whether something was there before and is trimmed.
        trimmed: bool,
    },
    /// The log does not reach the target.
    #[error(
        "{target} is beyond the log's end at {end}, written at {}; try lsn:{end} or latest, or fetch more of the log",
        rfc3339(*time)
    )]
    BeyondEnd {
        /// What was asked for.
        target: Target,
        /// Where the log ends.
        end: Lsn,
        /// When its last record was written, microseconds UTC.
        time: u64,
    },
    /// There is no such mark.
    #[error("no mark {name} between {from} and {end}{}", seen(marks))]
    NoSuchMark {
        /// What was asked for.
        name: Name,
        /// Where the search began.
        from: Lsn,
        /// Where it ended.
        end: Lsn,
        /// The last few marks that are there, with their positions.
        marks: Vec<(Name, Lsn)>,
    },
    /// The name does not say which point is meant.
    #[error("mark {name} was set {count} times, last at {last}; name the position, for instance lsn:{last}")]
    AmbiguousMark {
        /// What was asked for.
        name: Name,
        /// How often it is there.
        count: u64,
        /// Where it is last: the boundary before that mark.
        last: Lsn,
    },
    /// A mark's name is not one, though its checksum holds.
    #[error("the mark at {position} has no valid name; report a bug")]
    BadMark {
        /// Where it starts.
        position: Lsn,
    },
    /// There is nothing in the log to apply.
    #[error("the log holds no complete transaction between {from} and {end}")]
    Nothing {
        /// Where it begins.
        from: Lsn,
        /// Where it ends.
        end: Lsn,
    },
    /// It was interrupted on request.
    #[error("interrupted at {position}; run it again, it resumes")]
    Interrupted {
        /// Everything before is with the sink.
        position: Lsn,
    },
    /// It failed before and stays stopped.
    #[error("applying has stopped at {position} because of an earlier error; open it again")]
    Stopped {
        /// Everything before is with the sink.
        position: Lsn,
    },
}

impl Error {
    /// What a program should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Log(error) | Error::Damaged { damage: error, .. } => error.kind(),
            Error::SinkOpen { failure, .. } | Error::Sink { failure, .. } | Error::SinkSync { failure, .. } => {
                failure.kind()
            }
            Error::SinkTooOld { .. } => ErrorKind::TooOld,
            Error::SinkAhead { .. } | Error::SinkPast { .. } | Error::BeyondEnd { .. } | Error::NoSuchMark { .. } => {
                ErrorKind::Unreachable
            }
            Error::BeforeFirst { trimmed: true, .. } => ErrorKind::TooOld,
            Error::BeforeFirst { .. } => ErrorKind::Unreachable,
            Error::SinkElsewhere { .. } | Error::SinkAstray { .. } => ErrorKind::Diverged,
            Error::NotABoundary { .. } | Error::InsideRun { .. } | Error::AmbiguousMark { .. } => ErrorKind::Invalid,
            Error::Nothing { .. } => ErrorKind::NotFound,
            Error::Interrupted { .. } => ErrorKind::Interrupted,
            Error::Stopped { .. } => ErrorKind::Unavailable,
            Error::BadMark { .. } => ErrorKind::Internal,
        }
    }

    /// Whether bytes of the log that must be there are missing, or are not what they must be.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Error::Log(error) if matches!(error.kind(), ErrorKind::Gap | ErrorKind::Corrupt))
    }

    /// Of damage, also up to which boundary it is not needed, if there is anything before that.
    pub(crate) fn behind(self, position: Option<Lsn>) -> Error {
        let is_damage = self.is_damage();
        match (self, position) {
            (Error::Log(damage), Some(position)) if is_damage => Error::Damaged { position, damage },
            (error, _) => error,
        }
    }

    /// Whether opening the sink again, unchanged, may succeed: what an agent does after a pause.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::SinkOpen { failure, .. } | Error::Sink { failure, .. } | Error::SinkSync { failure, .. } => {
                failure.failure().is_passing()
            }
            Error::SinkAhead { .. } => true,
            _ => false,
        }
    }

    /// Whether nobody reads the output any more: for a command that writes to a pipe an ordinary,
    /// quiet ending.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(
            self,
            Error::Sink { failure, .. } | Error::SinkSync { failure, .. } if failure.failure() == Failure::Closed
        )
    }
}

fn nearest(below: Lsn, above: Lsn) -> String {
    match below == above {
        true => format!("such position is {above}"),
        false => format!("such positions are {below} and {above}"),
    }
}

fn holds(held: Option<Lsn>) -> String {
    held.map_or("holds nothing yet".to_owned(), |lsn| format!("holds position {lsn}"))
}

fn seen(marks: &[(Name, Lsn)]) -> String {
    if marks.is_empty() {
        return "; there are no marks at all, name a position or a time".to_owned();
    }
    let marks: Vec<_> = marks.iter().map(|(name, lsn)| format!("{name} at {lsn}")).collect();
    format!("; the last ones are {}", marks.join(", "))
}

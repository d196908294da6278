//! What can go wrong with a log, with the facts in fields and what to do about it in `kind()`.

use std::io;
use std::sync::Arc;

use longshore_format::{Corruption, ErrorKind, Fault, HistoryFault, Kind, Lsn};
use longshore_storage::Trouble;

use crate::Ended;
use crate::retention::Consumer;

/// The result of almost everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a log. Cheap to clone, because every waiter of a failed sync gets it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The position is no record boundary of this log.
    #[error("position {lsn} is not where a record of this log ends; the nearest before it is {nearest}")]
    NotABoundary {
        /// What was asked for.
        lsn: Lsn,
        /// The greatest boundary before it.
        nearest: Lsn,
    },
    /// The log does not reach back that far any more.
    #[error("position {lsn} is no longer in the log; the first one is {first}")]
    TooOld {
        /// What was asked for.
        lsn: Lsn,
        /// The first position still here.
        first: Lsn,
    },
    /// The log does not reach that far yet.
    #[error("position {lsn} is beyond the log's end; wait for it, or ask for at most {end}")]
    Beyond {
        /// What was asked for.
        lsn: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// The log ends elsewhere than the append expected: somebody appended meanwhile, or this append was done before.
    #[error(
        "the append expected the log to end at {expected}, it ends at {end}; read what is between before trying again"
    )]
    WrongEnd {
        /// What the caller expected.
        expected: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// A payload is longer than a record may be.
    #[error("a payload of this log has at most {max} bytes, not {len}; append a run of several records")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// The request makes no sense as it is.
    #[error("{0}")]
    Invalid(&'static str),
    /// The kind belongs to the log.
    #[error("records of kind {0} are the log's own; use 256 and up")]
    ReservedKind(Kind),
    /// A run is open, and nothing may stand inside it.
    #[error("a run that began at {start} is open; finish or drop it first")]
    RunOpen {
        /// Where it began.
        start: Lsn,
    },
    /// A limit is reached; nothing was appended.
    #[error("the log is full: {0}")]
    Full(Full),
    /// There is no log here, though one was expected.
    #[error("no log in {path}: {missing} is not there; is the volume mounted? create it with init if it is to be new")]
    NotFound {
        /// The directory.
        path: String,
        /// What is missing.
        missing: &'static str,
    },
    /// There is no such tail.
    #[error("the log has no tail {place}; {}", told(present))]
    NoTail {
        /// What was asked for.
        place: String,
        /// The places of those there are.
        present: Vec<String>,
    },
    /// There is a log already.
    #[error("{path} holds a log already; choose another directory")]
    Exists {
        /// The directory.
        path: String,
    },
    /// A segment is missing.
    #[error("{path}: a segment is missing between {expected} and {found}; repair it from a replica or the archive")]
    Gap {
        /// The directory.
        path: String,
        /// Where the missing range begins.
        expected: Lsn,
        /// Where the log goes on.
        found: Lsn,
    },
    /// A record that must be good is not.
    #[error("{path}: {corruption}; repair the segment from a replica or the archive")]
    Corrupt {
        /// The directory.
        path: String,
        /// What is wrong and where.
        corruption: Corruption,
    },
    /// A file, or a part of one other than its records, is not what it must be.
    #[error("{path}/{file}: {fault}; repair it from a replica or the archive")]
    Damaged {
        /// The directory.
        path: String,
        /// The file.
        file: String,
        /// What is wrong.
        fault: String,
    },
    /// The bytes cannot be read from the device (F-030).
    #[error(
        "segment {segment:020} cannot be read at offset {offset}: {source}; repair the segment from a replica or the archive"
    )]
    Unreadable {
        /// The base of the segment.
        segment: Lsn,
        /// How far into its file.
        offset: u64,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The log was written by a later version of this program (F-021).
    #[error("{path}/{file} was written by a newer version ({version}); upgrade this program")]
    NewerVersion {
        /// The directory.
        path: String,
        /// The file.
        file: String,
        /// The version it says.
        version: u16,
    },
    /// Frames do not go where the log ends.
    #[error("the log ends at {end}, the frames start at {start}; send from there on")]
    OutOfOrder {
        /// Where this log ends.
        end: Lsn,
        /// Where the frames start.
        start: Lsn,
    },
    /// Frames do not hold; nothing of them was stored.
    #[error("the frame at {position} was refused, nothing was stored: {fault}; send it again")]
    BadFrame {
        /// Where the bad record starts.
        position: Lsn,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The log's epoch belongs to another writer.
    #[error("the epoch of this log belongs to another writer ({epoch}); open it as a follower, or promote this node")]
    NotTheWriter {
        /// The epoch as people see it.
        epoch: String,
    },
    /// A higher epoch was accepted here, or another writer of the same (F-113).
    #[error("epoch {epoch} is over here: {accepted} was accepted; follow its writer, or promote this node")]
    Fenced {
        /// The epoch that is refused, as people see it.
        epoch: String,
        /// The highest one accepted here.
        accepted: String,
    },
    /// The lives recorded in the log and in control do not fit together (F-038, F-048).
    #[error(
        "{path}: the log and its control file disagree about who wrote it: {fault}; restore the control file that belongs to it"
    )]
    History {
        /// The directory.
        path: String,
        /// What does not fit.
        fault: HistoryFault,
    },
    /// The file system cannot keep what a log promises (F-053, F-058).
    #[error("{concern}")]
    Medium {
        /// Why, and what to do.
        concern: &'static str,
    },
    /// The log failed earlier and takes nothing more in this process (F-063).
    #[error("the log failed and is stopped: {cause}; find the cause, then open the log again")]
    Poisoned {
        /// What happened first.
        cause: Arc<str>,
    },
    /// The log was closed.
    #[error("the log is closed; open it again")]
    Closed,
    /// The position was not reached in time.
    #[error("position {lsn} was not reached in time; wait again for it, do not append again")]
    TimedOut {
        /// What was waited for.
        lsn: Lsn,
    },
    /// This is a child of the process that opened the log (F-079).
    #[error("this process is a fork of the one that opened the log; open logs after forking")]
    Forked,
    /// The system refused something.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// Which limit was reached, with figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// Too much waits to be synced.
    #[error("{waiting} bytes wait to be synced, the limit is {limit}; wait for the durable position to move")]
    Unsynced {
        /// How much waits.
        waiting: u64,
        /// How much may.
        limit: u64,
    },
    /// The log has reached its limit on disk.
    #[error("it takes {used} bytes of disk, the limit is {limit}; raise the limit or let consumers catch up")]
    Disk {
        /// How much it takes.
        used: u64,
        /// How much it may.
        limit: u64,
    },
    /// The disk has no room for another segment.
    #[error("the disk has no room for another segment of {needed} bytes; free space, it goes on by itself")]
    NoSpace {
        /// How much is needed.
        needed: u64,
    },
    /// Segments are filled faster than they can be prepared or sealed.
    #[error("the next segment is not ready yet; try again in a moment")]
    NotReady,
    /// Somebody who must not lose his place holds the log beyond its cap.
    #[error("{consumer} holds the log from {from} on, past the cap of {cap} bytes; let it catch up, or forget it")]
    Held {
        /// Who.
        consumer: Consumer,
        /// From where on.
        from: Lsn,
        /// The cap.
        cap: u64,
    },
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotABoundary { .. }
            | Error::TooLong { .. }
            | Error::Invalid(_)
            | Error::ReservedKind(_)
            | Error::Forked => ErrorKind::Invalid,
            Error::TooOld { .. } => ErrorKind::TooOld,
            Error::Beyond { .. } => ErrorKind::Unreachable,
            Error::RunOpen { .. } | Error::Closed => ErrorKind::Unavailable,
            Error::Full(_) => ErrorKind::Full,
            Error::NotFound { .. } | Error::NoTail { .. } => ErrorKind::NotFound,
            Error::Exists { .. } => ErrorKind::Busy,
            Error::Gap { .. } | Error::OutOfOrder { .. } => ErrorKind::Gap,
            Error::Corrupt { .. } | Error::Damaged { .. } | Error::Unreadable { .. } | Error::BadFrame { .. } => {
                ErrorKind::Corrupt
            }
            Error::NewerVersion { .. } | Error::Medium { .. } | Error::WrongEnd { .. } => ErrorKind::Preflight,
            Error::NotTheWriter { .. } | Error::Fenced { .. } => ErrorKind::Fenced,
            Error::History { .. } => ErrorKind::Diverged,
            Error::Poisoned { .. } => ErrorKind::Poisoned,
            Error::TimedOut { .. } => ErrorKind::Unconfirmed,
            Error::Io { source, .. } => match Trouble::of(source) {
                Trouble::NoSpace => ErrorKind::Full,
                Trouble::TooManyFiles | Trouble::NoMemory => ErrorKind::Unavailable,
                Trouble::ReadOnly | Trouble::Denied => ErrorKind::Preflight,
                Trouble::Busy => ErrorKind::Busy,
                Trouble::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Poisoned,
            },
        }
    }

    /// Wraps an error of the system with what was tried.
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { operation, source: Arc::new(source) }
    }

    /// What everybody gets after this error stopped the log.
    pub(crate) fn poisoned(&self) -> Error {
        match self {
            Error::Poisoned { .. } => self.clone(),
            cause => Error::Poisoned { cause: cause.to_string().into() },
        }
    }

    /// What a wait for `lsn` that ended says.
    pub(crate) fn of_wait(ended: Ended, lsn: Lsn) -> Error {
        match ended {
            Ended::Closed => Error::Closed,
            Ended::Failed(error) => error,
            Ended::TimedOut => Error::TimedOut { lsn },
        }
    }
}

fn told(tails: &[String]) -> String {
    match tails {
        [] => "it has none".to_owned(),
        tails => format!("there are {}", tails.join(", ")),
    }
}

//! One error for the whole library: facts in fields, `kind()` for programs, a sentence for people.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::Durability;

use crate::settings::format_duration;

/// What went wrong. [`Error::kind`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log itself refused or failed.
    #[error(transparent)]
    Wal(#[from] longshore_wal::Error),
    /// The network, a certificate or a peer.
    #[error(transparent)]
    Transport(#[from] longshore_transport::Error),
    /// A peer broke a rule of replication, or gave up.
    #[error(transparent)]
    Protocol(#[from] longshore_protocol::Error),
    /// Records could not be applied.
    #[error(transparent)]
    Apply(#[from] longshore_apply::Error),
    /// The archive, or an object store.
    #[error(transparent)]
    Archive(#[from] longshore_archive::Error),
    /// A setting is unknown or impossible.
    #[error("{key} {reason}")]
    Settings {
        /// The dotted key.
        key: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// An argument cannot be used.
    #[error("{what} {reason}: {value:?}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
        /// Its value.
        value: String,
    },
    /// There is no such log here. It is never created in place of one that may be lost (F-049).
    #[error("no log {log} under {}; is the volume mounted? if it never existed, create it first", dir.display())]
    NoLog {
        /// The log asked for.
        log: Name,
        /// The data directory.
        dir: PathBuf,
    },
    /// The log keeps no slot of this name.
    #[error("log {log} has no replica {replica}; `longshore status` lists those it has")]
    NoReplica {
        /// The log.
        log: Name,
        /// The replica asked for.
        replica: Name,
    },
    /// A replica that is connected would go on without its slot.
    #[error("replica {replica} of log {log} is connected; stop it, then forget it")]
    Connected {
        /// The log.
        log: Name,
        /// The replica asked for.
        replica: Name,
    },
    /// There is no mark of that name in what the log still holds.
    #[error("log {log} holds no mark {mark}; name a position or a time")]
    NoMark {
        /// The log.
        log: Name,
        /// The mark asked for.
        mark: Name,
    },
    /// A log of this name exists already.
    #[error("log {log} already exists under {}; open it instead", dir.display())]
    LogExists {
        /// The log asked for.
        log: Name,
        /// The data directory.
        dir: PathBuf,
    },
    /// The upstream knows this replica from before, yet the log is not here (F-049).
    #[error(
        "log {log} is not under {}, but {upstream} keeps a slot for this replica, so it once was; \
         is the volume mounted? if it is lost for good, start again with --reseed", dir.display()
    )]
    VolumeMissing {
        /// The log that is missing.
        log: Name,
        /// Where it should be.
        dir: PathBuf,
        /// Who knows it.
        upstream: String,
    },
    /// Durable here, not confirmed there in time.
    #[error(
        "position {position} is durable here but not confirmed as {durability} after {}; \
         wait again for this position, do not append again", format_duration(*waited)
    )]
    Unconfirmed {
        /// The position waited for.
        position: Lsn,
        /// What was asked.
        durability: Box<Durability>,
        /// For how long.
        waited: Duration,
    },
    /// The position is not durable here yet.
    #[error(
        "position {position} is not durable here after {}; \
         wait again for this position, do not append again", format_duration(*waited)
    )]
    NotDurable {
        /// The position waited for.
        position: Lsn,
        /// For how long.
        waited: Duration,
    },
    /// The log was closed while something waited for it.
    #[error("log {log} was closed; open it again and look whether position {position} is there")]
    Closed {
        /// The log.
        log: Name,
        /// What was waited for.
        position: Lsn,
    },
    /// The agent is stopping.
    #[error("log {log} takes no more appends, the agent is stopping; append again when it is back")]
    Stopping {
        /// The log.
        log: Name,
    },
    /// This agent archives into fewer stores than a durability asks for: no waiting would bring it.
    #[error(
        "{durability} cannot be had: this agent archives into {stores} stores; \
         name as many as it asks for with --archive, or ask for less"
    )]
    TooFewStores {
        /// What was asked.
        durability: Box<Durability>,
        /// How many stores there are.
        stores: usize,
    },
    /// Too few replicas are connected, or stores take what they are given, for the log's `AckPolicy`, which says to refuse then.
    #[error(
        "log {log} refuses appends: too few replicas or stores are within reach for {durability}; \
         bring them back, or set ack.shortfall to accept"
    )]
    OutOfReach {
        /// The log.
        log: Name,
        /// What its policy asks for.
        durability: Box<Durability>,
    },
    /// The log is written under a lease that this agent does not hold, or not for sure.
    #[error("log {log} takes no appends here: this agent does not hold its lease; try again, or at the node that does")]
    NoLease {
        /// The log.
        log: Name,
    },
    /// This agent follows the log and may not write it.
    #[error("log {log} is a replica here; append at its primary{}", writer.as_ref().map(|writer| format!(", {writer}")).unwrap_or_default())]
    NotPrimary {
        /// The log.
        log: Name,
        /// Who writes it, where that is known.
        writer: Option<longshore_protocol::NodeId>,
    },
    /// A file or directory could not be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that a later version will do.
    #[error("{what} is not offered by this version of longshore; nothing was changed")]
    NotOffered {
        /// What was asked for.
        what: &'static str,
    },
    /// Two copies of the log differ, or a person must decide for another reason. Nothing was changed.
    #[error("{reason}")]
    Refused {
        /// What to do about it.
        kind: ErrorKind,
        /// Why, where, and what to try next.
        reason: String,
        /// The position it is about.
        at: Option<Lsn>,
    },
    /// What is committed in the database that is captured into the log is not in the log yet. Nothing was marked.
    #[error(
        "{database} is committed to, and not all of it is in log {log} yet: {reason}; nothing was marked, mark again when it is"
    )]
    NotCaptured {
        /// The log.
        log: Name,
        /// The database.
        database: String,
        /// Why not.
        reason: String,
    },
    /// The store of a lease gave no answer in time.
    #[error(
        "{store} did not answer about the lease within {}: what became of the request is not known; \
         look whether it can be reached, and ask again", format_duration(*waited)
    )]
    LeaseSilent {
        /// Which store.
        store: String,
        /// For how long it was waited.
        waited: Duration,
    },
    /// A background task ended in a panic; a bug.
    #[error("the {task} task ended unexpectedly; reopen, and report a bug")]
    Task {
        /// Which one.
        task: String,
    },
}

impl Error {
    /// What a program should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Wal(error) => error.kind(),
            Self::Transport(error) => error.kind(),
            Self::Protocol(error) => error.kind(),
            Self::Apply(error) => error.kind(),
            Self::Archive(error) => error.kind(),
            Self::Settings { .. } | Self::Argument { .. } | Self::NotPrimary { .. } | Self::TooFewStores { .. } => {
                ErrorKind::Invalid
            }
            Self::NoLog { .. } | Self::NoMark { .. } | Self::NoReplica { .. } => ErrorKind::NotFound,
            Self::LogExists { .. } | Self::Connected { .. } => ErrorKind::Busy,
            Self::VolumeMissing { .. } | Self::NotOffered { .. } => ErrorKind::Preflight,
            Self::Unconfirmed { .. } | Self::NotDurable { .. } => ErrorKind::Unconfirmed,
            Self::Closed { .. }
            | Self::Stopping { .. }
            | Self::OutOfReach { .. }
            | Self::NoLease { .. }
            | Self::NotCaptured { .. }
            | Self::LeaseSilent { .. } => ErrorKind::Unavailable,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Preflight,
            },
            Self::Refused { kind, .. } => *kind,
            Self::Task { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}

/// What the library's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

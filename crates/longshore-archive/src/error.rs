//! What can go wrong with an archive.

use std::path::PathBuf;

use longshore_format::{ErrorKind, Lsn, Name};
use thiserror::Error;

use crate::envelope::EnvelopeError;
use crate::keys::KeyError;
use crate::manifest::MANIFEST;
use crate::store::Answer;

/// Why an archive cannot do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the address of a store.
    #[error(
        "{url}: {reason}; write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY"
    )]
    Url {
        /// The address, without what may be secret in it.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// An archive cannot be copied into itself.
    #[error("{to} and {from} lie in one another; name a place for the copy beside the archive")]
    Overlap {
        /// The store that is copied from.
        from: String,
        /// The store that is copied to.
        to: String,
    },
    /// The directory of a `file://` store is not there.
    #[error("{url}: there is no such directory: is the volume mounted?")]
    NoDirectory {
        /// The address.
        url: String,
    },
    /// A store of a kind that this program was built without.
    #[error("{url}: this program was built without the feature `{feature}`; build it with --features {feature}")]
    Feature {
        /// The address.
        url: String,
        /// What it was built without.
        feature: &'static str,
    },
    /// The store did not do it; it may later.
    #[error("{store}: {object}: {source}; {}", Answer::of(source).advice(store))]
    Store {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// What it said.
        source: object_store::Error,
    },
    /// The store answers, and has no such bucket.
    #[error("{store}: {reason}")]
    NoBucket {
        /// Which store.
        store: String,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
    /// No archive of that log there.
    #[error("{store}: there is no archive of log {log}; `longshore archive ls --from URL` lists what is there")]
    NoLog {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
    },
    /// Of an archive everything may be there but what says what it is.
    #[error(
        "{store}: {log}/{MANIFEST} is missing, while other objects of log {log} lie there: it was removed, or what made them has not come to its end yet"
    )]
    NoManifest {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
    },
    /// Nothing of that epoch was archived that a later one parted from.
    #[error(
        "{store}: no branch of log {log} ends with epoch {epoch}; `longshore archive ls --json` lists those that were set aside"
    )]
    NoBranch {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// Which epoch.
        epoch: u64,
    },
    /// An object that the manifest names is gone.
    #[error("{store}: {object} is missing{}; name another store that has it with --from", with_it(*start, *end))]
    Missing {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// Where what it held starts; all there is, if nobody knows.
        start: Lsn,
        /// And ends.
        end: Lsn,
    },
    /// The manifest itself has a hole.
    #[error("{store}: the archive of log {log} has nothing between {expected} and {found}")]
    Gap {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// What should come next.
        expected: Lsn,
        /// What comes.
        found: Lsn,
    },
    /// An object that does not hold.
    #[error("{store}: {object} is damaged: {what}; name another store that has it with --from")]
    Corrupt {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Something that a target needs is missing or damaged, and lies behind what a lesser target needs.
    #[error("{damage}; targets up to lsn:{before} do not need it")]
    Broken {
        /// The last target before it.
        before: Lsn,
        /// What is missing or damaged.
        damage: Box<Error>,
    },
    /// What would be kept of an archive is not whole: nothing else may go.
    #[error(
        "{}; what would be kept needs it, so nothing is forgotten: put it back from another copy, or keep more snapshots",
        bare(damage)
    )]
    Needed {
        /// What is missing or damaged.
        damage: Box<Error>,
    },
    /// Somebody with a later epoch archives this log, or its history is another one.
    #[error(
        "{store}: log {log} is archived by epoch {theirs}, and this node writes epoch {ours}: it is fenced; `longshore status` there tells who writes"
    )]
    Fenced {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// Whose it is.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// Somebody who has the same log with other records at its end archives it.
    #[error(
        "{store}: log {log} is archived to {end} with records that this node does not have: of two copies of a log, each was written to by itself; nothing more is archived from here. Keep the one that is right, and give the other another prefix or name"
    )]
    Parted {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// Where the archive ends.
        end: Lsn,
    },
    /// Under this name another log is archived.
    #[error("{store}: under {log} another log is archived: {theirs}, not {ours}; use another prefix")]
    OtherLog {
        /// Which store.
        store: String,
        /// The name.
        log: Name,
        /// Its id there.
        theirs: String,
        /// Its id here.
        ours: String,
    },
    /// The archive does not reach back, or not yet so far.
    #[error(
        "{store}: log {log} is archived from {first} to {end}, and {wanted} was asked for; the nearest is lsn:{}",
        (*wanted).clamp(*first, *end)
    )]
    Unreachable {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// What was asked for.
        wanted: Lsn,
        /// Where it begins there.
        first: Lsn,
        /// Where it ends.
        end: Lsn,
    },
    /// No segment that begins there is archived as a whole.
    #[error(
        "{store}: no sealed segment of log {log} begins at {base}: those that are archived lie between {first} and {end}"
    )]
    NotSealed {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// What was asked for.
        base: Lsn,
        /// Where the first of them begins.
        first: Lsn,
        /// Where the last of them ends.
        end: Lsn,
    },
    /// Nothing was committed yet at that moment, or more may have been than is archived.
    #[error(
        "{store}: {} was asked for, and the {} transaction of log {log} there is lsn:{nearest}, committed at {}; that is the nearest",
        rfc3339(*wanted),
        if wanted < time { "first" } else { "last" },
        rfc3339(*time)
    )]
    Moment {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// What was asked for, microseconds UTC.
        wanted: u64,
        /// The nearest that can be had: where a transaction ends.
        nearest: Lsn,
        /// When it was committed, microseconds UTC.
        time: u64,
    },
    /// The position lies inside a record.
    #[error("{store}: in log {log} no record ends at {wanted}; the nearest {}", nearest(*below, *above))]
    NotABoundary {
        /// Which store.
        store: String,
        /// Which log.
        log: Name,
        /// What was asked for.
        wanted: Lsn,
        /// The boundary before it; the one after it, if nothing comes before that.
        below: Lsn,
        /// The boundary after it.
        above: Lsn,
    },
    /// What is stored under a name is not what should be there.
    #[error("{store}: {object}: {source}")]
    Envelope {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// What is wrong with it.
        source: Box<EnvelopeError>,
    },
    /// A key that cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The log that is archived, or laid out.
    #[error(transparent)]
    Log(#[from] longshore_wal::Error),
    /// This machine's own disk.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Url { .. } | Error::Overlap { .. } | Error::Feature { .. } | Error::NotABoundary { .. } => {
                ErrorKind::Invalid
            }
            Error::Store { source, .. } if Answer::of(source) == Answer::Denied => ErrorKind::Denied,
            Error::Store { .. } => ErrorKind::Unavailable,
            Error::NoLog { .. } | Error::NoBranch { .. } | Error::NoDirectory { .. } | Error::NoBucket { .. } => {
                ErrorKind::NotFound
            }
            Error::NoManifest { .. } | Error::Missing { .. } | Error::Gap { .. } => ErrorKind::Gap,
            Error::Corrupt { .. } => ErrorKind::Corrupt,
            Error::Broken { damage, .. } | Error::Needed { damage } => damage.kind(),
            Error::Fenced { .. } => ErrorKind::Fenced,
            Error::OtherLog { .. } | Error::Parted { .. } => ErrorKind::Diverged,
            Error::Unreachable { wanted, first, .. } if wanted < first => ErrorKind::TooOld,
            Error::Moment { wanted, time, .. } if wanted < time => ErrorKind::TooOld,
            Error::Unreachable { .. } | Error::Moment { .. } | Error::NotSealed { .. } => ErrorKind::Unreachable,
            Error::Envelope { source, .. } => source.kind(),
            Error::Keys(error) => error.kind(),
            Error::Log(error) => error.kind(),
            Error::Io { .. } => ErrorKind::Preflight,
        }
    }

    /// Whether something that was archived is missing, or is not what it must be.
    pub fn is_damage(&self) -> bool {
        matches!(self.kind(), ErrorKind::Gap | ErrorKind::Corrupt)
    }

    /// The error that damage behind the boundary `before` is to whoever begins at `begin`; any other error as it is.
    pub(crate) fn behind(self, begin: Lsn, before: Lsn) -> Error {
        match begin < before && self.is_damage() {
            true => Error::Broken { before, damage: Box::new(self) },
            false => self,
        }
    }

    /// The error that damage is to whoever would have removed all else; any other error as it is.
    pub(crate) fn needed(self) -> Error {
        match self.is_damage() {
            true => Error::Needed { damage: Box::new(self) },
            false => self,
        }
    }

    /// Of what two stores said the one that counts: where one of them may have it whole later, it is not lost.
    pub(crate) fn or(first: Option<Error>, next: Error) -> Error {
        match first {
            Some(first) if next.is_damage() || !first.is_damage() => first,
            _ => next,
        }
    }

    /// Whether what is missing or damaged is of a snapshot.
    pub fn is_of_snapshot(&self) -> bool {
        match self {
            Error::Missing { object, .. } | Error::Corrupt { object, .. } | Error::Envelope { object, .. } => {
                object.contains("/snapshots/") && self.is_damage()
            }
            _ => false,
        }
    }

    /// Whether the same may work later, with nothing changed by anybody.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Denied)
            || matches!(self, Error::Keys(_) | Error::Io { .. } | Error::NoBucket { .. } | Error::NoDirectory { .. })
    }
}

fn with_it(start: Lsn, end: Lsn) -> String {
    match (start, end) {
        (Lsn::ZERO, Lsn::MAX) => String::new(),
        (start, end) => format!(", and with it {start} to {end}"),
    }
}

/// Damage without what helps a restore.
fn bare(damage: &Error) -> String {
    match damage {
        Error::Missing { store, object, .. } => format!("{store}: {object} is missing"),
        Error::Corrupt { store, object, what } => format!("{store}: {object} is damaged: {what}"),
        other => other.to_string(),
    }
}

fn nearest(below: Lsn, above: Lsn) -> String {
    match below == above {
        true => format!("position is lsn:{above}"),
        false => format!("positions are lsn:{below} and lsn:{above}"),
    }
}

/// Microseconds UTC as RFC 3339; a time outside the calendar as the bare number.
fn rfc3339(micros: u64) -> String {
    let time = i64::try_from(micros).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    time.map_or_else(|| format!("{micros} µs"), |time| time.to_string())
}

/// An error with what caused it, which clients of stores keep apart.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

//! Where records go: the one seam between the log and whatever a user keeps.

use std::fmt;

use longshore_format::{Content, ErrorKind, LogId, Lsn, Record};

use crate::DatabaseImage;

/// Something that takes a log's records: a database, a file, another program.
///
/// The calls come in this order, each run whole and in the order of the log:
///
/// ```text
/// open  ( begin  record+  commit )*   with sync between runs   …  finish
/// open  begin_image  record+  commit  sync  finish             in the middle of a log
/// ```
///
/// An error from any call ends the applier; the sink is then dropped, and a new one is opened if its
/// failure is worth another try. After a record that it refused it must have forgotten that run, and
/// be able to `sync` the runs before it. A drop at any moment means the same as a killed process:
/// what was synced stays, the rest is given again after the next `open`.
///
/// Every implementation passes [`conformance`](crate::conformance).
pub trait Sink: Send {
    /// What this is, for messages: `sqlite:/srv/orders.db`.
    fn name(&self) -> String;

    /// Refuses a log it cannot take, or says what it holds of it.
    ///
    /// `None` means that it has never held anything: it is given the log from its very beginning, or,
    /// when the log no longer reaches back so far, the applier refuses.
    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError>;

    /// Whether it can be given a whole database of this content, and so begin in the middle of a log. May be asked at any time.
    fn takes_image(&self, _content: Content) -> bool {
        false
    }

    /// A run begins. All of it is known to be in the log.
    fn begin(&mut self) -> Result<(), SinkError>;

    /// A run begins that is an image of the whole database, as a [`Snapshotter`](crate::Snapshotter) made it: once it is
    /// committed the sink holds that, and nothing of what it held before. Only where [`takes_image`](Self::takes_image) says so;
    /// for records that say all of what they change it is a run like any other.
    fn begin_image(&mut self) -> Result<(), SinkError> {
        self.begin()
    }

    /// The next record of the run. Only users' records come here, those of the log itself do not.
    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError>;

    /// The run is complete. It must become visible whole or not at all, but need not be durable yet.
    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError>;

    /// Everything committed so far is to become durable, together with its position.
    ///
    /// Called when the log is drained and at least every few MiB in between. A sink that can only
    /// pass the wish on (another process) returns at once and moves [`durable`](Self::durable) later.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// The end of the last run that is durable in the sink, or what `open` reported.
    fn durable(&self) -> Option<Lsn>;

    /// The last call: returns once everything committed is durable, or says why it is not. It may come
    /// inside a run, which then never happened.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// What it holds is of a history that did not win: from now on nobody is to read it, until the next run is committed or the
    /// sink is dropped. It keeps out whom it can; called again, also those who were still there before. Does nothing where
    /// there is no way to.
    fn withhold(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// What it holds, as the records that an image of it would be, so that of an image which it is to be given the rest alone
    /// is fetched. It may be read on another thread, until the next run begins; what is read later is of no use. `None` where
    /// there is nothing, or no way to.
    fn held_image(&mut self) -> Result<Option<Box<dyn DatabaseImage>>, SinkError> {
        Ok(None)
    }

    /// Whether somebody else has written what it holds, so that it is of no position of any log: it takes an image and nothing
    /// else. Known once it is open, and then it holds nothing.
    fn is_astray(&self) -> bool {
        false
    }

    /// A way to make a call that blocks in this sink return with an error soon, from another thread.
    /// `None` when no call blocks for long.
    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        None
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn name(&self) -> String {
        (**self).name()
    }
    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        (**self).open(log)
    }
    fn takes_image(&self, content: Content) -> bool {
        (**self).takes_image(content)
    }
    fn begin(&mut self) -> Result<(), SinkError> {
        (**self).begin()
    }
    fn begin_image(&mut self) -> Result<(), SinkError> {
        (**self).begin_image()
    }
    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        (**self).record(record)
    }
    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        (**self).commit(run)
    }
    fn sync(&mut self) -> Result<(), SinkError> {
        (**self).sync()
    }
    fn durable(&self) -> Option<Lsn> {
        (**self).durable()
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        (**self).finish()
    }
    fn withhold(&mut self) -> Result<(), SinkError> {
        (**self).withhold()
    }
    fn held_image(&mut self) -> Result<Option<Box<dyn DatabaseImage>>, SinkError> {
        (**self).held_image()
    }
    fn is_astray(&self) -> bool {
        (**self).is_astray()
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        (**self).interrupter()
    }
}

/// The log that a sink is about to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFacts {
    /// Its identity, for sinks that can store it and refuse another log.
    pub id: LogId,
    /// What its records hold.
    pub content: Content,
}

/// What a sink holds of a log: every run up to a position, and what proves that it was this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Where the last run that it holds ends.
    pub lsn: Lsn,
    /// The header checksum of the record that ends there, if the sink kept it. It is seeded with log,
    /// epoch, incarnation and position and linked to its predecessor, so a sink that holds another
    /// log, or a branch that was cut off, is found before it is given anything.
    pub crc: Option<u32>,
}

/// A run that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    /// Where its FIRST record starts.
    pub start: Lsn,
    /// Where its LAST record ends: the position to store.
    pub lsn: Lsn,
    /// The header checksum of its LAST record, see [`Held::crc`].
    pub crc: u32,
    /// Microseconds UTC of its LAST record: when it was committed.
    pub time: u64,
    /// Users' records in it.
    pub records: u64,
}

impl RunEnd {
    /// What a sink holds once it has committed this run.
    pub fn held(&self) -> Held {
        Held { lsn: self.lsn, crc: Some(self.crc) }
    }
}

/// Why a sink cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The sink cannot take this log's content at all.
    Content,
    /// This record would be refused again: a poison record. Someone has to look.
    Refused,
    /// The sink's own data is not what this log was written beside, or holds another log.
    Diverged,
    /// The sink's own data is damaged.
    Corrupt,
    /// What was restored did not pass its check.
    Check,
    /// Another process holds it.
    Busy,
    /// It cannot be used as it stands: permission, version, missing program.
    Unusable,
    /// No space.
    Full,
    /// It went away; opening it again may help.
    Unavailable,
    /// Nobody reads the output any more: an ordinary ending of a pipe.
    Closed,
    /// It was interrupted on request.
    Interrupted,
}

impl Failure {
    /// What a program should do about it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Failure::Content | Failure::Refused => ErrorKind::Invalid,
            Failure::Diverged => ErrorKind::Diverged,
            Failure::Corrupt => ErrorKind::Corrupt,
            Failure::Check => ErrorKind::CheckFailed,
            Failure::Busy => ErrorKind::Busy,
            Failure::Unusable => ErrorKind::Preflight,
            Failure::Full => ErrorKind::Full,
            Failure::Unavailable | Failure::Closed => ErrorKind::Unavailable,
            Failure::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// Whether opening the sink again, unchanged, may succeed.
    pub fn is_passing(self) -> bool {
        matches!(self, Failure::Busy | Failure::Full | Failure::Unavailable)
    }
}

/// A sink's error: what to do about it, and what happened.
#[derive(Debug)]
pub struct SinkError {
    failure: Failure,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SinkError {
    /// An error with a message that says what happened and what to try next.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        SinkError { failure, message: message.into(), source: None }
    }

    /// The same with its cause, which the message does not repeat.
    ///
    /// ```
    /// use longshore_apply::{Failure, SinkError};
    /// use std::error::Error;
    ///
    /// let cause = "five".parse::<u32>().unwrap_err();
    /// let error = SinkError::new(Failure::Corrupt, "the position is no number; restore again").with_source(cause);
    /// assert_eq!(error.source().unwrap().to_string(), "invalid digit found in string");
    /// ```
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An I/O error at `what`, told apart by its kind. Its text is in the message, for whoever prints only that.
    pub fn io(what: impl fmt::Display, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (failure, advice) = match source.kind() {
            Io::StorageFull | Io::QuotaExceeded => (Failure::Full, "free space, then try again"),
            Io::BrokenPipe => (Failure::Closed, "nobody reads it any more"),
            Io::NotFound | Io::PermissionDenied | Io::ReadOnlyFilesystem | Io::NotADirectory => {
                (Failure::Unusable, "check the path and its permissions")
            }
            _ => (Failure::Unavailable, "check the device, then try again"),
        };
        SinkError::new(failure, format!("{what}: {source}; {advice}"))
    }

    /// What kind of failure this is.
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// What a program should do about it.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

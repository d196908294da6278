//! Tails that forks set aside, named on the command line.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use longshore_format::{Lsn, Name};
use longshore_storage::Directory;
use longshore_wal::ReadLog;
use longshore_wal::tails::{self, InUse, Tail};

use crate::connect::name;
use crate::failure::Failure;
use crate::logs;

/// `--tail PLACE`, beside `--log`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TailArg {
    /// Instead of the log, what a fork set aside of it: as `longshore status` names the place
    #[arg(long, value_name = "PLACE", requires = "log")]
    pub(crate) tail: Option<String>,
}

/// What a command shows: a log, or a tail of one.
pub(crate) struct Shown {
    pub(crate) name: Name,
    /// Its own files.
    pub(crate) dir: Arc<dyn Directory>,
    tail: Option<OpenTail>,
}

impl TailArg {
    /// The tail that was asked for, else the log, else every log there is.
    pub(crate) fn shown(&self, data_dir: &Path, log: Option<&str>) -> Result<Vec<Shown>, Failure> {
        if let (Some(log), Some(place)) = (log, &self.tail) {
            let tail = OpenTail::open(data_dir, log, place)?;
            return Ok(vec![Shown { name: tail.name.clone(), dir: tail.directory()?, tail: Some(tail) }]);
        }
        let logs = logs::directories(data_dir, log)?.into_iter();
        Ok(logs.map(|(name, dir)| Shown { name, dir, tail: None }).collect())
    }
}

impl Shown {
    /// Where the tail is, if it is one.
    pub(crate) fn place(&self) -> Option<&str> {
        self.tail.as_ref().map(|open| open.tail.place.as_str())
    }

    /// Where it begins to be of interest: a tail at its fork.
    pub(crate) fn from(&self) -> Lsn {
        self.tail.as_ref().map_or(Lsn::ZERO, |open| open.tail.from)
    }

    /// Where positions are looked up in it.
    pub(crate) fn whole(&self) -> Result<Arc<dyn Directory>, Failure> {
        match &self.tail {
            Some(open) => Ok(open.tail.branch(&open.log)?),
            None => Ok(Arc::clone(&self.dir)),
        }
    }
}

/// A log, or a tail of it, in a sentence.
pub(crate) fn title(log: &str, tail: Option<&str>) -> String {
    match tail {
        Some(place) => format!("tail {place} of log {log}"),
        None => format!("log {log}"),
    }
}

/// A tail that is being read: until this is dropped nobody forgets it.
pub(crate) struct OpenTail {
    pub(crate) name: Name,
    pub(crate) tail: Tail,
    log: Arc<dyn Directory>,
    _in_use: InUse,
}

impl OpenTail {
    pub(crate) fn open(data_dir: &Path, log: &str, place: &str) -> Result<OpenTail, Failure> {
        let name = name("log", log)?;
        let log = logs::directory(data_dir, &name)?;
        let tail = tails::find(&log, place)?;
        Ok(OpenTail { _in_use: tail.use_it(&log)?, name, tail, log })
    }

    /// Its own files.
    pub(crate) fn directory(&self) -> Result<Arc<dyn Directory>, Failure> {
        Ok(self.tail.directory(&self.log)?)
    }

    /// The log with it at its end, as it was before.
    pub(crate) fn branch(&self) -> Result<ReadLog, Failure> {
        Ok(ReadLog::open(self.tail.branch(&self.log)?)?)
    }
}

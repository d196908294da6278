//! A replay of what a fork set aside.

use std::sync::Arc;

use longshore_apply::{Held, LogFacts, RunEnd, Sink, SinkError};
use longshore_format::{Lsn, Record};
use longshore_storage::Directory;
use longshore_wal::ReadLog;
use longshore_wal::tails::{self, InUse};

use crate::error::Result;

/// Where a replay of a tail begins, and that the tail is in use.
#[derive(Debug, Clone)]
pub(super) struct FromTail {
    held: Held,
    _in_use: Arc<InUse>,
}

impl FromTail {
    /// Opens the branch that a tail is the end of.
    pub(super) fn open(log: &Arc<dyn Directory>, place: &str) -> Result<(ReadLog, FromTail)> {
        let tail = tails::find(log, place)?;
        let in_use = Arc::new(tail.use_it(log)?);
        let branch = ReadLog::open(tail.branch(log)?)?;
        let lsn = tail.first_run(&branch)?;
        let held = Held { lsn, crc: Some(branch.crc_at(lsn)?) };
        Ok((branch, FromTail { held, _in_use: in_use }))
    }

    /// What an output holds that is to be given the tail alone.
    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// A sink that takes what lies before for held already.
    pub(super) fn sink(&self, sink: Box<dyn Sink>) -> Box<dyn Sink> {
        Box::new(Part { sink, from: self.held })
    }
}

/// A sink of a part of a log: where it holds nothing, it begins with that part.
struct Part {
    sink: Box<dyn Sink>,
    from: Held,
}

impl Sink for Part {
    fn name(&self) -> String {
        self.sink.name()
    }

    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        Ok(self.sink.open(log)?.or(Some(self.from)))
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        self.sink.begin()
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.sink.record(record)
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.sink.commit(run)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.sink.sync()
    }

    fn durable(&self) -> Option<Lsn> {
        self.sink.durable().or(Some(self.from.lsn))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sink.finish()
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        self.sink.interrupter()
    }
}

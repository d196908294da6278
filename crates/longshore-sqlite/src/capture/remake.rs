//! A database that holds what no log does, made anew from the log that its node writes by now.
//!
//! A node that follows is sent a whole database by its upstream. One that writes has nobody to ask: without this, no application
//! could write the log there until its role had moved away and back.

use std::sync::Arc;

use longshore_apply::{Applier, Held, LogFacts, RunEnd, Sink, SinkError, Step, Target};
use longshore_format::{Lsn, Record};
use longshore_wal::Wal;

use crate::error::Error;
use crate::log_database::LogDatabase;
use crate::page_sink::PageSink;
use crate::pages::PageRuns;

/// Keeps a copy of a database, and writes what the log has been since its last whole image over it. Nobody reads it meanwhile.
/// Returns how far the log was.
///
/// # Errors
/// [`Error::NoImageKept`] where the log does not reach back to an image; nothing was done to the database then.
pub(super) fn remake(database: &Arc<LogDatabase>, log: &Wal) -> Result<Lsn, Error> {
    let before = before_image(log)?;
    let sink =
        FromImage { sink: PageSink::of(Arc::clone(database)).held_against(Some(log.clone())).giving_way(), before };
    let mut applier = Applier::open(log.clone(), sink, Target::LATEST)?;
    while applier.step()? != Step::Idle {}
    Ok(applier.finish()?.held)
}

/// The place before the last run that is a whole database.
fn before_image(log: &Wal) -> Result<Held, Error> {
    let mut runs = PageRuns::from(log.reader(log.first()).map_err(Error::Log)?);
    let (mut end, mut before) = (log.first(), None);
    while let Some(run) = runs.next()? {
        if run.is_image {
            before = Some(end);
        }
        end = run.end;
    }
    let lsn = before.ok_or(Error::NoImageKept { first: log.first() })?;
    Ok(Held { lsn, crc: Some(log.crc_at(lsn).map_err(Error::Log)?) })
}

/// A database that takes a whole one and nothing else, to whoever gives it that next.
struct FromImage {
    sink: PageSink,
    before: Held,
}

impl Sink for FromImage {
    fn name(&self) -> String {
        self.sink.name()
    }

    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        self.sink.open(log).map(|_nowhere| Some(self.before))
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        self.sink.begin()
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.sink.record(record)
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.sink.commit(run)?;
        // It takes changes of the image once that is durable.
        if self.sink.is_astray() { self.sink.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.sink.sync()
    }

    fn durable(&self) -> Option<Lsn> {
        self.sink.durable()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sink.finish()
    }
}

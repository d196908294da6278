//! Complete runs, found ahead of whoever uses them.

use longshore_format::{Head, Kind, Lsn, Name, Record, payload};

use crate::error::{Error, Result};
use crate::sink::{Held, RunEnd};
use crate::source::{Records, Source};

/// Finds where runs end. It holds no payload: a run is read again by whoever wants its records, so
/// that a run of any size takes no memory.
pub(crate) struct Runs<R> {
    records: R,
    /// Whether payloads are read and checked, too: whoever reads the run again does that.
    pub(crate) checks_payloads: bool,
    open: Option<OpenRun>,
    /// Runs that were begun and never finished, as far as seen.
    pub(crate) aborted: u64,
    /// A position of interest, and the record that was found to lie across it, if one does.
    pub(crate) watched: Option<Lsn>,
    pub(crate) straddled: Option<(Lsn, Lsn)>,
}

pub(crate) struct OpenRun {
    pub(crate) start: Lsn,
    records: u64,
    bytes: u64,
}

/// A complete run, or a mark, which stands between runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) end: RunEnd,
    /// Where its last record starts.
    pub(crate) last: Lsn,
    /// Payload bytes.
    pub(crate) bytes: u64,
    pub(crate) mark: Option<Name>,
}

/// What a search found.
#[derive(Debug)]
pub(crate) enum Found {
    Run(Run),
    /// Nothing complete yet, and the allowance is used up.
    Working,
    /// The end of what is durable.
    End,
}

impl<R: Records> Runs<R> {
    /// Searches from where `records` stand, which must be between runs.
    pub(crate) fn new(records: R) -> Result<Self> {
        let chain = records.chain();
        match chain.run {
            Some(start) => Err(Error::InsideRun { position: chain.position, start }),
            None => {
                Ok(Runs { records, checks_payloads: false, open: None, aborted: 0, watched: None, straddled: None })
            }
        }
    }

    /// Searches from where a sink stands, if what it holds is of this log; also says where that is.
    pub(crate) fn after<S: Source<Records = R>>(source: &S, sink: &str, held: Option<Held>) -> Result<(Lsn, Self)> {
        let sink = || sink.to_owned();
        let from = source.segment_size().normalise(held.map_or(Lsn::ZERO, |held| held.lsn));
        let first = source.first();
        if from < first {
            return Err(Error::SinkTooOld { sink: sink(), held: held.map(|held| held.lsn), first });
        }
        let runs = match source.read_from(from) {
            Ok(records) => Runs::new(records)?,
            // What the sink holds was a boundary of the log that it was written from.
            Err(longshore_wal::Error::NotABoundary { lsn, .. }) => {
                return Err(Error::SinkElsewhere { sink: sink(), held: lsn });
            }
            Err(error) => return Err(error.into()),
        };
        match held {
            Some(Held { lsn, crc: Some(crc) }) if crc != runs.records.chain().link => {
                Err(Error::SinkElsewhere { sink: sink(), held: lsn })
            }
            _ => Ok((from, runs)),
        }
    }

    /// The next complete run. `allowance` is in bytes, so that one call takes a bounded time.
    pub(crate) fn find(&mut self, allowance: u64) -> Result<Found> {
        let begin = self.records.chain().position;
        while let Some((head, mark)) = self.next()? {
            if self.watched.is_some_and(|lsn| head.start < lsn && lsn < head.end) {
                self.straddled = Some((head.start, head.end));
            }
            let (end, aborts) = (head.end, matches!(head.kind, Kind::ABORT | Kind::INCARNATION | Kind::EPOCH_START));
            if aborts {
                self.aborted += u64::from(self.open.take().is_some());
            } else if let Some(run) = close(&mut self.open, &head, mark) {
                return Ok(Found::Run(run));
            }
            if end.since(begin) >= allowance {
                return Ok(Found::Working);
            }
        }
        Ok(Found::End)
    }

    /// The next record, and its name if it is a mark.
    fn next(&mut self) -> Result<Option<(Head, Option<Name>)>> {
        if !self.checks_payloads
            && let Some(head) = self.records.pass()?
        {
            return Ok(Some((head, None)));
        }
        match self.records.next()? {
            Some(record) => Ok(Some((record.head(), mark_of(&record)?))),
            None => Ok(None),
        }
    }

    /// Where the search stands.
    pub(crate) fn position(&self) -> Lsn {
        self.records.chain().position
    }

    /// When the last record was written that the search has seen.
    pub(crate) fn time(&self) -> u64 {
        self.records.chain().time
    }

    /// When the next record was written, if its header says so, whatever became of its payload. Nothing is to be found after
    /// this.
    pub(crate) fn next_time(&mut self) -> Option<u64> {
        self.records.pass().ok().flatten().map(|head| head.time)
    }

    /// The last position that is not inside an unfinished run.
    pub(crate) fn settled(&self) -> Lsn {
        self.open.as_ref().map_or(self.position(), |run| run.start)
    }

    /// Where the run starts whose end is not there.
    pub(crate) fn unfinished(&self) -> Option<Lsn> {
        self.open.as_ref().map(|run| run.start)
    }
}

/// The name of a mark.
pub(crate) fn mark_of(record: &Record<'_>) -> Result<Option<Name>> {
    match record.kind {
        Kind::MARK => match payload::Mark::decode(record.payload) {
            Ok(mark) => Ok(Some(mark.name)),
            Err(_) => Err(Error::BadMark { position: record.start }),
        },
        _ => Ok(None),
    }
}

/// Takes one record into the open run and returns the run if that was its last. The reader has
/// checked the order of runs, so FIRST opens one and everything else continues it.
pub(crate) fn close(open: &mut Option<OpenRun>, head: &Head, mark: Option<Name>) -> Option<Run> {
    if mark.is_none() && !head.kind.is_user() {
        return None;
    }
    let run = open.get_or_insert(OpenRun { start: head.start, records: 0, bytes: 0 });
    if mark.is_none() {
        run.records += 1;
        run.bytes += head.payload_len as u64;
    }
    if !head.is_last() {
        return None;
    }
    let OpenRun { start, records, bytes } = open.take().expect("it was just there");
    let end = RunEnd { start, lsn: head.end, crc: head.header_crc, time: head.time, records };
    Some(Run { end, last: head.start, bytes, mark })
}

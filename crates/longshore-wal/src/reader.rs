//! Reading a log in order, up to what is durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_format::{Chain, Cursor, Fault, Head, Lsn, RECORD_HEADER_LEN, Record, Step};

use crate::view::{Upto, View};
use crate::window::{HEADS_LEN, READ_LEN, Window, read_record};
use crate::{Ended, Error, Result, Watermark};

/// A place in a log from which records, or frames to be shipped, are read in order.
///
/// Everything is checked on the way: checksums, links, order, and that segments join. A clone is a bookmark: it goes on
/// reading independently from the same place. Never returns what is not durable.
#[derive(Clone, Debug)]
pub struct Reader {
    view: Arc<View>,
    upto: Upto,
    cursor: Cursor,
    /// Into the segment of the position; absent until something there is read.
    window: Option<Window>,
}

/// Verbatim bytes of whole records, all of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the first record starts.
    pub start: Lsn,
    /// Where the last one ends.
    pub end: Lsn,
    /// Their bytes: borrowed from the map of a live segment, or from a pool.
    pub bytes: Bytes,
}

impl Reader {
    pub(crate) fn new(view: Arc<View>, upto: Upto, chain: Chain) -> Reader {
        let cursor = Cursor::new(view.id, view.size, chain);
        Reader { view, upto, cursor, window: None }
    }

    /// Where the next record starts.
    pub fn position(&self) -> Lsn {
        self.cursor.position()
    }

    /// The state at the position: its `link` is the checksum of the record before, and `run` the open run, if any.
    pub fn chain(&self) -> &Chain {
        self.cursor.chain()
    }

    /// The next record, of the log's own kinds too; `None` at the durable end, where a later call may find more.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the reader, which no Iterator can say")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let Some(limit) = self.enter()? else { return Ok(None) };
        let position = self.cursor.position();
        let window = self.window.as_mut().expect("entered");
        match read_record(&mut self.cursor, window, READ_LEN, limit)? {
            Step::Record(record) => Ok(Some(record)),
            step => Err(self.view.corrupt(position, fault_of(step))),
        }
    }

    /// Moves behind the next record by its header alone, if it is a user's: it is in its place, and its payload was not looked
    /// at. `None`, and no move, where [`next`](Self::next) is to tell.
    pub fn pass(&mut self) -> Result<Option<Head>> {
        let Some(limit) = self.enter()? else { return Ok(None) };
        let offset = self.view.size.offset_in(self.cursor.position());
        let window = self.window.as_mut().expect("entered");
        let head = window.at(offset, RECORD_HEADER_LEN, HEADS_LEN, limit)?;
        Ok(self.cursor.pass(head))
    }

    /// The next records as they stand in the log, all of one segment: at most `max_bytes`, but at least one record.
    pub fn next_frames(&mut self, max_bytes: usize) -> Result<Option<Chunk>> {
        let Some(limit) = self.enter()? else { return Ok(None) };
        let size = self.view.size;
        let start = self.cursor.position();
        let offset = size.offset_in(start);
        let window = self.window.as_mut().expect("entered");
        window.fresh(offset, max_bytes, limit)?;
        let first = match read_record(&mut self.cursor, window, max_bytes.max(READ_LEN), limit)? {
            Step::Record(record) => record.extent(),
            step => return Err(self.view.corrupt(start, fault_of(step))),
        };
        let mut len = first as usize;
        while len < max_bytes && size.base_of(self.cursor.position()) == window.base() {
            let rest = window.held(offset + len as u64);
            let rest = &rest[..rest.len().min((limit - offset) as usize - len).min(max_bytes - len)];
            // What is not whole within that, or not good, is left to the next call.
            let Step::Record(record) = self.cursor.read(rest) else { break };
            len += record.extent() as usize;
        }
        let bytes = window.share(offset, len);
        Ok(Some(Chunk { start, end: self.cursor.position(), bytes }))
    }

    /// Waits until there is something to read, or the log ends. Cancel safe.
    pub async fn ready(&self) -> Result<()> {
        let after = self.position().just_after();
        self.end().wait(after).await.map(drop).map_err(|ended| Error::of_wait(ended, after))
    }

    /// As [`Reader::ready`] on this thread; `false` if the timeout came first.
    pub fn ready_blocking(&self, timeout: Option<Duration>) -> Result<bool> {
        let after = self.position().just_after();
        match self.end().wait_blocking(after, timeout) {
            Ok(_) => Ok(true),
            Err(Ended::TimedOut) => Ok(false),
            Err(ended) => Err(Error::of_wait(ended, after)),
        }
    }

    /// Goes on at another boundary, forward or back.
    pub fn seek(&mut self, to: Lsn) -> Result<()> {
        *self = locate(&self.view, self.upto, to)?;
        Ok(())
    }

    fn end(&self) -> &Watermark {
        self.view.end_of(self.upto)
    }

    /// Makes the window one into the segment of the position; returns how far into it may be looked, or `None` at the
    /// end of what may be.
    fn enter(&mut self) -> Result<Option<u64>> {
        let position = self.cursor.position();
        if self.end().get() <= position {
            let broken = self.view.broken.as_ref().filter(|broken| broken.at == position);
            return broken.map_or(Ok(None), |broken| Err(broken.error.clone()));
        }
        let base = self.view.size.base_of(position);
        if self.window.as_ref().is_none_or(|window| window.base() != base) {
            self.window = None;
            let segment = self.view.segment_of(position)?;
            let mut window = self.view.window(&segment)?;
            let header = self.view.header(&segment, &mut window)?;
            // F-022, F-036, F-038: a segment continues exactly the one before it.
            let at_start = header.chain.position == position;
            if at_start && header.chain != *self.cursor.chain() {
                return Err(self.view.damaged(base, "it does not continue the segment before it".into()));
            }
            self.window = Some(window);
        }
        Ok(Some(self.view.limit_in(base, self.upto)))
    }
}

/// What is wrong where a record must be, since it lies below what is durable.
pub(crate) fn fault_of(step: Step<'_>) -> Fault {
    match step {
        Step::Bad(bad) => bad.fault,
        Step::Short { .. } => Fault::Cut,
        Step::End | Step::Record(_) => Fault::Missing,
    }
}

/// A reader at the boundary `lsn`: from the sparse index onwards, record by record.
pub(crate) fn locate(view: &Arc<View>, upto: Upto, lsn: Lsn) -> Result<Reader> {
    let lsn = view.size.normalise(lsn);
    let (first, end) = (view.first(), view.end_of(upto).get());
    if lsn < first {
        return Err(Error::TooOld { lsn, first });
    }
    if end < lsn {
        return Err(Error::Beyond { lsn, end });
    }
    let mut reader = nearby(view, upto, lsn)?;
    while reader.position() < lsn {
        let nearest = reader.position();
        match reader.next()? {
            Some(record) if record.end <= lsn => {}
            _ => return Err(Error::NotABoundary { lsn, nearest }),
        }
    }
    Ok(reader)
}

/// The boundary before the first record later than `time`.
pub(crate) fn locate_time(view: &Arc<View>, time: u64) -> Result<Lsn> {
    let segments = view.all();
    let mut failed = None;
    let after = segments.partition_point(|segment| match view.chain_of(segment) {
        Ok(chain) => chain.time <= time,
        Err(error) => {
            failed.get_or_insert(error);
            true
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let Some(segment) = segments.get(after.saturating_sub(1)) else { return Ok(view.first()) };
    let index = view.index(segment)?;
    let entry = index.iter().rev().find(|entry| entry.time <= time && entry.position <= view.durable.get());
    let mut reader = match entry.and_then(|entry| checked(view, Upto::Durable, *entry)) {
        Some(reader) => reader,
        None => locate(view, Upto::Durable, view.size.first_in(segment.base))?,
    };
    loop {
        let before = reader.position();
        match reader.next()? {
            Some(record) if record.time <= time => {}
            _ => return Ok(before),
        }
    }
}

/// A reader somewhere before `lsn`, as near as the index of its segment leads, else at the segment's beginning.
fn nearby(view: &Arc<View>, upto: Upto, lsn: Lsn) -> Result<Reader> {
    let segment = match view.segment_of(lsn) {
        Ok(segment) => segment,
        // The end of a full segment whose successor was not begun yet.
        Err(Error::Beyond { .. }) if lsn == view.end_of(upto).get() => match view.all().pop() {
            Some(last) => last,
            None => return Err(Error::TooOld { lsn, first: view.first() }),
        },
        Err(error) => return Err(error),
    };
    let index = view.index(&segment)?;
    let entry = index.iter().rev().find(|entry| entry.position <= lsn);
    if let Some(reader) = entry.and_then(|entry| checked(view, upto, *entry)) {
        return Ok(reader);
    }
    let mut window = view.window(&segment)?;
    let chain = view.header(&segment, &mut window)?.chain;
    Ok(Reader { window: Some(window), ..Reader::new(Arc::clone(view), upto, chain) })
}

/// A reader at an index entry, if a record of the life it names is there with the predecessor it names (F-012).
fn checked(view: &Arc<View>, upto: Upto, entry: Chain) -> Option<Reader> {
    let mut reader = Reader::new(Arc::clone(view), upto, entry);
    if reader.position() == view.end_of(upto).get() {
        return None;
    }
    let limit = reader.enter().ok()??;
    let offset = view.size.offset_in(entry.position);
    let window = reader.window.as_mut()?;
    let head = window.at(offset, longshore_format::RECORD_HEADER_LEN, READ_LEN, limit).ok()?;
    entry.fits(view.id, head.first_chunk()?).then_some(reader)
}

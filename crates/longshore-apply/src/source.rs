//! Where records come from: a log that is open here, or one that is only read.

use longshore_format::{Chain, Head, Lsn, Record, SegmentSize};
use longshore_wal::{ReadLog, Reader, Wal};

use crate::LogFacts;

/// A log that can be read from any boundary, any number of times.
///
/// Readers stop at what is durable, so nothing is ever applied that a crash could take back. While the
/// log grows, they go on.
pub trait Source: Send {
    /// A place in the log.
    type Records: Records;

    /// Which log this is, and what it holds.
    fn facts(&self) -> LogFacts;
    /// The size of its segments.
    fn segment_size(&self) -> SegmentSize;
    /// The oldest position that is still there.
    fn first(&self) -> Lsn;
    /// How far a reader gets now.
    fn end(&self) -> Lsn;
    /// Why it goes no further, if what comes next is damaged and not just to come.
    fn damage(&self) -> Option<longshore_wal::Error> {
        None
    }
    /// Reads from `from`, a boundary.
    fn read_from(&self, from: Lsn) -> longshore_wal::Result<Self::Records>;
}

/// Records of a log, in order.
pub trait Records: Send {
    /// The next record, checked; `None` at the end of what is durable, from where it may go on later.
    fn next(&mut self) -> longshore_wal::Result<Option<Record<'_>>>;
    /// Moves behind the next record by its header alone, if it is a user's: its payload was not looked at. `None`, and no move,
    /// where [`next`](Self::next) is to tell.
    fn pass(&mut self) -> longshore_wal::Result<Option<Head>>;
    /// What stands between the last record and the next.
    fn chain(&self) -> &Chain;
}

impl Source for Wal {
    type Records = Reader;

    fn facts(&self) -> LogFacts {
        LogFacts { id: self.id(), content: self.content() }
    }
    fn segment_size(&self) -> SegmentSize {
        self.segment_size()
    }
    fn first(&self) -> Lsn {
        self.first()
    }
    fn end(&self) -> Lsn {
        self.durable().get()
    }
    fn read_from(&self, from: Lsn) -> longshore_wal::Result<Reader> {
        self.reader(from)
    }
}

/// Ends where the log ended when it was opened or last refreshed.
impl Source for ReadLog {
    type Records = Reader;

    fn facts(&self) -> LogFacts {
        LogFacts { id: self.id(), content: self.content() }
    }
    fn segment_size(&self) -> SegmentSize {
        self.segment_size()
    }
    fn first(&self) -> Lsn {
        self.first()
    }
    fn end(&self) -> Lsn {
        self.end()
    }
    fn damage(&self) -> Option<longshore_wal::Error> {
        self.damage()
    }
    fn read_from(&self, from: Lsn) -> longshore_wal::Result<Reader> {
        self.reader(from)
    }
}

impl Records for Reader {
    fn next(&mut self) -> longshore_wal::Result<Option<Record<'_>>> {
        self.next()
    }
    fn pass(&mut self) -> longshore_wal::Result<Option<Head>> {
        self.pass()
    }
    fn chain(&self) -> &Chain {
        self.chain()
    }
}

//! A log as the verdict on a replica sees it.

use longshore_format::{Content, Epoch, EpochHistory, LogId, Lsn, SegmentSize};
use longshore_protocol::LogState;
use longshore_wal::{Error, Role, Wal};

/// A log as of one moment.
pub(crate) struct State<'a> {
    wal: &'a Wal,
    history: EpochHistory,
    first: Lsn,
    pub(crate) end: Lsn,
    accepted: Epoch,
}

impl<'a> State<'a> {
    pub(crate) fn of(wal: &'a Wal) -> Self {
        // The end first: lives are announced before their records are durable, never after.
        Self::up_to(wal, wal.durable().get())
    }

    /// With what is shown to nobody but replicas that hold it back.
    pub(crate) fn offered(wal: &'a Wal) -> Self {
        Self::up_to(wal, wal.offered().get())
    }

    fn up_to(wal: &'a Wal, end: Lsn) -> Self {
        Self { wal, history: wal.history(), first: wal.first(), end, accepted: wal.accepted_epoch() }
    }
}

impl LogState for State<'_> {
    type Error = Error;

    fn log(&self) -> LogId {
        self.wal.id()
    }

    fn content(&self) -> Content {
        self.wal.content()
    }

    fn segment_size(&self) -> SegmentSize {
        self.wal.segment_size()
    }

    fn history(&self) -> &EpochHistory {
        &self.history
    }

    fn accepted(&self) -> Epoch {
        self.accepted
    }

    fn first(&self) -> Lsn {
        self.first
    }

    fn end(&self) -> Lsn {
        self.end
    }

    fn writes(&self) -> bool {
        self.wal.role() == Role::Writer
    }

    fn boundary(&self, at: Lsn) -> Result<(Lsn, u32), Error> {
        match self.wal.crc_at(at) {
            Ok(crc) => Ok((at, crc)),
            Err(Error::NotABoundary { nearest, .. }) => Ok((nearest, self.wal.crc_at(nearest)?)),
            Err(error) => Err(error),
        }
    }
}

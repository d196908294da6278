//! The handle of an open log.

use std::sync::Arc;

use longshore_format::{Content, Digest, EpochHistory, Flags, Kind, LogId, Lsn, SegmentSize, payload_crc};
use longshore_storage::Directory;

use crate::reader::{locate, locate_time};
use crate::shared::{Shared, lock};
use crate::view::Upto;
use crate::{Error, Events, FollowerSpec, Reader, Result, Role, SegmentInfo, SegmentReader, SegmentState, Watermark};

/// An open log. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Wal {
    shared: Arc<Shared>,
}

impl Wal {
    pub(crate) fn of(shared: Shared) -> Wal {
        Wal { shared: Arc::new(shared) }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Which log.
    pub fn id(&self) -> LogId {
        self.shared.view.id
    }

    /// What its records mean.
    pub fn content(&self) -> Content {
        self.shared.view.content
    }

    /// The size of its segments.
    pub fn segment_size(&self) -> SegmentSize {
        self.shared.view.size
    }

    /// What this process does with it.
    pub fn role(&self) -> Role {
        self.shared.settings.role
    }

    /// The directory.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.shared.view.dir
    }

    /// Its lives, the one that is written now last.
    pub fn history(&self) -> EpochHistory {
        // Also of a log that a panic stopped: its history is only ever extended.
        lock(&self.shared.append).history.clone()
    }

    /// The first position.
    pub fn first(&self) -> Lsn {
        self.shared.view.first()
    }

    /// Where the last appended record ends, durable or not.
    pub fn end(&self) -> Lsn {
        self.shared.end()
    }

    /// The header checksum of the last appended record; zero in an empty log.
    pub fn last_crc(&self) -> u32 {
        lock(&self.shared.append).chain().link
    }

    /// Up to where everything is durable on this disk and shown to readers. On a follower that was shipped what its writer was still
    /// syncing ([`Wal::hold_back`]) it is durable at the writer, too.
    pub fn durable(&self) -> &Watermark {
        &self.shared.view.durable
    }

    /// Up to where every segment is sealed: the base of the first that is not. Moves at each seal.
    pub fn sealed(&self) -> &Watermark {
        &self.shared.view.sealed
    }

    /// What this node acknowledged and lost, until it has it again.
    pub fn lost(&self) -> Option<Lsn> {
        self.shared.control.look(|state| state.lost)
    }

    /// A reader at the boundary `from`.
    pub fn reader(&self, from: Lsn) -> Result<Reader> {
        self.reader_up_to(Upto::Durable, from)
    }

    pub(crate) fn reader_up_to(&self, upto: Upto, from: Lsn) -> Result<Reader> {
        let view = &self.shared.view;
        if let Ok(appender) = self.shared.append.lock()
            && appender.position() == view.size.normalise(from)
            && appender.position() == view.end_of(upto).get()
        {
            // At the end, where followers and appliers mostly go on, nothing needs to be looked for.
            return Ok(Reader::new(Arc::clone(view), upto, *appender.chain()));
        }
        locate(view, upto, from)
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.view.infos()
    }

    /// The digest of a sealed segment; `None` if it is not sealed or not here.
    pub fn digest(&self, base: Lsn) -> Result<Option<Digest>> {
        self.shared.view.digest(base)
    }

    /// The bytes of a sealed segment's file.
    pub fn segment(&self, base: Lsn) -> Result<SegmentReader> {
        SegmentReader::open(&self.shared.view, base)
    }

    /// Where a new follower's log would begin: the first segment kept here.
    pub fn start_point(&self) -> Result<FollowerSpec> {
        self.shared.view.start_point(&self.policies())
    }

    /// The header checksum of the record that ends at the boundary `lsn`, up to what is [offered](Wal::offered); fails with
    /// [`NotABoundary`](crate::Error::NotABoundary), [`TooOld`](crate::Error::TooOld) or [`Beyond`](crate::Error::Beyond).
    pub fn crc_at(&self, lsn: Lsn) -> Result<u32> {
        self.offered_reader(lsn).map(|reader| reader.chain().link)
    }

    /// The boundary before the first record later than `time` (microseconds UTC).
    pub fn position_at(&self, time: u64) -> Result<Lsn> {
        locate_time(&self.shared.view, time)
    }

    /// What an operator should hear about.
    pub fn events(&self) -> &Events {
        &self.shared.view.events
    }

    /// Why the log is stopped, if it is.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure().cloned()
    }

    /// Closes in order: aborts an open run, syncs, and marks the log clean, so that the next open need not look at its
    /// tail. Every other handle gets `Closed` from then on. Stop the threads first.
    pub fn close(&self) -> Result<()> {
        let closed = self.finish();
        self.shared.close();
        closed
    }

    fn finish(&self) -> Result<()> {
        let shared = &*self.shared;
        let mut appender = shared.lock(&shared.append)?;
        shared.alive()?;
        if appender.may_mint(shared).is_ok() && appender.chain().run.is_some() {
            appender.mint(shared, Kind::ABORT, Flags::NONE, &[], payload_crc(&[]), None)?;
            appender.publish(shared);
        }
        // The append lock is held to the end: nothing comes after what is marked clean.
        let mut syncer = shared.lock(&shared.sync)?;
        let end = shared.sync_with(&mut syncer)?;
        shared.control.set_durable(end);
        shared.control.change(|state| state.clean = Some(end));
        shared.control.sync().map_err(|error| shared.poison(error))?;
        // What came after the mark would make it a lie.
        shared.close();
        Ok(())
    }
}

impl SegmentInfo {
    /// Whether the segment is sealed.
    pub fn is_sealed(&self) -> bool {
        self.state == SegmentState::Sealed
    }
}

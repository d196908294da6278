//! Filling a segment to come, a piece at a time.
//!
//! To write all of a segment at once keeps the disk busy for as long as that takes: some 40 ms of a disk of 1.5 GB/s, for
//! which every sync of whoever else uses it waits. With one segment ready nothing is urgent: the next is filled twice as
//! fast as the log grows, and each piece is synced before the next. Only where a file system cannot allocate, that alone writes
//! all of it.

use std::io;
use std::sync::Arc;

use longshore_format::Lsn;
use longshore_storage::File;

use crate::active::Spare;
use crate::prepare::{Failed, TEMPORARY, remove_if_there};
use crate::shared::Shared;
use crate::{Error, Role};

/// The longest piece.
const PIECE: u64 = 1 << 20;
/// A shorter segment has so many.
const PIECES: u64 = 16;

/// A segment that is allocated and not ready, for [`Wal::prepare_ahead`](crate::Wal::prepare_ahead). While there is one,
/// nobody else prepares any; whoever does not go on with it gives it back ([`Wal::give_back`](crate::Wal::give_back)).
#[derive(Debug)]
#[must_use = "until it is given back nobody else prepares a segment"]
pub struct Filling {
    pub(crate) base: Lsn,
    file: Arc<dyn File>,
    temporary: String,
    mapped: bool,
    filled: u64,
    /// Where the log ended when it was begun.
    begun: Lsn,
}

/// Whether a segment is to be filled on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// None is ready, or it is not the last that is to be: as fast as can be.
    Needed,
    /// It was just begun, or the log has grown enough since.
    Due,
    /// The log is to grow first.
    Early,
}

impl Shared {
    /// Allocates a segment, which is where a full disk is noticed.
    pub(crate) fn begin_filling(&self, base: Lsn) -> Result<Filling, Failed> {
        let size = self.view.size;
        self.may_take_disk()?;
        let upstream_end = Lsn::new(self.upstream_end.load(std::sync::atomic::Ordering::Relaxed));
        let behind = size.next_base(base).is_some_and(|next| next < upstream_end);
        let mapped = !(self.settings.role == Role::Follower && behind);

        let dir = &self.view.dir;
        let temporary = format!("{}{TEMPORARY}", size.file_name(base));
        let failed = |operation| move |error: io::Error| self.prepare_failed(operation, error);
        remove_if_there(&**dir, &temporary).map_err(failed("remove an old temporary segment"))?;
        let file = dir.create(&temporary).map_err(failed("create a segment"))?;
        let filling = Filling { base, file, temporary, mapped, filled: 0, begun: self.end() };
        let allocated = filling.file.allocate(size.get());
        self.or_give_back(&filling, allocated)?;
        Ok(filling)
    }

    /// How urgent the next piece is.
    pub(crate) fn urgency(&self, filling: &Filling) -> Urgency {
        let ready = self.spares.lock().map_or(0, |spares| spares.len());
        match ready == 0 || ready + 1 < self.settings.prepared {
            true => Urgency::Needed,
            false if filling.filled <= 2 * self.end().since(filling.begun) => Urgency::Due,
            false => Urgency::Early,
        }
    }

    /// Fills a piece and syncs it; whether that was the last.
    pub(crate) fn fill_piece(&self, filling: &mut Filling) -> Result<bool, Failed> {
        let size = self.view.size.get();
        let piece = if filling.mapped { PIECE.min(size / PIECES) } else { size };
        self.fill(filling, size.min(filling.filled + piece))?;
        self.sync_filled(filling)?;
        Ok(filling.filled == size)
    }

    /// Fills the rest, makes it durable, and gives it its name.
    pub(crate) fn finish(&self, mut filling: Filling) -> Result<Spare, Failed> {
        let size = self.view.size;
        self.fill(&mut filling, size.get())?;
        self.sync_filled(&filling)?;
        let Filling { base, file, temporary, mapped, .. } = filling;
        let failed = |operation| move |error: io::Error| self.prepare_failed(operation, error);
        let map = match mapped {
            true => Some(file.map(size.get() as usize).map_err(failed("map a segment"))?),
            false => None,
        };
        self.view.dir.rename(&temporary, &size.file_name(base)).map_err(failed("rename a segment"))?;
        self.view.dir.sync().map_err(|error| Failed::Final(Error::io("sync the log's directory")(error)))?;
        Ok(Spare { base, file, map })
    }

    fn fill(&self, filling: &mut Filling, until: u64) -> Result<(), Failed> {
        if filling.mapped {
            let filled = filling.file.zero_fill(filling.filled..until);
            self.or_give_back(filling, filled)?;
        }
        filling.filled = until;
        Ok(())
    }

    fn sync_filled(&self, filling: &Filling) -> Result<(), Failed> {
        filling.file.sync().map_err(|error| Failed::Final(Error::io("sync a prepared segment")(error)))
    }

    /// Gives back what was begun, so that the next one to prepare begins anew.
    pub(crate) fn give_back(&self, filling: Filling) {
        if self.alive().is_err() {
            // The directory may be another's by now, who removes it.
            return;
        }
        // What cannot be removed is removed at the next open.
        let _removed = remove_if_there(&*self.view.dir, &filling.temporary);
        if let Ok(mut spares) = self.spares.lock() {
            spares.give_up();
        }
    }

    /// F-041: what a failed allocation leaves behind is given back at once.
    fn or_give_back(&self, filling: &Filling, outcome: io::Result<()>) -> Result<(), Failed> {
        let Err(error) = outcome else { return Ok(()) };
        remove_if_there(&*self.view.dir, &filling.temporary)
            .map_err(|error| self.prepare_failed("remove a temporary segment", error))?;
        Err(self.prepare_failed("allocate a segment", error))
    }
}

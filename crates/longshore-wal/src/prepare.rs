//! Keeping the next segments ready: allocated, zero-filled, durable, and named, before they are needed.
//!
//! A full disk is noticed here, two segments early, as an error of `fallocate`; a store into the map of an allocated file
//! cannot find the disk full (F-059, F-060). A segment that a lagging follower writes with `pwrite` is not filled: that
//! would write everything twice.

use std::collections::VecDeque;
use std::io;

use longshore_format::Lsn;
use longshore_storage::Trouble;

use crate::active::Spare;
use crate::fill::Urgency;
use crate::shared::Shared;
use crate::{Error, Event, Filling, Full, Result, Wal};

/// The segments that are ready, in order.
#[derive(Debug)]
pub(crate) struct Spares {
    ready: VecDeque<Spare>,
    /// The base of the next one to prepare; `None` when positions end.
    next: Option<Lsn>,
    /// Why the last attempt failed, until one succeeds.
    trouble: Option<Full>,
    /// Somebody is preparing `next`, which may take as long as the log takes to grow.
    busy: bool,
}

impl Spares {
    pub(crate) fn new(ready: VecDeque<Spare>, next: Option<Lsn>) -> Spares {
        Spares { ready, next, trouble: None, busy: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Nobody prepares any more.
    pub(crate) fn give_up(&mut self) {
        self.busy = false;
    }

    pub(crate) fn trouble(&self) -> Option<Full> {
        self.trouble.clone()
    }
}

pub(crate) const TEMPORARY: &str = ".tmp";

impl Wal {
    /// Prepares one segment if one is wanted. `false` if none is, or there is no space: then it is tried again at the next
    /// call, and appends go on while segments last.
    pub fn prepare_once(&self) -> Result<bool> {
        let shared = self.shared();
        shared.alive()?;
        let Some(base) = shared.claim_spare()? else { return Ok(false) };
        shared.settle(shared.begin_filling(base).and_then(|filling| shared.finish(filling)))
    }

    /// The same, but of the last one that is wanted no more than a piece, and only if that is due: it is filled twice as fast as the
    /// log grows. `filling` is what was begun; `false` if nothing is to be done now, as there is no space, or somebody else is at it.
    pub fn prepare_ahead(&self, filling: &mut Option<Filling>) -> Result<bool> {
        let shared = self.shared();
        shared.alive()?;
        let mut segment = match filling.take() {
            Some(begun) => begun,
            None => {
                let Some(base) = shared.claim_spare()? else { return Ok(false) };
                match shared.begin_filling(base) {
                    Ok(begun) => begun,
                    Err(failed) => return shared.settle(Err(failed)),
                }
            }
        };
        let urgency = shared.urgency(&segment);
        let is_filled = match urgency {
            Urgency::Needed => Ok(true),
            Urgency::Due => shared.fill_piece(&mut segment),
            Urgency::Early => Ok(false),
        };
        match is_filled {
            Ok(true) => shared.settle(shared.finish(segment)),
            Ok(false) => {
                *filling = Some(segment);
                Ok(urgency != Urgency::Early)
            }
            Err(failed) => shared.settle(Err(failed)),
        }
    }

    /// Gives back what [`Wal::prepare_ahead`] began.
    pub fn give_back(&self, filling: Filling) {
        self.shared().give_back(filling);
    }

    /// For a follower: where the upstream's log ends. While that is more than a segment ahead, segments are written with
    /// `pwrite` into unfilled files rather than mapped.
    pub fn set_upstream_end(&self, end: Lsn) {
        self.shared().upstream_end.store(end.get(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// Why a segment was not prepared.
pub(crate) enum Failed {
    /// No space: tried again later.
    Full(Full),
    /// Tried again later as well, but the caller should see it (F-067).
    Passing(Error),
    /// The log stops: what the disk holds is unknown (F-063, F-064).
    Final(Error),
}

impl Shared {
    fn claim_spare(&self) -> Result<Option<Lsn>> {
        let mut spares = self.lock(&self.spares)?;
        if spares.busy || self.settings.prepared <= spares.len() {
            return Ok(None);
        }
        spares.busy = spares.next.is_some();
        Ok(spares.next)
    }

    pub(crate) fn take_spare(&self) -> Result<Spare> {
        let mut spares = self.lock(&self.spares)?;
        let trouble = spares.trouble.clone().unwrap_or(Full::NotReady);
        spares.ready.pop_front().ok_or(Error::Full(trouble))
    }

    /// Bytes of disk the log takes, prepared segments included.
    pub(crate) fn disk_used(&self) -> u64 {
        let spares = self.spares.lock().map_or(0, |spares| spares.len() + usize::from(spares.busy));
        (self.view.count() + spares) as u64 * self.view.size.get()
    }

    /// Ends a claim. `false` if there is no space.
    fn settle(&self, prepared: Result<Spare, Failed>) -> Result<bool> {
        let mut spares = self.lock(&self.spares)?;
        spares.busy = false;
        let trouble = match prepared {
            Ok(spare) => {
                spares.next = self.view.size.next_base(spare.base);
                spares.ready.push_back(spare);
                None
            }
            Err(Failed::Full(full)) => Some(full),
            Err(Failed::Final(error)) => {
                drop(spares);
                return Err(self.poison(error));
            }
            Err(Failed::Passing(error)) => return Err(error),
        };
        let before = std::mem::replace(&mut spares.trouble, trouble.clone());
        drop(spares);
        match (before, &trouble) {
            (None, Some(_)) => self.view.events.push(Event::NoSpace { needed: self.view.size.get() }),
            (Some(_), None) => self.view.events.push(Event::SpaceAgain),
            _ => {}
        }
        self.room.ring();
        Ok(trouble.is_none())
    }

    /// Refuses another segment beyond the limit. The one that is claimed counts.
    pub(crate) fn may_take_disk(&self) -> Result<(), Failed> {
        let used = self.disk_used();
        match self.settings.disk_limit.filter(|limit| *limit < used) {
            Some(limit) => Err(Failed::Full(Full::Disk { used: used - self.view.size.get(), limit })),
            None => Ok(()),
        }
    }

    pub(crate) fn prepare_failed(&self, operation: &'static str, error: io::Error) -> Failed {
        match Trouble::of(&error) {
            Trouble::NoSpace => Failed::Full(Full::NoSpace { needed: self.view.size.get() }),
            Trouble::TooManyFiles | Trouble::NoMemory => Failed::Passing(Error::io(operation)(error)),
            _ => Failed::Final(Error::io(operation)(error)),
        }
    }
}

pub(crate) fn remove_if_there(dir: &dyn longshore_storage::Directory, name: &str) -> io::Result<()> {
    match dir.remove(name) {
        Err(error) if Trouble::of(&error) != Trouble::NotFound => Err(error),
        _ => Ok(()),
    }
}

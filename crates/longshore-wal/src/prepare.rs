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
use crate::shared::Shared;
use crate::{Error, Event, Full, Result, Role, Wal};

/// The segments that are ready, in order.
#[derive(Debug)]
pub(crate) struct Spares {
    ready: VecDeque<Spare>,
    /// The base of the next one to prepare; `None` when positions end.
    next: Option<Lsn>,
    /// Why the last attempt failed, until one succeeds.
    trouble: Option<Full>,
    /// Somebody is preparing `next` at the moment.
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
        let prepared = shared.prepare(base);
        let mut spares = shared.lock(&shared.spares)?;
        spares.busy = false;
        let trouble = match prepared {
            Ok(spare) => {
                spares.next = shared.view.size.next_base(base);
                spares.ready.push_back(spare);
                None
            }
            Err(Failed::Full(full)) => Some(full),
            Err(Failed::Final(error)) => {
                drop(spares);
                return Err(shared.poison(error));
            }
            Err(Failed::Passing(error)) => return Err(error),
        };
        let before = std::mem::replace(&mut spares.trouble, trouble.clone());
        drop(spares);
        match (before, &trouble) {
            (None, Some(_)) => shared.view.events.push(Event::NoSpace { needed: shared.view.size.get() }),
            (Some(_), None) => shared.view.events.push(Event::SpaceAgain),
            _ => {}
        }
        shared.room.notify(usize::MAX);
        Ok(trouble.is_none())
    }

    /// For a follower: where the upstream's log ends. While that is more than a segment ahead, segments are written with
    /// `pwrite` into unfilled files rather than mapped.
    pub fn set_upstream_end(&self, end: Lsn) {
        self.shared().upstream_end.store(end.get(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// Why a segment was not prepared.
enum Failed {
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

    fn prepare(&self, base: Lsn) -> Result<Spare, Failed> {
        let size = self.view.size;
        let used = self.disk_used();
        if let Some(limit) = self.settings.disk_limit.filter(|limit| *limit < used) {
            return Err(Failed::Full(Full::Disk { used: used - size.get(), limit }));
        }
        let upstream_end = Lsn::new(self.upstream_end.load(std::sync::atomic::Ordering::Relaxed));
        let behind = size.next_base(base).is_some_and(|next| next < upstream_end);
        let mapped = !(self.settings.role == Role::Follower && behind);

        let dir = &self.view.dir;
        let name = size.file_name(base);
        let temporary = format!("{name}{TEMPORARY}");
        let failed = |operation| move |error: io::Error| self.prepare_failed(operation, error);
        remove_if_there(&**dir, &temporary).map_err(failed("remove an old temporary segment"))?;
        let file = dir.create(&temporary).map_err(failed("create a segment"))?;
        let filled = file.allocate(size.get()).and_then(|()| match mapped {
            true => file.zero_fill(0..size.get()),
            false => Ok(()),
        });
        if let Err(error) = filled {
            // F-041: what a failed allocation leaves behind is given back at once.
            remove_if_there(&**dir, &temporary).map_err(failed("remove a temporary segment"))?;
            return Err(self.prepare_failed("allocate a segment", error));
        }
        file.sync().map_err(|error| Failed::Final(Error::io("sync a prepared segment")(error)))?;
        let map = match mapped {
            true => Some(file.map(size.get() as usize).map_err(failed("map a segment"))?),
            false => None,
        };
        dir.rename(&temporary, &name).map_err(failed("rename a segment"))?;
        dir.sync().map_err(|error| Failed::Final(Error::io("sync the log's directory")(error)))?;
        Ok(Spare { base, file, map })
    }

    fn prepare_failed(&self, operation: &'static str, error: io::Error) -> Failed {
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

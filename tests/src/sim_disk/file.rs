//! A file of the simulated disk as the storage traits show it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_storage::{Access, File, Living, OnWrite, Region, RegionReader, RegionWatch, RegionWriter};

use super::inode::Inode;
use super::names::NodeId;
use super::{EIO, ENOSPC, Progress, SimDisk, State, SyncFault, errno};

/// A file as one process has it open.
#[derive(Clone, Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    process: u64,
    node: NodeId,
    access: Access,
    path: String,
    /// The region mapped through this handle last.
    region: Arc<Mutex<RegionWatch>>,
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, process: u64, node: NodeId, access: Access, path: String) -> SimFile {
        SimFile { disk, process, node, access, path, region: Arc::default() }
    }

    fn living(&self) -> Option<Living> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).living()
    }

    fn look<T>(&self, act: impl FnOnce(&mut State, NodeId) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        state.alive(self.process)?;
        act(&mut state, self.node)
    }

    /// Runs a change of this file: at a power failure its effect is made and may or may not survive.
    fn change<T>(&self, act: impl FnOnce(&mut State, NodeId) -> io::Result<T>) -> io::Result<T> {
        if self.access == Access::Read {
            return Err(self.refuse("opened for reading only"));
        }
        let mut state = self.disk.state();
        let progress = state.begin(self.process)?;
        let value = act(&mut state, self.node)?;
        progress.result(value)
    }

    fn refuse(&self, reason: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {reason}", self.path))
    }

    /// What a store through the region does: seen by the page cache like any write, with no way to fail.
    fn on_write(&self) -> OnWrite {
        let file = self.clone();
        Box::new(move |at, bytes| {
            let mut state = file.disk.state();
            if state.begin(file.process).is_ok() {
                state.inode(file.node).write(at, bytes);
            }
        })
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.look(|state, node| Ok(state.inode(node).len() as u64))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.look(|state, node| {
            let inode = state.inode(node);
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.len());
            let end = start.saturating_add(buf.len()).min(inode.len());
            if inode.is_bad(start, end) {
                state.stats.read_errors += 1;
                return Err(errno(EIO));
            }
            buf[..end - start].copy_from_slice(&inode.bytes()[start..end]);
            Ok(end - start)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|state, node| {
            let offset = usize::try_from(offset).map_err(|_| errno(ENOSPC))?;
            let inode = state.inode(node);
            if self.living().is_some_and(|living| offset < living.published) {
                return Err(self.refuse("a write below what is published of its mapped region"));
            }
            let more = (offset + bytes.len()).saturating_sub(inode.allocated()) as u64;
            if more > state.free() {
                state.stats.out_of_space += 1;
                return Err(errno(ENOSPC));
            }
            state.inode(node).write(offset, bytes);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(|state, node| {
            let there = state.inode(node).allocated() as u64;
            let fits = there.saturating_add(state.free()).min(len);
            state.inode(node).allocate(fits as usize);
            if fits < len {
                state.stats.out_of_space += 1;
                return Err(errno(ENOSPC));
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|state, node| {
            if self.living().is_some_and(|living| len < living.len as u64) {
                return Err(self.refuse("a length shorter than its mapped region"));
            }
            state.inode(node).set_len(len as usize);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.disk.state();
        let state = &mut *guard;
        if state.begin(self.process)? == Progress::PowerFails {
            return Progress::PowerFails.result(());
        }
        let fault = state.take_sync_fault();
        let mut rng = state.rng.split();
        let mapped = self.living().is_some();
        if mapped && !state.names.has_name(self.node) {
            return Err(self.refuse("the file was removed while it was mapped"));
        }
        let inode = state.inodes.entry(self.node).or_default();
        match fault {
            None => inode.sync(),
            Some(SyncFault::Slow(delay)) => {
                inode.sync();
                state.stats.slow_syncs += 1;
                self.disk.environment.advance(delay);
            }
            Some(fault) => {
                inode.fail_sync(fault, &mut rng);
                state.stats.sync_errors += 1;
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn map(&self, len: usize) -> io::Result<(RegionWriter, RegionReader)> {
        if len == 0 || self.len()? < len as u64 {
            return Err(self.refuse("the file is shorter than the region to be mapped"));
        }
        self.allocate(len as u64)?;
        self.look(|state, node| {
            let inode = state.inode(node);
            if self.living().is_some() {
                return Err(self.refuse("a region of this file is already mapped"));
            }
            if inode.is_bad(0, len) {
                return Err(errno(EIO));
            }
            let (writer, reader) = Region::heap(inode.bytes()[..len].into(), Some(self.on_write()));
            *self.region.lock().unwrap_or_else(PoisonError::into_inner) = reader.watch();
            Ok((writer, reader))
        })
    }
}

impl State {
    /// The file behind an open handle, which is there until the process ends even if its name is not.
    fn inode(&mut self, node: NodeId) -> &mut Inode {
        self.inodes.entry(node).or_default()
    }
}

//! A directory of the simulated disk as the storage traits show it.

use std::io;
use std::sync::Arc;

use longshore_storage::{Access, DirEntry, Directory, File, Lock, Medium};

use super::file::SimFile;
use super::inode::Inode;
use super::names::NodeId;
use super::{Progress, SimDisk, State, SyncFault, errno};

/// A directory as one process sees it.
#[derive(Clone, Debug)]
pub(super) struct SimDirectory {
    disk: SimDisk,
    process: u64,
    node: NodeId,
    path: String,
}

impl SimDirectory {
    pub(super) fn new(disk: SimDisk, process: u64, node: NodeId, path: String) -> SimDirectory {
        SimDirectory { disk, process, node, path }
    }

    /// Runs a change of this directory: at a power failure its effect is made and may or may not survive.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        let progress = state.begin(self.process)?;
        let value = act(&mut state)?;
        progress.result(value)
    }

    fn find(&self, state: &State, name: &str) -> io::Result<NodeId> {
        state.names.find(self.node, name).ok_or_else(|| self.error(io::ErrorKind::NotFound, name))
    }

    fn error(&self, kind: io::ErrorKind, name: &str) -> io::Error {
        io::Error::new(kind, format!("{}/{name}: {kind}", self.path))
    }

    fn file(&self, node: NodeId, name: &str, access: Access) -> Arc<dyn File> {
        let path = format!("{}/{name}", self.path);
        Arc::new(SimFile::new(self.disk.clone(), self.process, node, access, path))
    }

    fn single(&self, name: &str) -> io::Result<()> {
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(self.error(io::ErrorKind::InvalidInput, name));
        }
        Ok(())
    }
}

impl Directory for SimDirectory {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let state = self.disk.state();
        state.alive(self.process)?;
        let entries = state.names.entries(self.node).into_iter().flatten();
        let entry = |(name, node): (&String, &NodeId)| {
            let directory = state.names.is_directory(*node);
            let len = state.inodes.get(node).map_or(0, Inode::len) as u64;
            DirEntry { name: name.clone(), len, regular: !directory, directory }
        };
        Ok(entries.map(entry).collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.single(name)?;
        let mut state = self.disk.state();
        state.alive(self.process)?;
        if let Some(number) = state.armed_open.take() {
            return Err(errno(number));
        }
        let node = self.find(&state, name)?;
        if state.names.is_directory(node) {
            return Err(self.error(io::ErrorKind::InvalidInput, name));
        }
        Ok(self.file(node, name, access))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.single(name)?;
        self.change(|state| {
            if let Some(number) = state.armed_open.take() {
                return Err(errno(number));
            }
            if state.names.find(self.node, name).is_some() {
                return Err(self.error(io::ErrorKind::AlreadyExists, name));
            }
            let node = state.new_node();
            state.inodes.insert(node, Inode::default());
            state.names.add_file(self.node, name, node);
            Ok(self.file(node, name, Access::Write))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.single(from)?;
        to.split('/').try_for_each(|component| self.single(component))?;
        self.change(|state| {
            let node = self.find(state, from)?;
            let (parent, name) = to.rsplit_once('/').unwrap_or(("", to));
            let dir = if parent.is_empty() { Some(self.node) } else { state.names.walk(self.node, parent) };
            let dir = dir.filter(|dir| state.names.is_directory(*dir));
            let dir = dir.ok_or_else(|| self.error(io::ErrorKind::NotFound, to))?;
            if state.names.find(dir, name).is_some_and(|taken| state.names.is_directory(taken)) {
                return Err(self.error(io::ErrorKind::AlreadyExists, to));
            }
            state.names.rename((self.node, from), (dir, name), node);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.single(name)?;
        self.change(|state| {
            let node = self.find(state, name)?;
            if state.names.is_directory(node) {
                return Err(self.error(io::ErrorKind::IsADirectory, name));
            }
            state.names.remove(self.node, name, node);
            Ok(())
        })
    }

    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        self.single(name)?;
        self.change(|state| {
            let node = self.find(state, name)?;
            match state.names.entries(node) {
                None => return Err(self.error(io::ErrorKind::NotADirectory, name)),
                Some(entries) if !entries.is_empty() => {
                    return Err(self.error(io::ErrorKind::DirectoryNotEmpty, name));
                }
                Some(_) => {}
            }
            state.names.remove(self.node, name, node);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.disk.state();
        let state = &mut *guard;
        if state.begin(self.process)? == Progress::PowerFails {
            return Progress::PowerFails.result(());
        }
        match state.take_sync_fault() {
            None => {}
            Some(SyncFault::Slow(delay)) => {
                state.stats.slow_syncs += 1;
                self.disk.environment.advance(delay);
            }
            // The changes stay pending: file systems keep their metadata in a journal, which does not forget.
            Some(fault) => {
                state.stats.sync_errors += 1;
                return Err(fault.error());
            }
        }
        state.names.sync(self.node);
        Ok(())
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        self.single(name)?;
        if self.disk.state().names.find(self.node, name).is_none() {
            self.change(|state| {
                let node = state.new_node();
                state.names.add_directory(self.node, name, node);
                Ok(())
            })?;
        }
        self.open_subdir(name)
    }

    fn open_subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        self.single(name)?;
        let state = self.disk.state();
        state.alive(self.process)?;
        let node = self.find(&state, name)?;
        if !state.names.is_directory(node) {
            return Err(self.error(io::ErrorKind::NotADirectory, name));
        }
        Ok(Arc::new(SimDirectory { node, path: format!("{}/{name}", self.path), ..self.clone() }))
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        let mut state = self.disk.state();
        state.alive(self.process)?;
        if !state.locks.insert(self.node) {
            let process = format!("held by process {} of the simulation", self.process);
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, process));
        }
        Ok(Box::new(SimLock { disk: self.disk.clone(), process: self.process, node: self.node }))
    }

    fn locked(&self) -> io::Result<bool> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(state.locks.contains(&self.node))
    }

    fn intact(&self) -> io::Result<bool> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(self.node == super::ROOT || state.names.has_name(self.node))
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(state.free())
    }

    fn medium(&self) -> io::Result<Medium> {
        Ok(Medium::Disk)
    }

    fn path_hint(&self) -> String {
        self.path.clone()
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    process: u64,
    node: NodeId,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process == self.process {
            state.locks.remove(&self.node);
        }
    }
}

//! A real directory that fails when it is told to, and remembers in which order things were done to it.

use std::io;
use std::sync::{Arc, Mutex};

use longshore_storage::{Access, DirEntry, Directory, File, Lock, Medium, RegionReader, RegionWriter};

/// One thing done to a directory or a file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Created(String),
    Allocated(String),
    Wrote(String),
    Read(String),
    Synced(String),
    Renamed(String, String),
    SyncedDirectory,
}

/// Shared by a directory and everything opened through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    done: Vec<Done>,
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    which: fn(&Done) -> bool,
    /// So many of them work first.
    left: u64,
    errno: i32,
    /// So many fail then.
    failing: u64,
    fired: bool,
}

impl Faults {
    /// From the one after `left` more on, everything that `which` picks fails with `errno`.
    pub(crate) fn arm(&self, which: fn(&Done) -> bool, left: u64, errno: i32) {
        self.0.lock().unwrap().armed = Some(Armed { which, left, errno, failing: u64::MAX, fired: false });
    }

    /// Only the one after `left` more fails.
    pub(crate) fn arm_once(&self, which: fn(&Done) -> bool, left: u64, errno: i32) {
        self.0.lock().unwrap().armed = Some(Armed { which, left, errno, failing: 1, fired: false });
    }

    /// Everything works again; says whether anything failed.
    pub(crate) fn disarm(&self) -> bool {
        self.0.lock().unwrap().armed.take().is_some_and(|armed| armed.fired)
    }

    /// What was done since it was last asked, oldest first. What failed is not in it.
    pub(crate) fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut self.0.lock().unwrap().done)
    }

    fn attempt<T>(&self, what: Done, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if let Some(armed) = state.armed.as_mut().filter(|armed| (armed.which)(&what)) {
            if armed.left > 0 {
                armed.left -= 1;
            } else if armed.failing > 0 {
                armed.failing -= 1;
                armed.fired = true;
                return Err(io::Error::from_raw_os_error(armed.errno));
            }
        }
        drop(state);
        let value = act()?;
        self.0.lock().unwrap().done.push(what);
        Ok(value)
    }
}

#[derive(Debug)]
pub(crate) struct FaultyDirectory {
    inner: Arc<dyn Directory>,
    faults: Faults,
}

impl FaultyDirectory {
    pub(crate) fn over(inner: Arc<dyn Directory>, faults: &Faults) -> Arc<dyn Directory> {
        Arc::new(FaultyDirectory { inner, faults: faults.clone() })
    }

    fn file(&self, name: &str, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultyFile { name: name.to_owned(), inner, faults: self.faults.clone() })
    }
}

impl Directory for FaultyDirectory {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        self.inner.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        Ok(self.file(name, self.inner.open(name, access)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let inner = self.faults.attempt(Done::Created(name.to_owned()), || self.inner.create(name))?;
        Ok(self.file(name, inner))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.attempt(Done::Renamed(from.to_owned(), to.to_owned()), || self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        self.inner.remove_subdir(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.attempt(Done::SyncedDirectory, || self.inner.sync())
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        Ok(FaultyDirectory::over(self.inner.subdir(name)?, &self.faults))
    }

    fn open_subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        Ok(FaultyDirectory::over(self.inner.open_subdir(name)?, &self.faults))
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.inner.lock()
    }

    fn locked(&self) -> io::Result<bool> {
        self.inner.locked()
    }

    fn intact(&self) -> io::Result<bool> {
        self.inner.intact()
    }

    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }

    fn medium(&self) -> io::Result<Medium> {
        self.inner.medium()
    }

    fn path_hint(&self) -> String {
        self.inner.path_hint()
    }
}

/// A file under the name it was opened by.
#[derive(Debug)]
struct FaultyFile {
    name: String,
    inner: Arc<dyn File>,
    faults: Faults,
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.attempt(Done::Read(self.name.clone()), || self.inner.read_at(buf, offset))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.attempt(Done::Wrote(self.name.clone()), || self.inner.write_all_at(bytes, offset))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.faults.attempt(Done::Allocated(self.name.clone()), || self.inner.allocate(len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.attempt(Done::Synced(self.name.clone()), || self.inner.sync())
    }

    fn map(&self, len: usize) -> io::Result<(RegionWriter, RegionReader)> {
        self.inner.map(len)
    }
}

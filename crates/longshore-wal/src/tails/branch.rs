//! A log as it was before a fork cut it: its own segments up to the fork's, and then the tail's.

use std::io;
use std::sync::Arc;

use longshore_format::{Lsn, SegmentSize};
use longshore_storage::{Access, DirEntry, Directory, File, Lock, Medium};

/// Two directories seen as one, for reading alone: everything that would change either is refused.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) log: Arc<dyn Directory>,
    pub(super) tail: Arc<dyn Directory>,
    pub(super) size: SegmentSize,
    /// The tail's first segment: those before it are the log's.
    pub(super) base: Lsn,
}

impl Branch {
    fn is_of_log(&self, name: &str) -> bool {
        self.size.parse_file_name(name).is_some_and(|base| base < self.base)
    }
}

impl Directory for Branch {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = self.log.list()?;
        entries.retain(|entry| self.is_of_log(&entry.name));
        entries.extend(self.tail.list()?);
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        match access {
            Access::Write => Err(read_only()),
            Access::Read if self.is_of_log(name) => self.log.open(name, access),
            Access::Read => self.tail.open(name, access),
        }
    }

    fn open_subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        self.tail.open_subdir(name)
    }

    /// Nobody writes a tail: who holds its lock reads it.
    fn locked(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn intact(&self) -> io::Result<bool> {
        Ok(self.log.intact()? && self.tail.intact()?)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.tail.free_space()
    }

    fn medium(&self) -> io::Result<Medium> {
        self.tail.medium()
    }

    fn path_hint(&self) -> String {
        self.tail.path_hint()
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn File>> {
        Err(read_only())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove_subdir(&self, _name: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn subdir(&self, _name: &str) -> io::Result<Arc<dyn Directory>> {
        Err(read_only())
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        Err(read_only())
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a tail is only read")
}

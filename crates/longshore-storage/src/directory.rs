//! A directory as a log needs it: names, durable renames, a lock, and what lies below it.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::{File, Medium};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; nothing is changed, not even a time stamp that matters.
    Read,
    /// Reads and writes.
    Write,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without any path.
    pub name: String,
    /// The length in bytes; 0 for what is not a regular file.
    pub len: u64,
    /// Whether it is a regular file. A symbolic link is not, wherever it points.
    pub regular: bool,
    /// Whether it is a directory.
    pub directory: bool,
}

/// A held lock on a directory; dropping it, or the death of the process, frees it.
pub trait Lock: Send + Sync + Debug {}

/// A directory: the seam under which a disk can be simulated.
///
/// A *name* is one path component. Creating, renaming and removing are seen at once by this process, and survive a
/// power cut only after [`Directory::sync`]; until then each of them may be lost independently of the others.
///
/// Errors carry what was tried and on which path; [`Trouble::of`](crate::Trouble::of) tells the causes apart.
pub trait Directory: Send + Sync + Debug {
    /// Every name, sorted, without `.` and `..`. A name that is not UTF-8 is shown with replacement characters and is
    /// never regular, since nothing of ours has one.
    fn list(&self) -> io::Result<Vec<DirEntry>>;

    /// Opens a regular file. Symbolic links, devices, pipes and (for writing) files with a second hard link are refused.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Creates an empty file with mode 0600 for reading and writing; `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file or directory, replacing a file that has the new name. `to` may be `subdirectory/name` (any depth);
    /// then the subdirectory needs its own [`Directory::sync`] as well.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes an empty subdirectory.
    fn remove_subdir(&self, name: &str) -> io::Result<()>;

    /// Makes every name durable: what was created, renamed or removed here before the call survives a power cut.
    fn sync(&self) -> io::Result<()>;

    /// Opens a subdirectory, creating it with mode 0700 if it is not there.
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>>;

    /// Opens a subdirectory that exists.
    fn open_subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>>;

    /// Takes the exclusive lock of this directory, without waiting. `ResourceBusy` names the process that holds it.
    fn lock(&self) -> io::Result<Box<dyn Lock>>;

    /// Whether some process holds the lock now. Changes nothing, not even on a read-only medium.
    fn locked(&self) -> io::Result<bool>;

    /// Whether the path still leads to this directory: `false` once it was replaced, removed or unmounted, or another
    /// file system was mounted over it.
    fn intact(&self) -> io::Result<bool>;

    /// Bytes that an unprivileged process can still allocate here.
    fn free_space(&self) -> io::Result<u64>;

    /// Whether files can be made here, as far as the system says.
    fn is_writable(&self) -> bool {
        true
    }

    /// What kind of file system this is, and so what its durability is worth.
    fn medium(&self) -> io::Result<Medium>;

    /// The path, for messages only.
    fn path_hint(&self) -> String;
}

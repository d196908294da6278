//! A log's database at one node, whichever role the node has: an application writes it and it is captured while the node writes
//! the log, and the log is applied to it while the node follows.
//!
//! ```text
//!            promoted                       fenced
//!   applied ──────────▶ captured ─────────────────────▶ held ──────▶ applied
//!   PageSink            Capturing        nobody writes            PageSink
//! ```
//!
//! From the moment at which the log takes no more of it until it is captured again, nobody but the log writes the database:
//! SQLite's write lock is held throughout, by what comes before each arrow and then by what comes behind it, and an application
//! is told `SQLITE_BUSY`. A process that ends lets go of it. So `PATH-longshore` says how the database was left, and one that
//! somebody else has written since is *astray*: a copy is kept of it, nobody reads it, and it is given a whole database.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::replica_wal::WriteFence;

/// What is known of a log's database from one role to the next.
#[derive(Debug)]
pub struct LogDatabase {
    path: PathBuf,
    is_claimed: bool,
    held: Mutex<Option<Held>>,
}

/// What the name of a copy that is kept has after the database's, before a number.
pub(crate) const KEPT: &str = "-longshore-kept-";

/// The lock, and the file that it is of.
#[derive(Debug)]
struct Held {
    fence: WriteFence,
    identity: (u64, u64),
}

impl LogDatabase {
    /// The database at `path`, which is the log's if it was made by it.
    pub fn new(path: impl AsRef<Path>) -> LogDatabase {
        LogDatabase { path: path.as_ref().to_owned(), is_claimed: false, held: Mutex::default() }
    }

    /// The same, where whoever names it says that it is the log's: an application's own, which was captured into it.
    pub fn of_an_application(path: impl AsRef<Path>) -> LogDatabase {
        LogDatabase { is_claimed: true, ..LogDatabase::new(path) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The copies that were kept of what it held and no log does ([`PageSink`](crate::PageSink)), until somebody removes them.
    pub fn kept(&self) -> Vec<PathBuf> {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Vec::new();
        };
        let prefix = format!("{name}{KEPT}");
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let is_kept = |entry: &std::fs::DirEntry| {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let mut kept: Vec<_> = entries.filter(is_kept).map(|entry| entry.path()).collect();
        kept.sort();
        kept
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    /// The fence of the file at `path`, put up if it is not.
    pub(crate) fn fence(&self, path: &Path) -> Result<WriteFence, Error> {
        let identity = identity_of(path)?;
        let mut held = self.lock();
        // Of a file that is no longer there it keeps nobody out.
        held.take_if(|held| held.identity != identity);
        if let Some(held) = &*held {
            return Ok(held.fence.clone());
        }
        let fence = WriteFence::put_up(path)?;
        *held = Some(Held { fence: fence.clone(), identity });
        Ok(fence)
    }

    /// Keeps a fence that is up.
    pub(crate) fn hold(&self, fence: WriteFence, identity: (u64, u64)) {
        *self.lock() = Some(Held { fence, identity });
    }

    /// Lets an application write.
    pub(crate) fn let_go(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device and inode behind a path; opens nothing.
pub(crate) fn identity_of(path: &Path) -> Result<(u64, u64), Error> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(Error::at(path))?;
    Ok((metadata.dev(), metadata.ino()))
}

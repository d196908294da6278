//! Output that never looks complete before it is: written beside its place, synced, then renamed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A file that is being written as `PATH.partial` until it is complete.
///
/// An interrupted writer leaves `PATH.partial`, and the next one goes on with it: the sink that
/// writes there knows the position it holds. `PATH` itself is never there half done (F-126).
#[derive(Debug, Clone)]
pub struct Partial {
    destination: PathBuf,
    partial: PathBuf,
}

impl Partial {
    /// The partial file of `path`.
    pub fn of(destination: impl AsRef<Path>) -> Partial {
        let destination = destination.as_ref().to_owned();
        let mut partial = destination.clone().into_os_string();
        partial.push(".partial");
        Partial { destination, partial: partial.into() }
    }

    /// Where the output will be.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Where to write meanwhile.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Whether an earlier writer left something to go on with.
    pub fn exists(&self) -> io::Result<bool> {
        self.partial.try_exists()
    }

    /// Whether the output is there already. A dangling link counts: renaming would replace it.
    pub fn is_taken(&self) -> bool {
        self.destination.symlink_metadata().is_ok()
    }

    /// Makes the complete file durable and gives it its name; refuses to replace anything.
    ///
    /// The name is linked rather than renamed, because a rename would silently replace a file that
    /// appeared meanwhile. Repeating it after a crash in the middle is harmless.
    pub fn complete(&self) -> io::Result<()> {
        File::open(&self.partial)?.sync_all()?;
        match std::fs::hard_link(&self.partial, &self.destination) {
            // Some file systems have no links. There only the check above the rename is left.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                if self.is_taken() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                std::fs::rename(&self.partial, &self.destination)?;
            }
            linked => {
                linked?;
                std::fs::remove_file(&self.partial)?;
            }
        }
        sync_parent(&self.destination)
    }
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

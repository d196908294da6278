//! A file that gets its name when it is whole.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::files::io;

/// A file that is being written. Dropped before it is complete, it goes.
pub(super) struct Partial {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

const SUFFIX: &str = ".partial";

impl Partial {
    /// Begins the file that will be `path`. No two have one temporary name: a fetch that was given up may still be writing.
    pub(super) fn create(path: PathBuf) -> Result<Partial> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = PathBuf::from(format!("{}.{}-{count}{SUFFIX}", path.display(), std::process::id()));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io(&temporary))?;
        Ok(Partial { file, temporary, path })
    }

    /// Writes what comes next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(io(&self.temporary))
    }

    /// Makes it `len` bytes long and durable, and then gives it its name. Whoever made it syncs the directory.
    pub(super) fn complete(self, len: u64) -> Result<()> {
        let durable = self.file.set_len(len).and_then(|()| self.file.sync_all());
        durable.and_then(|()| std::fs::rename(&self.temporary, &self.path)).map_err(io(&self.path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.temporary);
    }
}

/// Removes what fetches that were killed have left. One that is still writing finds its file gone, and names nothing.
pub(super) fn clear(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(io(dir))? {
        let path = entry.map_err(io(dir))?.path();
        if path.to_string_lossy().ends_with(SUFFIX) {
            std::fs::remove_file(&path).or_else(gone).map_err(io(&path))?;
        }
    }
    Ok(())
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

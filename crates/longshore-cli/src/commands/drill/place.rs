//! The directory of one drill: locked while it goes on, so that the next one can tell what a kill has left.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use longshore_format::Name;

use crate::failure::Failure;

/// A directory that nobody else has, below the one that was named.
pub(super) struct Place {
    path: PathBuf,
    _locked: File,
}

/// In every directory that a drill has made.
const MARKER: &str = "made-by-longshore-drill";

impl Place {
    /// Makes one, and removes those of drills of the same log that were killed.
    pub(super) fn make(scratch: &Path, name: &Name) -> Result<Place, Failure> {
        let path = scratch.join(format!("{}{}", prefix(name), std::process::id()));
        let made = || {
            // Until it is locked itself: another drill must not take this one for dead.
            let parent = File::open(scratch)?;
            parent.lock()?;
            clear(scratch, name)?;
            std::fs::create_dir(&path)?;
            let locked = File::open(&path)?;
            locked.lock()?;
            File::create(path.join(MARKER))?;
            Ok(locked)
        };
        let locked = made().map_err(|error: io::Error| {
            Failure::file("cannot make", &path, &error).next("make the directory that --scratch names, or name another")
        })?;
        Ok(Place { path, _locked: locked })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what was made.
    pub(super) fn remove(self) -> Result<(), Failure> {
        std::fs::remove_dir_all(&self.path).map_err(|error| Failure::file("cannot remove", &self.path, &error))
    }
}

fn prefix(name: &Name) -> String {
    format!("drill-{name}-")
}

/// Removes the directories of drills that nobody has locked any more. What cannot be removed is left.
fn clear(scratch: &Path, name: &Name) -> io::Result<()> {
    for entry in std::fs::read_dir(scratch)? {
        let entry = entry?;
        let (path, called) = (entry.path(), entry.file_name());
        let process = called.to_str().and_then(|called| called.strip_prefix(&prefix(name)));
        let is_ours = process.is_some_and(|process| process.parse::<u32>().is_ok()) && path.join(MARKER).is_file();
        if is_ours && File::open(&path)?.try_lock().is_ok() {
            let _left = std::fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

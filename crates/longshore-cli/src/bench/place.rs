//! A directory of a measurement's own.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A directory that is gone when its row is done.
pub(crate) struct Place(PathBuf);

impl Place {
    /// Makes `name` in `dir`.
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Self, Failure> {
        let path = dir.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(Failure::file("directory", &path, &error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! The directory that certificates and keys are kept in.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use longshore_format::ErrorKind;

use crate::{Error, Result};

/// A directory of small text files, each written whole or not at all and readable by its owner only.
pub(super) struct Store(PathBuf);

impl Store {
    /// Opens the directory; creates it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Store> {
        let store = Store(path.to_owned());
        if !path.is_dir() {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
            // The umask may have taken away what the owner needs.
            created
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
                .map_err(|error| failed("create", path, error))?;
        }
        Ok(store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn has(&self, name: &str) -> Result<bool> {
        let path = self.0.join(name);
        path.try_exists().map_err(|error| failed("look at", &path, error))
    }

    /// A file's text; `None` when there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    /// Writes a file, or replaces it, in one step.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let (path, temporary) = (self.0.join(name), self.0.join(format!(".{name}.tmp")));
        let write = || {
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| failed("write", &path, error))
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {what} {}: {error}", path.display());
    Error::new(ErrorKind::Preflight, message, "check the path and its permissions").because(error)
}

//! Compare-and-swap for a directory, which `object_store` does not have: under a lock that everybody takes who swaps.
//!
//! All of it is one piece of work on a thread that nobody can take it away from. If the lock were given back because whoever
//! asked has given up, while the write goes on, that write would land on top of another's.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::{Seen, Version};
use crate::blocking::blocking;
use crate::error::Result;
use crate::files::io;

const LOCK: &str = ".longshore-archive.lock";

/// Changes an object if it is as it was seen. Durable, the directory's entry too.
pub(super) async fn swap(root: &Path, name: &str, bytes: Bytes, seen: Option<Version>) -> Result<Option<Version>> {
    let (lock, path) = (root.join(LOCK), root.join(name));
    blocking(move || {
        // Released when it is closed, by a kill, too.
        let _lock = locked(&lock).map_err(io(&lock))?;
        let there = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => Some(blake3::hash(&read.map_err(io(&path))?)),
        };
        let expected = seen.map(|Version(seen)| match seen {
            Seen::Content(hash) => hash,
            Seen::Tagged(_) => blake3::hash(b""),
        });
        if there != expected {
            return Ok(None);
        }
        put(&path, &bytes).map_err(io(&path))?;
        Ok(Some(Version(Seen::Content(blake3::hash(&bytes)))))
    })
    .await
}

fn locked(path: &Path) -> std::io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Under a name first that `object_store` takes for a write under way, and lists nowhere.
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().expect("an object lies in the directory of its store");
    fs::create_dir_all(dir)?;
    let mut staged = path.as_os_str().to_owned();
    staged.push("#0");
    let staged = PathBuf::from(staged);
    let mut file = File::create(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    File::open(dir)?.sync_all()
}

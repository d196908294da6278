//! Compare-and-swap for a directory, which `object_store` does not have: under a lock that everybody takes who swaps.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::{Seen, Store, Version};
use crate::error::{Error, Result};

const LOCK: &str = ".longshore-archive.lock";

/// Changes an object if it is as it was seen.
pub(super) async fn swap(
    root: &Path,
    store: &Store,
    name: &str,
    bytes: Bytes,
    seen: Option<Version>,
) -> Result<Option<Version>> {
    // Released when it is closed, by a kill, too.
    let _lock = lock(root).await?;
    let there = store.get(name).await?.map(|(there, _)| blake3::hash(&there));
    let expected = seen.map(|Version(seen)| match seen {
        Seen::Content(hash) => hash,
        Seen::Tagged(_) => blake3::hash(b""),
    });
    if there != expected {
        return Ok(None);
    }
    let version = Version(Seen::Content(blake3::hash(&bytes)));
    store.replace(name, bytes).await?;
    Ok(Some(version))
}

async fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let failed = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let locked = tokio::task::spawn_blocking({
        let path = path.clone();
        move || -> std::io::Result<File> {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        }
    });
    let locked = locked.await.map_err(|error| failed(&path, std::io::Error::other(error)))?;
    locked.map_err(|error| failed(&path, error))
}

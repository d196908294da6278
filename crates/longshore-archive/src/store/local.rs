//! What `object_store` does not have for a directory: compare-and-swap, under a lock that everybody takes who swaps, and an end
//! of what puts that were killed have left.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Files below a directory that a put had begun and was killed before it gave them their name, and how long they are. A put
/// writes without a pause: what was not written to for so long is nobody's any more.
pub(super) fn parts(below: &Path, older_than: Duration) -> io::Result<Vec<(PathBuf, u64)>> {
    let (mut found, mut pending) = (Vec::new(), vec![below.to_owned()]);
    while let Some(dir) = pending.pop() {
        for entry in absent_as_empty(std::fs::read_dir(&dir))? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if is_part(&entry.file_name()) && older_than <= age(&metadata) {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    Ok(found)
}

fn absent_as_empty(
    listed: io::Result<std::fs::ReadDir>,
) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        listed => listed.map(|entries| Some(entries).into_iter().flatten()),
    }
}

/// `NAME#1`: no object of an archive has such a name.
fn is_part(name: &std::ffi::OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// What a clock dates later is new.
fn age(metadata: &std::fs::Metadata) -> Duration {
    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(written).unwrap_or_default()
}

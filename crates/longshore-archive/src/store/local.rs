//! What `object_store` does not have for a directory: compare-and-swap, under a lock that everybody takes who swaps, and an end
//! of what puts that were killed have left.
//!
//! A swap is one piece of work on a thread that nobody can take it away from. If the lock were given back because whoever asked
//! has given up, while the write goes on, that write would land on top of another's.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

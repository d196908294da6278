//! The raw limit of a restore from a directory: `cp` of the same files, and a sync of each. No longshore crate is used here.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Copies all files below `from` into the new directory `to`, syncs them, and removes them again: how many bytes those are,
/// and how long copying and syncing took.
pub(crate) fn copy_and_sync(from: &Path, to: &Path) -> io::Result<(u64, Duration)> {
    let files = files(from)?;
    let begin = Instant::now();
    fs::create_dir(to)?;
    let mut bytes = 0;
    for (n, file) in files.iter().enumerate() {
        bytes += fs::copy(file, to.join(n.to_string()))?;
    }
    for n in 0..files.len() {
        File::open(to.join(n.to_string()))?.sync_all()?;
    }
    File::open(to)?.sync_all()?;
    let time = begin.elapsed();
    fs::remove_dir_all(to)?;
    Ok((bytes, time))
}

/// All files below a directory.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(files(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    Ok(found)
}

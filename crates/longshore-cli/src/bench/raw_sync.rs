//! The raw limit of a durable append: `pwrite` and `fdatasync` into a prepared file.
//! No longshore crate is used here. The file is allocated, zero-filled in 4 KiB writes and synced
//! before the clock starts, as a segment of the log is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What stands before every payload.
const HEADER: usize = 32;

/// Writes `rounds` groups of `in_flight` records, one sync for each group: the time of every round.
pub(crate) fn commit(path: &Path, payload: &[u8], in_flight: usize, rounds: usize) -> io::Result<Vec<Duration>> {
    let mut record = vec![0; HEADER];
    record.extend_from_slice(payload);
    record.resize(record.len().next_multiple_of(8), 0);
    let size = (record.len() * in_flight * rounds) as u64;
    let file = prepared(path, size)?;
    let mut times = Vec::with_capacity(rounds);
    let mut at = 0;
    for _ in 0..rounds {
        let begin = Instant::now();
        for _ in 0..in_flight {
            let crc = crc32fast::hash(&record[HEADER..]);
            record[4..8].copy_from_slice(&crc.to_le_bytes());
            file.write_all_at(&record, at)?;
            at += record.len() as u64;
        }
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// A new file of `size` bytes or a little more, allocated, zero-filled and synced.
pub(super) fn prepared(path: &Path, size: u64) -> io::Result<File> {
    let size = size.next_multiple_of(4096);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    for _ in 0..size / 4096 {
        file.write_all(&[0; 4096])?;
    }
    file.sync_data()?;
    Ok(file)
}

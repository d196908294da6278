//! The raw limit of an unsynced append: a CRC-32 and a copy into mapped, prepared segment files.
//! No longshore crate is used here. Segments are allocated, zero-filled in 4 KiB writes, synced and
//! mapped before the clock starts, as the log's own are.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

/// What stands before every payload, and where records of a segment begin.
const HEADER: usize = 32;
const FIRST: usize = 4096;

/// Makes `count` segments of `size` bytes in `dir`, ready to be written.
pub(crate) fn prepare(dir: &Path, count: usize, size: u64) -> io::Result<Vec<MmapMut>> {
    (0..count).map(|n| map(&segment(&dir.join(format!("raw-{n}.seg")), size)?)).collect()
}

/// A file of `size` bytes: blocks there, zeros written page by page, synced.
pub(crate) fn segment(path: &Path, size: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    for _ in 0..size / 4096 {
        file.write_all(&[0; 4096])?;
    }
    file.sync_data()?;
    Ok(file)
}

#[expect(unsafe_code, reason = "a raw row may use no longshore crate, and std cannot map a file")]
fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file was made above in a directory of this run; nobody truncates it.
    unsafe { MmapMut::map_mut(file) }
}

/// Appends `payload` as often as it fits into the segments: how often, and how long that took.
pub(crate) fn append(segments: &mut [MmapMut], payload: &[u8]) -> (u64, Duration) {
    let extent = (HEADER + payload.len()).next_multiple_of(8);
    let mut records = 0;
    let begin = Instant::now();
    for segment in segments {
        let mut at = FIRST;
        while at + extent <= segment.len() {
            let crc = crc32fast::hash(payload);
            segment[at..at + 4].copy_from_slice(&(extent as u32).to_le_bytes());
            segment[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            segment[at + HEADER..at + HEADER + payload.len()].copy_from_slice(payload);
            at += extent;
            records += 1;
        }
    }
    (records, begin.elapsed())
}

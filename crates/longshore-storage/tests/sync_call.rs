//! Which call makes a mapped append durable fastest: the measurement behind `docs/decisions/0003-sync-call.md`.
//!
//! ```text
//! TMPDIR=/on/the/disk cargo test --release -p longshore-storage --test sync_call -- --ignored --nocapture
//! ```

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::{ReadWriteFlags, pwritev2};

const SEGMENT: usize = 64 << 20;
const RECORD: usize = 1024;
const APPENDS: usize = 400;
const RUNS: usize = 7;

unsafe extern "C" {
    fn sync_file_range(fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int;
}

struct Segment {
    file: File,
    map: MmapRaw,
}

impl Segment {
    /// Allocated, then filled with zeros in writes of `fill` bytes, synced and mapped.
    fn new(fill: usize) -> Segment {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT as u64).unwrap();
        if fill > 0 {
            let zeros = vec![0; fill];
            (0..SEGMENT).step_by(fill).for_each(|at| file.write_all_at(&zeros, at as u64).unwrap());
        }
        file.sync_all().unwrap();
        let map = MmapOptions::new().len(SEGMENT).map_raw(&file).unwrap();
        Segment { file, map }
    }

    fn store(&self, at: usize, record: &[u8]) {
        assert!(at + record.len() <= SEGMENT);
        // SAFETY: inside the map, which no one else knows of.
        unsafe { std::ptr::copy_nonoverlapping(record.as_ptr(), self.map.as_mut_ptr().add(at), record.len()) }
    }
}

/// Makes one record at this place durable.
type Append = fn(&Segment, usize, &[u8]);

fn map_fdatasync(segment: &Segment, at: usize, record: &[u8]) {
    segment.store(at, record);
    segment.file.sync_data().unwrap();
}

fn map_msync_range(segment: &Segment, at: usize, record: &[u8]) {
    segment.store(at, record);
    segment.map.flush_range(at, record.len()).unwrap();
}

fn map_sync_file_range_fdatasync(segment: &Segment, at: usize, record: &[u8]) {
    segment.store(at, record);
    let (page, end) = (at / 4096 * 4096, (at + record.len()).next_multiple_of(4096));
    // SAFETY: takes a descriptor and three numbers. 7: wait before, write, wait after.
    let status = unsafe { sync_file_range(segment.file.as_raw_fd(), page as i64, (end - page) as i64, 7) };
    assert_eq!(status, 0);
    segment.file.sync_data().unwrap();
}

fn pwrite_fdatasync(segment: &Segment, at: usize, record: &[u8]) {
    segment.file.write_all_at(record, at as u64).unwrap();
    segment.file.sync_data().unwrap();
}

fn pwrite_dsync(segment: &Segment, at: usize, record: &[u8]) {
    let written = pwritev2(&segment.file, &[IoSlice::new(record)], at as u64, ReadWriteFlags::DSYNC).unwrap();
    assert_eq!(written, record.len());
}

const ROWS: &[(&str, usize, Append)] = &[
    ("pwrite + fdatasync (raw)", 4096, pwrite_fdatasync),
    ("pwritev2(RWF_DSYNC) (raw)", 4096, pwrite_dsync),
    ("map + fdatasync", 4096, map_fdatasync),
    ("map + msync(range, MS_SYNC)", 4096, map_msync_range),
    ("map + sync_file_range + fdatasync", 4096, map_sync_file_range_fdatasync),
    ("map + fdatasync, filled in 1 MiB writes", 1 << 20, map_fdatasync),
    ("map + fdatasync, not filled", 0, map_fdatasync),
];

#[test]
#[ignore = "a measurement, not a check"]
fn sync_calls() {
    let record = [0x5a; RECORD];
    let segments: Vec<Segment> = ROWS.iter().map(|(_, fill, _)| Segment::new(*fill)).collect();
    let mut times: Vec<[Vec<f64>; 3]> = ROWS.iter().map(|_| [vec![], vec![], vec![]]).collect();
    for run in 0..RUNS {
        for (row, (_, _, append)) in ROWS.iter().enumerate() {
            let mut latencies: Vec<f64> = (0..APPENDS)
                .map(|n| {
                    let start = Instant::now();
                    append(&segments[row], 4096 + (run * APPENDS + n) * RECORD, &record);
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            latencies.sort_by(f64::total_cmp);
            for (column, share) in [0.5, 0.9, 0.99].into_iter().enumerate() {
                times[row][column].push(latencies[(APPENDS as f64 * share) as usize]);
            }
        }
    }
    println!("µs per durable append of {RECORD} B, medians of {RUNS} interleaved runs of {APPENDS}");
    for ((name, _, _), columns) in ROWS.iter().zip(&mut times) {
        let [p50, p90, p99] = columns.each_mut().map(|runs| {
            runs.sort_by(f64::total_cmp);
            runs[RUNS / 2]
        });
        println!("{name:42} p50 {p50:6.0}  p90 {p90:6.0}  p99 {p99:6.0}");
    }
}

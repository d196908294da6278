//! What is held in memory does not grow with the log. A file of its own: the whole process is measured.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;

use common::*;
use longshore_format::{ErrorKind, SegmentSize};
use longshore_storage::SystemEnvironment;
use longshore_wal::inspect::{Depth, examine};
use longshore_wal::{CreateSpec, Wal};

#[test]
fn a_bad_record_in_a_large_segment_is_judged_without_holding_the_segment() {
    const SIZE: u64 = 256 << 20;
    let place = Place::empty();
    let spec = CreateSpec { segment_size: SegmentSize::new(SIZE).unwrap(), ..CreateSpec::default() };
    Wal::create(place.dir(), &SystemEnvironment, &spec).unwrap();
    let wal = place.open();
    let mut ends = vec![wal.first()];
    for record in numbered(20, 100) {
        ends.push(append(&wal, &record).end);
        wal.sync_once().unwrap();
    }
    drop(wal);
    // The watermark goes back to what it was before the log was written, so that only the promises of records tell.
    let control = fs::OpenOptions::new().read(true).write(true).open(place.file("control")).unwrap();
    let mut slots = vec![0; 128 << 10];
    control.read_exact_at(&mut slots, 0).unwrap();
    let sequence = |slot: &[u8]| u64::from_le_bytes(slot[16..24].try_into().unwrap());
    let newer = if sequence(&slots) < sequence(&slots[64 << 10..]) { 64 << 10 } else { 0 };
    control.write_all_at(&[0; 64], newer).unwrap();
    place.damage(0, ends[5].get(), &[0; 132]);
    // Something at the far end, as if the segment were full.
    let footer = SegmentSize::new(SIZE).unwrap().body_end_offset();
    place.damage(0, footer - 64, &[0xff; 8]);

    let (report, held) = measured(|| examine(&place.dir(), Depth::Records).unwrap());
    assert!(!report.is_intact());
    assert!(held < 64 << 20, "examine held {held} bytes");
    let (error, held) = measured(|| place.try_open(settings()).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(held < 64 << 20, "open held {held} bytes");
}

/// How much more memory the process had at once during this than before.
fn measured<T>(work: impl FnOnce() -> T) -> (T, u64) {
    // From here on the kernel's high-water mark is that of `work`.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = high_water_mark();
    let done = work();
    (done, high_water_mark() - before)
}

fn high_water_mark() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

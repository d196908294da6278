//! Log directories written by released versions, which every later version opens.
//!
//! `tests/golden/v1/log` is a log as version 1 left it after a clean close (prepared segments and the lock left out), and
//! `tests/golden/v1/listing.txt` every record in it. Neither ever changes; a new format gets a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Kind, Lsn, Name, SegmentSize, payload_crc};
use longshore_storage::{Directory, Environment, FsDirectory, SystemEnvironment};
use longshore_testkit::sim_disk::SimDisk;
use longshore_testkit::sim_env::SimEnvironment;
use longshore_wal::inspect::{Depth, Listing, State, examine};
use longshore_wal::{CreateSpec, ReadLog, RecordDraft, Role, Settings, Wal};

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(version)
}

/// A copy of a golden log to work on.
fn copy_of(version: &str) -> (tempfile::TempDir, Arc<dyn Directory>) {
    let place = tempfile::tempdir().unwrap();
    let dir: Arc<dyn Directory> = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
    for entry in std::fs::read_dir(golden(version).join("log")).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), place.path().join("log").join(entry.file_name())).unwrap();
    }
    (place, dir)
}

/// Every record in a line: where it starts and ends, kind, flags, time, length and checksum of the payload.
fn listing(dir: &Arc<dyn Directory>) -> String {
    let mut listing = Listing::open(dir.clone(), Lsn::ZERO).unwrap();
    let mut lines = String::new();
    while let Some(record) = listing.next().unwrap() {
        lines += &format!(
            "{} {} {} {:x} {} {} {:08x}\n",
            record.start,
            record.end,
            record.kind,
            record.flags.bits(),
            record.time,
            record.payload.len(),
            payload_crc(record.payload),
        );
    }
    lines
}

fn expected(version: &str) -> String {
    std::fs::read_to_string(golden(version).join("listing.txt")).unwrap()
}

#[test]
fn version_1_is_listed_as_it_was_written() {
    let (_place, dir) = copy_of("v1");
    assert_eq!(listing(&dir), expected("v1"));
}

#[test]
fn version_1_is_intact_in_every_byte() {
    let (_place, dir) = copy_of("v1");
    let report = examine(&dir, Depth::Records).unwrap();
    let found: Vec<_> = report.segments.iter().flat_map(|segment| &segment.findings).collect();
    assert!(found.is_empty(), "{found:?}");
    let sealed = report.segments.iter().filter(|segment| segment.state == State::Sealed).count();
    assert!(sealed >= 3, "several segments are sealed: {sealed}");
    assert_eq!(report.control.history.entries().len(), 2);
}

#[test]
fn version_1_is_read_without_changing_it() {
    let (place, dir) = copy_of("v1");
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect();
        files.sort();
        files
    };
    let before = names(&place.path().join("log"));
    let log = ReadLog::open(dir).unwrap();
    let mut reader = log.reader(log.first()).unwrap();
    let mut records = 0;
    while reader.next().unwrap().is_some() {
        records += 1;
    }
    drop(log);
    let listed = expected("v1");
    // The roll of the last full segment is read with the segment after it.
    assert_eq!(records, listed.lines().count());
    assert_eq!(names(&place.path().join("log")), before);
}

#[test]
fn version_1_is_appended_to() {
    for role in [Role::Writer, Role::Follower] {
        let (_place, dir) = copy_of("v1");
        let settings = Settings { role, ..Settings::default() };
        let (wal, recovery) = Wal::open(dir.clone(), Arc::new(SystemEnvironment), settings.clone()).unwrap();
        assert!(recovery.clean);
        let before = expected("v1");
        assert_eq!(before.lines().last().unwrap().split(' ').nth(1), Some(&*recovery.end.to_string()));
        if role == Role::Writer {
            let appended = wal.append(&[RecordDraft::user(b"by a later version")], None).unwrap();
            wal.wait_blocking(appended.end, None).unwrap();
        }
        wal.close().unwrap();
        let after = listing(&dir);
        assert!(after.starts_with(&before));
        assert_eq!(after.lines().count(), before.lines().count() + usize::from(role == Role::Writer));
        Wal::open(dir, Arc::new(SystemEnvironment), settings).unwrap();
    }
}

/// What `tests/golden/v1` holds: single records and batches of several sizes, a transaction that spans segments, one that
/// was dropped, one that a crash ended, marks, and the incarnation after that crash.
fn write_log(disk: &SimDisk, environment: &SimEnvironment) {
    let open = || {
        let dir = disk.root().open_subdir("log").unwrap();
        let environment: Arc<dyn Environment> = Arc::new(environment.clone());
        Wal::open(dir, environment, Settings::default()).unwrap().0
    };
    let work = |wal: &Wal| {
        environment.advance(Duration::from_millis(1));
        wal.sync_once().unwrap();
        while wal.prepare_once().unwrap() {}
        while wal.seal_once().unwrap() {}
    };
    let spec = CreateSpec { segment_size: SegmentSize::MIN, ..CreateSpec::default() };
    Wal::create(disk.root().subdir("log").unwrap(), environment, &spec).unwrap();
    disk.root().sync().unwrap();

    let wal = open();
    for len in [0, 1, 7, 8, 9, 1000, 16_384] {
        wal.append(&[RecordDraft::user(&vec![b'a'; len])], None).unwrap();
        work(&wal);
    }
    wal.append(&[RecordDraft::user(b"one"), RecordDraft { kind: Kind::new(300), payload: b"two" }], None).unwrap();
    wal.mark(&Name::new("before-the-long-one").unwrap()).unwrap();
    let mut long = wal.begin().unwrap();
    for part in 0..12u8 {
        long.append(Kind::USER, &vec![b'b' + part; 12_000]).unwrap();
        work(&wal);
    }
    long.finish().unwrap();
    let mut dropped = wal.begin().unwrap();
    dropped.append(Kind::USER, b"never").unwrap();
    dropped.append(Kind::USER, b"counts").unwrap();
    drop(dropped);
    wal.append(&[RecordDraft::user(b"after the aborted one")], None).unwrap();
    let mut crashed = wal.begin().unwrap();
    crashed.append(Kind::USER, b"open when").unwrap();
    crashed.append(Kind::USER, b"the process died").unwrap();
    work(&wal);
    disk.kill();

    let wal = open();
    wal.mark(&Name::new("after-the-crash").unwrap()).unwrap();
    wal.append(&[RecordDraft::user(b"the end")], None).unwrap();
    work(&wal);
    wal.close().unwrap();
}

/// How `tests/golden/v1` came about. Writes to the directory `GOLDEN_OUT`, for a new version's log.
#[test]
#[ignore = "writes a new golden log; set GOLDEN_OUT"]
fn write_a_golden_log() {
    let out = PathBuf::from(std::env::var("GOLDEN_OUT").expect("GOLDEN_OUT names a directory"));
    let environment = SimEnvironment::new(1);
    let disk = SimDisk::new(1, environment.clone());
    write_log(&disk, &environment);
    std::fs::create_dir_all(out.join("log")).unwrap();
    let dir = disk.root().open_subdir("log").unwrap();
    let report = examine(&dir, Depth::Records).unwrap();
    let prepared: Vec<_> = report.segments.iter().filter(|segment| segment.state == State::Prepared).collect();
    for name in disk.names("log") {
        if name != "lock" && !prepared.iter().any(|segment| segment.file == name) {
            let bytes = disk.read(&format!("log/{name}")).unwrap();
            std::fs::write(out.join("log").join(&name), &bytes[..]).unwrap();
        }
    }
    std::fs::write(out.join("listing.txt"), listing(&dir)).unwrap();
}

//! Repairing a segment, with the power going off at every step.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Lsn, SegmentSize};
use longshore_storage::Directory;
use longshore_testkit::sim_disk::SimDisk;
use longshore_testkit::sim_env::SimEnvironment;
use longshore_wal::inspect::{Depth, Finding, examine};
use longshore_wal::repair::{plan, repair};
use longshore_wal::{CreateSpec, RecordDraft, Settings, Wal};

const SIZE: SegmentSize = SegmentSize::MIN;
const DAMAGED: u64 = 64 << 10;
const NOW: u64 = 1_700_000_000;

/// A closed log of four segments.
fn log() -> SimDisk {
    let environment = SimEnvironment::new(7);
    let disk = SimDisk::new(7, environment.clone());
    let dir = disk.root().subdir("log").unwrap();
    disk.root().sync().unwrap();
    let spec = CreateSpec { segment_size: SIZE, ..CreateSpec::default() };
    Wal::create(dir.clone(), &environment, &spec).unwrap();
    let (wal, _) = Wal::open(dir, Arc::new(environment.clone()), Settings::default()).unwrap();
    while wal.end() < Lsn::new(3 * SIZE.get()) {
        wal.append(&[RecordDraft::user(&[0x5a; 4_000])], None).unwrap();
        environment.advance(Duration::from_millis(1));
        wal.sync_once().unwrap();
        while wal.prepare_once().unwrap() {}
        while wal.seal_once().unwrap() {}
    }
    wal.close().unwrap();
    drop(wal);
    disk
}

fn dir_of(disk: &SimDisk) -> Arc<dyn Directory> {
    disk.root().open_subdir("log").unwrap()
}

/// The damage, but for what a live log may lack.
fn damage(disk: &SimDisk) -> Vec<Finding> {
    let report = examine(&dir_of(disk), Depth::Records).unwrap();
    report.damage().map(|(_, finding)| finding.clone()).collect()
}

fn bytes_somewhere(disk: &SimDisk, bytes: &[u8]) -> bool {
    disk.names("log").iter().any(|name| disk.read(&format!("log/{name}")).is_some_and(|there| there[..] == *bytes))
}

#[test]
fn power_may_fail_at_any_step_of_a_repair() {
    let disk = log();
    let path = format!("log/{}", SIZE.file_name(Lsn::new(DAMAGED)));
    let good = disk.read(&path).unwrap();
    for offset in [9_000, 30_000] {
        assert!(disk.damage(&path, offset, |byte| *byte ^= 1));
    }
    let damaged = disk.read(&path).unwrap();
    let (mut finished, mut interrupted) = (0, 0);
    for step in 0.. {
        for seed in 0..32 {
            let disk = disk.fork(1000 * step + seed);
            disk.power_off_after(step);
            let done = repair(&dir_of(&disk), Lsn::new(DAMAGED), NOW, &mut &good[..]);
            if !disk.is_off() {
                done.unwrap();
                finished += 1;
            } else {
                assert!(done.is_err(), "step {step}: what fails is said to fail");
                interrupted += 1;
            }
            disk.keep_power();
            disk.power_cut();
            let context = format!("step {step}, seed {seed}");
            assert!(bytes_somewhere(&disk, &damaged), "{context}: the damaged bytes are kept");
            if disk.read(&path).as_ref() != Some(&good) {
                assert!(!damage(&disk).is_empty(), "{context}: it is damaged or repaired, not something else");
                assert!(plan(&dir_of(&disk), Lsn::new(DAMAGED), NOW + 1).is_ok(), "{context}");
                repair(&dir_of(&disk), Lsn::new(DAMAGED), NOW + 1, &mut &good[..]).expect(&context);
            }
            assert_eq!(damage(&disk), [], "{context}");
            assert_eq!(disk.read(&path).as_ref(), Some(&good), "{context}");
            assert!(bytes_somewhere(&disk, &damaged), "{context}: the damaged bytes are kept");
        }
        if finished > 0 {
            break;
        }
    }
    assert!(interrupted >= 300, "the power failed in {interrupted} of the repairs");
}

// F-059: the copy does not fit.
#[test]
fn without_space_nothing_is_changed() {
    let disk = log();
    let path = format!("log/{}", SIZE.file_name(Lsn::new(DAMAGED)));
    let good = disk.read(&path).unwrap();
    assert!(disk.damage(&path, 9_000, |byte| *byte ^= 1));
    let names = disk.names("log");
    disk.set_capacity(disk.used() + 1000);
    let refused = repair(&dir_of(&disk), Lsn::new(DAMAGED), NOW, &mut &good[..]).unwrap_err();
    assert_eq!(refused.kind(), longshore_format::ErrorKind::Full, "{refused}");
    assert_eq!(disk.names("log"), names);
}

// F-030: a sector that cannot be read is found as damage, and mended like any other.
#[test]
fn an_unreadable_sector_is_repaired() {
    let disk = log();
    let path = format!("log/{}", SIZE.file_name(Lsn::new(DAMAGED)));
    let good = disk.read(&path).unwrap();
    assert!(disk.spoil(&path, 20_000));
    let [Finding::Unreadable { .. }] = &damage(&disk)[..] else { panic!("{:?}", damage(&disk)) };
    repair(&dir_of(&disk), Lsn::new(DAMAGED), NOW, &mut &good[..]).unwrap();
    assert_eq!(damage(&disk), []);
}

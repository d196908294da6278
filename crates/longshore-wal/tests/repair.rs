//! One damaged sealed segment, replaced from a good copy.

mod built;

use std::io::Read;

use built::Built;
use longshore_format::{ErrorKind, Footer, Lsn, SegmentSize};
use longshore_wal::inspect::{Depth, Finding, OtherKind, examine};
use longshore_wal::repair::{RepairError, Repaired, open_copy, plan, repair};

const SIZE: u64 = 64 << 10;
const NOW: u64 = 1_700_000_000;

fn fix(built: &Built, from: &Built, base: u64) -> Result<Repaired, RepairError> {
    let base = Lsn::new(base);
    repair(&built.dir, base, NOW, &mut open_copy(&from.dir, base).unwrap())
}

fn is_intact(built: &Built) -> bool {
    examine(&built.dir, Depth::Records).unwrap().is_intact()
}

#[test]
fn every_kind_of_damage_to_a_sealed_segment_is_repaired_and_kept_aside() {
    type Damage = (&'static str, fn(&Built));
    let damages: [Damage; 6] = [
        ("a record", |built| built.flip(SIZE, 9_000)),
        ("the header", |built| built.flip(SIZE, 50)),
        ("the footer", |built| built.flip(SIZE, SIZE - 64)),
        ("zeros", |built| built.write(SIZE, 0, &[0; SIZE as usize])),
        ("cut short", |built| built.cut(SIZE, 10_000)),
        ("a stray byte", |built| built.write(SIZE, SegmentSize::MIN.body_end_offset() - 8, b"stray")),
    ];
    for (what, damage) in damages {
        let built = Built::new(4);
        let replica = built.replica();
        damage(&built);
        let damaged = std::fs::read(built.path(SIZE)).unwrap();
        assert!(!is_intact(&built), "{what}");

        let repaired = fix(&built, &replica, SIZE).unwrap();

        assert!(is_intact(&built), "{what}");
        assert_eq!(std::fs::read(built.path(SIZE)).unwrap(), std::fs::read(replica.path(SIZE)).unwrap(), "{what}");
        let aside = repaired.plan.aside.unwrap();
        assert_eq!(aside, "00000000000000065536.seg.corrupt-1700000000");
        assert_eq!(std::fs::read(built.place.path().join("log").join(&aside)).unwrap(), damaged, "{what}");
        let report = examine(&built.dir, Depth::Seals).unwrap();
        assert!(report.others.iter().any(|other| other.kind == OtherKind::Replaced && other.name == aside));
        assert_eq!(report.segments[1].digest, Some(repaired.digest), "{what}");
        let count = built.count();
        let wal = built.reopen().unwrap();
        assert_eq!(wal.end(), built.end, "{what}");
        wal.close().unwrap();
        assert_eq!(built.count(), count, "{what}: a clean log stays as it was");
    }
}

// F-031
#[test]
fn a_missing_segment_is_brought_back() {
    let built = Built::new(4);
    let replica = built.replica();
    built.remove(SIZE);
    let repaired = fix(&built, &replica, SIZE).unwrap();
    assert_eq!(repaired.plan.aside, None);
    assert!(is_intact(&built));
}

#[test]
fn the_first_and_the_last_sealed_segment_are_repaired_too() {
    for base in [0, 2 * SIZE] {
        let built = Built::new(4);
        let replica = built.replica();
        built.flip(base, 9_000);
        fix(&built, &replica, base).unwrap();
        assert!(is_intact(&built));
    }
}

#[test]
fn a_plan_says_all_of_it_and_changes_nothing() {
    let built = Built::new(4);
    let replica = built.replica();
    built.flip(SIZE, 9_000);
    let before = built.files();
    let plan = plan(&built.dir, Lsn::new(SIZE), NOW).unwrap();
    assert_eq!(built.files(), before);
    assert!(matches!(plan.findings[..], [Finding::Record(_), Finding::Digest { .. }]));
    assert_eq!((plan.base, plan.size), (Lsn::new(SIZE), SIZE));
    assert_eq!(fix(&built, &replica, SIZE).unwrap().plan, plan);
}

/// What comes of a repair with these bytes; the log's files must be as before it.
fn refused(built: &Built, base: u64, mut bytes: &[u8]) -> RepairError {
    let before = built.files();
    let refused = repair(&built.dir, Lsn::new(base), NOW, &mut bytes).expect_err("the copy is no good");
    assert_eq!(built.files(), before, "nothing was changed");
    refused
}

#[test]
fn a_copy_that_is_not_good_in_every_byte_changes_nothing() {
    let built = Built::new(4);
    let good = std::fs::read(built.path(SIZE)).unwrap();
    built.flip(SIZE, 9_000);
    let index = SegmentSize::MIN.body_end_offset() as usize;
    for offset in (0..good.len()).step_by(997).chain([50, good.len() - 100, good.len() - 1]) {
        let mut copy = good.clone();
        copy[offset] ^= 1;
        if (index..good.len() - Footer::TRAILER_LEN).contains(&offset) {
            continue;
        }
        let error = refused(&built, SIZE, &copy);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "offset {offset}: {error}");
    }
    for len in [0, 1, 4096, good.len() - 1] {
        assert!(matches!(refused(&built, SIZE, &good[..len]), RepairError::BadCopy(_)), "cut to {len}");
    }
}

#[test]
fn a_damaged_index_in_the_copy_is_built_again() {
    let built = Built::new(4);
    let good = std::fs::read(built.path(SIZE)).unwrap();
    built.flip(SIZE, 9_000);
    let mut copy = good.clone();
    copy[SegmentSize::MIN.body_end_offset() as usize] ^= 1;
    repair(&built.dir, Lsn::new(SIZE), NOW, &mut &copy[..]).unwrap();
    assert_eq!(std::fs::read(built.path(SIZE)).unwrap(), good);
}

// F-037, F-035
#[test]
fn a_whole_segment_of_another_log_or_place_is_refused() {
    let built = Built::new(4);
    let elsewhere = std::fs::read(built.path(2 * SIZE)).unwrap();
    let other = std::fs::read(Built::new(4).path(SIZE)).unwrap();
    built.flip(SIZE, 9_000);
    assert!(matches!(refused(&built, SIZE, &elsewhere), RepairError::BadCopy(Finding::OtherPlace { .. })));
    assert!(matches!(refused(&built, SIZE, &other), RepairError::BadCopy(Finding::OtherLog { .. })));
}

// F-097: a log that went another way under the same identity.
#[test]
fn a_copy_of_another_history_is_refused() {
    let built = Built::new(1);
    let twin = built.replica();
    for (log, fill) in [(&built, 1), (&twin, 2)] {
        log.grow(4, fill);
    }
    let copy = std::fs::read(twin.path(SIZE)).unwrap();
    built.write(SIZE, 0, &[0; SIZE as usize]);
    let error = refused(&built, SIZE, &copy);
    assert!(matches!(error, RepairError::BadCopy(Finding::Predecessor { .. })), "{error}");
}

#[test]
fn what_is_not_damaged_or_not_sealed_or_no_segment_is_left_alone() {
    let built = Built::new(4);
    let good = std::fs::read(built.path(SIZE)).unwrap();
    assert!(matches!(refused(&built, SIZE, &good), RepairError::Intact { .. }));
    assert!(matches!(refused(&built, 3 * SIZE, &good), RepairError::NotSealed { .. }));
    assert!(matches!(refused(&built, 90 * SIZE, &good), RepairError::NotSealed { .. }));
    assert!(matches!(refused(&built, SIZE + 1, &good), RepairError::NotASegment { .. }));
    assert!(plan(&built.dir, Lsn::MAX, NOW).is_err());
}

#[test]
fn of_two_damaged_neighbours_the_earlier_comes_first() {
    let built = Built::new(5);
    let replica = built.replica();
    built.write(SIZE, 0, &[0; SIZE as usize]);
    built.write(2 * SIZE, 0, &[0; SIZE as usize]);
    assert!(
        matches!(fix(&built, &replica, 2 * SIZE), Err(RepairError::PreviousDamaged { base }) if base.get() == SIZE)
    );
    fix(&built, &replica, SIZE).unwrap();
    fix(&built, &replica, 2 * SIZE).unwrap();
    assert!(is_intact(&built));
}

// F-052
#[test]
fn an_open_log_is_not_repaired() {
    let built = Built::open(4);
    let replica = built.replica();
    built.flip(SIZE, 9_000);
    let error = fix(&built, &replica, SIZE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
}

#[test]
fn a_source_that_fails_or_trickles_is_handled() {
    struct Trickle<'a>(&'a [u8], Option<usize>);
    impl Read for Trickle<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            match &mut self.1 {
                Some(0) => return Err(std::io::Error::other("the peer went away")),
                Some(left) => *left -= 1,
                None => {}
            }
            let some = buf.len().min(1000);
            self.0.read(&mut buf[..some])
        }
    }
    let built = Built::new(4);
    let good = std::fs::read(built.path(SIZE)).unwrap();
    built.flip(SIZE, 9_000);
    let before = built.files();
    let failed = repair(&built.dir, Lsn::new(SIZE), NOW, &mut Trickle(&good, Some(20))).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert_eq!(built.files(), before);
    repair(&built.dir, Lsn::new(SIZE), NOW, &mut Trickle(&good, None)).unwrap();
    assert!(is_intact(&built));
}

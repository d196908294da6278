//! What `examine`, `compare` and `Listing` say about whole and damaged logs.

mod built;

use built::Built;
use longshore_format::{Control, Fault, Kind, Lsn, SegmentHeader, SegmentSize};
use longshore_wal::inspect::{Compared, Depth, Finding, Listing, OtherKind, PeerSegment, State, compare, examine};

#[test]
fn a_whole_log_is_intact_and_described() {
    let built = Built::new(4);
    for depth in [Depth::Seals, Depth::Records] {
        let report = examine(&built.dir, depth).unwrap();
        assert!(report.is_intact(), "{:?}", report.damage().collect::<Vec<_>>());
        let states: Vec<_> = report.segments.iter().map(|segment| segment.state).collect();
        assert_eq!(states[..4], [State::Sealed, State::Sealed, State::Sealed, State::Active]);
        assert!(states[4..].iter().all(|state| *state == State::Prepared));
        assert_eq!(report.first, Lsn::new(4096));
        assert_eq!((report.tail.end, report.tail.torn), (built.end, None));
        let last = report.segments[3].clone();
        assert_eq!(last.last, built.end);
    }
    let report = examine(&built.dir, Depth::Records).unwrap();
    assert!(report.segments.iter().all(|segment| segment.proved));
    assert_eq!(report.segments[..4].iter().map(|segment| segment.records.unwrap()).sum::<u64>(), built.count());
}

#[test]
fn a_log_that_is_open_is_described_without_its_lock() {
    let built = Built::open(3);
    let report = examine(&built.dir, Depth::Records).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.tail.end, built.end);
}

#[test]
fn examining_changes_nothing() {
    let built = Built::new(3);
    let before = built.files();
    examine(&built.dir, Depth::Records).unwrap();
    let mut listing = Listing::open(built.dir.clone(), Lsn::ZERO).unwrap();
    while listing.next().unwrap().is_some() {}
    assert_eq!(built.files(), before);
}

/// What is found, at both depths, when a byte of the segment at `base` is changed.
fn flipped(base: u64, offset: u64) -> [Vec<Finding>; 2] {
    let built = Built::new(4);
    built.flip(base, offset);
    [Depth::Seals, Depth::Records].map(|depth| {
        let report = examine(&built.dir, depth).unwrap();
        let found: Vec<_> = report.segments.iter().flat_map(|segment| segment.findings.clone()).collect();
        assert_eq!(report.is_intact(), !found.iter().any(Finding::is_damage));
        found
    })
}

const SIZE: u64 = 64 << 10;

// F-005, F-008
#[test]
fn a_damaged_record_is_found_by_looking_at_every_byte() {
    let [seals, records] = flipped(SIZE, 9_000);
    assert_eq!(seals, []);
    let [Finding::Record(corruption), Finding::Digest { .. }] = &records[..] else { panic!("{records:?}") };
    assert_eq!(corruption.segment, Lsn::new(SIZE));
    assert_eq!(corruption.fault, Fault::PayloadChecksum);
}

// F-009
#[test]
fn a_damaged_header_is_found_at_once() {
    let fault = longshore_format::HeaderFault::Checksum;
    assert_eq!(flipped(SIZE, 50), [vec![Finding::Header(fault)], vec![Finding::Header(fault)]]);
}

// F-010
#[test]
fn a_damaged_footer_is_damage_only_further_back() {
    let trailer = SIZE - 64;
    let fault = longshore_format::FooterFault::Checksum;
    assert_eq!(flipped(SIZE, trailer), [vec![Finding::Footer(fault)], vec![Finding::Footer(fault)]]);
    assert_eq!(flipped(2 * SIZE, trailer), [vec![], vec![]]);
}

// F-005
#[test]
fn a_stray_byte_behind_the_last_record_is_damage() {
    let body_end = SegmentSize::new(SIZE).unwrap().body_end_offset();
    let [seals, records] = flipped(SIZE, body_end - 1);
    assert_eq!(seals, []);
    let [Finding::Record(corruption), Finding::Digest { .. }] = &records[..] else { panic!("{records:?}") };
    assert_eq!(corruption.fault, Fault::NotZero);
    assert_eq!(corruption.position, Lsn::new(SIZE + body_end - 1));
}

// F-031
#[test]
fn a_missing_segment_is_named() {
    let built = Built::new(4);
    built.remove(SIZE);
    let report = examine(&built.dir, Depth::Seals).unwrap();
    let damage: Vec<_> = report.damage().map(|(segment, finding)| (segment.base, finding.clone())).collect();
    assert_eq!(damage, [(Lsn::new(SIZE), Finding::Missing { from: Lsn::new(SIZE), to: Lsn::new(2 * SIZE) })]);
}

// F-033
#[test]
fn a_missing_last_segment_is_noticed_by_the_watermark() {
    let built = Built::new(3);
    built.remove(2 * SIZE);
    for prepared in 3..8 {
        built.remove(prepared * SIZE);
    }
    let report = examine(&built.dir, Depth::Seals).unwrap();
    assert!(matches!(report.damage().next(), Some((_, Finding::Missing { .. }))));
}

// F-035, F-036, F-034
#[test]
fn a_segment_under_another_name_is_refused() {
    let built = Built::new(4);
    built.copy(2 * SIZE, SIZE);
    let report = examine(&built.dir, Depth::Seals).unwrap();
    assert_eq!(report.segments[1].findings, [Finding::OtherPlace { found: Lsn::new(2 * SIZE) }]);
}

// F-037
#[test]
fn a_segment_of_another_log_is_refused() {
    let built = Built::new(4);
    let other = Built::new(4);
    std::fs::copy(other.path(SIZE), built.path(SIZE)).unwrap();
    let report = examine(&built.dir, Depth::Seals).unwrap();
    assert!(matches!(report.segments[1].findings[..], [Finding::OtherLog { .. }]));
}

// F-041
#[test]
fn a_sealed_segment_that_was_cut_short_is_damage() {
    let built = Built::new(4);
    built.cut(SIZE, 30_000);
    let report = examine(&built.dir, Depth::Seals).unwrap();
    assert!(!report.is_intact());
    assert!(report.segments[1].findings.contains(&Finding::Footer(longshore_format::FooterFault::Short)));
}

// F-011
#[test]
fn a_damaged_index_is_found_and_is_no_damage() {
    // Segments of 64 KiB have no entries; a stray byte where they would be is all there is to find.
    let footer = SegmentSize::new(SIZE).unwrap().body_end_offset();
    assert_eq!(flipped(SIZE, footer), [vec![Finding::Index], vec![Finding::Index]]);
}

// F-001, F-029
#[test]
fn garbage_behind_the_end_is_a_tail_and_no_damage() {
    let built = Built::new(3);
    built.write(built.end.get() / SIZE * SIZE, built.end.get() % SIZE, &[0xee; 500]);
    let report = examine(&built.dir, Depth::Records).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.tail.end, built.end);
    assert_eq!(report.tail.torn, Some(Fault::HeaderChecksum));
}

#[test]
fn a_bad_record_below_the_watermark_is_damage_even_in_the_last_segment() {
    let built = Built::new(3);
    built.flip(2 * SIZE, 4_200);
    let report = examine(&built.dir, Depth::Seals).unwrap();
    assert!(matches!(report.damage().next(), Some((_, Finding::Record(_)))));
}

// F-004, F-005: control was rolled back, but a later record promises what the watermark no longer says.
#[test]
fn a_bad_record_that_a_later_one_vouches_for_is_damage_whatever_the_watermark_says() {
    let built = Built::new(3);
    let control = built.place.path().join("log/control");
    let bytes = std::fs::read(&control).unwrap();
    let (first, second) = bytes.split_at(Control::SLOT_LEN);
    let (_, sequence, newest) = Control::newest([first, second]).unwrap();
    let rolled_back = Control { durable: Lsn::ZERO, clean: None, ..newest };
    let mut slots = rolled_back.encode_slot(sequence + 1).unwrap();
    slots.resize(2 * Control::SLOT_LEN, 0);
    std::fs::write(&control, slots).unwrap();
    assert!(examine(&built.dir, Depth::Records).unwrap().is_intact());
    // The first record of the last segment; several that were synced after it follow.
    built.flip(2 * SIZE, 4_200);
    let report = examine(&built.dir, Depth::Records).unwrap();
    assert!(matches!(report.damage().next(), Some((_, Finding::Record(_)))));
    assert!(built.reopen().is_err());
}

// F-043, F-044
#[test]
fn other_names_are_sorted_out() {
    let built = Built::new(2);
    for name in [".DS_Store", "00000000000000131072.seg.tmp", "cut-4096-17", "00000000000000000000.seg.corrupt-17"] {
        std::fs::write(built.place.path().join("log").join(name), b"x").unwrap();
    }
    let report = examine(&built.dir, Depth::Seals).unwrap();
    let kind = |name: &str| report.others.iter().find(|other| other.name == name).map(|other| other.kind);
    assert_eq!(kind(".DS_Store"), Some(OtherKind::Foreign));
    assert_eq!(kind("00000000000000131072.seg.tmp"), Some(OtherKind::Temporary));
    assert_eq!(kind("cut-4096-17"), Some(OtherKind::Cut));
    assert_eq!(kind("00000000000000000000.seg.corrupt-17"), Some(OtherKind::Replaced));
    assert_eq!(kind("control"), Some(OtherKind::Own));
}

#[test]
fn digests_are_compared_segment_by_segment() {
    let built = Built::new(5);
    let report = examine(&built.dir, Depth::Seals).unwrap();
    let mut peer: Vec<_> = report
        .segments
        .iter()
        .filter(|segment| segment.state != State::Prepared)
        .map(|segment| PeerSegment { base: segment.base, digest: segment.digest })
        .collect();
    let all = compare(&report, &peer);
    assert_eq!((all.equal_to, all.first_difference()), (Some(Lsn::new(4 * SIZE)), None));
    peer.remove(0);
    peer[1].digest = Some(longshore_format::Digest::NONE);
    peer[2].digest = None;
    let some = compare(&report, &peer);
    assert_eq!(some.equal_to, Some(Lsn::new(2 * SIZE)));
    assert_eq!(some.first_difference(), Some(Lsn::new(2 * SIZE)));
    let kinds: Vec<_> = some.segments.iter().map(|(_, compared)| compared).collect();
    assert!(matches!(
        kinds[..],
        [Compared::NotThere, Compared::Equal, Compared::Differs { .. }, Compared::NotSealedThere]
    ));
}

#[test]
fn a_listing_shows_every_record_from_anywhere_and_goes_on_behind_damage() {
    let built = Built::new(3);
    let list = |from: Lsn| {
        let mut listing = Listing::open(built.dir.clone(), from).unwrap();
        let (mut starts, mut bad) = (Vec::new(), 0);
        loop {
            match listing.next() {
                Ok(Some(record)) => starts.push((record.start, record.end, record.kind)),
                Ok(None) => break (starts, bad),
                Err(_) => {
                    bad += 1;
                    listing.next_segment();
                }
            }
        }
    };
    let (all, _) = list(Lsn::ZERO);
    assert_eq!(all.len() as u64, built.count());
    assert!(all.iter().any(|(_, _, kind)| *kind == Kind::ROLL));
    for (index, (_, end, _)) in all.iter().enumerate() {
        assert_eq!(list(*end).0[..], all[index + 1..], "from {end}");
    }
    built.flip(SIZE, 5_000);
    let (some, bad) = list(Lsn::ZERO);
    assert_eq!(bad, 1);
    assert!(some.len() < all.len());
    assert_eq!(some.last(), all.last());
}

#[test]
fn a_log_without_control_is_not_guessed_at() {
    let built = Built::new(2);
    std::fs::remove_file(built.place.path().join("log/control")).unwrap();
    assert!(examine(&built.dir, Depth::Seals).is_err());
    let header = std::fs::read(built.path(0)).unwrap();
    assert!(SegmentHeader::decode(&header).is_ok(), "though the segments are whole");
}

#[test]
fn a_log_that_is_being_written_is_never_called_damaged() {
    let built = Built::open(1);
    let wal = built.wal().clone();
    let threads = wal.start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let record = longshore_wal::RecordDraft::user(&[7; 700]);
                match wal.append(&[record], None) {
                    Ok(appended) => drop(wal.wait_blocking(appended.end, None).unwrap()),
                    Err(error) => assert_eq!(error.kind(), longshore_format::ErrorKind::Full, "{error}"),
                }
            }
        });
        for _ in 0..100 {
            let report = examine(&built.dir, Depth::Seals).unwrap();
            if !report.is_intact() {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                panic!("{:?}", report.damage().collect::<Vec<_>>());
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    threads.stop();
}

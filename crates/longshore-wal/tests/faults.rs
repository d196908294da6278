//! Damaged, missing, foreign and misplaced bytes: what is a crash, what is corruption, and what each of them says.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, symlink};

use common::*;
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::inspect::{Depth, examine};
use longshore_wal::{CreateSpec, Error, Event, ReadLog, RecordDraft, Role, Settings, Wal};

/// A log of three sealed segments and a bit, closed in order; where each record ends.
fn closed() -> (Place, Vec<Lsn>) {
    let place = Place::new();
    let wal = place.open();
    let ends = numbered(500, 400).iter().map(|record| append(&wal, record).end).collect();
    step(&wal);
    wal.close().unwrap();
    (place, ends)
}

/// A log of one segment with `count` records of which the first `durable` are, left as a crash of the machine would.
fn crashed(count: usize, durable: usize) -> (Place, Vec<Lsn>) {
    let place = Place::new();
    let wal = place.open();
    let mut ends = vec![wal.first()];
    for (index, record) in numbered(count, 100).iter().enumerate() {
        if index == durable {
            wal.sync_once().unwrap();
            wal.sync_control().unwrap();
        }
        ends.push(append(&wal, record).end);
    }
    (place, ends)
}

fn refused(place: &Place, kind: ErrorKind, says: &str) {
    let before = contents(place);
    for error in [place.try_open(settings()).unwrap_err(), ReadLog::open(place.dir()).map(drop).unwrap_err()] {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error} does not say {says:?}");
    }
    assert!(before == contents(place), "a refusal changes nothing");
}

fn contents(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(&place.path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let file = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, if path.is_file() { fs::read(path).unwrap() } else { Vec::new() })
    };
    files.iter().map(file).filter(|(name, _)| name != "lock").collect()
}

fn read_all(place: &Place) -> Result<Vec<Vec<u8>>, Error> {
    let log = place.read();
    let mut reader = log.reader(log.first())?;
    let mut payloads = Vec::new();
    while let Some(record) = reader.next()? {
        if record.kind.is_user() {
            payloads.push(record.payload.to_vec());
        }
    }
    Ok(payloads)
}

/// The records that can be read of a log that need not be whole, and what its end says.
fn read_damaged(place: &Place) -> (Vec<Lsn>, Option<Error>) {
    let log = ReadLog::open_damaged(place.dir()).unwrap();
    let mut reader = log.reader(log.first()).unwrap();
    let mut ends = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(record)) if record.kind.is_user() => ends.push(record.end),
            Ok(Some(_)) => {}
            Ok(None) => return (ends, None),
            Err(error) => return (ends, Some(error)),
        }
    }
}

#[test]
fn f_031_what_is_before_a_damage_is_read_and_then_the_damage_is_told() {
    let (place, ends) = closed();
    let (whole, none) = read_damaged(&place);
    assert!(whole == ends && none.is_none(), "a whole log has an end");
    // The header of the segment in which it ends.
    let header = fs::read(place.segment(3 * place.read().segment_size().get())).unwrap();
    place.damage(3 * place.read().segment_size().get(), 0, &[0; 4096]);
    let (read, error) = read_damaged(&place);
    assert!(!read.is_empty() && ends.starts_with(&read) && read.len() < ends.len());
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Corrupt));
    place.damage(3 * small().get(), 0, &header[..4096]);
    // A record of the last segment, then the segment before it, then that one's file.
    let size = place.read().segment_size().get();
    let inside = ends.iter().rfind(|end| 3 * size < end.get() && **end < *ends.last().unwrap()).unwrap();
    place.damage(3 * size, inside.get() - 3 * size + 50, &[0xff; 8]);
    let (read, error) = read_damaged(&place);
    assert_eq!((read.last(), error.map(|error| error.kind())), (Some(inside), Some(ErrorKind::Corrupt)));
    place.damage(2 * size, 5_000, &[0xff; 8]);
    let (read, error) = read_damaged(&place);
    assert!(read.iter().all(|end| *end <= Lsn::new(2 * size + 5_000)), "{read:?}");
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Corrupt));
    fs::remove_file(place.segment(2 * size)).unwrap();
    let (read, error) = read_damaged(&place);
    let last = ends.iter().rfind(|end| end.get() <= 2 * size + 4_096).unwrap();
    assert_eq!((read.last(), error.map(|error| error.kind())), (Some(last), Some(ErrorKind::Gap)));
    // A tail that a crash tore is no end either where records lie behind a missing segment.
    let torn = Place::new();
    let wal = torn.open();
    for record in numbered(500, 400) {
        append(&wal, &record);
    }
    drop(wal);
    torn.damage(size, 5_000, &[0; 8_000]);
    fs::remove_file(torn.segment(2 * size)).unwrap();
    let (read, error) = read_damaged(&torn);
    assert!(read.iter().all(|end| *end < Lsn::new(size + 5_400)), "{:?}", read.last());
    assert!(error.is_some_and(|error| matches!(error.kind(), ErrorKind::Gap | ErrorKind::Corrupt)));
    // And beside an owner, who has not noticed.
    let _owner = place.dir().lock().unwrap();
    let (read, error) = read_damaged(&place);
    assert_eq!((read.last(), error.map(|error| error.kind())), (Some(last), Some(ErrorKind::Gap)));
}

#[test]
fn f_001_f_002_a_torn_tail_is_cut_at_every_byte_and_what_is_before_survives() {
    let (place, ends) = crashed(6, 3);
    let original = fs::read(place.segment(0)).unwrap();
    let records = numbered(6, 100);
    for cut in (ends[3].get()..ends[6].get()).step_by(3) {
        let mut torn = original.clone();
        torn[cut as usize..].fill(0);
        fs::write(place.segment(0), &torn).unwrap();
        let whole = ends.iter().filter(|end| end.get() <= cut).count() - 1;
        // A record whose last bytes happen to be zero anyway is whole.
        let found = read_all(&place).unwrap();
        assert!(found.len() == whole || found.len() == whole + 1, "cut at {cut}");
        assert_eq!(found, records[..found.len()], "cut at {cut}");
    }
}

#[test]
fn f_004_a_hole_in_the_tail_ends_the_log_and_what_is_beyond_is_kept_aside() {
    let (place, ends) = crashed(20, 3);
    // Later records promise no more than the third one's end, so nothing says that the fifth was durable.
    place.damage(0, ends[4].get(), &[0; 132]);
    let (wal, recovery) = place.try_open(settings()).unwrap();
    assert_eq!(recovery.end, ends[4]);
    let padding = 4;
    assert_eq!(recovery.cut_bytes, ends[20].get() - ends[4].get() - padding);
    let kept = fs::read(place.file(recovery.cut_file.as_ref().unwrap())).unwrap();
    assert_eq!(kept.len() as u64, recovery.cut_bytes);
    assert!(wal.events().take().iter().any(|event| matches!(event, Event::TailCut { at, .. } if *at == ends[4])));
    append(&wal, b"after");
    step(&wal);
    let mut expected = numbered(4, 100);
    expected.push(b"after".to_vec());
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), expected);
}

#[test]
fn f_005_a_hole_below_what_is_durable_is_corruption_even_in_the_last_segment() {
    let (place, ends) = crashed(20, 10);
    place.damage(0, ends[4].get(), &[0; 132]);
    refused(&place, ErrorKind::Corrupt, &format!("position {}", ends[4]));
}

#[test]
fn f_004_a_promise_of_our_own_beyond_the_hole_makes_it_corruption() {
    let place = Place::new();
    let wal = place.open();
    let mut ends = vec![wal.first()];
    for record in numbered(20, 100) {
        ends.push(append(&wal, &record).end);
        wal.sync_once().unwrap();
    }
    drop(wal);
    // The watermark that control says is forgotten: an older one is also true.
    let slots = fs::read(place.file("control")).unwrap();
    let (first, second) = slots.split_at(64 << 10);
    let older = if sequence(first) < sequence(second) { 1 } else { 0 };
    assert!(sequence(first) != sequence(second));
    let control = fs::OpenOptions::new().write(true).open(place.file("control")).unwrap();
    control.write_all_at(&[0; 64], older * (64 << 10)).unwrap();
    place.damage(0, ends[5].get(), &[0; 132]);
    refused(&place, ErrorKind::Corrupt, &format!("position {}", ends[5]));
}

fn sequence(slot: &[u8]) -> u64 {
    u64::from_le_bytes(slot[16..24].try_into().unwrap())
}

#[test]
fn f_006_f_007_f_008_every_bit_of_a_durable_record_is_covered() {
    let (place, ends) = crashed(4, 4);
    let wal = place.open();
    step(&wal);
    wal.close().unwrap();
    drop(wal);
    let original = fs::read(place.segment(0)).unwrap();
    for bit in ends[1].get() * 8..ends[2].get() * 8 {
        let mut damaged = original.clone();
        damaged[(bit / 8) as usize] ^= 1 << (bit % 8);
        fs::write(place.segment(0), &damaged).unwrap();
        let error = place.try_open(settings()).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { corruption, .. } if corruption.position == ends[1]),
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn f_005_a_damaged_sealed_segment_is_found_at_first_use_and_named() {
    let (place, ends) = closed();
    let at = ends[20];
    place.damage(0, at.get() + 40, &[0xff; 4]);
    let (wal, _) = place.try_open(settings()).unwrap();
    let mut reader = wal.reader(wal.first()).unwrap();
    let mut read = 0;
    let error = loop {
        match reader.next() {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("the damage was not found"),
            Err(error) => break error,
        }
    };
    assert_eq!(read, 21, "all before it was served, and nothing after");
    assert!(error.to_string().contains(&format!("damaged at position {at}")), "{error}");
    assert!(error.to_string().ends_with("repair the segment from a replica or the archive"), "{error}");
    assert_eq!(wal.reader(wal.first()).unwrap().next_frames(1 << 20).unwrap().unwrap().end, at);
}

#[test]
fn f_009_a_damaged_header_is_refused() {
    let (place, _) = closed();
    for offset in [0, 8, 10, 20, 40, 100, 4092] {
        let name = place.segment(3 * 65536);
        let original = fs::read(&name).unwrap();
        let mut damaged = original.clone();
        damaged[offset] ^= 0x10;
        fs::write(&name, &damaged).unwrap();
        refused(&place, ErrorKind::Corrupt, "segment");
        fs::write(&name, &original).unwrap();
    }
}

#[test]
fn f_010_a_missing_or_torn_footer_of_the_last_two_segments_is_written_again() {
    let (place, _) = closed();
    let name = place.segment(2 * 65536);
    let sealed = fs::read(&name).unwrap();
    let body_end = small().body_end_offset() as usize;
    for torn in [body_end, body_end + 200, 65536 - 64] {
        let mut without = sealed.clone();
        without[torn..].fill(0);
        fs::write(&name, &without).unwrap();
        let (wal, _) = place.try_open(settings()).unwrap();
        assert!(wal.events().take().iter().any(|event| matches!(event, Event::FooterRewritten { .. })));
        while wal.seal_once().unwrap() {}
        wal.close().unwrap();
        drop(wal);
        assert!(fs::read(&name).unwrap() == sealed, "torn at {torn}");
    }
}

#[test]
fn f_010_a_burst_over_segments_that_nobody_had_time_to_seal_is_an_ordinary_end() {
    for closes in [true, false] {
        let place = Place::new();
        let wal = place.open();
        let records = numbered(700, 400);
        for record in &records {
            // Spares are made, and nothing is synced nor sealed meanwhile.
            while wal.prepare_once().unwrap() {}
            append(&wal, record);
        }
        wal.sync_once().unwrap();
        if closes {
            wal.close().unwrap();
        }
        drop(wal);
        let report = examine(&place.dir(), Depth::Records).unwrap();
        assert!(report.is_intact(), "closed: {closes}, {:?}", report.damage().collect::<Vec<_>>());
        assert_eq!(read_all(&place).unwrap().len(), records.len());
        let wal = place.open();
        while wal.seal_once().unwrap() {}
        assert!(3 < wal.sealed().get().get() / small().get());
        wal.close().unwrap();
        assert!(examine(&place.dir(), Depth::Records).unwrap().is_intact());
    }
}

#[test]
fn f_010_a_missing_footer_further_back_is_corruption() {
    let (place, _) = closed();
    place.damage(0, small().body_end_offset(), &vec![0; small().footer_len() as usize]);
    let wal = place.open();
    let error = wal.digest(Lsn::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("no footer"), "{error}");
}

#[test]
fn f_011_f_012_a_bad_index_costs_time_and_never_a_wrong_seek() {
    // Segments of 256 KiB have an index of three entries.
    let place = Place::empty();
    let size = longshore_format::SegmentSize::new(256 << 10).unwrap();
    let spec = CreateSpec { segment_size: size, ..CreateSpec::default() };
    Wal::create(place.dir(), &longshore_storage::SystemEnvironment, &spec).unwrap();
    let wal = place.open();
    let ends: Vec<Lsn> = numbered(1500, 400).iter().map(|record| append(&wal, record).end).collect();
    step(&wal);
    wal.close().unwrap();
    drop(wal);
    let name = place.file(&size.file_name(Lsn::ZERO));
    let original = fs::read(&name).unwrap();
    let index = size.body_end_offset() as usize;
    for damage in [0, 8, 60, 72, 150] {
        let mut bytes = original.clone();
        bytes[index + damage] ^= 1;
        fs::write(&name, &bytes).unwrap();
        let log = place.read();
        for end in ends.iter().step_by(29).filter(|end| end.get() < 200_000) {
            assert_eq!(log.reader(*end).unwrap().position(), *end);
        }
    }
}

#[test]
fn f_020_f_022_what_no_crash_can_leave_is_corruption_even_in_the_tail() {
    // A whole record of an unknown kind, minted properly, after everything that is durable.
    let (place, ends) = crashed(3, 3);
    let wal = place.open();
    step(&wal);
    let chain = *wal.reader(wal.end()).unwrap().chain();
    let (id, size, end) = (wal.id(), wal.segment_size(), wal.end());
    drop(wal);
    assert!(ends[3] < end);
    let mut cursor = longshore_format::Cursor::new(id, size, chain);
    let minted = cursor.mint(&longshore_format::Draft {
        kind: longshore_format::Kind::new(200),
        flags: longshore_format::Flags::IGNORABLE,
        time: 0,
        durable: Lsn::ZERO,
        payload_len: 0,
        payload_crc: 0,
        life: None,
    });
    place.damage(0, end.get(), &minted.header);
    assert!(place.try_open(settings()).is_ok(), "an ignorable kind is passed over");
}

#[test]
fn f_021_a_newer_version_is_refused_and_left_alone() {
    let (place, _) = closed();
    let name = place.segment(3 * 65536);
    let mut bytes = fs::read(&name).unwrap();
    bytes[8] = 2;
    let crc = crc(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    fs::write(&name, &bytes).unwrap();
    refused(&place, ErrorKind::Preflight, "newer version");
}

fn crc(bytes: &[u8]) -> u32 {
    longshore_format::payload_crc(bytes)
}

#[test]
fn f_029_garbage_after_the_tail_is_cut() {
    for len in [1, 7, 31, 32, 33, 500, 1024] {
        let (place, ends) = crashed(5, 5);
        let garbage: Vec<u8> = (0..len).map(|byte: u32| (byte.wrapping_mul(2654435761) >> 13) as u8 | 1).collect();
        place.damage(0, ends[5].get(), &garbage);
        assert_eq!(read_all(&place).unwrap(), numbered(5, 100));
        let (wal, recovery) = place.try_open(settings()).unwrap();
        assert_eq!((recovery.end, recovery.cut_bytes), (ends[5], u64::from(len)));
        drop(wal);
        assert_eq!(read_all(&place).unwrap(), numbered(5, 100));
    }
}

#[test]
fn f_031_f_033_missing_segments_are_named() {
    let (place, _) = closed();
    let name = place.segment(65536);
    let kept = fs::read(&name).unwrap();
    fs::remove_file(&name).unwrap();
    refused(&place, ErrorKind::Gap, "missing between 65536 and 131072");
    fs::write(&name, kept).unwrap();
    fs::remove_file(place.segment(3 * 65536)).unwrap();
    for later in [4, 5] {
        let _prepared = fs::remove_file(place.segment(later * 65536));
    }
    refused(&place, ErrorKind::Gap, "missing between 196608");
}

#[test]
fn f_032_a_missing_first_segment_makes_what_it_held_too_old() {
    let (place, _) = closed();
    fs::remove_file(place.segment(0)).unwrap();
    let log = place.read();
    assert_eq!(log.first(), Lsn::new(65536 + 4096));
    let error = log.reader(Lsn::new(4096)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooOld);
    assert!(error.to_string().contains("the first one is 69632"), "{error}");
}

#[test]
fn f_035_f_037_a_segment_of_another_place_or_another_log_is_refused() {
    let (place, _) = closed();
    let (other, _) = closed();
    let last = place.segment(3 * 65536);
    let kept = fs::read(&last).unwrap();
    fs::copy(place.segment(65536), &last).unwrap();
    refused(&place, ErrorKind::Corrupt, "begins at 65536");
    fs::copy(other.segment(3 * 65536), &last).unwrap();
    refused(&place, ErrorKind::Corrupt, "of another log");
    fs::write(&last, kept).unwrap();

    fs::copy(other.segment(65536), place.segment(65536)).unwrap();
    let wal = place.open();
    let mut reader = wal.reader(wal.first()).unwrap();
    let error = std::iter::from_fn(|| reader.next().map(|record| record.map(drop)).transpose()).find_map(Result::err);
    assert!(error.unwrap().to_string().contains("of another log"));
}

#[test]
fn f_040_f_041_f_043_f_044_what_an_interrupted_preparation_left_does_no_harm() {
    let (place, _) = closed();
    let files = fs::read_dir(&place.path).unwrap().count();
    fs::write(place.file("00000000000000524288.seg"), b"").unwrap();
    fs::write(place.file("00000000000000589824.seg.tmp"), vec![0; 5000]).unwrap();
    fs::write(place.file(".DS_Store"), b"whatever").unwrap();
    let wal = place.open();
    let events = wal.events().take();
    assert!(events.iter().any(|event| matches!(event, Event::ForeignFile { name } if name == ".DS_Store")));
    assert!(events.iter().any(|event| matches!(event, Event::TemporaryRemoved { .. })));
    assert!(place.file(".DS_Store").exists());
    assert_eq!(fs::read_dir(&place.path).unwrap().count(), files + 1);
    for record in numbered(600, 400) {
        append(&wal, &record);
    }
    step(&wal);
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()).len(), 1100);
}

#[test]
fn f_042_a_segment_longer_than_it_should_be_opens() {
    let (place, _) = closed();
    for base in 0..4 {
        let file = fs::OpenOptions::new().append(true).open(place.segment(base * 65536)).unwrap();
        file.write_all_at(&[1; 100], 65536).unwrap();
    }
    assert_eq!(read_all(&place).unwrap().len(), 500);
    append(&place.open(), b"more");
}

#[test]
fn f_047_the_older_control_slot_stands_in_and_without_any_the_log_is_refused() {
    let (place, _) = closed();
    let control = place.file("control");
    let bytes = fs::read(&control).unwrap();
    let slot = 64 << 10;
    let newest = if sequence(&bytes[..slot]) > sequence(&bytes[slot..]) { 0 } else { slot };
    let mut torn = bytes.clone();
    torn[newest + 30] ^= 1;
    fs::write(&control, &torn).unwrap();
    assert_eq!(read_all(&place).unwrap().len(), 500);
    torn[slot - newest + 30] ^= 1;
    fs::write(&control, &torn).unwrap();
    refused(&place, ErrorKind::Corrupt, "control");
    fs::write(&control, b"").unwrap();
    refused(&place, ErrorKind::Corrupt, "control");
}

#[test]
fn f_049_a_missing_log_is_never_made_up() {
    let empty = Place::empty();
    let error = empty.try_open(settings()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("is the volume mounted?"), "{error}");
    let (place, _) = closed();
    for base in 0..8 {
        let _there = fs::remove_file(place.segment(base * 65536));
    }
    refused(&place, ErrorKind::NotFound, "every segment");
    let (place, _) = closed();
    let spec = CreateSpec::default();
    let error = Wal::create(place.dir(), &longshore_storage::SystemEnvironment, &spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    fs::remove_file(place.file("control")).unwrap();
    let spec = CreateSpec { segment_size: small(), ..spec };
    let error = Wal::create(place.dir(), &longshore_storage::SystemEnvironment, &spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "records without a control file are still somebody's log");
}

#[test]
fn f_050_a_segment_that_is_a_link_or_a_pipe_is_refused() {
    let (place, _) = closed();
    let name = place.segment(65536);
    let elsewhere = place.file("elsewhere");
    fs::rename(&name, &elsewhere).unwrap();
    symlink(&elsewhere, &name).unwrap();
    refused(&place, ErrorKind::Corrupt, "not a regular file");
}

#[test]
fn f_051_a_directory_that_was_replaced_stops_the_log_at_the_next_roll() {
    let place = Place::new();
    let wal = place.open();
    step(&wal);
    append(&wal, b"before");
    fs::rename(&place.path, place.path.with_extension("moved")).unwrap();
    fs::create_dir(&place.path).unwrap();
    let record = vec![1; 1000];
    let error = loop {
        if let Err(error) = wal.append(&[RecordDraft::user(&record)], None) {
            break error;
        }
        if let Err(error) = wal.sync_once() {
            break error;
        }
    };
    assert!(error.to_string().contains("replaced or unmounted"), "{error}");
    let after = wal.append(&[RecordDraft::user(b"after")], None).unwrap_err();
    assert_eq!(after.kind(), ErrorKind::Poisoned);
    assert!(wal.durable().get() < wal.end(), "nothing past the roll counts as durable");
}

#[test]
fn f_054_f_055_a_segment_cut_short_or_removed_stops_the_log() {
    let place = Place::new();
    let wal = place.open();
    append(&wal, b"before");
    fs::remove_file(place.segment(0)).unwrap();
    assert!(wal.sync_once().is_err());
    assert_eq!(wal.append(&[RecordDraft::user(b"x")], None).unwrap_err().kind(), ErrorKind::Poisoned);

    let place = Place::new();
    let wal = place.open();
    append(&wal, b"before");
    fs::OpenOptions::new().write(true).open(place.segment(0)).unwrap().set_len(8192).unwrap();
    assert!(wal.sync_once().is_err());
    assert!(wal.failure().is_some());
    assert!(wal.wait_blocking(wal.end(), None).is_err(), "every waiter gets the error");
    assert!(wal.sync_once().is_err(), "F-063: and no sync is tried again");
}

#[test]
fn f_070_the_directory_without_records_of_a_crashed_creation_can_be_created_again() {
    let place = Place::new();
    fs::remove_file(place.file("control")).unwrap();
    let spec = CreateSpec { segment_size: small(), ..CreateSpec::default() };
    Wal::create(place.dir(), &longshore_storage::SystemEnvironment, &spec).unwrap();
    append(&place.open(), b"works");
}

#[test]
fn a_follower_that_cuts_below_what_it_acknowledged_says_so_until_it_has_it_again() {
    let source = Place::new();
    let wal = source.open();
    for record in numbered(40, 100) {
        append(&wal, &record);
    }
    step(&wal);
    let place = Place::empty();
    Wal::create_follower(place.dir(), &wal.start_point().unwrap()).unwrap();
    let follower_log = place.try_open(follower()).unwrap().0;
    let chunk = wal.reader(wal.first()).unwrap().next_frames(1 << 20).unwrap().unwrap();
    let end = follower_log.append_frames(follower_log.accepted_epoch(), chunk.start, &chunk.bytes).unwrap();
    follower_log.sync_once().unwrap();
    follower_log.sync_control().unwrap();
    drop(follower_log);
    let at = Lsn::new(4096 + 10 * 136);
    place.damage(0, at.get(), &[9; 20]);
    assert_eq!(place.try_open(follower()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(place.try_open(settings()).is_err(), "the writer has no such way out");

    let cutting = Settings { cut_below_durable: true, ..follower() };
    let (follower_log, recovery) = place.try_open(cutting).unwrap();
    assert_eq!((recovery.end, recovery.lost), (at, Some(end)));
    drop(follower_log);
    let (follower_log, recovery) = place.try_open(follower()).unwrap();
    assert_eq!((recovery.end, follower_log.lost()), (at, Some(end)), "it is remembered");
    let rest = wal.reader(at).unwrap().next_frames(1 << 20).unwrap().unwrap();
    follower_log.append_frames(follower_log.accepted_epoch(), at, &rest.bytes).unwrap();
    follower_log.sync_once().unwrap();
    assert_eq!(follower_log.lost(), None);
}

#[test]
fn a_promise_of_another_node_proves_nothing_about_this_disk() {
    let source = Place::new();
    let wal = source.open();
    for record in numbered(40, 100) {
        append(&wal, &record);
        wal.sync_once().unwrap();
    }
    let place = Place::empty();
    Wal::create_follower(place.dir(), &wal.start_point().unwrap()).unwrap();
    let follower_log = place.try_open(follower()).unwrap().0;
    let chunk = wal.reader(wal.first()).unwrap().next_frames(1 << 20).unwrap().unwrap();
    follower_log.append_frames(follower_log.accepted_epoch(), chunk.start, &chunk.bytes).unwrap();
    drop(follower_log);
    let at = Lsn::new(4096 + 10 * 136);
    place.damage(0, at.get(), &[0; 136]);
    let (_, recovery) = place.try_open(follower()).unwrap();
    assert_eq!(
        (recovery.end, recovery.lost),
        (at, None),
        "a torn tail, though later records promise it durable elsewhere"
    );
}

#[test]
fn only_the_writer_of_the_epoch_appends() {
    let source = Place::new();
    let wal = source.open();
    let place = Place::empty();
    Wal::create_follower(place.dir(), &wal.start_point().unwrap()).unwrap();
    assert_eq!(place.try_open(settings()).unwrap_err().kind(), ErrorKind::Fenced);
    let follower_log = place.try_open(follower()).unwrap().0;
    assert_eq!(follower_log.role(), Role::Follower);
    assert_eq!(follower_log.append(&[RecordDraft::user(b"x")], None).unwrap_err().kind(), ErrorKind::Invalid);
}

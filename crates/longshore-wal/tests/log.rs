//! The log as its users see it: append, sync, read, close, open.

mod common;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::*;
use longshore_format::{ErrorKind, Kind, Lsn, Name, SegmentSize};
use longshore_storage::{Environment, SystemEnvironment};
use longshore_wal::{CreateSpec, Error, RecordDraft, Settings, Wal};

#[test]
fn what_is_appended_and_synced_is_read_in_order_over_segments() {
    let place = Place::new();
    let wal = place.open();
    let records = numbered(500, 500);
    for record in &records {
        append(&wal, record);
    }
    assert!(payloads(wal.reader(wal.first()).unwrap()).len() < 500, "nothing is shown before it is durable");
    step(&wal);
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), records);
    assert!(wal.segments().len() > 3);
    assert_eq!(wal.durable().get(), wal.end());
}

#[test]
fn a_clean_close_appends_nothing_and_a_crash_appends_an_incarnation() {
    let place = Place::new();
    let wal = place.open();
    append(&wal, b"one");
    wal.close().unwrap();
    assert_eq!(wal.append(&[RecordDraft::user(b"late")], None).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(wal);

    let (wal, recovery) = place.try_open(settings()).unwrap();
    assert!(recovery.clean);
    append(&wal, b"two");
    drop(wal);

    let (wal, recovery) = place.try_open(settings()).unwrap();
    assert!(!recovery.clean);
    assert_eq!(recovery.cut_bytes, 0, "kill -9 loses nothing");
    append(&wal, b"three");
    step(&wal);
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), [&b"one"[..], b"two", b"three"]);
    assert_eq!(kinds(wal.reader(wal.first()).unwrap()), [Kind::USER, Kind::USER, Kind::INCARNATION, Kind::USER]);
    assert_eq!(wal.history().entries().len(), 2);
}

#[test]
fn reopening_over_and_over_keeps_everything() {
    let place = Place::new();
    let mut expected = Vec::new();
    for round in 0..20_usize {
        let wal = place.open();
        for record in numbered(40, 300 + round) {
            append(&wal, &record);
            expected.push(record);
        }
        if round % 3 == 0 {
            wal.close().unwrap();
        }
        if round % 3 == 1 {
            step(&wal);
        }
    }
    assert_eq!(payloads(place.read().reader(Lsn::new(4096)).unwrap()), expected);
}

#[test]
fn f_024_f_025_f_026_every_payload_length_at_the_end_of_a_segment() {
    let place = Place::new();
    let wal = place.open();
    let size = wal.segment_size();
    let mut expected = Vec::new();
    for free in 0..260_u64 {
        // Fill up to `free` bytes before the end, then append an empty, a short and a long record.
        loop {
            let left = size.body_end_offset() - size.offset_in(wal.end());
            if left < 16_000 {
                break;
            }
            let filler = vec![7; 8_000];
            append(&wal, &filler);
            expected.push(filler);
        }
        let left = size.body_end_offset() - size.offset_in(wal.end());
        let filler = vec![8; left.saturating_sub(32 + 8 * free) as usize];
        append(&wal, &filler);
        expected.push(filler);
        for record in [&b""[..], b"x", &[9; 100]] {
            append(&wal, record);
            expected.push(record.to_vec());
        }
    }
    step(&wal);
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), expected);
    drop(wal);
    assert_eq!(payloads(place.read().reader(Lsn::new(4096)).unwrap()), expected);
}

#[test]
fn f_024_the_longest_payload_is_taken_and_one_more_byte_refused() {
    let place = Place::new();
    let wal = place.open();
    let longest = vec![1; SegmentSize::MIN.max_payload()];
    append(&wal, &longest);
    let end = wal.end();
    let longer = vec![1; longest.len() + 1];
    let refused = wal.append(&[RecordDraft::user(&longer)], None).unwrap_err();
    assert!(matches!(refused, Error::TooLong { len: 16385, max: 16384 }), "{refused}");
    assert_eq!(wal.end(), end, "nothing was written");
    drop(wal);
    assert_eq!(payloads(place.read().reader(Lsn::new(4096)).unwrap()), [longest]);
}

#[test]
fn an_append_that_expects_another_end_is_refused() {
    let place = Place::new();
    let wal = place.open();
    let start = wal.end();
    let appended = wal.append(&[RecordDraft::user(b"once")], Some(start)).unwrap();
    assert_eq!(appended.start, start);
    let again = wal.append(&[RecordDraft::user(b"once")], Some(start)).unwrap_err();
    assert!(matches!(again, Error::WrongEnd { expected, end } if expected == start && end == appended.end));
    assert_eq!(again.kind(), ErrorKind::Preflight);
}

#[test]
fn past_the_unsynced_limit_appends_are_refused_with_figures() {
    let place = Place::new();
    let mut settings = settings();
    settings.unsynced_limit = 1000;
    let wal = place.try_open(settings).unwrap().0;
    let big = vec![0; 5000];
    wal.append(&[RecordDraft::user(&big)], None).unwrap();
    let refused = wal.append(&[RecordDraft::user(b"x")], None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.to_string().contains("5072 bytes wait to be synced, the limit is 1000"), "{refused}");
    assert!(wal.pressure().full.is_some());
    wal.sync_once().unwrap();
    wal.append(&[RecordDraft::user(b"x")], None).unwrap();
}

#[test]
fn runs_do_not_interleave_and_a_dropped_one_is_aborted() {
    let place = Place::new();
    let wal = place.open();
    let mut run = wal.begin().unwrap();
    run.append(Kind::USER, b"a").unwrap();
    run.append(Kind::new(300), b"b").unwrap();
    assert!(matches!(wal.append(&[RecordDraft::user(b"x")], None), Err(Error::RunOpen { .. })));
    assert!(matches!(wal.begin(), Err(Error::RunOpen { .. })));
    assert!(wal.mark(&Name::new("m").unwrap()).is_err());
    let end = run.finish().unwrap();
    assert_eq!(end, wal.end());
    drop(run);

    let mut dropped = wal.begin().unwrap();
    dropped.append(Kind::USER, b"c").unwrap();
    dropped.append(Kind::USER, b"d").unwrap();
    drop(dropped);
    wal.mark(&Name::new("after").unwrap()).unwrap();
    let mut empty = wal.begin().unwrap();
    assert_eq!(empty.finish().unwrap(), wal.end());
    step(&wal);
    let expected = [Kind::USER, Kind::new(300), Kind::USER, Kind::ABORT, Kind::MARK];
    assert_eq!(kinds(wal.reader(wal.first()).unwrap()), expected);
    let mut reader = wal.reader(wal.first()).unwrap();
    assert!(reader.next().unwrap().unwrap().is_first());
    assert!(reader.next().unwrap().unwrap().is_last());
}

#[test]
fn an_open_run_is_closed_by_a_clean_close_and_by_the_next_open() {
    let place = Place::new();
    let wal = place.open();
    let mut run = wal.begin().unwrap();
    run.append(Kind::USER, b"a").unwrap();
    run.append(Kind::USER, b"b").unwrap();
    wal.close().unwrap();
    drop(run);
    drop(wal);
    let wal = place.open();
    let mut run = wal.begin().unwrap();
    run.append(Kind::USER, b"c").unwrap();
    run.append(Kind::USER, b"d").unwrap();
    wal.sync_once().unwrap();
    std::mem::forget(run);
    drop(wal);
    // The leaked run keeps its handle, and with it the lock: copy the directory as a crash would leave it.
    let copy = Place::empty();
    for entry in std::fs::read_dir(&place.path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.file(entry.file_name().to_str().unwrap())).unwrap();
    }
    let wal = copy.open();
    step(&wal);
    let expected = [Kind::USER, Kind::ABORT, Kind::USER, Kind::INCARNATION];
    assert_eq!(kinds(wal.reader(wal.first()).unwrap()), expected);
}

#[test]
fn every_boundary_can_be_read_from_and_nothing_else() {
    let place = Place::new();
    let wal = place.open();
    let mut ends = vec![wal.first()];
    for record in numbered(600, 300) {
        ends.push(append(&wal, &record).end);
    }
    step(&wal);
    for (index, end) in ends.iter().enumerate() {
        let mut reader = wal.reader(*end).unwrap();
        assert_eq!(reader.position(), wal.segment_size().normalise(*end));
        let found = reader.next().unwrap().map(|record| record.payload.to_vec());
        let expected = if index < 600 { Some(numbered(600, 300)[index].clone()) } else { None };
        match found {
            Some(payload) if payload.is_empty() => {}
            found => assert_eq!(found, expected),
        }
        if index % 37 == 0 {
            let between = Lsn::new(end.get() + 8);
            let refused = wal.reader(between).unwrap_err();
            let beyond = *end == wal.end();
            assert_eq!(matches!(refused, Error::Beyond { .. }), beyond, "{refused}");
            assert!(beyond || matches!(refused, Error::NotABoundary { nearest, .. } if nearest == *end), "{refused}");
        }
    }
    assert!(wal.reader(Lsn::ZERO).is_ok(), "positions before the first record are the first");
}

#[test]
fn frames_are_verbatim_and_a_follower_of_them_is_byte_identical() {
    let place = Place::new();
    let wal = place.open();
    let copy = Place::empty();
    longshore_wal::Wal::create_follower(copy.dir(), &wal.start_point().unwrap()).unwrap();
    let (follower_log, _) = copy.try_open(follower()).unwrap();
    for (round, record) in numbered(900, 250).iter().enumerate() {
        append(&wal, record);
        if round % 100 == 50 {
            wal.mark(&Name::new("here").unwrap()).unwrap();
        }
    }
    step(&wal);
    let mut reader = wal.reader(follower_log.end()).unwrap();
    while let Some(chunk) = reader.next_frames(5000).unwrap() {
        follower_log.set_upstream_end(wal.end());
        loop {
            match follower_log.append_frames(follower_log.accepted_epoch(), chunk.start, &chunk.bytes) {
                Err(Error::Full(_)) => step(&follower_log),
                other => break assert_eq!(other.unwrap(), chunk.end),
            }
        }
    }
    step(&follower_log);
    assert_eq!(follower_log.end(), wal.end());
    assert_eq!(follower_log.last_crc(), wal.last_crc());
    let sealed: Vec<_> = wal.segments().into_iter().filter(|segment| segment.is_sealed()).collect();
    assert!(sealed.len() >= 3);
    for segment in sealed {
        assert_eq!(wal.digest(segment.base).unwrap(), follower_log.digest(segment.base).unwrap());
        let name = wal.segment_size().file_name(segment.base);
        assert!(std::fs::read(place.file(&name)).unwrap() == std::fs::read(copy.file(&name)).unwrap(), "{name}");
    }
    drop(follower_log);
    let (follower_log, recovery) = copy.try_open(follower()).unwrap();
    assert_eq!(recovery.end, wal.end(), "a follower's open mints nothing");
    assert_eq!(follower_log.history(), wal.history());
}

#[test]
fn frames_are_never_more_than_was_asked_for_but_for_one_long_record() {
    let place = Place::new();
    let wal = place.open();
    for record in numbered(300, 50) {
        append(&wal, &record);
    }
    append(&wal, &[7; 2000]);
    step(&wal);
    for max in [1, 88, 89, 1000, 1024, 4096, 1 << 20] {
        let mut reader = wal.reader(wal.first()).unwrap();
        let mut chunks = 0;
        while let Some(chunk) = reader.next_frames(max).unwrap() {
            chunks += 1;
            let one = wal.reader(chunk.start).unwrap().next_frames(1).unwrap().unwrap();
            assert!(chunk.bytes.len() <= max.max(one.bytes.len()), "{} of {max}", chunk.bytes.len());
        }
        assert!(chunks > 0 && reader.position() == wal.end());
    }
}

#[test]
fn f_092_f_098_f_103_frames_that_do_not_hold_are_refused_whole() {
    let place = Place::new();
    let wal = place.open();
    let copy = Place::empty();
    longshore_wal::Wal::create_follower(copy.dir(), &wal.start_point().unwrap()).unwrap();
    let (follower_log, _) = copy.try_open(follower()).unwrap();
    for record in numbered(20, 50) {
        append(&wal, &record);
    }
    step(&wal);
    let chunk = wal.reader(wal.first()).unwrap().next_frames(1 << 20).unwrap().unwrap();
    let start = follower_log.end();
    for bit in 0..chunk.bytes.len() * 8 {
        let mut bytes = chunk.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(follower_log.append_frames(follower_log.accepted_epoch(), start, &bytes).is_err(), "bit {bit}");
        assert_eq!(follower_log.end(), start);
    }
    let cut = &chunk.bytes[..chunk.bytes.len() - 8];
    assert!(matches!(
        follower_log.append_frames(follower_log.accepted_epoch(), start, cut),
        Err(Error::BadFrame { .. })
    ));
    let gap = follower_log.append_frames(follower_log.accepted_epoch(), Lsn::new(start.get() + 88), &chunk.bytes[88..]);
    assert!(matches!(gap, Err(Error::OutOfOrder { .. })));
    let shifted = follower_log.append_frames(follower_log.accepted_epoch(), start, &chunk.bytes[88..]);
    assert!(matches!(shifted, Err(Error::BadFrame { .. })), "F-022: a gap inside");
    assert_eq!(follower_log.append_frames(follower_log.accepted_epoch(), start, &chunk.bytes).unwrap(), chunk.end);
}

#[test]
fn threads_make_durable_prepare_and_seal_by_themselves() {
    let place = Place::new();
    let wal = place.open();
    let threads = wal.start();
    let records = numbered(2000, 400);
    let mut end = wal.end();
    for record in &records {
        end = loop {
            match wal.append(&[RecordDraft::user(record)], None) {
                Err(Error::Full(_)) => assert!(wal.wait_room_blocking(500, None).unwrap()),
                other => break other.unwrap().end,
            }
        };
    }
    wal.wait_blocking(end, None).unwrap();
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), records);
    threads.stop();
    wal.close().unwrap();
    drop(wal);
    assert_eq!(payloads(place.read().reader(Lsn::new(4096)).unwrap()), records);
}

#[test]
fn a_reader_without_a_runtime_waits_for_what_comes_or_for_the_end() {
    let place = Place::new();
    let wal = place.open();
    let mut reader = wal.reader(wal.end()).unwrap();
    assert!(!reader.ready_blocking(Some(Duration::ZERO)).unwrap(), "there is nothing yet");
    let writer = wal.clone();
    let appended = std::thread::spawn(move || {
        append(&writer, b"late");
        step(&writer);
    });
    assert!(reader.ready_blocking(None).unwrap());
    assert_eq!(reader.next().unwrap().unwrap().payload, b"late");
    appended.join().unwrap();
    wal.close().unwrap();
    assert!(matches!(reader.ready_blocking(None), Err(Error::Closed)));
}

#[test]
fn f_052_a_second_owner_is_refused_and_a_reader_beside_one_stops_at_its_watermark() {
    let place = Place::new();
    let wal = place.open();
    append(&wal, b"durable");
    step(&wal);
    append(&wal, b"not yet");
    let second = place.try_open(settings()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Busy, "{second}");
    let beside = place.read();
    assert!(beside.has_owner());
    assert_eq!(payloads(beside.reader(beside.first()).unwrap()), [b"durable"]);
    step(&wal);
    beside.refresh().unwrap();
    assert_eq!(payloads(beside.reader(beside.first()).unwrap()), [&b"durable"[..], b"not yet"]);
    drop(wal);
    let alone = place.read();
    assert!(!alone.has_owner());
    assert_eq!(payloads(alone.reader(alone.first()).unwrap()).len(), 2);
}

/// A clock that syncs the log whenever it is looked at, in the middle of an append, too.
#[derive(Debug, Default)]
struct SyncingClock(OnceLock<Wal>);

impl Environment for SyncingClock {
    fn wall_micros(&self) -> u64 {
        if let Some(wal) = self.0.get() {
            wal.sync_once().unwrap();
        }
        SystemEnvironment.wall_micros()
    }

    fn monotonic(&self) -> Duration {
        SystemEnvironment.monotonic()
    }

    fn boottime(&self) -> Duration {
        SystemEnvironment.boottime()
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        SystemEnvironment.random(bytes)
    }
}

#[test]
fn a_sync_that_ends_in_the_middle_of_a_batch_does_not_stop_it() {
    let place = Place::new();
    let clock = Arc::new(SyncingClock::default());
    let (wal, _) = Wal::open(place.dir(), clock.clone(), settings()).unwrap();
    // Two segments of which nothing is durable, so that the older cannot be sealed; the next append begins a third.
    let record = [7; 4000];
    while wal.end() < Lsn::new(65536 + 30_000) {
        wal.prepare_once().unwrap();
        wal.append(&[RecordDraft::user(&record)], None).unwrap();
    }
    wal.prepare_once().unwrap();
    clock.0.set(wal.clone()).unwrap();
    let appended = wal.append(&[RecordDraft::user(&record); 10], None).unwrap();
    step(&wal);
    assert_eq!(payloads(wal.reader(appended.start).unwrap()).len(), 10);
}

#[test]
fn a_segment_ahead_is_filled_as_the_log_grows_and_the_first_at_once() {
    let place = Place::new();
    let wal = place.open();
    let prepared = || wal.pressure().prepared;
    let mut filling = None;
    assert!(wal.prepare_ahead(&mut filling).unwrap());
    assert_eq!(prepared(), 1, "appends would have to wait for it");
    // Its first piece, and then no more than twice what is appended.
    assert!(wal.prepare_ahead(&mut filling).unwrap());
    for appended in 1..=7 {
        assert!(!wal.prepare_ahead(&mut filling).unwrap(), "nothing was appended");
        assert!(!wal.prepare_once().unwrap(), "somebody is at it");
        wal.append(&[RecordDraft::user(&[7; 4096])], None).unwrap();
        let mut pieces = 0;
        while wal.prepare_ahead(&mut filling).unwrap() {
            pieces += 1;
        }
        assert_eq!((pieces, prepared()), (2, 1), "after {appended}");
    }
    wal.append(&[RecordDraft::user(&[7; 4096])], None).unwrap();
    while wal.prepare_ahead(&mut filling).unwrap() {}
    assert_eq!(prepared(), 2, "long before it is needed");
}

#[test]
fn what_is_filled_is_given_back_where_nobody_goes_on_with_it() {
    let place = Place::new();
    let wal = place.open();
    let mut filling = None;
    while filling.is_none() {
        assert!(wal.prepare_ahead(&mut filling).unwrap());
    }
    let temporary = place.file("00000000000000131072.seg.tmp");
    assert!(temporary.exists());
    wal.give_back(filling.unwrap());
    assert!(!temporary.exists());
    assert!(wal.prepare_once().unwrap(), "the next one begins anew");
}

#[test]
fn what_is_gathered_is_synced_together_when_all_of_it_is_there_or_a_mebibyte() {
    let place = Place::empty();
    let spec = CreateSpec { segment_size: SegmentSize::new(4 << 20).unwrap(), ..CreateSpec::default() };
    Wal::create(place.dir(), &SystemEnvironment, &spec).unwrap();
    let wal = place.open();
    let threads = wal.start();
    let syncs = || wal.sync_stats().count;
    wal.wait_blocking(wal.end(), None).unwrap();
    let (before, durable) = (syncs(), wal.durable().get());
    let together = wal.gather();
    let mut end = durable;
    while end.since(durable) < 1 << 19 {
        end = wal.append(&[RecordDraft::user(&[7; 1000])], None).unwrap().end;
    }
    assert_eq!((syncs(), wal.durable().get()), (before, durable));
    drop(together);
    wal.durable().wait_blocking(end, None).unwrap();
    assert_eq!(syncs(), before + 1);
    // Whoever gathers for long does not keep it all from the disk.
    let _together = wal.gather();
    let more = end.checked_add(1 << 20).unwrap();
    while end < more {
        end = wal.append(&[RecordDraft::user(&[7; 1000])], None).unwrap().end;
    }
    wal.durable().wait_blocking(more, None).unwrap();
    threads.stop();
}

#[test]
fn who_gathers_and_waits_for_room_syncs_what_takes_it() {
    let place = Place::new();
    let wal = place.try_open(Settings { unsynced_limit: 2000, ..settings() }).unwrap().0;
    let _together = wal.gather();
    for _ in 0..20 {
        while let Err(full) = wal.append(&[RecordDraft::user(&[7; 1500])], None) {
            assert!(matches!(full, Error::Full(_)), "{full}");
            assert!(wal.wait_room_blocking(1500, Some(Duration::from_secs(10))).unwrap());
        }
    }
}

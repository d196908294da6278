//! What is shipped while its writer syncs it: offered before it is durable, and held back by followers until it is (F-096).

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use longshore_format::{Epoch, Lsn, WriterId};
use longshore_storage::{Environment, SystemEnvironment};
use longshore_wal::{Error, Promotion, Wal, set_aside};

/// A log of `count` records that are offered and not synced, and a follower that holds all of them back.
struct Pair {
    writer: Wal,
    _source: Place,
    copy: Place,
    /// Where each record ends.
    ends: Vec<Lsn>,
}

impl Pair {
    fn new(count: usize) -> (Pair, Wal) {
        let (source, copy) = (Place::new(), Place::empty());
        let writer = source.open();
        Wal::create_follower(copy.dir(), &writer.start_point().unwrap()).unwrap();
        let follower_log = copy.try_open(follower()).unwrap().0;
        follower_log.hold_back(follower_log.end()).unwrap();
        let ends = numbered(count, 100).iter().map(|record| append(&writer, record).end).collect();
        writer.offer();
        let pair = Pair { writer, _source: source, copy, ends };
        pair.ship(&follower_log);
        (pair, follower_log)
    }

    /// Stores what is offered and not there yet, and makes it durable.
    fn ship(&self, follower_log: &Wal) {
        let mut reader = self.writer.offered_reader(follower_log.end()).unwrap();
        while let Some(chunk) = reader.next_frames(1 << 20).unwrap() {
            follower_log.append_frames(follower_log.accepted_epoch(), chunk.start, &chunk.bytes).unwrap();
        }
        follower_log.sync_once().unwrap();
        follower_log.sync_control().unwrap();
    }
}

#[test]
fn what_is_synced_is_offered_first_and_shown_to_nobody_but_followers_f096() {
    let place = Place::new();
    let wal = place.open();
    let before = wal.end();
    let end = append(&wal, b"not durable").end;
    assert_eq!(wal.offered().get(), before, "nothing is offered before somebody begins to sync it");
    wal.offer();
    assert_eq!((wal.durable().get(), wal.synced().get(), wal.offered().get()), (before, before, end));
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), Vec::<Vec<u8>>::new());
    assert_eq!(payloads(wal.offered_reader(wal.first()).unwrap()), [b"not durable"]);
    assert!(matches!(wal.reader(end), Err(Error::Beyond { .. })));
    wal.sync_once().unwrap();
    assert_eq!((wal.durable().get(), wal.synced().get(), wal.offered().get()), (end, end, end));
}

#[test]
fn a_follower_shows_what_it_holds_back_only_as_far_as_its_writer_has_it_f096() {
    let (pair, log) = Pair::new(10);
    let (first, end) = (log.first(), log.end());
    assert_eq!(end, *pair.ends.last().unwrap());
    assert_eq!((log.durable().get(), log.synced().get()), (first, end), "it is on this disk, and not shown");
    assert_eq!(log.crc_at(end).unwrap(), log.last_crc(), "other nodes are told of it");
    assert!(matches!(log.wait_blocking(end, Some(Duration::from_millis(1))), Err(Error::TimedOut { .. })));

    let mut reader = log.reader(first).unwrap();
    assert!(reader.next().unwrap().is_none());
    log.show_up_to(pair.ends[3]);
    assert_eq!(log.durable().get(), pair.ends[3]);
    assert_eq!(payloads(reader.clone()).len(), 4);
    log.show_up_to(pair.ends[1]);
    assert_eq!(log.durable().get(), pair.ends[3], "news that come late take nothing back");

    pair.writer.sync_once().unwrap();
    log.show_up_to(pair.writer.durable().get());
    assert_eq!(payloads(reader).len(), 10);
    let more = append(&pair.writer, b"more").end;
    pair.writer.offer();
    log.show_up_to(more);
    assert_eq!(log.durable().get(), end, "what is not here is not shown, either");
    pair.ship(&log);
    assert_eq!(log.durable().get(), more);
}

#[test]
fn what_is_held_back_stays_so_over_a_restart_and_no_longer_than_until_this_node_writes() {
    let (pair, log) = Pair::new(10);
    log.show_up_to(pair.ends[3]);
    log.sync_control().unwrap();
    drop(log);
    let (log, recovery) = pair.copy.try_open(follower()).unwrap();
    assert_eq!(recovery.end, pair.ends[9], "all of it is on this disk");
    assert_eq!((log.durable().get(), log.synced().get()), (pair.ends[3], pair.ends[9]));
    log.show_all();
    assert_eq!(log.durable().get(), pair.ends[9]);
    log.hold_back(pair.ends[9]).unwrap();
    log.close().unwrap();

    let epoch = Epoch { number: 2, writer: WriterId::from_bytes([2; 16]) };
    let promotion = Promotion { epoch, policies: Vec::new() };
    let (promoted, _) = Wal::promote(pair.copy.dir(), Arc::new(SystemEnvironment), settings(), &promotion).unwrap();
    assert_eq!(promoted.durable().get(), promoted.end());
    assert_eq!(payloads(promoted.reader(promoted.first()).unwrap()).len(), 10);
    promoted.close().unwrap();
    let (log, _) = pair.copy.try_open(settings()).unwrap();
    assert_eq!(log.durable().get(), log.end());
}

#[test]
fn what_is_held_back_can_be_set_aside() {
    let (pair, log) = Pair::new(10);
    log.close().unwrap();
    let environment: Arc<dyn Environment> = Arc::new(SystemEnvironment);
    let aside = set_aside(&pair.copy.dir(), &environment, pair.ends[4]).unwrap();
    assert_eq!((aside.from, aside.to), (pair.ends[4], pair.ends[9]));
    let (log, _) = pair.copy.try_open(follower()).unwrap();
    assert_eq!(log.end(), pair.ends[4]);
}

#[test]
fn a_life_is_durable_before_anything_is_offered_in_it() {
    let place = Place::new();
    drop(place.open());
    // Not closed: the next one begins another life.
    let wal = place.open();
    assert_eq!(wal.history().entries().len(), 2);
    assert_eq!(wal.durable().get(), wal.end());
}

#[test]
fn segments_are_sealed_once_they_are_shown_and_no_sooner() {
    let (source, copy) = (Place::new(), Place::empty());
    let writer = source.open();
    Wal::create_follower(copy.dir(), &writer.start_point().unwrap()).unwrap();
    let log = copy.try_open(follower()).unwrap().0;
    for record in numbered(900, 100) {
        append(&writer, &record);
    }
    step(&writer);
    log.hold_back(log.end()).unwrap();
    let mut reader = writer.reader(log.end()).unwrap();
    while let Some(chunk) = reader.next_frames(5000).unwrap() {
        while let Err(Error::Full(_)) = log.append_frames(log.accepted_epoch(), chunk.start, &chunk.bytes) {
            step(&log);
        }
    }
    step(&log);
    assert_eq!((log.end(), log.sealed().get()), (writer.end(), Lsn::ZERO));
    log.show_up_to(writer.durable().get());
    step(&log);
    assert_eq!(log.sealed().get(), writer.sealed().get());
    assert!(Lsn::ZERO < log.sealed().get());
}

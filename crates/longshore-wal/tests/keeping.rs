//! Slots, retention, trimming, and tails that a fork sets aside.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use longshore_format::{ErrorKind, Lsn, Name, Policy, Shortfall};
use longshore_storage::{Directory, Environment, SystemEnvironment};
use longshore_wal::{
    Consumer, Error, Event, FollowerSpec, ReadLog, RecordDraft, Retention, Settings, SlotAck, Wal, set_aside,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn at(lsn: Lsn) -> SlotAck {
    SlotAck { durable: lsn, applied: lsn }
}

fn lean() -> Settings {
    Settings { retention: Retention { keep_bytes: 0, ..Retention::default() }, ..settings() }
}

#[test]
fn a_log_that_nobody_limits_forgets_nothing() {
    let place = Place::new();
    let wal = place.open();
    for record in numbered(600, 400) {
        append(&wal, &record);
    }
    step(&wal);
    assert_eq!(wal.retain().unwrap().segments, 0);
}

#[test]
fn the_slowest_slot_keeps_the_log_and_the_rest_is_trimmed_in_whole_segments() {
    let place = Place::new();
    let wal = place.try_open(lean()).unwrap().0;
    let ends: Vec<Lsn> = numbered(900, 400).iter().map(|record| append(&wal, record).end).collect();
    step(&wal);
    wal.ack(&name("eu-west"), at(ends[300])).unwrap();
    wal.ack(&name("us-east"), at(ends[800])).unwrap();
    wal.ack(&name("us-east"), at(ends[100])).unwrap();
    assert_eq!(wal.slots()[1].ack, at(ends[800]), "an ack never moves back");
    let trimmed = wal.retain().unwrap();
    assert_eq!(trimmed.first, Lsn::new(2 * 65536 + 4096));
    assert_eq!((trimmed.segments, trimmed.dropped.len()), (2, 0));
    assert!(wal.reader(ends[300]).is_ok());
    assert!(matches!(wal.reader(ends[10]), Err(Error::TooOld { .. })), "F-094");

    // F-032, F-045: slots and the cut survive a crash.
    wal.sync_control().unwrap();
    drop(wal);
    let wal = place.try_open(lean()).unwrap().0;
    assert_eq!(wal.first(), Lsn::new(2 * 65536 + 4096));
    let names: Vec<_> = wal.slots().into_iter().map(|slot| (slot.name, slot.ack.durable)).collect();
    assert_eq!(names, [(name("eu-west"), ends[300]), (name("us-east"), ends[800])]);
    assert!(wal.forget(&name("eu-west")).unwrap());
    assert!(!wal.forget(&name("eu-west")).unwrap());
    wal.retain().unwrap();
    assert!(wal.first() > Lsn::new(4 * 65536));
    assert_eq!(payloads(wal.reader(ends[800]).unwrap()).len(), 99);
}

#[test]
fn what_a_slot_keeps_the_log_from_counts_only_beyond_what_everybody_else_needs() {
    let place = Place::new();
    let wal = place.try_open(lean()).unwrap().0;
    let ends: Vec<Lsn> = numbered(900, 400).iter().map(|record| append(&wal, record).end).collect();
    step(&wal);
    wal.ack(&name("slow"), at(ends[300])).unwrap();
    wal.ack(&name("fast"), at(ends[800])).unwrap();
    let kept_without = |slot: &str| wal.kept_without(&Consumer::Slot(name(slot))).unwrap();
    assert_eq!(kept_without("slow"), (ends[300], ends[800]));
    assert_eq!(kept_without("fast"), (ends[300], ends[300]));
    wal.hold(Consumer::Archive, Some(ends[400]));
    assert_eq!(kept_without("slow"), (ends[300], ends[400]));
    wal.hold(Consumer::Applier, Some(ends[100]));
    assert_eq!(kept_without("slow"), (ends[100], ends[100]));
    // Age is looked at segment by segment, here as in a trim.
    wal.hold(Consumer::Applier, None);
    wal.set_retention(Retention { keep_age: Duration::from_secs(3600), ..wal.retention() });
    assert_eq!(kept_without("slow"), (wal.first(), wal.first()));
}

#[test]
fn f_093_at_the_cap_a_slow_replica_loses_its_place_and_the_archive_blocks() {
    let place = Place::new();
    let wal = place.try_open(lean()).unwrap().0;
    for record in numbered(900, 400) {
        append(&wal, &record);
    }
    step(&wal);
    wal.ack(&name("slow"), at(wal.first())).unwrap();
    wal.ack(&name("fast"), at(wal.end())).unwrap();
    wal.set_retention(Retention { cap_bytes: 200_000, ..wal.retention() });
    let slow = &wal.slots()[1];
    assert_eq!((slow.lost, slow.headroom), (false, Some(0)));
    let trimmed = wal.retain().unwrap();
    assert_eq!(trimmed.dropped.len(), 1);
    assert_eq!(trimmed.dropped[0].consumer, Consumer::Slot(name("slow")));
    assert!(!trimmed.dropped[0].idle);
    assert!(wal.slots()[1].lost);
    assert!(wal.events().take().iter().any(|event| matches!(event, Event::Dropped { .. })));
    assert!(wal.first() > Lsn::new(65536));

    wal.hold(Consumer::Archive, Some(wal.first()));
    wal.set_retention(Retention { cap_bytes: 50_000, ..wal.retention() });
    wal.retain().unwrap();
    let refused = wal.append(&[RecordDraft::user(b"x")], None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.to_string().contains("the archive holds the log"), "{refused}");
    wal.hold(Consumer::Archive, Some(wal.end()));
    wal.retain().unwrap();
    wal.append(&[RecordDraft::user(b"x")], None).unwrap();

    // A lost replica that comes back where the log still is has its place again.
    wal.ack(&name("slow"), at(wal.durable().get())).unwrap();
    assert!(!wal.slots()[1].lost);
}

#[test]
fn an_ack_beyond_what_left_this_node_is_no_knowledge() {
    let place = Place::new();
    let wal = place.open();
    append(&wal, b"x");
    step(&wal);
    wal.ack(&name("liar"), at(Lsn::MAX)).unwrap();
    assert_eq!(wal.slots()[0].ack.durable, wal.end());
}

#[test]
fn age_keeps_what_is_young() {
    let place = Place::new();
    let retention = Retention { keep_bytes: 0, keep_age: Duration::from_secs(3600), ..Retention::default() };
    let wal = place.try_open(Settings { retention, ..settings() }).unwrap().0;
    for record in numbered(600, 400) {
        append(&wal, &record);
    }
    step(&wal);
    assert_eq!(wal.retain().unwrap().segments, 0);
    wal.set_retention(Retention { keep_age: Duration::from_nanos(1), ..wal.retention() });
    assert!(wal.retain().unwrap().segments > 0);
}

#[test]
fn f_059_the_disk_limit_is_a_clean_refusal_that_ends_when_there_is_space() {
    let place = Place::new();
    let wal = place.try_open(Settings { disk_limit: Some(5 * 65536), ..lean() }).unwrap().0;
    let record = vec![1; 4000];
    let refused = loop {
        step(&wal);
        match wal.append(&[RecordDraft::user(&record)], None) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.to_string().contains("the limit is 327680"), "{refused}");
    assert!(wal.events().take().contains(&Event::NoSpace { needed: 65536 }));
    assert!(payloads(wal.reader(wal.first()).unwrap()).len() > 60, "reading goes on");
    wal.retain().unwrap();
    step(&wal);
    wal.append(&[RecordDraft::user(&record)], None).unwrap();
    assert!(wal.events().take().contains(&Event::SpaceAgain));
}

#[test]
fn f_117_f_118_a_fork_sets_the_tail_aside_as_a_log_of_its_own() {
    for fork_at in [0, 1, 80, 250, 400, 499, 500] {
        let place = Place::new();
        let wal = place.open();
        let mut ends = vec![wal.first()];
        for record in numbered(500, 400) {
            ends.push(append(&wal, &record).end);
        }
        step(&wal);
        drop(wal);
        let env: Arc<dyn Environment> = Arc::new(SystemEnvironment);
        let aside = set_aside(&place.dir(), &env, ends[fork_at]).unwrap();
        assert_eq!((aside.from, aside.to), (ends[fork_at], ends[500]));

        let (wal, recovery) = place.try_open(follower()).unwrap();
        assert_eq!(recovery.end, ends[fork_at]);
        assert_eq!(payloads(wal.reader(wal.first()).unwrap()), numbered(500, 400)[..fork_at]);
        drop(wal);
        let (outer, inner) = aside.place.split_once('/').unwrap();
        let tail = place.dir().open_subdir(outer).unwrap().open_subdir(inner).unwrap();
        let tail = ReadLog::open(tail).unwrap();
        assert_eq!(tail.end(), ends[500]);
        assert_eq!(payloads(tail.reader(ends[fork_at].max(tail.first())).unwrap()), numbered(500, 400)[fork_at..]);
    }
}

#[test]
fn a_fork_that_is_no_boundary_changes_nothing() {
    let place = Place::new();
    let wal = place.open();
    let end = append(&wal, b"0123456789").end;
    wal.close().unwrap();
    drop(wal);
    let env: Arc<dyn Environment> = Arc::new(SystemEnvironment);
    assert!(matches!(set_aside(&place.dir(), &env, Lsn::new(4104)), Err(Error::NotABoundary { .. })));
    assert!(matches!(set_aside(&place.dir(), &env, Lsn::new(9000)), Err(Error::Beyond { .. })));
    assert_eq!(place.read().end(), end);
}

#[test]
fn a_follower_of_a_trimmed_log_writes_the_same_footers() {
    let place = Place::new();
    let wal = place.try_open(lean()).unwrap().0;
    for record in numbered(600, 400) {
        append(&wal, &record);
    }
    step(&wal);
    wal.retain().unwrap();
    for record in numbered(600, 400) {
        append(&wal, &record);
    }
    step(&wal);
    assert!(wal.first() > Lsn::new(65536));
    let copy = Place::empty();
    longshore_wal::Wal::create_follower(copy.dir(), &wal.start_point().unwrap()).unwrap();
    let other = copy.try_open(follower()).unwrap().0;
    let mut reader = wal.reader(other.end()).unwrap();
    while let Some(chunk) = reader.next_frames(1 << 20).unwrap() {
        while let Err(error) = other.append_frames(other.accepted_epoch(), chunk.start, &chunk.bytes) {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            step(&other);
        }
    }
    step(&other);
    let sealed: Vec<_> = other.segments().into_iter().filter(|segment| segment.is_sealed()).collect();
    assert!(sealed.len() > 3);
    for segment in sealed {
        let file = small().file_name(segment.base);
        assert!(std::fs::read(place.file(&file)).unwrap() == std::fs::read(copy.file(&file)).unwrap());
    }
    let reader = wal.segment(wal.segments()[0].base).unwrap();
    let mut bytes = vec![0; 65536];
    assert_eq!(reader.read_at(&mut bytes, 0).unwrap(), 65536);
    assert_eq!(&bytes[..4096], reader.header().encode());
}

fn policy(durability: &str) -> Policy {
    let writer = name("eu");
    Policy { writer, durability: durability.to_owned(), shortfall: Shortfall::Block, degraded: false, voters: vec![] }
}

/// Appends until the log's beginning has moved, with its policies before that.
fn trim(wal: &Wal) {
    let first = wal.first();
    while wal.first() == first {
        for record in numbered(600, 400) {
            append(wal, &record);
        }
        step(wal);
        wal.retain().unwrap();
    }
}

#[test]
fn a_follower_of_a_trimmed_log_knows_the_policies_that_held_where_it_begins() {
    let place = Place::new();
    let wal = place.try_open(lean()).unwrap().0;
    let before = ["replicas:1", "replicas:2"].map(policy);
    wal.set_policies(&before).unwrap();
    trim(&wal);
    let known = wal.policies();
    let after = wal.set_policies(&[policy("replicas:3")]).unwrap();
    let start = wal.start_point().unwrap();
    assert_eq!(start.policies, known, "what came later comes in its record");

    let copy = Place::empty();
    Wal::create_follower(copy.dir(), &start).unwrap();
    let other = copy.try_open(follower()).unwrap().0;
    assert_eq!(other.policies(), known);
    other.close().unwrap();
    drop(other);
    assert_eq!(copy.try_open(follower()).unwrap().0.policies(), known, "and after it is opened again");

    // So many came since that what held there is no longer known for sure.
    assert!(after < wal.set_policies(&[policy("replicas:1"), policy("replicas:2")]).unwrap());
    assert_eq!(wal.start_point().unwrap().policies, []);
    assert_eq!(wal.policies_at(start.header.chain.position), None);
}

#[test]
fn files_that_are_adopted_know_the_policies_up_to_where_they_end() {
    let place = Place::new();
    let wal = place.open();
    wal.set_policies(&["replicas:1", "replicas:2"].map(policy)).unwrap();
    step(&wal);
    let (start, known, history, end) = (wal.start_point().unwrap(), wal.policies(), wal.history(), wal.end());
    drop(wal);
    let beyond = (Lsn::new(end.get() + 8), policy("replicas:3"));
    let spec = FollowerSpec { policies: known.iter().cloned().chain([beyond]).collect(), ..start };
    let copy = Place::empty();
    let file = small().file_name(Lsn::ZERO);
    std::fs::copy(place.file(&file), copy.file(&file)).unwrap();
    Wal::adopt(&copy.dir(), &spec, &history, end).unwrap();
    // The same once more, as whoever is interrupted does.
    Wal::adopt(&copy.dir(), &spec, &history, end).unwrap();
    assert_eq!(copy.try_open(follower()).unwrap().0.policies(), known);
}

#[test]
fn positions_are_found_by_time() {
    let place = Place::new();
    let wal = place.open();
    for record in numbered(600, 400) {
        append(&wal, &record);
    }
    step(&wal);
    let mut times = Vec::new();
    let mut reader = wal.reader(wal.first()).unwrap();
    while let Some(record) = reader.next().unwrap() {
        times.push((record.time, record.start, record.end));
    }
    for (time, _, _) in times.iter().step_by(41) {
        let last = times.iter().rfind(|(other, _, _)| other <= time).unwrap().2;
        assert_eq!(wal.position_at(*time).unwrap(), last);
    }
    assert_eq!(wal.position_at(0).unwrap(), wal.first());
    assert_eq!(wal.position_at(u64::MAX).unwrap(), wal.end());
    let _: &Arc<dyn Directory> = wal.directory();
}

//! What the machine below a log does wrong: a disk that refuses a write, bytes that change in memory, a panic, an old
//! copy of a file. What of it stops the log, and what the log never does because of it.

#[path = "../common/mod.rs"]
mod common;
mod faulty;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use faulty::{Done, Faults, FaultyDirectory};
use longshore_format::{Epoch, ErrorKind, Lsn, Name, Policy, Shortfall, Voter, WriterId};
use longshore_storage::{Directory, Environment, SystemEnvironment};
use longshore_wal::{CreateSpec, Error, Event, Promotion, ReadLog, RecordDraft, Role, Settings, Wal, set_aside};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;
const SEGMENT: u64 = 65536;

fn faulty(place: &Place, faults: &Faults) -> Arc<dyn Directory> {
    FaultyDirectory::over(place.dir(), faults)
}

fn open(dir: Arc<dyn Directory>, settings: Settings) -> Result<Wal, Error> {
    Wal::open(dir, Arc::new(SystemEnvironment), settings).map(|(wal, _)| wal)
}

fn spec() -> CreateSpec {
    CreateSpec { segment_size: small(), ..CreateSpec::default() }
}

/// Every user record of the log, read without changing it.
fn held(place: &Place) -> Vec<Vec<u8>> {
    let log = place.read();
    payloads(log.reader(log.first()).unwrap())
}

/// A follower's log beside the log that it follows.
fn replica_of(wal: &Wal) -> Place {
    let place = Place::empty();
    Wal::create_follower(place.dir(), &wal.start_point().unwrap()).unwrap();
    place
}

/// Copies what is durable in one log to another, up to `until` or the first error.
fn ship(from: &Wal, to: &Wal, until: Lsn) -> Result<(), Error> {
    let mut reader = from.reader(to.end())?;
    while to.end() < until {
        let chunk = reader.next_frames(4096)?.expect("all of it is durable");
        loop {
            match to.append_frames(to.accepted_epoch(), chunk.start, &chunk.bytes) {
                Err(Error::Full(_)) => {
                    to.sync_once()?;
                    while to.seal_once()? {}
                    while to.prepare_once()? {}
                }
                Ok(_) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[test]
fn f_046_whatever_is_renamed_was_synced_before_and_its_directory_is_synced_after() {
    let faults = Faults::default();
    let place = Place::empty();
    Wal::create(faulty(&place, &faults), &SystemEnvironment, &spec()).unwrap();
    let wal = open(faulty(&place, &faults), settings()).unwrap();
    for record in numbered(500, 400) {
        append(&wal, &record);
    }
    step(&wal);
    let fork = wal.end();
    append(&wal, b"beyond the fork");
    wal.sync_once().unwrap();
    drop(wal);
    place.damage(fork.get() / SEGMENT * SEGMENT, fork.get() % SEGMENT + 1000, &[7; 90]);
    drop(open(faulty(&place, &faults), settings()).unwrap());
    let dir = faulty(&place, &faults);
    let env: Arc<dyn Environment> = Arc::new(SystemEnvironment);
    set_aside(&dir, &env, fork).unwrap();

    let done = faults.take_done();
    let mut renamed = Vec::new();
    for (at, what) in done.iter().enumerate() {
        let Done::Renamed(from, to) = what else { continue };
        let last = |wanted: Done| done[..at].iter().rposition(|done| *done == wanted);
        let (wrote, synced) = (last(Done::Wrote(from.clone())), last(Done::Synced(from.clone())));
        assert!(wrote <= synced, "{from} was renamed to {to} with bytes that were not synced");
        assert_eq!(done.get(at + 1), Some(&Done::SyncedDirectory), "after {from} was renamed to {to}");
        renamed.push(to.split(['-', '/']).next().unwrap());
    }
    for kind in ["control", "cut", "diverged", "00000000000000000000.seg"] {
        assert!(renamed.contains(&kind), "nothing was renamed to {kind}: {renamed:?}");
    }
}

#[test]
fn f_046_a_name_whose_content_was_lost_is_judged_by_its_content() {
    let (place, record) = (Place::new(), vec![1; 400]);
    let wal = place.open();
    step(&wal);
    let prepared = place.segment(SEGMENT);
    let appended = append(&wal, &record).end;
    wal.sync_once().unwrap();
    drop(wal);
    // The name of a prepared segment came through the crash, and not its bytes; of the next one the bytes and not the name.
    fs::write(&prepared, b"").unwrap();
    fs::rename(place.segment(2 * SEGMENT), place.file("00000000000000131072.seg.tmp")).unwrap();
    let (wal, recovery) = place.try_open(settings()).unwrap();
    assert_eq!(recovery.end, appended);
    for _ in 0..400 {
        append(&wal, &record);
    }
    wal.close().unwrap();
    drop(wal);
    assert_eq!(held(&place).len(), 401);
    // Where records are, a name alone is no segment.
    fs::write(place.segment(SEGMENT), b"").unwrap();
    assert_eq!(place.try_open(settings()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn f_048_a_control_file_older_than_the_log_makes_no_writer_and_is_brought_up_to_date_by_a_follower() {
    let place = Place::new();
    append(&place.open(), b"one");
    let older = fs::read(place.file("control")).unwrap();
    let wal = place.open();
    append(&wal, b"two");
    wal.sync_once().unwrap();
    let history = wal.history();
    drop(wal);
    fs::write(place.file("control"), &older).unwrap();
    let error = place.try_open(settings()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("control: it is older than the log"), "{error}");
    assert_eq!(fs::read(place.file("control")).unwrap(), older, "a refusal changes nothing");
    let wal = place.try_open(follower()).unwrap().0;
    assert_eq!(wal.history(), history, "the log alone is enough to know its lives");
    wal.close().unwrap();
    drop(wal);
    assert_eq!(held(&place), [b"one", b"two"]);
}

#[test]
fn f_048_an_older_control_file_of_the_same_life_is_also_true() {
    let place = Place::new();
    let wal = place.open();
    append(&wal, b"one");
    wal.sync_once().unwrap();
    wal.sync_control().unwrap();
    let older = fs::read(place.file("control")).unwrap();
    append(&wal, b"two");
    wal.sync_once().unwrap();
    wal.sync_control().unwrap();
    drop(wal);
    fs::write(place.file("control"), &older).unwrap();
    drop(place.open());
    assert_eq!(held(&place), [b"one", b"two"]);
}

#[test]
fn f_039_a_segment_of_an_older_copy_ends_before_what_control_knows_and_is_refused() {
    let place = Place::new();
    let wal = place.open();
    for record in numbered(20, 100) {
        append(&wal, &record);
    }
    let older_end = wal.end();
    wal.sync_once().unwrap();
    let older = fs::read(place.segment(0)).unwrap();
    for record in numbered(20, 100) {
        append(&wal, &record);
    }
    wal.sync_once().unwrap();
    wal.sync_control().unwrap();
    drop(wal);
    fs::write(place.segment(0), &older).unwrap();
    for error in [place.try_open(settings()).unwrap_err(), ReadLog::open(place.dir()).map(drop).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&format!("position {older_end}")), "{error}");
        assert!(error.to_string().ends_with("repair the segment from a replica or the archive"), "{error}");
    }
    assert!(fs::read(place.segment(0)).unwrap() == older, "a refusal changes nothing");
}

/// What a full disk or a quota can refuse.
fn takes_space(done: &Done) -> bool {
    matches!(done, Done::Created(_) | Done::Allocated(_) | Done::Wrote(_) | Done::Renamed(..))
}

#[test]
fn f_061_a_disk_that_is_full_at_any_step_of_a_creation_leaves_nothing_in_its_way() {
    let mut steps = 0;
    loop {
        let (place, faults) = (Place::empty(), Faults::default());
        faults.arm(takes_space, steps, if steps % 2 == 0 { ENOSPC } else { EDQUOT });
        let created = Wal::create(faulty(&place, &faults), &SystemEnvironment, &spec());
        if !faults.disarm() {
            created.unwrap();
            break;
        }
        assert_eq!(created.unwrap_err().kind(), ErrorKind::Full, "step {steps}");
        Wal::create(faulty(&place, &faults), &SystemEnvironment, &spec()).unwrap();
        append(&place.open(), b"works");
        steps += 1;
    }
    assert!(steps > 20, "{steps}");
}

#[test]
fn f_070_what_a_kill_at_any_step_of_a_creation_leaves_is_no_log_and_in_nobodys_way() {
    let mut steps = 0;
    loop {
        let (place, faults) = (Place::empty(), Faults::default());
        // Nothing works from there on, so that nothing is tidied up either.
        faults.arm(|_| true, steps, EIO);
        let created = Wal::create(faulty(&place, &faults), &SystemEnvironment, &spec());
        if !faults.disarm() {
            created.unwrap();
            break;
        }
        created.unwrap_err();
        let dir: Arc<dyn Directory> = place.dir();
        let is_begun = Wal::is_begun(&dir).unwrap();
        assert_ne!(Wal::is_unfinished(&dir).unwrap(), is_begun, "step {steps}");
        if !is_begun {
            Wal::create(place.dir(), &SystemEnvironment, &spec()).unwrap();
        }
        assert!(!Wal::is_unfinished(&dir).unwrap(), "step {steps}");
        append(&place.open(), b"works");
        std::fs::remove_file(place.file("control")).unwrap();
        assert!(!Wal::is_unfinished(&dir).unwrap(), "step {steps}: without control file it is a log that was damaged");
        steps += 1;
    }
    assert!(steps > 20, "{steps}");
}

#[test]
fn f_061_a_disk_that_is_full_at_any_step_of_a_recovery_loses_nothing_by_it() {
    let records = numbered(20, 100);
    let mut steps = 0;
    loop {
        let (place, faults) = (Place::new(), Faults::default());
        let wal = place.open();
        for (index, record) in records.iter().enumerate() {
            if index == 10 {
                wal.sync_once().unwrap();
            }
            append(&wal, record);
        }
        let end = wal.end();
        drop(wal);
        place.damage(0, end.get(), &[9; 200]);
        // Once, so that a step which passes over its error is not saved by the next one's.
        faults.arm_once(takes_space, steps, ENOSPC);
        let opened = open(faulty(&place, &faults), settings());
        let failed = faults.disarm();
        match opened.map(drop) {
            Ok(()) => assert!(!failed, "step {steps}: opened though something failed"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "step {steps}: {error}"),
        }
        assert_eq!(held(&place), records, "step {steps}");
        let (_, recovery) = place.try_open(settings()).unwrap();
        assert!(end <= recovery.end && held(&place) == records, "step {steps}");
        if !failed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "{steps}");
}

#[test]
fn f_061_a_disk_that_is_full_while_a_log_runs_takes_back_no_acknowledgement() {
    let mut stopped = 0;
    let mut steps = 0;
    loop {
        let (place, faults) = (Place::new(), Faults::default());
        let wal = open(faulty(&place, &faults), settings()).unwrap();
        faults.arm(takes_space, steps, ENOSPC);
        let mut acknowledged = 0;
        for record in numbered(300, 400) {
            let appended = loop {
                let round = || -> Result<(), Error> {
                    wal.sync_once()?;
                    while wal.seal_once()? {}
                    while wal.prepare_once()? {}
                    Ok(())
                };
                match wal.append(&[RecordDraft::user(&record)], None) {
                    Err(Error::Full(_)) if wal.events().take().contains(&Event::NoSpace { needed: SEGMENT }) => {
                        break None;
                    }
                    Err(Error::Full(_)) if round().is_ok() => {}
                    appended => break appended.ok(),
                }
            };
            let Some(appended) = appended else { break };
            if wal.sync_once().is_ok_and(|durable| appended.end <= durable) {
                acknowledged += 1;
            }
        }
        let failed = faults.disarm();
        if wal.failure().is_some() {
            stopped += 1;
            assert!(wal.sync_once().is_err(), "step {steps}: a log that stopped goes on");
        } else {
            append(&wal, b"there is space again");
        }
        drop(wal);
        drop(place.open());
        assert!(acknowledged <= held(&place).len(), "step {steps}: {acknowledged} were acknowledged");
        if !failed {
            break;
        }
        // Preparing takes many small writes, of which each fails alike.
        steps += 7;
    }
    assert!(stopped > 0 && steps > 100, "{stopped} of {steps}");
}

#[test]
fn f_061_a_disk_that_is_full_for_a_temporary_file_stops_nothing_and_is_tried_again() {
    let preparing: fn(&Done) -> bool = |done| takes_space(done) && format!("{done:?}").contains(".seg.tmp");
    for (errno, after) in [(ENOSPC, 0), (EDQUOT, 1), (ENOSPC, 5), (EDQUOT, 17)] {
        let (place, faults) = (Place::new(), Faults::default());
        let wal = open(faulty(&place, &faults), settings()).unwrap();
        faults.arm(preparing, after, errno);
        let mut held = 0;
        while wal.append(&[RecordDraft::user(&[1; 400])], None).is_ok() {
            held += 1;
            wal.sync_once().unwrap();
            wal.seal_once().unwrap();
            assert!(!wal.prepare_once().unwrap(), "there is no space");
        }
        assert!(held > 100, "what is prepared is filled first");
        let error = wal.append(&[RecordDraft::user(&[1; 400])], None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(wal.failure().is_none() && wal.events().take().contains(&Event::NoSpace { needed: SEGMENT }));
        assert!(!place.file("00000000000000065536.seg.tmp").exists(), "what it took is given back");
        assert!(faults.disarm());
        step(&wal);
        assert!(wal.events().take().contains(&Event::SpaceAgain));
        append(&wal, b"goes on");
    }
}

#[test]
fn f_065_a_write_that_fails_stops_its_log_and_no_other_one() {
    let footer: fn(&Done) -> bool = |done| *done == Done::Wrote("00000000000000000000.seg".into());
    let control: fn(&Done) -> bool = |done| *done == Done::Wrote("control".into());
    let preparing: fn(&Done) -> bool = |done| matches!(done, Done::Wrote(name) if name.ends_with(".seg.tmp"));
    for which in [footer, control, preparing] {
        let (place, faults, other) = (Place::new(), Faults::default(), Place::new());
        let (wal, bystander) = (open(faulty(&place, &faults), settings()).unwrap(), other.open());
        faults.arm(which, 0, EIO);
        let mut acknowledged = Vec::new();
        let error = numbered(300, 400).into_iter().find_map(|record| {
            let mut round = || -> Result<(), Error> {
                wal.append(&[RecordDraft::user(&record)], None)?;
                wal.sync_once()?;
                acknowledged.push(record.clone());
                while wal.seal_once()? {}
                while wal.prepare_once()? {}
                Ok(())
            };
            round().err()
        });
        assert_eq!(error.unwrap().kind(), ErrorKind::Poisoned);
        assert!(faults.disarm());
        assert_eq!(wal.append(&[RecordDraft::user(b"x")], None).unwrap_err().kind(), ErrorKind::Poisoned);
        assert!(wal.sync_once().is_err() && wal.seal_once().is_err() && wal.prepare_once().is_err());
        assert!(wal.wait_blocking(Lsn::MAX, None).is_err(), "every waiter gets the error");
        append(&bystander, b"works");
        step(&bystander);
        drop(wal);
        drop(place.open());
        assert!(held(&place).starts_with(&acknowledged), "{} were acknowledged", acknowledged.len());
    }
}

#[test]
fn f_065_a_follower_that_cannot_write_or_read_back_its_segment_stops() {
    let source = Place::new();
    let wal = source.open();
    for record in numbered(500, 400) {
        append(&wal, &record);
    }
    step(&wal);
    let second = "00000000000000065536.seg";
    let write: fn(&Done) -> bool = |done| *done == Done::Wrote("00000000000000065536.seg.tmp".into());
    let read_back: fn(&Done) -> bool = |done| *done == Done::Read("00000000000000065536.seg.tmp".into());
    for which in [write, read_back] {
        let (place, faults) = (replica_of(&wal), Faults::default());
        let replica = open(faulty(&place, &faults), follower()).unwrap();
        // Far behind it writes segments rather than mapping them.
        replica.set_upstream_end(Lsn::new(100 * SEGMENT));
        faults.arm(which, 2, EIO);
        assert!(ship(&wal, &replica, wal.end()).is_err());
        assert!(faults.disarm() && replica.failure().is_some());
        let first = replica.reader(replica.first()).unwrap().next().unwrap().map(|record| record.payload.to_vec());
        assert!(first.is_some(), "what is durable can still be read");
        drop(replica);
        let replica = open(faulty(&place, &faults), follower()).unwrap();
        ship(&wal, &replica, wal.end()).unwrap();
        step(&replica);
        assert_eq!(fs::read(place.file(second)).unwrap(), fs::read(source.file(second)).unwrap());
    }
}

/// The system's clocks, of which the wall clock panics when it is told to: it is asked under the append lock.
#[derive(Debug, Default)]
struct Panicking(AtomicBool);

impl Environment for Panicking {
    fn wall_micros(&self) -> u64 {
        assert!(!self.0.load(Ordering::Relaxed), "a bug in whoever tells the time");
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
fn f_077_a_panic_under_the_append_lock_stops_the_log_for_everybody() {
    let (place, clock) = (Place::new(), Arc::new(Panicking::default()));
    let (wal, _) = Wal::open(place.dir(), Arc::clone(&clock) as Arc<dyn Environment>, settings()).unwrap();
    append(&wal, b"before");
    wal.sync_once().unwrap();
    let waiting = wal.clone();
    let waiter = std::thread::spawn(move || waiting.wait_blocking(Lsn::MAX, None));

    clock.0.store(true, Ordering::Relaxed);
    let two: Vec<_> = [b"torn", b"away"].into_iter().map(|payload| RecordDraft::user(payload)).collect();
    assert!(catch_unwind(AssertUnwindSafe(|| wal.append(&two, None))).is_err());
    clock.0.store(false, Ordering::Relaxed);

    let error = wal.append(&[RecordDraft::user(b"after")], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(wal.sync_once().is_err() && wal.close().is_err(), "nor is it closed as if nothing had been");
    assert!(wal.events().take().iter().any(|event| matches!(event, Event::Poisoned { .. })));
    drop(wal);
    let (wal, recovery) = place.try_open(settings()).unwrap();
    assert!(!recovery.clean);
    append(&wal, b"after");
    wal.sync_once().unwrap();
    assert_eq!(payloads(wal.reader(wal.first()).unwrap()), [b"before".as_slice(), b"after"]);
}

/// A log whose second segment holds some records that are not synced, and where each of them starts.
fn running() -> (Place, Wal, Vec<Lsn>) {
    let place = Place::new();
    let wal = place.open();
    for record in numbered(180, 400) {
        append(&wal, &record);
    }
    step(&wal);
    let starts = numbered(20, 400).iter().map(|record| append(&wal, record).start).collect();
    (place, wal, starts)
}

/// Fills the segment that is active, so that it is due for its seal; whether that is made.
fn fill_and_seal(wal: &Wal) -> Result<(), Error> {
    let base = wal.end().get() / SEGMENT * SEGMENT;
    while wal.end().get() < base + SEGMENT {
        append_or(wal, &[3; 700])?;
    }
    wal.sync_once()?;
    while wal.seal_once()? {}
    assert!(base < wal.sealed().get().get());
    Ok(())
}

fn append_or(wal: &Wal, payload: &[u8]) -> Result<(), Error> {
    loop {
        match wal.append(&[RecordDraft::user(payload)], None) {
            Err(Error::Full(_)) => {
                wal.sync_once()?;
                while wal.seal_once()? {}
                while wal.prepare_once()? {}
            }
            other => return other.map(drop),
        }
    }
}

/// What is wrong in memory is never sealed, and never leaves the log: readers get all before `at`, and an error there.
fn never_sealed(wal: &Wal, at: Option<Lsn>) {
    let base = wal.sealed().get();
    let error = fill_and_seal(wal).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(wal.sealed().get(), base);
    assert!(wal.failure().is_some(), "and the log takes nothing more");
    let Some(at) = at else { return };
    let mut reader = wal.reader(wal.first()).unwrap();
    let error = loop {
        match reader.next_frames(1 << 20) {
            Ok(Some(chunk)) => assert!(chunk.end <= at, "shipped up to {}", chunk.end),
            Ok(None) => panic!("the damage at {at} was passed over"),
            Err(error) => break error,
        }
    };
    assert_eq!(reader.position(), at);
    assert!(error.to_string().contains(&format!("position {at}")), "{error}");
}

#[test]
fn f_080_a_bit_that_flips_in_memory_before_the_sync_is_neither_sealed_nor_shipped() {
    for offset in [0, 9, 20, 40, 431] {
        let (place, wal, starts) = running();
        let at = starts[5];
        // The page cache is what is mapped.
        let byte = fs::read(place.segment(SEGMENT)).unwrap()[(at.get() - SEGMENT + offset) as usize];
        place.damage(SEGMENT, at.get() - SEGMENT + offset, &[byte ^ 0x10]);
        wal.sync_once().unwrap();
        never_sealed(&wal, Some(at));
    }
}

#[test]
fn f_081_a_stray_write_anywhere_into_the_active_segment_is_never_sealed() {
    // Over records, and over the header, which this process wrote and so need not read to know.
    let (place, wal, starts) = running();
    place.damage(SEGMENT, starts[5].get() - SEGMENT, &[0x55; 64]);
    never_sealed(&wal, Some(starts[5]));
    let (place, wal, _) = running();
    place.damage(SEGMENT, 300, &[0x55; 8]);
    never_sealed(&wal, None);

    // Where nothing stands yet: a later record covers all but the bytes that align it.
    let (place, wal, _) = running();
    let end = wal.end();
    place.damage(SEGMENT, end.get() - SEGMENT, &[0x55; 48]);
    append(&wal, &[1; 13]);
    wal.sync_once().unwrap();
    never_sealed(&wal, Some(end));
}

#[test]
fn f_081_a_stray_write_behind_the_last_record_of_a_segment_is_never_sealed() {
    let (place, wal, _) = running();
    while wal.end().get() < 2 * SEGMENT {
        append(&wal, &[3; 1500]);
        wal.sync_once().unwrap();
    }
    assert_eq!(wal.sealed().get().get(), SEGMENT);
    let gap = small().body_end_offset() - 8;
    assert_eq!(fs::read(place.segment(SEGMENT)).unwrap()[gap as usize], 0);
    place.damage(SEGMENT, gap, &[0x55]);
    let error = loop {
        match wal.seal_once() {
            Ok(true) => {}
            Ok(false) => panic!("sealed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(wal.sealed().get().get(), SEGMENT);
}

#[test]
fn f_081_a_sealed_segment_is_not_mapped_at_all() {
    let (place, wal, _) = running();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = fs::canonicalize(place.segment(0)).unwrap();
    let mapped = |path: &std::path::Path| maps.contains(path.to_str().unwrap());
    assert!(!mapped(&path));
    assert!(mapped(&fs::canonicalize(place.segment(SEGMENT)).unwrap()), "the active one is");
    drop(wal);
}

fn epoch(number: u64, writer: u8) -> Epoch {
    Epoch { number, writer: WriterId::from_bytes([writer; 16]) }
}

#[test]
fn f_113_an_accepted_epoch_survives_every_reopen_and_never_goes_down() {
    let source = Place::new();
    let wal = source.open();
    append(&wal, b"one");
    step(&wal);
    let (place, faults) = (replica_of(&wal), Faults::default());
    let replica = open(faulty(&place, &faults), follower()).unwrap();
    assert_eq!(replica.accepted_epoch(), wal.history().current().epoch);
    faults.take_done();
    replica.accept_epoch(epoch(7, 7)).unwrap();
    assert_eq!(faults.take_done(), [Done::Wrote("control".into()), Done::Synced("control".into())], "durable at once");
    replica.accept_epoch(epoch(7, 7)).unwrap();
    for refused in [epoch(7, 8), epoch(6, 6), wal.history().current().epoch] {
        let error = replica.accept_epoch(refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert!(error.to_string().contains("7.07070707 was accepted"), "{error}");
    }
    drop(replica);
    for closes in [true, false, true] {
        let replica = place.try_open(follower()).unwrap().0;
        assert_eq!(replica.accepted_epoch(), epoch(7, 7));
        // The records of the epoch before, which the next one's begin behind, are taken as ever.
        ship(&wal, &replica, wal.end()).unwrap();
        replica.sync_once().unwrap();
        if closes {
            replica.close().unwrap();
        }
    }
}

#[test]
fn f_113_a_writer_whose_node_accepted_a_higher_epoch_is_one_no_more() {
    let place = Place::new();
    append(&place.open(), b"one");
    let wal = place.open();
    let own = wal.accepted_epoch();
    wal.accept_epoch(own).unwrap();
    assert!(!wal.is_fenced(), "its own is no news");
    assert_eq!(wal.accept_epoch(epoch(1, 9)).unwrap_err().kind(), ErrorKind::Fenced, "a number has one writer");
    append(&wal, b"two");
    wal.accept_epoch(epoch(2, 9)).unwrap();
    assert!(wal.is_fenced());
    let end = wal.end();
    let refused = wal.append(&[RecordDraft::user(b"three")], None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced, "F-111");
    assert_eq!((wal.sync_once().unwrap(), wal.end()), (end, end), "what was appended before is kept, and synced");
    wal.close().unwrap();
    drop(wal);
    assert_eq!(place.try_open(settings()).unwrap_err().kind(), ErrorKind::Fenced);
    let wal = place.try_open(follower()).unwrap().0;
    wal.accept_epoch(epoch(2, 9)).unwrap();
    wal.close().unwrap();
    drop(wal);
    let error = place.try_open(settings()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("2.09090909 was accepted"), "{error}");
    assert_eq!(place.try_open(follower()).unwrap().0.role(), Role::Follower);
}

#[test]
fn f_113_an_epoch_that_cannot_be_written_down_is_not_accepted() {
    let (place, faults) = (Place::new(), Faults::default());
    let wal = open(faulty(&place, &faults), follower()).unwrap();
    faults.arm(|done| *done == Done::Synced("control".into()), 0, EIO);
    assert!(wal.accept_epoch(epoch(2, 9)).is_err());
    assert!(wal.failure().is_some(), "what the disk holds is unknown from then on");
}

/// Opens a log that was a follower's, in whatever role it has now.
fn in_role(place: &Place) -> Wal {
    Wal::open_in_role(place.dir(), Arc::new(SystemEnvironment), follower()).unwrap().0
}

fn promotion(number: u64, writer: u8) -> Promotion {
    let policy = Policy {
        writer: Name::new("us-east").unwrap(),
        durability: "replicas:1".to_owned(),
        shortfall: Shortfall::Block,
        degraded: false,
        voters: Vec::new(),
    };
    Promotion { epoch: epoch(number, writer), policies: vec![policy] }
}

#[test]
fn f_113_a_promoted_follower_writes_where_its_log_ended_and_its_role_outlives_it() {
    let source = Place::new();
    let wal = source.open();
    append(&wal, b"one");
    step(&wal);
    let place = replica_of(&wal);
    let dir = || place.dir();
    let environment = || Arc::new(SystemEnvironment);
    let fork = {
        let replica = place.try_open(follower()).unwrap().0;
        ship(&wal, &replica, wal.end()).unwrap();
        replica.accept_epoch(epoch(2, 7)).unwrap();
        replica.close().unwrap();
        replica.end()
    };
    assert_eq!(in_role(&place).role(), Role::Follower);
    for refused in [promotion(1, 7), promotion(2, 8)] {
        let error = Wal::promote(dir(), environment(), settings(), &refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "F-112: {error}");
    }
    let (promoted, _) = Wal::promote(dir(), environment(), settings(), &promotion(2, 7)).unwrap();
    assert_eq!(promoted.history().current().epoch, epoch(2, 7));
    assert_eq!(promoted.history().current().start, fork);
    assert_eq!(promoted.durable().get(), promoted.end(), "before anybody is told");
    assert_eq!(promoted.policies().last().unwrap().1, promotion(2, 7).policies[0]);
    let appended = append(&promoted, b"two");
    promoted.close().unwrap();
    drop(promoted);
    let reopened = in_role(&place);
    assert_eq!(reopened.role(), Role::Writer);
    assert_eq!(reopened.end(), appended.end);
    assert_eq!(reopened.policies().len(), 1);
    drop(reopened);
    let again = Wal::promote(dir(), environment(), settings(), &promotion(2, 7)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Fenced, "an epoch begins once");
}

#[test]
fn f_114_a_promotion_that_fails_at_any_sync_leaves_one_role_and_goes_through_when_run_again() {
    let source = Place::new();
    let wal = source.open();
    append(&wal, b"one");
    step(&wal);
    let (place, faults) = (replica_of(&wal), Faults::default());
    let replica = place.try_open(follower()).unwrap().0;
    ship(&wal, &replica, wal.end()).unwrap();
    replica.close().unwrap();
    drop(replica);
    let mut failed = 0;
    let promoted = loop {
        let number = 2 + failed;
        faults.arm(|done| matches!(done, Done::Synced(_)), failed, EIO);
        let outcome =
            Wal::promote(faulty(&place, &faults), Arc::new(SystemEnvironment), settings(), &promotion(number, 7));
        faults.disarm();
        match outcome {
            Ok((promoted, _)) => break promoted,
            Err(_) => failed += 1,
        }
        let wal = in_role(&place);
        let minted = wal.history().current().epoch == epoch(number, 7);
        assert_eq!(wal.role() == Role::Writer, minted, "sync {failed}");
    };
    assert!(3 < failed, "control, segments and the record itself are synced, each at its time: {failed}");
    assert_eq!(promoted.history().current().epoch, epoch(2 + failed, 7));
    assert_eq!(held(&place), [b"one"]);
}

#[test]
fn f_111_frames_of_an_earlier_epoch_are_not_stored_once_a_later_one_is_accepted() {
    let source = Place::new();
    let wal = source.open();
    append(&wal, b"one");
    step(&wal);
    let place = replica_of(&wal);
    let replica = place.try_open(follower()).unwrap().0;
    let chunk = wal.reader(wal.first()).unwrap().next_frames(4096).unwrap().unwrap();
    replica.accept_epoch(epoch(2, 9)).unwrap();
    let error = replica.append_frames(wal.accepted_epoch(), chunk.start, &chunk.bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "they were under way");
    assert_eq!(replica.end(), wal.first());
    // The same bytes from somebody who has accepted it, too.
    replica.append_frames(epoch(2, 9), chunk.start, &chunk.bytes).unwrap();
    assert_eq!(replica.end(), wal.end());
}

#[test]
fn f_118_the_fork_of_a_promotion_is_a_boundary_of_the_old_writers_log_wherever_its_segment_ends() {
    // The follower's log ends just before its segment does, with and without the place that is kept for the epoch's first record.
    let (node, region) = (Name::new(&"n".repeat(63)).unwrap(), Some(Name::new(&"r".repeat(63)).unwrap()));
    for records in (1365..1370).chain(1428..1434) {
        let source = Place::new();
        let wal = source.open();
        for _ in 0..records {
            append(&wal, b"12345678");
        }
        step(&wal);
        let place = replica_of(&wal);
        let replica = place.try_open(follower()).unwrap().0;
        ship(&wal, &replica, wal.end()).unwrap();
        replica.close().unwrap();
        drop(replica);
        for _ in 0..100 {
            append(&wal, b"never shipped");
        }
        step(&wal);
        // The policy is long enough to go into the next segment.
        let mut promotion = promotion(2, 7);
        promotion.policies[0].durability = "d".repeat(1024);
        promotion.policies[0].voters = vec![Voter { node: node.clone(), region: region.clone() }];
        promotion.policies.push(promotion.policies[0].clone());
        promotion.policies.push(promotion.policies[0].clone());
        let (promoted, _) = Wal::promote(place.dir(), Arc::new(SystemEnvironment), settings(), &promotion).unwrap();
        let fork = promoted.history().current().start;
        let crc = promoted.crc_at(fork).unwrap();
        assert_eq!(wal.crc_at(fork).unwrap(), crc, "after {records} records, at {fork}");
    }
}

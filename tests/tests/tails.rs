//! A tail is forgotten while the power fails at every point: it is whole or gone, and the log stays as it is.

use std::sync::Arc;

use longshore_format::{Lsn, SegmentSize};
use longshore_storage::{Directory, Environment};
use longshore_testkit::sim_disk::SimDisk;
use longshore_testkit::sim_env::SimEnvironment;
use longshore_wal::{CreateSpec, Error, ReadLog, RecordDraft, Role, Settings, Wal, set_aside, tails};

/// How many outcomes of each power cut are tried.
const FUTURES: u64 = 8;
const LOG: &str = "orders";

/// A log of some segments, cut in the first of them.
fn with_tail(environment: &SimEnvironment, seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed, environment.clone());
    let dir = disk.root().subdir(LOG).unwrap();
    disk.root().sync().unwrap();
    let spec = CreateSpec { segment_size: SegmentSize::MIN, ..CreateSpec::default() };
    Wal::create(Arc::clone(&dir), environment, &spec).unwrap();
    let environment: Arc<dyn Environment> = Arc::new(environment.clone());
    let (wal, _) = Wal::open(Arc::clone(&dir), Arc::clone(&environment), Settings::default()).unwrap();
    let mut fork = Lsn::ZERO;
    for number in 0..300_u32 {
        let record = number.to_le_bytes().repeat(100);
        let end = loop {
            match wal.append(&[RecordDraft::user(&record)], None) {
                Ok(appended) => break appended.end,
                Err(Error::Full(_)) => {
                    wal.sync_once().unwrap();
                    while wal.seal_once().unwrap() {}
                    while wal.prepare_once().unwrap() {}
                }
                Err(error) => panic!("{error}"),
            }
        };
        if number == 99 {
            fork = end;
        }
    }
    wal.close().unwrap();
    drop(wal);
    set_aside(&dir, &environment, fork).unwrap();
    disk
}

fn directory(disk: &SimDisk) -> Arc<dyn Directory> {
    disk.root().open_subdir(LOG).unwrap()
}

fn records(dir: Arc<dyn Directory>, from: Lsn) -> usize {
    let log = ReadLog::open(dir).unwrap();
    let (mut reader, mut count) = (log.reader(from).unwrap(), 0);
    while let Some(record) = reader.next().unwrap() {
        count += usize::from(record.kind.is_user());
    }
    count
}

#[test]
fn f_117_a_tail_is_whole_or_gone_wherever_the_power_fails_while_it_is_forgotten() {
    let (mut whole, mut half) = (0, 0);
    for point in 0.. {
        let mut crashed = false;
        for future in 0..FUTURES {
            let seed = point * FUTURES + future;
            let environment = SimEnvironment::new(seed);
            let disk = with_tail(&environment, seed);
            let [tail] = &tails::list(&directory(&disk)).unwrap()[..] else { panic!("one tail") };
            disk.power_off_after(point);
            let forgotten = tails::forget(&directory(&disk), &tail.place);
            crashed = disk.is_off();
            assert_eq!(forgotten.is_ok(), !crashed, "point {point}, seed {seed}: {forgotten:?}");
            disk.power_cut();

            let dir = directory(&disk);
            match &tails::list(&dir).unwrap()[..] {
                [] => {}
                [found] => {
                    assert!(crashed, "point {point}, seed {seed}: forgotten, and then it was not");
                    assert_eq!((&found.place, found.to), (&tail.place, tail.to));
                    assert_eq!(records(found.branch(&dir).unwrap(), found.from), 200, "point {point}, seed {seed}");
                    whole += 1;
                }
                tails => panic!("point {point}, seed {seed}: {tails:?}"),
            }
            let left = disk.names(&format!("{LOG}/diverged"));
            half += usize::from(left.iter().any(|name| name.ends_with(".forgotten")));
            // Again, whatever is left; what is gone is not there.
            let again = tails::forget(&dir, &tail.place);
            assert!(matches!(again, Ok(_) | Err(Error::NoTail { .. })), "point {point}, seed {seed}: {again:?}");
            assert_eq!(disk.names(&format!("{LOG}/diverged")), [""; 0], "point {point}, seed {seed}");
            assert_eq!(records(Arc::clone(&dir), Lsn::new(4096)), 100);
            let settings = Settings { role: Role::Follower, ..Settings::default() };
            assert!(Wal::open(dir, Arc::new(environment), settings).is_ok(), "point {point}, seed {seed}");
        }
        if !crashed {
            println!("{point} points, {FUTURES} futures each: whole {whole} times, begun {half} times");
            assert!(0 < whole && 0 < half, "whole {whole} times, half gone {half} times");
            return;
        }
    }
}

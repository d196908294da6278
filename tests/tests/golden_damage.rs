//! Any bytes in any file of a log's directory: opening, reading and examining never panic, never take memory by a number
//! that was read, and never make up a record.

use std::path::Path;
use std::sync::Arc;

use longshore_format::{Lsn, payload_crc};
use longshore_storage::{Directory, FsDirectory, SystemEnvironment};
use longshore_wal::inspect::{Depth, Listing, examine};
use longshore_wal::{ReadLog, Role, Settings, Wal};
use proptest::prelude::*;

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    /// These bytes stand there now, relative to the file's length.
    Bytes { at: f64, bytes: Vec<u8> },
    /// An integer of this value stands there, aligned to eight.
    Number { at: f64, number: u64 },
    /// The file ends there.
    Cut { at: f64 },
    /// The file has these bytes and no others.
    Replaced(Vec<u8>),
    /// Another file's bytes.
    Swapped(prop::sample::Index),
    /// It is not there.
    Removed,
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0.0..1.0f64;
    let number = prop_oneof![Just(u64::MAX), Just(0), Just(1 << 31), Just(u32::MAX.into()), any::<u64>()];
    prop_oneof![
        4 => (at(), prop::collection::vec(any::<u8>(), 1..1024)).prop_map(|(at, bytes)| Damage::Bytes { at, bytes }),
        4 => (at(), number).prop_map(|(at, number)| Damage::Number { at, number }),
        2 => at().prop_map(|at| Damage::Cut { at }),
        1 => prop::collection::vec(any::<u8>(), 0..8192).prop_map(Damage::Replaced),
        1 => any::<prop::sample::Index>().prop_map(Damage::Swapped),
        1 => Just(Damage::Removed),
    ]
}

fn files() -> Vec<(String, Vec<u8>)> {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1/log");
    let entries = std::fs::read_dir(log).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

fn apply(files: &mut Vec<(String, Vec<u8>)>, which: prop::sample::Index, damage: &Damage) {
    let which = which.index(files.len());
    let other = match damage {
        Damage::Swapped(other) => other.get(files).1.clone(),
        _ => Vec::new(),
    };
    let bytes = &mut files[which].1;
    let place = |at: f64| (at * bytes.len() as f64) as usize;
    match damage {
        Damage::Bytes { at, bytes: new } => {
            let at = place(*at);
            let len = new.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&new[..len]);
        }
        Damage::Number { at, number } => {
            let at = place(*at) / 8 * 8;
            if let Some(there) = bytes.get_mut(at..at + 8) {
                there.copy_from_slice(&number.to_le_bytes());
            }
        }
        Damage::Cut { at } => {
            let at = place(*at);
            bytes.truncate(at);
        }
        Damage::Replaced(new) => *bytes = new.clone(),
        Damage::Swapped(_) => *bytes = other,
        Damage::Removed => drop(files.remove(which)),
    }
}

/// Start, end and checksum of the payload of each record there was.
fn written() -> Vec<(u64, u64, u32)> {
    let listing = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1/listing.txt");
    let text = std::fs::read_to_string(listing).unwrap();
    let line = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let number = |index: usize| fields[index].parse().unwrap();
        (number(0), number(1), u32::from_str_radix(fields[6], 16).unwrap())
    };
    text.lines().map(line).collect()
}

/// The most address space this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    // F-013, F-014, F-029, F-047, F-101
    #[test]
    fn nothing_in_a_directory_can_harm_whoever_opens_it(
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
    ) {
        let mut files = files();
        let mut hurt = Vec::new();
        for (which, damage) in &damages {
            hurt.push(files[which.index(files.len())].0.clone());
            apply(&mut files, *which, damage);
        }
        let place = tempfile::tempdir().unwrap();
        let dir: Arc<dyn Directory> = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
        for (name, bytes) in &files {
            std::fs::write(place.path().join("log").join(name), bytes).unwrap();
        }
        let written = written();
        let is_written = |start: Lsn, end: Lsn, payload: &[u8]| {
            let record = (start.get(), end.get(), payload_crc(payload));
            prop_assert!(written.contains(&record), "made up: {record:?} after damage to {hurt:?}");
            Ok(())
        };

        let _either = examine(&dir, Depth::Seals);
        if examine(&dir, Depth::Records).is_ok_and(|report| report.is_intact()) {
            let log = ReadLog::open(dir.clone()).expect("what is intact can be opened");
            let mut reader = log.reader(log.first()).expect("what is intact can be read");
            while reader.next().expect("what is intact can be read").is_some() {}
        }
        if let Ok(mut listing) = Listing::open(dir.clone(), Lsn::ZERO) {
            loop {
                match listing.next() {
                    Ok(Some(record)) => {
                        is_written(record.start, record.end, record.payload)?;
                        continue;
                    }
                    Ok(None) => break,
                    Err(_) => {}
                }
                if !listing.next_segment() {
                    break;
                }
            }
        }
        if let Ok(log) = ReadLog::open(dir.clone())
            && let Ok(mut reader) = log.reader(log.first())
        {
            while let Ok(Some(record)) = reader.next() {
                is_written(record.start, record.end, record.payload)?;
            }
        }
        for role in [Role::Follower, Role::Writer] {
            let settings = Settings { role, ..Settings::default() };
            if let Ok((wal, recovery)) = Wal::open(dir.clone(), Arc::new(SystemEnvironment), settings)
                && let Ok(mut reader) = wal.reader(wal.first())
            {
                while let Ok(Some(record)) = reader.next()
                    && record.end <= recovery.end
                {
                    is_written(record.start, record.end, record.payload)?;
                }
            }
        }
        prop_assert!(peak_mib() < 1024, "address space grew to {} MiB after damage to {hurt:?}", peak_mib());
    }
}

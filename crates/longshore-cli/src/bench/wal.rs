//! `bench wal`: append without waiting, sustained, and open.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, RecordDraft, Settings, Wal};

use super::measure::median;
use super::place::Place;
use super::report::Row;
use super::{Plan, RECORD, raw_append};
use crate::failure::Failure;

const SEGMENT: u64 = 64 << 20;
/// The burst of the first row.
const BURST: u64 = 512 << 20;
/// What the sustained row writes: far more than is prepared or may wait unsynced.
const SUSTAINED: u64 = 2 << 30;
/// The log that is opened.
const LARGE: u64 = 4 << 30;

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let mut rows = vec![burst(plan)?, sustained(plan)?];
    rows.extend(open(plan)?);
    Ok(rows)
}

/// Unsynced, into segments that were all prepared before.
fn burst(plan: &Plan) -> Result<Row, Failure> {
    let segments = plan.amount(BURST, SEGMENT) / SEGMENT;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in plan.runs("append burst") {
        raw.push(raw_burst(&plan.dir, segments as usize)?);
        ours.push(our_burst(&plan.dir, segments)?);
    }
    let name = format!("append 1 KiB unsynced, burst of {} MiB", segments * (SEGMENT >> 20));
    let row = Row::new(name, "thousand records/s", median(ours));
    Ok(row.beside(median(raw), "bench/raw_append.rs").ratio_at_least(0.5))
}

fn raw_burst(dir: &Path, segments: usize) -> Result<f64, Failure> {
    let place = Place::new(dir, "raw")?;
    let failed = |error| Failure::file("raw segments in", dir, &error);
    let mut prepared = raw_append::prepare(place.path(), segments, SEGMENT).map_err(failed)?;
    let (records, time) = raw_append::append(&mut prepared, &[7; RECORD]);
    Ok(records as f64 / time.as_secs_f64() / 1e3)
}

fn our_burst(dir: &Path, segments: u64) -> Result<f64, Failure> {
    let place = Place::new(dir, "ours")?;
    // Nothing is synced here and nothing refused: the threads that do that are not started.
    let settings = Settings { prepared: segments as usize + 1, unsynced_limit: u64::MAX, ..Settings::default() };
    let wal = create(place.path(), settings)?;
    while wal.prepare_once()? {}
    let payload = [7; RECORD];
    let record = [RecordDraft::user(&payload)];
    let until = (segments - 1) * SEGMENT;
    let begin = Instant::now();
    let mut records = 0u64;
    while wal.append(&record, None)?.end.get() < until {
        records += 1;
    }
    Ok(records as f64 / begin.elapsed().as_secs_f64() / 1e3)
}

/// As fast as it goes for long, durable at the end: segments are prepared, synced and sealed while
/// it appends.
fn sustained(plan: &Plan) -> Result<Row, Failure> {
    let total = plan.amount(SUSTAINED, SEGMENT);
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in plan.runs("append sustained") {
        raw.push(raw_sustained(&plan.dir, total)?);
        ours.push(our_sustained(&plan.dir, total)?);
    }
    let name = format!("append 1 KiB sustained, {} MiB, durable at the end", total >> 20);
    let row = Row::new(name, "MiB/s", median(ours));
    Ok(row.beside(median(raw), "bench/raw_append.rs"))
}

fn raw_sustained(dir: &Path, total: u64) -> Result<f64, Failure> {
    let place = Place::new(dir, "raw")?;
    let failed = |error| Failure::file("raw segments in", dir, &error);
    let begin = Instant::now();
    for n in 0..total / SEGMENT {
        let inner = place.path().join(n.to_string());
        std::fs::create_dir(&inner).map_err(failed)?;
        let mut prepared = raw_append::prepare(&inner, 1, SEGMENT).map_err(failed)?;
        raw_append::append(&mut prepared, &[7; RECORD]);
        prepared[0].flush().map_err(failed)?;
    }
    Ok((total >> 20) as f64 / begin.elapsed().as_secs_f64())
}

fn our_sustained(dir: &Path, total: u64) -> Result<f64, Failure> {
    let place = Place::new(dir, "ours")?;
    let wal = create(place.path(), Settings::default())?;
    let threads = wal.start();
    let begin = Instant::now();
    let end = fill(&wal, total)?;
    wal.wait_blocking(end, None)?;
    let rate = (total >> 20) as f64 / begin.elapsed().as_secs_f64();
    threads.stop();
    Ok(rate)
}

/// Opening a large log: after a clean close, and after a crash.
fn open(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let total = plan.amount(LARGE, SEGMENT);
    let place = Place::new(&plan.dir, "large")?;
    plan.progress.say("making a log to open");
    make_log(place.path(), total)?;
    let (mut clean, mut crashed) = (Vec::new(), Vec::new());
    for _ in plan.runs("open") {
        let (wal, time) = timed_open(place.path())?;
        clean.push(time.as_secs_f64());
        // Dropped without a close: what the next open finds is what a crash leaves.
        wal.append(&[RecordDraft::user(&[7; RECORD])], None)?;
        drop(wal);
        let (wal, time) = timed_open(place.path())?;
        crashed.push(time.as_secs_f64());
        wal.close()?;
    }
    let size = total >> 20;
    Ok(vec![
        Row::new(format!("open {size} MiB, closed cleanly"), "s", median(clean)).at_most(0.1),
        Row::new(format!("open {size} MiB, after a crash"), "s", median(crashed)).at_most(0.1),
    ])
}

/// A closed log of `total` bytes of 1 KiB records.
pub(super) fn make_log(dir: &Path, total: u64) -> Result<(), Failure> {
    let wal = create(dir, Settings::default())?;
    let threads = wal.start();
    let end = fill(&wal, total)?;
    wal.wait_blocking(end, None)?;
    while wal.seal_once()? {}
    threads.stop();
    Ok(wal.close()?)
}

fn timed_open(dir: &Path) -> Result<(Wal, Duration), Failure> {
    let begin = Instant::now();
    let wal = open_log(dir, Settings::default())?;
    Ok((wal, begin.elapsed()))
}

/// Appends 1 KiB records up to `total` bytes of log, waiting for room when it is full.
fn fill(wal: &Wal, total: u64) -> Result<longshore_format::Lsn, Failure> {
    let payload = [7; RECORD];
    let record = [RecordDraft::user(&payload)];
    loop {
        match wal.append(&record, None) {
            Ok(appended) if appended.end.get() >= total => return Ok(appended.end),
            Ok(_) => {}
            Err(error) if error.kind() == longshore_format::ErrorKind::Full => {
                wal.wait_room_blocking(RECORD as u64, None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn create(dir: &Path, settings: Settings) -> Result<Wal, Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::file("directory", dir, &error))?;
    let directory = FsDirectory::create(dir).map_err(|error| Failure::file("directory", dir, &error))?;
    Wal::create(Arc::new(directory), &SystemEnvironment, &CreateSpec::default())?;
    open_log(dir, settings)
}

fn open_log(dir: &Path, settings: Settings) -> Result<Wal, Failure> {
    let directory = FsDirectory::open(dir).map_err(|error| Failure::file("directory", dir, &error))?;
    Ok(Wal::open(Arc::new(directory), Arc::new(SystemEnvironment), settings)?.0)
}

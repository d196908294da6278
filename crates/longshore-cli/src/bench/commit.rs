//! `bench commit`: durable appends, one at a time and 64 in flight; those that replicas confirm; and a log that changes hands.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, RecordDraft, Settings, Wal};

use super::measure::{median, p50_micros, p99_micros};
use super::place::Place;
use super::report::Row;
use super::{Plan, RECORD, confirmed, handover, raw_sync};
use crate::failure::Failure;

/// Appends of one writer, one after the other.
const ROUNDS: u64 = 4000;
const IN_FLIGHT: usize = 64;

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let rounds = plan.amount(ROUNDS, 200) as usize;
    let mut ours = Figures::default();
    let mut raw = Figures::default();
    for _ in plan.runs("durable appends") {
        raw.add(&raw_commit(&plan.dir, 1, rounds)?, &raw_commit(&plan.dir, IN_FLIGHT, rounds)?);
        let (one, many) = our_commit(&plan.dir, rounds)?;
        ours.p50.push(p50_micros(&one));
        ours.p99.push(p99_micros(&one));
        ours.one.push(rounds as f64 / one.iter().sum::<Duration>().as_secs_f64() / 1e3);
        ours.many.push(many);
    }
    let times = median(ours.many.clone()) / median(ours.one.clone());
    let file = "bench/raw_sync.rs";
    let mut rows = vec![
        Row::new("durable 1 KiB, one writer, p50", "µs", median(ours.p50))
            .beside(median(raw.p50), file)
            .ratio_at_most(1.2),
        Row::new("durable 1 KiB, one writer, p99", "µs", median(ours.p99)).beside(median(raw.p99), file),
        Row::new("durable 1 KiB, one writer", "thousand records/s", median(ours.one)).beside(median(raw.one), file),
        Row::new("durable 1 KiB, 64 in flight", "thousand records/s", median(ours.many)).beside(median(raw.many), file),
        Row::new("64 in flight against one writer", "×", times).at_least(5.0),
    ];
    rows.extend(confirmed::run(plan)?);
    rows.extend(handover::run(plan)?);
    Ok(rows)
}

#[derive(Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
    one: Vec<f64>,
    many: Vec<f64>,
}

impl Figures {
    fn add(&mut self, one: &[Duration], many: &[Duration]) {
        let rate = |times: &[Duration], each: usize| {
            (times.len() * each) as f64 / times.iter().sum::<Duration>().as_secs_f64() / 1e3
        };
        self.p50.push(p50_micros(one));
        self.p99.push(p99_micros(one));
        self.one.push(rate(one, 1));
        self.many.push(rate(many, IN_FLIGHT));
    }
}

fn raw_commit(dir: &Path, in_flight: usize, rounds: usize) -> Result<Vec<Duration>, Failure> {
    let place = Place::new(dir, "raw")?;
    raw_sync::commit(&place.path().join("raw.seg"), &[7; RECORD], in_flight, rounds)
        .map_err(|error| Failure::file("raw segment in", dir, &error))
}

/// The time of each append of one writer, and the rate of 64 in flight in thousands a second.
fn our_commit(dir: &Path, rounds: usize) -> Result<(Vec<Duration>, f64), Failure> {
    let place = Place::new(dir, "ours")?;
    let failed = |error| Failure::file("directory", place.path(), &error);
    let env = Arc::new(SystemEnvironment);
    let directory = Arc::new(FsDirectory::open(place.path()).map_err(failed)?);
    Wal::create(directory.clone(), env.as_ref(), &CreateSpec::default())?;
    let (wal, _) = Wal::open(directory, env, Settings::default())?;
    // Prepared before the clock starts, as the raw row's file is.
    while wal.prepare_once()? {}
    let threads = wal.start();
    let one = one_writer(&wal, rounds)?;
    let many = many_writers(&wal, rounds)?;
    threads.stop();
    wal.close()?;
    Ok((one, many))
}

fn one_writer(wal: &Wal, rounds: usize) -> Result<Vec<Duration>, Failure> {
    let payload = [7; RECORD];
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        let appended = wal.append(&[RecordDraft::user(&payload)], None)?;
        wal.wait_blocking(appended.end, None)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn many_writers(wal: &Wal, rounds: usize) -> Result<f64, Failure> {
    let runtime = crate::runtime::for_commands()?;
    let begin = Instant::now();
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let wal = wal.clone();
            writers.spawn(async move {
                let payload = [7; RECORD];
                for _ in 0..rounds {
                    let appended = wal.append(&[RecordDraft::user(&payload)], None)?;
                    wal.wait(appended.end).await?;
                }
                Ok::<_, longshore_wal::Error>(())
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.map_err(|error| Failure::internal(format!("a writer panicked: {error}")))??;
        }
        Ok::<_, Failure>(())
    })?;
    Ok((IN_FLIGHT * rounds) as f64 / begin.elapsed().as_secs_f64() / 1e3)
}

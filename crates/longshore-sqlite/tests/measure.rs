//! How fast things are applied: the figures behind `FileOutput::rate`. Run it with
//! `cargo test --release -p longshore-sqlite --test measure -- --ignored --nocapture`.

mod rig;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use longshore_apply::{Applier, FileOutput, JsonLinesOutput, Planner, Sink, Step, Target};
use longshore_format::{Content, SegmentSize};
use longshore_sqlite::{Batch, SqliteOutput};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, RecordDraft, Settings, Wal};
use rig::Rig;

#[test]
#[ignore = "a measurement, not a check"]
fn how_fast_records_are_applied() {
    for (runs, statements, bytes) in [(200_000, 1, 20), (20_000, 10, 20), (40_000, 1, 4_000), (2_000, 1, 100_000)] {
        let place = tempfile::tempdir().unwrap();
        let wal = log(place.path(), runs, statements, bytes);
        let started = Instant::now();
        let plan = Planner::new(&wal, "measure", None, Target::LATEST).unwrap().run().unwrap();
        let planned = started.elapsed();
        let mib = plan.bytes as f64 / f64::from(1 << 20);
        println!("{runs} runs of {statements} × {bytes} B, {mib:.0} MiB: planned in {planned:.2?}");
        let outputs: [(&str, &dyn FileOutput); 2] = [("sqlite", &SqliteOutput), ("jsonl", &JsonLinesOutput)];
        for (name, output) in outputs {
            let path = place.path().join(name);
            let started = Instant::now();
            apply(&wal, output.sink(&path));
            let seconds = started.elapsed().as_secs_f64();
            let (each, mib) = (plan.runs as f64 / seconds, mib / seconds);
            let estimate = output.rate().time_for(&plan).as_secs_f64();
            println!("  {name}: {seconds:.2} s, {each:.0} runs/s, {mib:.0} MiB/s, estimated {estimate:.2} s");
            let (needed, used) = (output.estimated_bytes(&plan) >> 20, path.metadata().unwrap().len() >> 20);
            println!("    {used} MiB of disk, estimated {needed} MiB");
        }
    }
}

#[test]
#[ignore = "a measurement, not a check"]
fn how_long_an_attach_takes_that_compares() {
    let rig = Rig::new();
    let app = rig.app();
    let insert = "INSERT INTO t (body) VALUES (randomblob(1900));";
    let many = insert.repeat(32 << 10);
    app.execute_batch(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN; {many} COMMIT")).unwrap();
    rig.attach().detach().unwrap();
    app.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    app.execute_batch(insert).unwrap();
    rig.attach().detach().unwrap();
    for round in 0..5 {
        for is_written in [false, true] {
            app.execute_batch(insert).unwrap();
            if is_written {
                File::options().write(true).open(rig.at("app.db")).unwrap().set_modified(SystemTime::now()).unwrap();
            }
            let mib = rig.at("app.db").metadata().unwrap().len() >> 20;
            let started = Instant::now();
            let capture = rig.attach();
            let (took, resyncs) = (started.elapsed(), capture.status().resyncs);
            println!("{mib} MiB, round {round}: is written {is_written}, attached in {took:.2?}, {resyncs} resyncs");
            capture.detach().unwrap();
        }
    }
}

fn log(place: &Path, runs: usize, statements: usize, bytes: usize) -> Wal {
    let dir = Arc::new(FsDirectory::create(place.join("log")).unwrap());
    let env = Arc::new(SystemEnvironment);
    let spec = CreateSpec { content: Content::Sql, segment_size: SegmentSize::DEFAULT, ..CreateSpec::default() };
    Wal::create(dir.clone(), env.as_ref(), &spec).unwrap();
    let (wal, _) = Wal::open(dir, env, Settings::default()).unwrap();
    let threads = wal.start();
    for run in 0..runs {
        let mut batch = Batch::new();
        if run == 0 {
            batch.push("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)", vec![]).unwrap();
        }
        for _ in 0..statements {
            batch.push("INSERT INTO t (body) VALUES (?1)", vec![vec![7_u8; bytes].into()]).unwrap();
        }
        for payload in batch.into_payloads() {
            while let Err(error) = wal.append(&[RecordDraft::user(&payload)], None) {
                assert_eq!(error.kind(), longshore_format::ErrorKind::Full, "{error}");
                wal.wait_room_blocking(payload.len() as u64, None).unwrap();
            }
        }
    }
    wal.wait_blocking(wal.end(), None).unwrap();
    threads.stop();
    wal
}

fn apply(wal: &Wal, sink: Box<dyn Sink>) {
    let mut applier = Applier::open(wal.clone(), sink, Target::LATEST).unwrap();
    while applier.step().unwrap() != Step::Idle {}
    applier.finish().unwrap();
}

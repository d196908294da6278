//! `kill -9` of a restore: what it leaves never looks complete, and the next one finishes it (F-126).

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore::apply::JsonLinesOutput;
use longshore::{Content, Output, Primary, Replay, Settings, Stage};
use longshore_sqlite::{Batch, SqliteOutput};
use longshore_testkit::seeds;
use longshore_testkit::sim_rng::Rng;
use rusqlite::Connection;

const DIR: &str = "LONGSHORE_TEST_REPLAY_DIR";
const FORMAT: &str = "LONGSHORE_TEST_REPLAY_FORMAT";
const RUNS: i64 = 20_000;

fn restore(dir: &Path, format: &str, watch: impl FnMut(Stage<'_>) -> ControlFlow<()>) -> PathBuf {
    let path = dir.join(format!("out.{format}"));
    let output = match format {
        "sqlite" => Output::file(SqliteOutput, &path),
        _ => Output::file(JsonLinesOutput, &path),
    };
    Replay::open(dir.join("data"), "orders").unwrap().run(&output, watch).unwrap();
    path
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn replay_process() {
    let (Ok(dir), Ok(format)) = (std::env::var(DIR), std::env::var(FORMAT)) else { return };
    let mut planned = false;
    restore(dir.as_ref(), &format, |stage| {
        if let Stage::Planned { .. } = stage
            && !std::mem::replace(&mut planned, true)
        {
            println!("applying");
        }
        ControlFlow::Continue(())
    });
    println!("done");
}

#[test]
fn a_restore_that_is_killed_leaves_nothing_that_looks_complete_and_is_finished_by_the_next() {
    let mut random = Rng::new(seeds::seed("-p longshore --test replay_kill"));
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    for format in ["sqlite", "jsonl"] {
        let path = dir.path().join(format!("out.{format}"));
        let mut kills = 0;
        while !path.exists() {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "replay_process", "--ignored", "--nocapture", "--quiet"])
                .envs([(DIR, dir.path().as_os_str()), (FORMAT, format.as_ref())])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
            lines.find(|line| line.ends_with("applying")).expect("it makes a plan");
            // A random moment is the point; nothing waits for it. At last it may finish.
            if kills < 8 {
                std::thread::sleep(Duration::from_micros(random.below(40_000)));
                process.kill().unwrap();
                kills += 1;
            }
            process.wait().unwrap();
        }
        eprintln!("{format}: killed {kills} times");
        check(&path, format);
        let beside = fs::read_dir(dir.path()).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().contains(".partial")
        });
        // Killed between giving the file its name and taking the other one away, it has both.
        assert!(beside.count() <= 1);
    }
}

fn write_log(dir: &Path) {
    let primary = Primary::create(dir.join("data"), "orders", Content::Sql, &Settings::default()).unwrap();
    for n in 0..RUNS {
        let mut batch = Batch::new();
        if n == 0 {
            batch.push("CREATE TABLE t (n UNIQUE)", vec![]).unwrap();
        }
        batch.push("INSERT INTO t VALUES (?1)", vec![n.into()]).unwrap();
        primary.append(&batch.into_payloads()).unwrap();
    }
    primary.close().unwrap();
}

fn check(path: &Path, format: &str) {
    if format == "sqlite" {
        let db = Connection::open(path).unwrap();
        let sql = "SELECT count(*), max(n) + 1 FROM t";
        let counts: (i64, i64) = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(counts, (RUNS, RUNS));
    } else {
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count() as i64, RUNS);
        let mut last = longshore::Lsn::ZERO;
        for line in text.lines() {
            let line = longshore::apply::json::parse_line(line.as_bytes()).unwrap();
            assert!(last < line.lsn);
            last = line.lsn;
        }
    }
}

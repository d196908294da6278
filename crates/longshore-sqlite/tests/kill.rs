//! Exactly once under `kill -9`: a process that applies is killed at random moments, and every
//! transaction is there once. The counter's key is unique, so a second time would be an error, and
//! the sum of its rows would show a first that is missing.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore_apply::{Applier, Source, Step, Target};
use longshore_sqlite::{SqlSink, read_position};
use rusqlite::Connection;
use support::Place;

const TRANSACTIONS: u64 = 4_000;
const DIR: &str = "LONGSHORE_TEST_KILL_DIR";

/// The same log in every process. Sizes vary, so that transactions are grouped in many ways.
fn grow(place: &Place, n: u64) {
    if n == 0 {
        place.append(&[
            "CREATE TABLE counter (n INTEGER PRIMARY KEY, body)",
            "CREATE TABLE total (sum INTEGER)",
            "INSERT INTO total VALUES (0)",
        ]);
    }
    let body = "x".repeat((n * 37 % 900) as usize);
    let insert = format!("INSERT INTO counter VALUES ({n}, '{body}')");
    place.append(&[&insert, "UPDATE total SET sum = sum + 1"]);
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn applier_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let place = Place::new();
    let mut applied =
        Applier::open(place.log.clone(), SqlSink::new(Path::new(&dir).join("replica.db")), Target::LATEST).unwrap();
    println!("started");
    let mut n = 0;
    while n < TRANSACTIONS {
        for _ in 0..(1 + n % 13) {
            grow(&place, n);
            n += 1;
        }
        while applied.step().unwrap() != Step::Idle {}
    }
    println!("done");
}

#[test]
fn each_transaction_is_applied_once_however_often_the_applier_is_killed() {
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("SEED={seed} cargo test -p longshore-sqlite --test kill");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let reference = Place::new();
    let mut ends = vec![reference.log.end()];
    for n in 0..TRANSACTIONS + 13 {
        grow(&reference, n);
        ends.push(reference.log.end());
    }
    let (mut kills, mut last) = (0, 0);
    loop {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "applier_process", "--ignored", "--nocapture", "--quiet"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.find(|line| line.ends_with("started")).expect("it starts");
        // A random moment is the point; nothing waits for it.
        std::thread::sleep(Duration::from_micros(random.below(if kills < 30 { 60_000 } else { 5_000_000 })));
        process.kill().unwrap();
        process.wait().unwrap();
        kills += 1;
        let done = lines.any(|line| line.ends_with("done"));
        let held = check(&dir.path().join("replica.db"), &ends);
        assert!(last <= held, "nothing that was durable went back: {last}, then {held}");
        last = held;
        if done {
            break;
        }
    }
    assert!(last >= TRANSACTIONS, "{last}");
    assert!(kills > 5, "{kills} kills are not many");
    eprintln!("killed {kills} times");
}

/// How many transactions there are, if they are a prefix and the position says the same.
fn check(path: &Path, ends: &[longshore_format::Lsn]) -> u64 {
    let db = Connection::open(path).unwrap();
    let Some(position) = read_position(&db).unwrap() else { return 0 };
    let sql = "SELECT (SELECT count(*) FROM counter), (SELECT max(n) + 1 FROM counter), (SELECT sum FROM total)";
    let counts = db.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    let (rows, next, sum) = counts.unwrap();
    assert!(rows == next && next == sum, "{rows} rows, up to {next}, counted {sum}");
    assert_eq!(position.lsn, ends[rows as usize], "the position is that of the last transaction");
    rows as u64
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

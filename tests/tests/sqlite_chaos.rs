//! Unmodified SQLite applications under chaos: stock writers on the primary, readers on the replica, and everything killed
//! or stopped at random meanwhile.
//!
//! The seed is printed. `LONGSHORE_CHAOS_SECONDS` says for how long: five minutes by default, 1800 before a release.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_testkit::process::{PATIENCE, Running, longshore, must, run_with, top};
use longshore_testkit::seeds;
use longshore_testkit::sim_rng::Rng;
use longshore_testkit::site::ZERO;

fn seconds() -> u64 {
    std::env::var("LONGSHORE_CHAOS_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(300)
}

/// What is killed, stopped, and started again in place.
struct Part<'a> {
    running: Running,
    start: Box<dyn Fn() -> Running + 'a>,
}

impl<'a> Part<'a> {
    fn new(start: impl Fn() -> Running + 'a) -> Part<'a> {
        Part { running: start(), start: Box::new(start) }
    }

    fn kill_and_restart(&mut self) {
        // Gone before its successor starts: two agents on one directory are refused.
        self.running.signal("KILL");
        self.running.exit();
        self.running = (self.start)();
    }
}

struct Stage {
    place: PathBuf,
    tls: String,
    python: &'static str,
}

impl Stage {
    fn at(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }

    fn primary(&self, listen: &str) -> Running {
        let (data, db) = (self.at("primary"), self.at("app.db"));
        let flags = ["--data-dir", &data, "--sqlite", &db, "--log", "app", "--init", "--listen", listen];
        self.agent("primary", &flags)
    }

    fn replica(&self, server: &str) -> Running {
        let (data, apply) = (self.at("eu-west"), format!("app=sqlite:{}", self.at("replica.db")));
        let flags = ["--data-dir", &data, "--upstream", server, "--apply", &apply, "--listen", ZERO];
        self.agent("replica", &[&flags[..], &["--replica-backoff-max", "200ms"]].concat())
    }

    fn agent(&self, role: &str, flags: &[&str]) -> Running {
        let identity = if role == "primary" { "primary" } else { "eu-west" };
        let common = ["--http", ZERO, "--tls-dir", &self.tls, "--identity", identity];
        let mut agent = Running::start(longshore([&[role], flags, &common[..]].concat()));
        agent.listening();
        agent
    }

    fn script(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.python);
        command.arg(top().join("tests/scripts").join(name)).args(args);
        command
    }

    fn writer(&self, seed: u64) -> Running {
        let (db, seed, stop) = (self.at("app.db"), seed.to_string(), self.at("stop-writers"));
        let mut writer = Running::start(self.script("sqlite_writer.py", &[&db, &seed, &stop]));
        writer.line("ready");
        writer
    }

    fn reader(&self) -> Running {
        Running::start(self.script("sqlite_reader.py", &[&self.at("replica.db"), &self.at("stop-readers")]))
    }

    /// A database as SQL, if it can be read and is sound; else why not.
    fn dump(&self, name: &str) -> Result<Vec<u8>, String> {
        let program = "import sqlite3, sys\n\
            db = sqlite3.connect('file:%s?mode=ro' % sys.argv[1], uri=True, timeout=10)\n\
            assert db.execute('PRAGMA integrity_check').fetchone() == ('ok',)\n\
            for line in db.iterdump(): print(line)";
        let mut command = Command::new(self.python);
        command.args(["-c", program, &self.at(name)]);
        let dumped = run_with(command, b"");
        match dumped.status.success() {
            true => Ok(dumped.stdout),
            false => Err(String::from_utf8_lossy(&dumped.stderr).into_owned()),
        }
    }
}

fn first_difference(ours: &[u8], theirs: &[u8]) -> String {
    let lines = |dump: &[u8]| String::from_utf8_lossy(dump).lines().map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (lines(ours), lines(theirs));
    let at = ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
    let shown = |lines: &[String]| lines.get(at).map_or_else(String::new, |line| line.chars().take(100).collect());
    let (count, other) = (ours.len(), theirs.len());
    format!("differs at line {at} of {count} (it has {other}): {:?} there, {:?} here", shown(&theirs), shown(&ours))
}

/// Writes through the sqlite3 shell, one short session after another, until told to stop.
fn shell_writes(shell: &str, db: &str, stop: &Path, seed: u64) -> u64 {
    let mut random = Rng::new(seed);
    let mut sessions = 0;
    while !stop.exists() {
        let (account, amount) = (2000 + random.below(50), random.below(100));
        let end = if random.below(5) == 0 { "ROLLBACK" } else { "COMMIT" };
        let sql = format!(
            ".timeout 30000\nBEGIN IMMEDIATE;\n\
             INSERT OR IGNORE INTO accounts VALUES ({account}, 0, 'shell'), ({}, 0, 'shell');\n\
             UPDATE accounts SET balance = balance + {amount} WHERE id = {account};\n\
             UPDATE accounts SET balance = balance - {amount} WHERE id = {};\n\
             UPDATE ticks SET n = n + 1;\n{end};\n",
            account + 100,
            account + 100
        );
        let mut command = Command::new(shell);
        command.arg(db);
        // Busy is an ordinary answer here, too.
        sessions += u64::from(run_with(command, sql.as_bytes()).status.success());
    }
    sessions
}

#[test]
#[ignore = "takes minutes: .ci/chaos runs it"]
fn stock_writers_and_readers_never_notice_kills_stops_and_checkpoints() {
    let Some(python) = ["python3"].into_iter().find(|python| Command::new(python).arg("--version").output().is_ok())
    else {
        println!("skipped: there is no python3 here; install it to run this test");
        return;
    };
    let seed = seeds::seed("-p longshore-testkit --test sqlite_chaos -- --ignored");
    let mut random = Rng::new(seed);
    let place = tempfile::tempdir().unwrap();
    let stage = Stage { place: place.path().to_owned(), tls: place.path().join("tls").display().to_string(), python };
    let names =
        ["certs", &stage.tls, "--name", "primary=admin,append,read,replicate", "--name", "eu-west=replicate,read"];
    must(longshore(names), b"");
    let shell = Command::new(top().join("tests/scripts/sqlite_shell.sh")).output().unwrap();
    let shell = shell.status.success().then(|| String::from_utf8(shell.stdout).unwrap().trim().to_owned());
    if shell.is_none() {
        println!("without the sqlite3 shell: it is not here and cannot be installed");
    }

    let mut writer = Part::new({
        let (stage, seeds) = (&stage, std::cell::Cell::new(seed));
        move || stage.writer(seeds.replace(seeds.get() + 1))
    });
    let mut first = stage.primary(ZERO);
    let listen = first.listening().to_string();
    first.kill();
    let server = format!("primary@{listen}");
    let mut primary = Part::new(|| stage.primary(&listen));
    let mut replica = Part::new(|| stage.replica(&server));
    let mut readers = [stage.reader(), stage.reader()];

    let (stop_writers, stop_readers) = (place.path().join("stop-writers"), place.path().join("stop-readers"));
    let (db, stop) = (stage.at("app.db"), stop_writers.clone());
    let shell_writer = shell.map(|shell| std::thread::spawn(move || shell_writes(&shell, &db, &stop, seed)));

    let end = Instant::now() + Duration::from_secs(seconds());
    let (mut kills, mut stops) = (0, 0);
    // How long writers were held up by agents that nobody had stopped.
    let (mut holds, mut is_stopped) = (Vec::new(), false);
    let hold = |primary: &mut Part<'_>| primary.running.metric("longshore_capture_longest_hold_seconds");
    while Instant::now() < end {
        // A moment that the seed chose; nothing relies on what it falls upon.
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        match random.below(8) {
            0 | 1 => writer.kill_and_restart(),
            2 | 3 => {
                holds.extend(hold(&mut primary).filter(|_| !is_stopped));
                primary.kill_and_restart();
                is_stopped = false;
            }
            4 | 5 => replica.kill_and_restart(),
            stopped => {
                let agent = if stopped == 6 { &primary } else { &replica };
                is_stopped |= stopped == 6;
                agent.running.signal("STOP");
                std::thread::sleep(Duration::from_millis(random.below(800)));
                agent.running.signal("CONT");
                stops += 1;
                continue;
            }
        }
        kills += 1;
    }

    holds.extend(hold(&mut primary).filter(|_| !is_stopped));
    let longest = holds.iter().copied().fold(0.0, f64::max);
    println!("writers were held up for {:.1} ms at most, in {} lives of the primary", longest * 1e3, holds.len());
    std::fs::write(&stop_writers, "").unwrap();
    assert!(writer.running.exit().success(), "{}", writer.running.said());
    let sessions = shell_writer.map(|thread| thread.join().unwrap());
    let ours = stage.dump("app.db").expect("the application's database is sound");
    let caught_up = Instant::now();
    loop {
        let theirs = stage.dump("replica.db");
        if theirs.as_ref() == Ok(&ours) {
            break;
        }
        if PATIENCE < caught_up.elapsed() {
            let lag = replica.running.metric("longshore_sink_lag_bytes");
            let told = theirs.map_or_else(|why| why, |theirs| first_difference(&ours, &theirs));
            let (primary, replica) = (primary.running.said(), replica.running.said());
            panic!(
                "the replica, {lag:?} bytes behind: {told}; the primary said:\n{primary}\nand the replica:\n{replica}"
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("the replica had all of it {:.1} s later", caught_up.elapsed().as_secs_f64());
    std::fs::write(&stop_readers, "").unwrap();
    let mut reads = 0;
    for reader in &mut readers {
        assert!(reader.exit().success(), "{}", reader.said());
        reads += reader.line("reads ").parse::<u64>().unwrap();
    }
    let said = [replica.running, primary.running].map(|mut agent| {
        agent.signal("TERM");
        assert!(agent.exit().success(), "{}", agent.said());
        agent.said()
    });
    println!(
        "{kills} kills, {stops} stops, {reads} reads, {sessions:?} sessions of the shell, {} bytes of SQL",
        ours.len()
    );
    assert!(kills > 0 && reads > 0, "something happened");

    // The worst day: nothing but the replica's log is left.
    let into = format!("sqlite:{}", stage.at("restored.db"));
    let replayed =
        run_with(longshore(["replay", "--from", &stage.at("eu-west"), "--log", "app", "--into", &into]), b"");
    let why = String::from_utf8_lossy(&replayed.stderr);
    assert!(replayed.status.success(), "{why}\nthe replica said:\n{}\nand the primary:\n{}", said[0], said[1]);
    assert!(stage.dump("restored.db").as_ref() == Ok(&ours), "what is restored is what the application had");
}

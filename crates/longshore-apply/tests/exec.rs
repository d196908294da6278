//! Another program as a sink. The programs are Python: the example of docs/EXEC.md, and bad ones.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::MemoryLog;
use longshore_apply::conformance::{self, Subject};
use longshore_apply::{Applier, Error, ExecSink, ExecSpec, Failure, Sink, SinkError, Source, Step, Target};
use longshore_format::{Content, ErrorKind};
use tempfile::TempDir;

/// The example in docs/EXEC.md, literally.
fn example() -> String {
    let doc = include_str!("../../../docs/EXEC.md");
    let (_, code) = doc.split_once("```python\n").expect("the page has an example");
    let (code, _) = code.split_once("```").expect("the example ends");
    assert!(code.lines().count() <= 22, "the page says twenty lines");
    code.to_owned()
}

fn has_python() -> bool {
    let found = Command::new("python3").args(["-c", "import sqlite3"]).status().is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: no python3 with sqlite3 on this machine");
    }
    found
}

struct Python {
    dir: TempDir,
    script: PathBuf,
}

impl Python {
    fn new(code: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("apply program.py");
        std::fs::write(&script, code).unwrap();
        Python { dir, script }
    }

    fn spec(&self) -> ExecSpec {
        let db = self.dir.path().join("events.db");
        format!("python3 '{}' \"{}\"", self.script.display(), db.display()).parse().unwrap()
    }

    fn run(&self, log: &MemoryLog) -> Result<(), Error> {
        let mut applier = Applier::open(log.clone(), ExecSink::new(self.spec()), Target::LATEST)?;
        while applier.step()? != Step::Idle {}
        applier.finish().map(drop)
    }

    fn stored(&self) -> Vec<String> {
        stored(&self.dir.path().join("events.db"))
    }
}

fn stored(db: &Path) -> Vec<String> {
    let code = "import sqlite3,sys\nfor r in sqlite3.connect(sys.argv[1]).execute('select body from events order by lsn'): print(r[0].decode())";
    let output = Command::new("python3").arg("-c").arg(code).arg(db).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

impl Subject for Python {
    fn sink(&mut self) -> Box<dyn Sink> {
        Box::new(ExecSink::new(self.spec()))
    }
    fn content(&self) -> Content {
        Content::Bytes
    }
    fn foreign_content(&self) -> Option<Content> {
        None
    }
    fn payload(&self, n: u64) -> Vec<u8> {
        n.to_string().into_bytes()
    }
    fn stored(&mut self) -> Vec<u64> {
        Python::stored(self).iter().map(|line| line.parse().unwrap()).collect()
    }
}

#[test]
fn the_documented_example_conforms() {
    if has_python() {
        conformance::check(|| Python::new(&example()));
    }
}

#[test]
fn the_documented_example_resumes_and_refuses_another_history() {
    if !has_python() {
        return;
    }
    let (python, log) = (Python::new(&example()), MemoryLog::new());
    log.run(&["a"]);
    log.run(&["b", "c"]);
    python.run(&log).unwrap();
    log.run(&["d"]);
    python.run(&log).unwrap();
    assert_eq!(python.stored(), ["a", "b", "c", "d"]);
    let branch = MemoryLog::of_life(2);
    for payload in ["a", "bb", "ccc", "d", "e"] {
        branch.run(&[payload]);
    }
    assert_eq!(python.run(&branch).unwrap_err().kind(), ErrorKind::Diverged);
}

/// F-106: the program crashes; applying stops by name, and goes on when it is started again.
#[test]
fn a_program_that_crashes_is_named_and_resumes_when_started_again() {
    if !has_python() {
        return;
    }
    let crashing = example().replace("    record = json.loads(line)", "    record = json.loads(line)\n    if 'Y3Jhc2g=' in line and not os.path.exists(sys.argv[1] + '.mended'): sys.exit(3)");
    let (python, log) = (Python::new(&crashing), MemoryLog::new());
    log.run(&["a"]);
    log.run(&["b", "crash"]);
    log.run(&["c"]);
    let error = python.run(&log).unwrap_err();
    assert!(error.is_passing(), "an agent tries again: {error}");
    assert!(error.to_string().contains("exec:python3 ended before its input did (exit status: 3)"), "{error}");
    assert_eq!(python.stored(), ["a"]);
    std::fs::write(python.dir.path().join("events.db.mended"), "").unwrap();
    python.run(&log).unwrap();
    assert_eq!(python.stored(), ["a", "b", "crash", "c"]);
}

#[test]
fn what_a_program_may_not_do_is_named() {
    if !has_python() {
        return;
    }
    let log = MemoryLog::new();
    log.run(&["a"]);
    let check = |code: &str, failure: Failure, words: &str| {
        let python = Python::new(&format!("import sys, time\n{code}\n"));
        let mut spec = python.spec();
        (spec.start_timeout, spec.finish_timeout) = (Duration::from_secs(3), Duration::from_secs(1));
        let error = run(spec, &log).expect_err(code);
        assert_eq!(error.failure(), failure, "{code}: {error}");
        assert!(error.to_string().contains(words), "{code}: {error}");
    };
    let take = "print(0, flush=True)\nfor line in sys.stdin: pass\n";
    check("print('hello', flush=True)", Failure::Refused, "printed \"hello\" (not a position)");
    check("sys.exit(2)", Failure::Unavailable, "exit status: 2");
    check("time.sleep(60)", Failure::Unavailable, "printed no position within 3s");
    check(&format!("{take}print('1 2 3')"), Failure::Refused, "more than a position and a crc");
    check(take, Failure::Unavailable, "ended without making position 4136 durable (it printed none)");
    check(
        &format!("{take}print(9999)"),
        Failure::Refused,
        "position 9999 is durable but was given no further than 4136",
    );
    check(&format!("{take}print(4136)\nsys.exit(1)"), Failure::Unavailable, "exit status: 1");
    check(&format!("{take}print(4136, flush=True)\ntime.sleep(60)"), Failure::Unavailable, "still ran 1s after");
    check("print(100, flush=True)\nprint(50, flush=True)\ntime.sleep(60)", Failure::Refused, "positions only grow");
}

fn run(spec: ExecSpec, log: &MemoryLog) -> Result<(), SinkError> {
    let mut sink = ExecSink::new(spec);
    sink.open(&log.facts())?;
    let mut records = log.read_from(longshore_format::Lsn::new(4096)).unwrap();
    sink.begin()?;
    let record = longshore_apply::Records::next(&mut records).unwrap().unwrap();
    sink.record(&record)?;
    let (start, lsn, crc, time) = (record.start, record.end, record.header_crc, record.time);
    sink.commit(&longshore_apply::RunEnd { start, lsn, crc, time, records: 1 })?;
    sink.sync()?;
    sink.finish()
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let log = MemoryLog::new();
    let error = run("/no/such/program x".parse().unwrap(), &log).unwrap_err();
    assert_eq!(error.failure(), Failure::Unusable);
    assert!(error.to_string().contains("exec:/no/such/program"), "{error}");
}

/// Shutdown must not hang on a program that has stopped reading.
#[test]
fn a_program_that_never_reads_can_be_interrupted() {
    if !has_python() {
        return;
    }
    let python = Python::new("import time\nprint(0, flush=True)\ntime.sleep(600)\n");
    let log = MemoryLog::new();
    for _ in 0..100 {
        log.run(&[vec![1; 10_000]]);
    }
    let mut applier = Applier::open(log, ExecSink::new(python.spec()), Target::LATEST).unwrap();
    let interrupt = applier.interrupt();
    let (entered, wait) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        loop {
            entered.send(()).unwrap();
            match applier.step() {
                Ok(Step::Idle) => panic!("1 MB cannot be in the pipe"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    });
    wait.recv().unwrap();
    interrupt.trigger();
    assert_eq!(worker.join().unwrap().kind(), ErrorKind::Interrupted);
}

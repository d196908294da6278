//! Recovery: from a directory to a database, at any point, however often it is interrupted.

use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore::apply::{
    Check, Failure, FileOutput, Held, JsonLinesOutput, JsonLinesStream, Plan, Point, Rate, Sink, SinkError, Target,
    json,
};
use longshore::{Content, ErrorKind, Lsn, Output, Primary, Replay, Settings, Stage};
use longshore_sqlite::{Batch, SqliteOutput};
use rusqlite::Connection;
use tempfile::TempDir;

struct Site {
    dir: TempDir,
    content: Content,
    primary: Primary,
    ends: Vec<Lsn>,
}

impl Site {
    /// A log with `runs` transactions, each of which adds a row.
    fn new(content: Content, runs: usize) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let primary = Primary::create(dir.path().join("data"), "orders", content, &Settings::default()).unwrap();
        let mut site = Site { dir, content, primary, ends: Vec::new() };
        for _ in 0..runs {
            site.grow();
        }
        site
    }

    fn grow(&mut self) {
        let n = self.ends.len();
        let payloads = match self.content {
            Content::Sql => {
                let mut batch = Batch::new();
                if n == 0 {
                    batch.push("CREATE TABLE t (n UNIQUE)", vec![]).unwrap();
                }
                batch.push("INSERT INTO t VALUES (?1)", vec![(n as i64).into()]).unwrap();
                batch.into_payloads()
            }
            _ => vec![format!("{n}a").into_bytes(), format!("{n}b").into_bytes()],
        };
        self.ends.push(self.primary.append(&payloads).unwrap().position());
        self.sync();
    }

    fn sync(&self) {
        self.primary.sync(Duration::from_secs(30)).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn replay(&self, target: &str) -> Replay {
        Replay::open(self.data(), "orders").unwrap().to(target.parse().unwrap())
    }
}

fn quietly(_: Stage<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn count(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT count(*), max(n) + 1 FROM t";
    let (rows, next): (i64, i64) = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(rows, next, "a prefix, without a gap");
    rows
}

fn sqlite(path: &Path) -> Output {
    Output::file(SqliteOutput, path)
}

#[test]
fn a_log_becomes_a_database_at_each_point_in_time() {
    let site = Site::new(Content::Sql, 6);
    site.primary.mark("before-upgrade").unwrap();
    site.sync();
    let check = |target: Target, expected: i64| {
        let path = site.path("restored.db");
        let replay = Replay::open(site.data(), "orders").unwrap().to(target.clone());
        let restored = replay.run(&sqlite(&path), quietly).unwrap();
        assert_eq!(restored.position, Some(site.ends[expected as usize - 1]), "{target}");
        assert_eq!(count(&path), expected, "{target}");
        fs::remove_file(path).unwrap();
        let left = fs::read_dir(site.dir.path()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside it");
    };
    for n in 1..=6 {
        check(site.ends[n - 1].into(), n as i64);
    }
    check(Target::from(site.ends[3]).before(), 3);
    check(Target::LATEST, 6);
    check("mark:before-upgrade".parse().unwrap(), 6);
}

#[test]
fn a_plan_changes_nothing_and_is_what_the_run_then_does() {
    let site = Site::new(Content::Sql, 5);
    let path = site.path("x.db");
    let plan = site.replay(&site.ends[2].to_string()).plan(&sqlite(&path)).unwrap();
    assert_eq!((plan.plan.runs, plan.plan.last.unwrap().end), (3, site.ends[2]));
    assert_eq!(plan.plan.next.as_ref().unwrap().end, site.ends[3]);
    assert_eq!(plan.output, format!("sqlite:{}", path.display()));
    let room = plan.room.unwrap();
    assert!(room.needed > 0 && room.free > room.needed && plan.expected.is_some() && plan.resumes.is_none());
    assert_eq!(fs::read_dir(site.dir.path()).unwrap().count(), 1, "only the data directory is there");

    let mut planned = None;
    let watch = |stage: Stage<'_>| {
        if let Stage::Planned { plan, .. } = stage {
            planned = Some(plan.clone());
            assert!(!path.exists());
        }
        ControlFlow::Continue(())
    };
    site.replay(&site.ends[2].to_string()).run(&sqlite(&path), watch).unwrap();
    assert_eq!(planned.unwrap().plan, plan.plan);
}

/// F-126: interrupted at each step, it never leaves a file that looks complete, and resumes.
#[test]
fn an_interrupted_restore_resumes_and_never_looks_complete() {
    let runs = 25;
    for (content, name) in [(Content::Sql, "x.db"), (Content::Bytes, "x.jsonl")] {
        let site = Site::new(content, runs);
        let path = site.path(name);
        let output = match content {
            Content::Sql => sqlite(&path),
            _ => Output::file(JsonLinesOutput, &path),
        };
        let mut interruptions = 0;
        let restored = loop {
            let result = site.replay("latest").run(&output, |stage| match stage {
                Stage::Applying(progress) if progress.runs >= 3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
            match result {
                Ok(restored) => break restored,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
            }
            interruptions += 1;
            assert!(!path.exists(), "{name} looks complete after {interruptions} interruptions");
            let resumes = site.replay("latest").plan(&output).unwrap().resumes;
            assert_eq!(resumes, Some(site.ends[3 * interruptions - 1]));
        };
        assert_eq!(interruptions, (runs - 1) / 3);
        assert_eq!(restored.position, site.ends.last().copied());
        match content {
            Content::Sql => assert_eq!(count(&path), runs as i64),
            _ => assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2 * runs),
        }
    }
}

/// F-126: each refusal has its kind, names what can be had, and changes nothing.
#[test]
fn what_cannot_be_restored_is_refused_by_kind() {
    let site = Site::new(Content::Sql, 4);
    let path = site.path("x.db");
    let check = |target: &str, output: &Output, kind: ErrorKind, words: &str| {
        let replay = site.replay(target);
        for error in [replay.plan(output).map(drop).unwrap_err(), replay.run(output, quietly).map(drop).unwrap_err()] {
            assert_eq!(error.kind(), kind, "{target}: {error}");
            assert!(error.to_string().contains(words), "{target}: {error}");
        }
    };
    let end = site.ends[3];
    let output = sqlite(&path);
    check("lsn:9999999", &output, ErrorKind::Unreachable, &format!("lsn:{end}"));
    check("time:2020-01-01T00:00:00Z", &output, ErrorKind::Unreachable, "nothing was committed by then");
    check("time:2200-01-01T00:00:00Z", &output, ErrorKind::Unreachable, "latest");
    check("mark:none", &output, ErrorKind::Unreachable, "no mark none");
    check(&(end.get() - 8).to_string(), &output, ErrorKind::Invalid, &end.to_string());
    check("4096", &output, ErrorKind::Unreachable, "nothing was committed by then");
    check("latest", &sqlite(&site.path("no/where.db")), ErrorKind::Preflight, "make the directory");
    fs::write(&path, "precious").unwrap();
    check("latest", &output, ErrorKind::Busy, "exists; name another output");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    for left in ["y.db-wal", "y.db-shm", "y.db-journal"] {
        fs::write(site.path(left), "of a database that was moved away").unwrap();
        check("latest", &sqlite(&site.path("y.db")), ErrorKind::Busy, left);
        fs::remove_file(site.path(left)).unwrap();
    }
    let huge = Output::file(Fake::Huge, site.path("huge"));
    check("latest", &huge, ErrorKind::Preflight, "free space or name another disk");

    assert_eq!(Replay::open(site.data(), "nothing").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Replay::open(site.data(), "../orders").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fs::read_dir(site.dir.path()).unwrap().count(), 2, "the data directory and the precious file");
}

#[test]
fn a_content_that_the_output_cannot_take_is_refused() {
    let site = Site::new(Content::Bytes, 1);
    let output = sqlite(&site.path("x.db"));
    let run = site.replay("latest").run(&output, quietly).map(drop);
    for error in [run.unwrap_err(), site.replay("latest").plan(&output).map(drop).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("jsonl:PATH"), "{error}");
    }
    assert_eq!(fs::read_dir(site.dir.path()).unwrap().count(), 1, "and nothing is made");
}

#[test]
fn a_partial_output_of_another_target_or_log_is_not_gone_on_with() {
    let site = Site::new(Content::Sql, 6);
    let path = site.path("x.db");
    let stop = |stage: Stage<'_>| match stage {
        Stage::Applying(progress) if progress.runs >= 4 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    site.replay("latest").run(&sqlite(&path), stop).unwrap_err();
    let error = site.replay(&site.ends[1].to_string()).run(&sqlite(&path), quietly).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("past lsn:"), "{error}");
    let other = Site::new(Content::Sql, 9);
    let error = other.replay("latest").run(&sqlite(&path), quietly).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
    site.replay("latest").run(&sqlite(&path), quietly).unwrap();
    assert_eq!(count(&path), 6);
}

#[test]
fn an_output_that_fails_its_check_never_gets_its_name() {
    let site = Site::new(Content::Bytes, 3);
    let path = site.path("x.jsonl");
    let error = site.replay("latest").run(&Output::file(Fake::Damaged, &path), quietly).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CheckFailed, "{error}");
    assert!(!path.exists() && site.path("x.jsonl.damaged").exists());
    site.replay("latest").run(&Output::file(JsonLinesOutput, &path), quietly).unwrap();
}

#[test]
fn a_stream_gets_everything_from_the_beginning() {
    let site = Site::new(Content::Bytes, 3);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let make = move || Box::new(JsonLinesStream::new("pipe", writer.try_clone().unwrap())) as Box<dyn Sink>;
    let output = Output::stream(make);
    let restored = site.replay("latest").run(&output, quietly).unwrap();
    drop(output);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().map(|line| json::parse_line(line.as_bytes()).unwrap()).collect();
    assert_eq!((lines.len(), restored.records), (6, 6));
    assert_eq!(lines[5].payload, b"2b");
}

/// Beside a live owner: what it writes appears, until told to stop; and later it goes on.
#[test]
fn following_restores_and_then_keeps_up_with_a_live_log() {
    let mut site = Site::new(Content::Sql, 3);
    let path = site.path("x.db");
    for until in [6, 9] {
        let replay = site.replay("latest");
        let watch = |stage: Stage<'_>| {
            let Stage::Following(_) = stage else { return ControlFlow::Continue(()) };
            if site.ends.len() < until {
                site.grow();
            } else if count(&path) == until as i64 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let followed = replay.follow(&sqlite(&path), watch).unwrap();
        assert_eq!(followed.position, site.ends.last().copied());
        assert_eq!(count(&path), until as i64);
    }
}

#[test]
fn following_waits_for_a_target_that_lies_ahead() {
    let mut site = Site::new(Content::Sql, 2);
    let path = site.path("x.db");
    let replay = site.replay("latest").to(Point::Mark("stop-here".parse().unwrap()).into());
    let watch = |stage: Stage<'_>| {
        if let Stage::Following(_) = stage {
            if site.ends.len() == 4 {
                site.primary.mark("stop-here").unwrap();
            }
            if site.ends.len() <= 4 {
                site.grow();
            }
        }
        ControlFlow::Continue(())
    };
    let followed = replay.follow(&sqlite(&path), watch).unwrap();
    assert_eq!(followed.position, Some(site.ends[3]));
    assert_eq!(count(&path), 4);
}

#[test]
fn an_aborted_transaction_is_left_out() {
    let mut site = Site::new(Content::Bytes, 1);
    let mut aborted = site.primary.begin().unwrap();
    aborted.append(b"never").unwrap();
    drop(aborted);
    site.grow();
    let path = site.path("x.jsonl");
    let restored = site.replay("latest").run(&Output::file(JsonLinesOutput, &path), quietly).unwrap();
    assert_eq!((restored.runs, restored.records), (2, 4));
    assert!(!fs::read_to_string(&path).unwrap().contains("bmV2ZXI="));
}

/// JSON lines with a fault.
#[derive(Clone, Copy, PartialEq)]
enum Fake {
    /// More than any disk has room for.
    Huge,
    /// Whatever is restored is found damaged.
    Damaged,
}

impl FileOutput for Fake {
    fn scheme(&self) -> &'static str {
        "fake"
    }
    fn check_content(&self, _: Content) -> Result<(), SinkError> {
        Ok(())
    }
    fn sink(&self, path: &Path) -> Box<dyn Sink> {
        JsonLinesOutput.sink(path)
    }
    fn held(&self, path: &Path) -> Result<Option<Held>, SinkError> {
        JsonLinesOutput.held(path)
    }
    fn rate(&self) -> Rate {
        JsonLinesOutput.rate()
    }
    fn estimated_bytes(&self, plan: &Plan) -> u64 {
        if *self == Fake::Huge { u64::MAX } else { JsonLinesOutput.estimated_bytes(plan) }
    }
    fn complete(&self, path: &Path, _: Check) -> Result<(), SinkError> {
        Err(SinkError::new(Failure::Check, format!("{} is damaged", path.display())))
    }
}

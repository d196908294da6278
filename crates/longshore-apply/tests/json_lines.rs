//! JSON lines into a file: its position is in the file itself.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{MemoryLog, SIZE};
use longshore_apply::conformance::{self, Subject};
use longshore_apply::{Applier, Failure, JsonLinesFile, JsonLinesStream, Sink, Source, Step, Target, json};
use longshore_format::{Content, ErrorKind, Flags, Kind};
use tempfile::TempDir;

struct File(TempDir);

impl Subject for File {
    fn sink(&mut self) -> Box<dyn Sink> {
        Box::new(JsonLinesFile::new(self.0.path().join("out.jsonl")))
    }
    fn content(&self) -> Content {
        Content::Sql
    }
    fn foreign_content(&self) -> Option<Content> {
        None
    }
    fn payload(&self, n: u64) -> Vec<u8> {
        n.to_le_bytes()[..(n % 9) as usize].iter().copied().chain(n.to_string().into_bytes()).collect()
    }
    fn stored(&mut self) -> Vec<u64> {
        let text = fs::read(self.0.path().join("out.jsonl")).unwrap();
        let numbers = text.split_inclusive(|&byte| byte == b'\n').enumerate().map(|(n, line)| {
            let line = json::parse_line(line).unwrap();
            assert_eq!(line.payload, self.payload(n as u64));
            n as u64
        });
        numbers.collect()
    }
}

#[test]
fn a_json_lines_file_conforms() {
    conformance::check(|| File(tempfile::tempdir().unwrap()));
}

fn apply(log: &MemoryLog, path: &Path) {
    let mut applier = Applier::open(log.clone(), JsonLinesFile::new(path), Target::LATEST).unwrap();
    while applier.step().unwrap() != Step::Idle {}
    applier.finish().unwrap();
}

/// A log, and the file that it makes.
fn example() -> (TempDir, PathBuf, MemoryLog, Vec<u8>) {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    log.run(&["a"]);
    log.run(&["b", "", "c"]);
    log.mark("m");
    log.run(&["d", "e"]);
    let path = dir.path().join("out.jsonl");
    apply(&log, &path);
    let bytes = fs::read(&path).unwrap();
    (dir, path, log, bytes)
}

#[test]
fn a_line_says_what_the_record_said() {
    let (_dir, path, ..) = example();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 6, "the mark is the log's own");
    let first = text.lines().next().unwrap();
    let expected = r#"{"schema":1,"lsn":4136,"time":"1970-01-01T00:00:01Z","kind":256,"first":true,"last":true,"crc":"#;
    assert!(first.starts_with(expected), "{first}");
    assert!(first.ends_with(r#","payload":"YQ=="}"#), "{first}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The process is killed, or the power fails, while lines are being written.
#[test]
fn a_file_cut_at_any_byte_is_completed_to_the_same_file() {
    let (_dir, path, log, whole) = example();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        apply(&log, &path);
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn holes_and_garbage_after_the_last_sync_are_cut_and_filled_again() {
    let (_dir, path, log, whole) = example();
    let first_line = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for at in (first_line..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        let end = (at + 40).min(damaged.len());
        damaged[at..end].fill(0);
        damaged.extend_from_slice(b"\xff{}\n");
        fs::write(&path, &damaged).unwrap();
        apply(&log, &path);
        assert_eq!(fs::read(&path).unwrap(), whole, "hole at {at}");
    }
}

#[test]
fn a_file_of_another_program_is_refused_and_left_alone() {
    let (_dir, path, log, _) = example();
    for content in ["hello\n", "{\"a\":1}\n", "\0\0\0\0\0\0\0\0\0\0\0\0"] {
        fs::write(&path, content).unwrap();
        let error = Applier::open(log.clone(), JsonLinesFile::new(&path), Target::LATEST).err().unwrap();
        assert!(error.to_string().contains("name another file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

/// Damage further back than any crash reaches is not repaired in silence.
#[test]
fn damage_before_the_last_window_is_refused() {
    let (_dir, path, log, whole) = example();
    // One run longer than the window, without its last line: the search for a run's end goes back
    // through all of it.
    log.record(Kind::USER, Flags::FIRST, b"long");
    for _ in 0..1_500 {
        log.record(Kind::USER, Flags::NONE, &[7; 12_000]);
    }
    log.record(Kind::USER, Flags::LAST, b"last");
    apply(&log, &path);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    assert!(len > 20 << 20, "{len}");
    file.set_len(len - 1).unwrap();
    apply(&log, &path);
    assert_eq!(fs::metadata(&path).unwrap().len(), len, "a long run that was torn is written again");

    file.set_len(len - 1).unwrap();
    file.write_all_at(&[0; 100], whole.len() as u64).unwrap();
    let error = Applier::open(log, JsonLinesFile::new(&path), Target::LATEST).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&format!("no record at byte {}", whole.len())), "{error}");
    assert_eq!(file.metadata().unwrap().len(), len - 1, "and left alone");
}

#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    let (_dir, path, log, _) = example();
    let mut first = JsonLinesFile::new(&path);
    first.open(&log.facts()).unwrap();
    let error = JsonLinesFile::new(&path).open(&log.facts()).unwrap_err();
    assert_eq!(error.failure(), Failure::Busy, "{error}");
    drop(first);
    JsonLinesFile::new(&path).open(&log.facts()).unwrap();
}

#[test]
fn a_stream_gets_the_same_lines_and_a_closed_one_is_an_ordinary_ending() {
    let (_dir, _, log, whole) = example();
    let mut lines = Vec::new();
    let mut applier = Applier::open(log.clone(), JsonLinesStream::new("lines", &mut lines), Target::LATEST).unwrap();
    while applier.step().unwrap() != Step::Idle {}
    applier.finish().unwrap();
    assert_eq!(lines, whole);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut applier = Applier::open(log, JsonLinesStream::new("pipe", writer), Target::LATEST).unwrap();
    let error = loop {
        match applier.step() {
            Ok(step) => assert_ne!(step, Step::Idle),
            Err(error) => break error,
        }
    };
    assert!(error.is_closed_pipe(), "{error}");
}

#[test]
fn the_largest_record_there_can_be_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = MemoryLog::new();
    log.run(&[vec![0xff; SIZE.max_payload()], Vec::new()]);
    let path = dir.path().join("out.jsonl");
    apply(&log, &path);
    let whole = fs::read(&path).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&whole[..whole.len() - 1]).unwrap();
    apply(&log, &path);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

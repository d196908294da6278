//! Real agents that archive into directories: everything comes back, at any point, after kills, and from the best copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use longshore_testkit::process::{PATIENCE, Running, longshore, must, run_with, until};
use longshore_testkit::seeds;
use longshore_testkit::sim_rng::Rng;
use longshore_testkit::site::{LOG, Site, ZERO};

/// What an application knows: which line it appended with which position as the answer.
type Journal = BTreeMap<u64, String>;

struct Stage {
    site: Site,
    place: tempfile::TempDir,
    journal: Journal,
    /// Further flags of the primary.
    flags: Vec<String>,
}

impl Stage {
    /// A log, and two empty stores `a` and `b`.
    fn new() -> Stage {
        let place = tempfile::tempdir().unwrap();
        let site = Site::new(place.path());
        for store in ["a", "b", "c", "disk"] {
            std::fs::create_dir(place.path().join(store)).unwrap();
        }
        Stage { site, place, journal: Journal::new(), flags: Vec::new() }
    }

    fn store(&self, name: &str) -> String {
        format!("file://{}", self.site.at(name))
    }

    fn primary(&self) -> (Running, String) {
        let (data, tls, a, b) = (self.site.at("primary"), self.site.tls().to_owned(), self.store("a"), self.store("b"));
        let flags = ["primary", "--data-dir", &data, "--listen", ZERO, "--http", ZERO, "--tls-dir", &tls];
        let rest = ["--identity", "primary", "--archive", &a, "--archive", &b, "--archive-every", "20ms"];
        let own: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let mut agent = Running::start(longshore([&flags[..], &rest, &own].concat()));
        let server = format!("primary@{}", agent.listening());
        (agent, server)
    }

    /// Appends a line of this length, and notes its position; `false` if no answer came.
    fn append(&mut self, server: &str, len: usize) -> bool {
        let line = format!("{} {}", self.journal.len(), "x".repeat(len));
        let out =
            run_with(self.site.command("append", &["--server", server, "--wait-timeout", "20s"]), line.as_bytes());
        let position = String::from_utf8_lossy(&out.stdout).lines().last().and_then(|line| line.trim().parse().ok());
        let answered = out.status.success().then_some(position).flatten();
        answered.is_some_and(|position: u64| self.journal.insert(position, line).is_none())
    }

    fn write(&mut self, server: &str, lines: usize, len: usize) {
        for _ in 0..lines {
            assert!(self.append(server, len), "an append is answered");
        }
    }

    fn replay(&self, from: &[&str], to: &str, into: &Path, rest: &[&str]) -> Output {
        let into = format!("jsonl:{}", into.display());
        let from: Vec<&str> = from.iter().flat_map(|from| ["--from", from]).collect();
        run_with(longshore([&["replay", "--log", LOG, "--to", to, "--into", &into], &from[..], rest].concat()), b"")
    }

    fn out(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Restores everything, and holds it against the journal.
    fn assert_comes_back(&self, from: &[&str]) {
        let into = self.out("restored.jsonl");
        let done = self.replay(from, "latest", &into, &[]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(payloads(&into), self.journal.values().cloned().collect::<Vec<_>>());
        assert!(!self.out("restored.jsonl.log").exists(), "the scratch is gone");
        std::fs::remove_file(into).unwrap();
    }

    fn archive(&self, action: &str, rest: &[&str]) -> Output {
        run_with(longshore([&["archive", action, "--log", LOG], rest].concat()), b"")
    }
}

fn payloads(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let payload = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        String::from_utf8(BASE64_STANDARD.decode(record["payload"].as_str().unwrap()).unwrap()).unwrap()
    };
    text.lines().map(payload).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false => found.push(entry),
        }
    }
    found.sort();
    found
}

fn assert_exit(out: &Output, code: i32, says: &str) {
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{told}");
    assert!(told.contains(says), "{says:?} is not in: {told}");
}

#[test]
fn each_of_two_stores_restores_everything_when_the_primary_is_gone() {
    let mut stage = Stage::new();
    let (primary, server) = stage.primary();
    stage.write(&server, 20, 100_000);
    assert!(primary.terminate().success());
    std::fs::remove_dir_all(stage.site.at("primary")).unwrap();
    for store in ["a", "b"] {
        stage.assert_comes_back(&[&stage.store(store)]);
        assert!(stage.archive("verify", &["--from", &stage.store(store)]).status.success());
    }
}

#[test]
fn a_primary_that_is_killed_while_it_archives_loses_nothing_that_it_acknowledged() {
    let seed = seeds::seed("-p longshore-testkit --test archive");
    let mut random = Rng::new(seed);
    let mut stage = Stage::new();
    for _ in 0..4 {
        let (primary, server) = stage.primary();
        let lines = 3 + random.below(12) as usize;
        stage.write(&server, lines, 60_000);
        primary.kill();
    }
    let (primary, _) = stage.primary();
    assert!(primary.terminate().success());
    for store in ["a", "b"] {
        stage.assert_comes_back(&[&stage.store(store)]);
        assert!(stage.archive("verify", &["--from", &stage.store(store)]).status.success());
    }
}

/// `LONGSHORE_TARGETS` says how many; 1,000 before a release.
#[test]
fn any_target_restores_what_the_application_had_then() {
    let targets = std::env::var("LONGSHORE_TARGETS").ok().and_then(|count| count.parse().ok()).unwrap_or(25);
    let seed = seeds::seed("-p longshore-testkit --test archive");
    let mut random = Rng::new(seed);
    let mut stage = Stage::new();
    let (primary, server) = stage.primary();
    let mut marks = BTreeMap::new();
    for round in 0..30 {
        stage.write(&server, 1 + random.below(2) as usize, random.below(80_000) as usize);
        if round % 5 == 0 {
            let name = format!("mark-{round}");
            must(stage.site.command("mark", &["--server", &server, &name]), b"");
            marks.insert(name, stage.journal.len());
        }
    }
    assert!(primary.terminate().success());
    let positions: Vec<u64> = stage.journal.keys().copied().collect();
    let lines: Vec<String> = stage.journal.values().cloned().collect();
    let names: Vec<(&String, &usize)> = marks.iter().collect();
    for target in 0..targets {
        let (to, exclusive, kept) = match random.below(4) {
            0 => {
                let (name, kept) = names[random.below(names.len() as u64) as usize];
                (format!("mark:{name}"), false, *kept)
            }
            kind => {
                let at = 1 + random.below(positions.len() as u64 - 1) as usize;
                (format!("lsn:{}", positions[at]), kind == 1, if kind == 1 { at } else { at + 1 })
            }
        };
        let into = stage.out(&format!("{target}.jsonl"));
        let rest = if exclusive { &["--exclusive"][..] } else { &[] };
        let done = stage.replay(&[&stage.store("a")], &to, &into, rest);
        assert!(done.status.success(), "{to}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(payloads(&into), lines[..kept], "{to}, exclusive: {exclusive}");
        std::fs::remove_file(into).unwrap();
    }
}

#[test]
fn a_restore_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let seed = seeds::seed("-p longshore-testkit --test archive");
    let mut random = Rng::new(seed);
    let mut stage = Stage::new();
    let (primary, server) = stage.primary();
    stage.write(&server, 60, 200_000);
    assert!(primary.terminate().success());
    let (into, store) = (stage.out("restored.jsonl"), stage.store("a"));
    let argument = format!("jsonl:{}", into.display());
    let mut kills = 0;
    for _ in 0..20 {
        let mut restore = Running::start(longshore([
            "replay", "--from", &store, "--log", LOG, "--to", "latest", "--into", &argument,
        ]));
        // A moment that the seed chose; nothing relies on what it falls upon.
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        restore.signal("KILL");
        kills += u32::from(!restore.exit().success());
    }
    assert!(0 < kills, "it was killed");
    if !into.exists() {
        let done = stage.replay(&[&store], "latest", &into, &[]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(payloads(&into), stage.journal.values().cloned().collect::<Vec<_>>());
}

#[test]
fn an_encrypted_archive_shows_nothing_and_opens_with_its_keys_alone_also_after_a_rotation() {
    use std::os::unix::fs::PermissionsExt;
    let mut stage = Stage::new();
    let keys = stage.site.at("keys");
    let line = |id: &str, byte: u8| format!("{id} {}\n", BASE64_STANDARD.encode([byte; 32]));
    let write_keys = |text: String| {
        std::fs::write(&keys, text).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write_keys(line("first", 1));
    let spec = format!("file:{keys}");
    stage.flags = vec!["--archive-keys".to_owned(), spec.clone(), "--archive-level".to_owned(), "0".to_owned()];
    for _ in 0..2 {
        let (primary, server) = stage.primary();
        stage.write(&server, 10, 150_000);
        assert!(primary.terminate().success());
        write_keys(line("second", 2) + &line("first", 1));
    }
    for file in files(Path::new(&stage.site.at("a"))) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(16).any(|bytes| bytes == b"xxxxxxxxxxxxxxxx"), "{}", file.display());
    }
    let (store, into) = (stage.store("a"), stage.out("restored.jsonl"));
    assert_exit(&stage.replay(&[&store], "latest", &into, &[]), 8, "key");
    let done = stage.replay(&[&store], "latest", &into, &["--archive-keys", &spec]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(payloads(&into), stage.journal.values().cloned().collect::<Vec<_>>());
    // What the old key wrapped is lost without it, and the key is named.
    write_keys(line("second", 2));
    let refused = stage.archive("verify", &["--from", &store, "--archive-keys", &spec]);
    assert_exit(&refused, 8, "first");
}

#[test]
fn what_is_missing_or_damaged_is_told_by_name_and_code_and_the_other_store_has_it() {
    let mut stage = Stage::new();
    let (primary, server) = stage.primary();
    stage.write(&server, 30, 100_000);
    assert!(primary.terminate().success());
    let (a, b, into) = (stage.store("a"), stage.store("b"), stage.out("restored.jsonl"));

    let before = (files(stage.place.path()), std::fs::read_dir(stage.place.path()).unwrap().count());
    let plan = stage.replay(&[&a], "latest", &into, &["--plan"]);
    assert!(plan.status.success() && String::from_utf8_lossy(&plan.stdout).contains("objects"));
    assert_eq!(before, (files(stage.place.path()), std::fs::read_dir(stage.place.path()).unwrap().count()));

    let end = stage.journal.keys().last().unwrap();
    assert_exit(&stage.replay(&[&a], &format!("lsn:{}", end + 8), &into, &[]), 4, &end.to_string());
    assert_exit(&stage.replay(&["ftp://x/y"], "latest", &into, &[]), 2, "no kind of store");
    assert_exit(&run_with(longshore(["archive", "ls", "--from", &stage.store("c")]), b""), 3, "no archived log");
    assert_exit(&run_with(longshore(["archive", "verify", "--log", "other", "--from", &a]), b""), 3, "other");

    let segment =
        files(Path::new(&stage.site.at("a"))).into_iter().find(|file| file.to_str().unwrap().contains("/segments/"));
    let segment = segment.expect("a segment was sealed");
    let whole = std::fs::read(&segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (damage, code) in [(Some(flipped), 6), (None, 5)] {
        match damage {
            Some(bytes) => std::fs::write(&segment, bytes).unwrap(),
            None => std::fs::remove_file(&segment).unwrap(),
        }
        assert_exit(&stage.archive("verify", &["--from", &a]), code, name);
        assert_exit(&stage.replay(&[&a], "latest", &into, &[]), code, name);
        let scratch = stage.site.at("c");
        let drill = ["drill", "--from", &a, "--log", LOG, "--scratch", &scratch];
        assert_exit(&run_with(longshore(drill), b""), code, name);
        assert!(files(Path::new(&scratch)).is_empty(), "a drill that fails leaves nothing");
        stage.assert_comes_back(&[&a, &b]);
    }

    let drill = run_with(longshore(["drill", "--from", &b, "--log", LOG, "--scratch", &stage.site.at("c")]), b"");
    let told = String::from_utf8_lossy(&drill.stdout);
    assert!(drill.status.success() && told.contains("RTO") && told.contains("RPO"), "{told}");
    assert!(files(Path::new(&stage.site.at("c"))).is_empty(), "a drill leaves nothing");

    std::fs::write(&into, "mine").unwrap();
    assert_exit(&stage.replay(&[&b], "latest", &into, &[]), 7, "restored.jsonl");
    assert!(stage.replay(&[&b], "latest", &into, &["--if-absent"]).status.success());
    assert_eq!(std::fs::read(&into).unwrap(), b"mine");
}

#[test]
fn an_archive_that_travels_on_a_disk_is_the_archive() {
    let mut stage = Stage::new();
    let (primary, server) = stage.primary();
    stage.write(&server, 30, 100_000);
    assert!(primary.terminate().success());
    let (a, disk, c) = (stage.store("a"), stage.store("disk"), stage.store("c"));
    let plan = stage.archive("copy", &["--from", &a, "--to", &disk, "--plan"]);
    assert!(plan.status.success() && files(Path::new(&stage.site.at("disk"))).is_empty(), "a plan copies nothing");
    for (from, to) in [(&a, &disk), (&disk, &c)] {
        let copied = stage.archive("copy", &["--from", from, "--to", to]);
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
    assert!(stage.archive("verify", &["--from", &c]).status.success());
    stage.assert_comes_back(&[&c]);
    let again = stage.archive("copy", &["--from", &a, "--to", &disk]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("copied 0 of"), "run again it copies nothing");
    // The primary may go on with the store that the disk filled.
    std::fs::remove_dir_all(stage.site.at("a")).unwrap();
    std::fs::rename(stage.site.at("c"), stage.site.at("a")).unwrap();
    let (primary, server) = stage.primary();
    stage.write(&server, 5, 1000);
    let end = *stage.journal.keys().last().unwrap();
    until("the last line to be archived", Instant::now() + PATIENCE, || {
        let listed = run_with(longshore(["archive", "ls", "--from", &a, "--json"]), b"");
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).ok()?;
        (listed["logs"][0]["end"].as_u64()? == end).then_some(())
    });
    assert!(primary.terminate().success());
    stage.assert_comes_back(&[&a]);
}

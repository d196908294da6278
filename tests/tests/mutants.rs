//! Bugs put back one at a time, each of which the crash simulator must catch.
//!
//! A simulator that finds nothing proves nothing until it is seen to find what is there. Each file of `tests/mutants/`
//! is one bug as a small textual change of the log's own source; this test copies the crates that the log needs, makes
//! the change, builds, and runs the simulator, which must fail within 2,000 seeds. No hook in the log is needed.
//!
//! ```text
//! cargo test -p longshore-testkit --test mutants -- --ignored --nocapture
//! LONGSHORE_MUTANT=no-link cargo test …                                     one of them
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// Within so many seeds each bug must be caught.
const SEEDS: u64 = 2_000;

/// The crates that the simulator needs, by their directory in the repository.
const CRATES: &[&str] = &["crates/longshore-format", "crates/longshore-storage", "crates/longshore-wal"];

/// What it needs of the testkit, whose other parts depend on more.
const TESTKIT: &[&str] = &["sim_rng", "sim_env", "sim_disk", "crash_sim", "seeds"];

#[test]
#[ignore = "builds the log nine times: some two minutes"]
fn every_bug_put_back_is_caught() {
    let workshop = Workshop::new();
    let only = std::env::var("LONGSHORE_MUTANT").ok();
    let mutants: Vec<Mutant> =
        Mutant::all().into_iter().filter(|m| only.as_ref().is_none_or(|o| *o == m.name)).collect();
    assert!(only.is_some() || mutants.len() >= 8, "only {} mutants", mutants.len());
    assert!(!mutants.is_empty(), "no such mutant");

    workshop.restore();
    let (seeds, output) = workshop.caught(SEEDS / 4);
    assert!(seeds.is_none(), "the log as it is breaks promises, so mutants prove nothing:\n{output}");

    let mut survivors = Vec::new();
    for mutant in &mutants {
        let started = Instant::now();
        workshop.restore();
        mutant.put_into(&workshop.root);
        let (seeds, output) = workshop.caught(SEEDS);
        let seconds = started.elapsed().as_secs();
        match seeds {
            Some(seeds) => {
                println!("{:24} caught after {seeds:4} seeds ({seconds} s): {}", mutant.name, verdict(&output))
            }
            None => {
                println!("{:24} SURVIVED {SEEDS} seeds ({seconds} s)", mutant.name);
                survivors.push(&mutant.name);
            }
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

/// One bug: what to find in a file, and what to put in its place.
struct Mutant {
    name: String,
    changes: Vec<Change>,
}

struct Change {
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    fn all() -> Vec<Mutant> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "mutant"));
        paths.sort();
        paths.iter().map(|path| Mutant::parse(path)).collect()
    }

    /// The format: lines of prose, then one or more changes of
    /// `@@ file`, the text to find, `@@ becomes`, the text to put there, `@@ end`.
    fn parse(path: &Path) -> Mutant {
        let text = fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut changes = Vec::new();
        let mut rest = text.as_str();
        while let Some((_, from)) = rest.split_once("@@ ") {
            let (file, from) = from.split_once('\n').unwrap_or_else(|| panic!("{name}: no text to find"));
            let (find, from) = from.split_once("@@ becomes\n").unwrap_or_else(|| panic!("{name}: no `@@ becomes`"));
            let (replace, from) = from.split_once("@@ end").unwrap_or_else(|| panic!("{name}: no `@@ end`"));
            changes.push(Change { file: file.trim().into(), find: find.into(), replace: replace.into() });
            rest = from;
        }
        assert!(!changes.is_empty(), "{name}: changes nothing");
        Mutant { name, changes }
    }

    fn put_into(&self, root: &Path) {
        for change in &self.changes {
            let path = root.join(&change.file);
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {}: {error}", self.name, change.file));
            let places = text.matches(&change.find).count();
            assert_eq!(
                places, 1,
                "tests/mutants/{}.mutant: its text stands {places} times in {}; adapt it to what stands there now:\n{}",
                self.name, change.file, change.find,
            );
            fs::write(&path, text.replace(&change.find, &change.replace)).unwrap();
        }
    }
}

/// A copy of the crates to put bugs into, and what was built of it, kept from run to run.
struct Workshop {
    repository: PathBuf,
    root: PathBuf,
    target: PathBuf,
}

impl Workshop {
    fn new() -> Workshop {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        Workshop { repository, root: place.join("workspace"), target: place.join("target") }
    }

    /// Makes the copy equal to the repository again. Files that are equal already keep their time, so that only what
    /// differs is built again.
    fn restore(&self) {
        for folder in CRATES {
            self.copy_tree(Path::new(folder));
        }
        let testkit = |name: &str| Path::new("tests/src").join(name);
        for module in TESTKIT {
            self.copy_file(&testkit(&format!("{module}.rs")));
            if self.repository.join(testkit(module)).is_dir() {
                self.copy_tree(&testkit(module));
            }
        }
        self.copy_file(Path::new("tests/tests/crash_sim.rs"));
        let modules: String = TESTKIT.iter().map(|module| format!("pub mod {module};\n")).collect();
        self.put("tests/src/lib.rs", &format!("//! The simulator alone.\n\n{modules}"));
        self.put("tests/Cargo.toml", TESTKIT_MANIFEST);
        let manifest = fs::read_to_string(self.repository.join("Cargo.toml")).unwrap();
        let members = manifest.lines().filter(|line| !line.starts_with("default-members"));
        self.put("Cargo.toml", &members.map(|line| format!("{line}\n")).collect::<String>());
        let lock = self.root.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(self.repository.join("Cargo.lock"), lock).unwrap();
        }
    }

    fn copy_tree(&self, folder: &Path) {
        for entry in fs::read_dir(self.repository.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.copy_tree(&path);
            } else if path
                .extension()
                .is_some_and(|extension| ["rs", "toml", "md"].iter().any(|kept| extension == *kept))
            {
                self.copy_file(&path);
            }
        }
    }

    fn copy_file(&self, path: &Path) {
        self.put(path, &fs::read_to_string(self.repository.join(path)).unwrap());
    }

    fn put(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.root.join(path);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Builds, and runs the simulator: after how many seeds it failed, if it did, and what it said.
    fn caught(&self, seeds: u64) -> (Option<u64>, String) {
        let built = self.cargo(seeds, &["--no-run"]);
        assert!(built.status.success(), "does not build:\n{}", String::from_utf8_lossy(&built.stderr));
        let run = self.cargo(seeds, &["seeds_of_six_crashes", "--", "--nocapture"]);
        let output = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        if run.status.success() {
            return (None, output);
        }
        let after = output.split_once(" failed, after ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let after = after.unwrap_or_else(|| panic!("failed otherwise than by a seed:\n{output}"));
        (Some(after), output)
    }

    fn cargo(&self, seeds: u64, arguments: &[&str]) -> Output {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--offline", "-p", "longshore-testkit", "--test", "crash_sim"]).args(arguments);
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo.env("LONGSHORE_SEEDS", seeds.to_string()).env_remove("LONGSHORE_SEED").env_remove("LONGSHORE_FIRST_SEED");
        cargo.output().unwrap()
    }
}

const TESTKIT_MANIFEST: &str = r#"
[package]
name = "longshore-testkit"
version.workspace = true
edition.workspace = true
publish.workspace = true

[dependencies]
longshore-format.workspace = true
longshore-storage.workspace = true
longshore-wal.workspace = true
bytes.workspace = true
"#;

/// The line that says what was broken.
/// What the simulator said of it, but for what it dumps of a record.
fn verdict(output: &str) -> String {
    let line = output
        .lines()
        .skip_while(|line| !line.contains(" failed, after "))
        .find(|line| line.starts_with("  ") && !line.starts_with("    "));
    line.unwrap_or_default().trim().chars().take(120).collect()
}

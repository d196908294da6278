//! Bugs put back one at a time, each of which a simulator must catch.
//!
//! A simulator that finds nothing proves nothing until it is seen to find what is there. Each file of `tests/mutants/log`
//! and `tests/mutants/failover` is one bug as a small textual change of the source; this test copies the crates that its
//! simulator needs, makes the change, builds, and runs the simulator, which must fail within 2,000 seeds. No hook in the
//! code is needed.
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

/// A simulator, and what has to be copied to build it alone.
struct Simulator {
    /// The test that it is, and the folder of its bugs in `tests/mutants`.
    test: &'static str,
    bugs: &'static str,
    /// Which of its tests to run.
    filter: &'static str,
    /// The crates that it needs, in `crates`.
    crates: &'static [&'static str],
    /// What it needs of the testkit, whose other parts depend on more.
    testkit: &'static [&'static str],
    /// So many bugs there are at least.
    least: usize,
}

const LOG: Simulator = Simulator {
    test: "crash_sim",
    bugs: "log",
    filter: "seeds_of_six_crashes",
    crates: &["longshore-format", "longshore-storage", "longshore-wal"],
    testkit: &["sim_rng", "sim_env", "sim_disk", "crash_sim", "seed_run", "seeds"],
    least: 8,
};

const FAILOVER: Simulator = Simulator {
    test: "failover_sim",
    bugs: "failover",
    filter: "seeds_of_failovers",
    crates: &["longshore-format", "longshore-protocol"],
    testkit: &["sim_rng", "failover_sim", "seed_run", "seeds"],
    least: 23,
};

#[test]
#[ignore = "builds the log nine times: some two minutes"]
fn every_bug_put_back_into_the_log_is_caught() {
    every_bug_is_caught(&LOG);
}

#[test]
#[ignore = "builds the protocol twenty-six times: some four minutes"]
fn every_bug_put_back_into_failover_is_caught() {
    every_bug_is_caught(&FAILOVER);
}

fn every_bug_is_caught(simulator: &'static Simulator) {
    let workshop = Workshop::new(simulator);
    let only = std::env::var("LONGSHORE_MUTANT").ok();
    let mutants: Vec<Mutant> =
        Mutant::all(simulator).into_iter().filter(|m| only.as_ref().is_none_or(|o| *o == m.name)).collect();
    assert!(only.is_some() || simulator.least <= mutants.len(), "only {} mutants", mutants.len());
    if mutants.is_empty() {
        return println!("no such mutant for {}", simulator.test);
    }

    workshop.restore();
    let (seeds, output) = workshop.caught(SEEDS / 4);
    assert!(seeds.is_none(), "the code as it is breaks promises, so mutants prove nothing:\n{output}");

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
    file: PathBuf,
    changes: Vec<Change>,
}

struct Change {
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    fn all(simulator: &Simulator) -> Vec<Mutant> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants").join(simulator.bugs);
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
        Mutant { name, file: path.to_owned(), changes }
    }

    fn put_into(&self, root: &Path) {
        for change in &self.changes {
            let path = root.join(&change.file);
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {}: {error}", self.name, change.file));
            let places = text.matches(&change.find).count();
            assert_eq!(
                places,
                1,
                "{}: its text stands {places} times in {}; adapt it to what stands there now:\n{}",
                self.file.display(),
                change.file,
                change.find,
            );
            fs::write(&path, text.replace(&change.find, &change.replace)).unwrap();
        }
    }
}

/// A copy of the crates to put bugs into, and what was built of it, kept from run to run.
struct Workshop {
    simulator: &'static Simulator,
    repository: PathBuf,
    root: PathBuf,
    target: PathBuf,
}

impl Workshop {
    fn new(simulator: &'static Simulator) -> Workshop {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants").join(simulator.bugs);
        Workshop { simulator, repository, root: place.join("workspace"), target: place.join("target") }
    }

    /// Makes the copy equal to the repository again. Files that are equal already keep their time, so that only what
    /// differs is built again.
    fn restore(&self) {
        let Simulator { test, crates, testkit: modules, .. } = self.simulator;
        for folder in *crates {
            self.copy_tree(&Path::new("crates").join(folder));
        }
        let testkit = |name: &str| Path::new("tests/src").join(name);
        for module in *modules {
            self.copy_file(&testkit(&format!("{module}.rs")));
            if self.repository.join(testkit(module)).is_dir() {
                self.copy_tree(&testkit(module));
            }
        }
        self.copy_file(&Path::new("tests/tests").join(format!("{test}.rs")));
        let modules: String = modules.iter().map(|module| format!("pub mod {module};\n")).collect();
        self.put("tests/src/lib.rs", &format!("//! The simulator alone.\n\n{modules}"));
        let dependencies: String = crates.iter().map(|name| format!("{name}.workspace = true\n")).collect();
        self.put("tests/Cargo.toml", &format!("{TESTKIT_MANIFEST}{dependencies}"));
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
        let run = self.cargo(seeds, &[self.simulator.filter, "--", "--nocapture"]);
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
        cargo.args(["test", "--offline", "-p", "longshore-testkit", "--test", self.simulator.test]).args(arguments);
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
bytes.workspace = true
"#;

/// What the simulator said of it, but for what it dumps of a record.
fn verdict(output: &str) -> String {
    let line = output
        .lines()
        .skip_while(|line| !line.contains(" failed, after "))
        .find(|line| line.starts_with("  ") && !line.starts_with("    "));
    line.unwrap_or_default().trim().chars().take(120).collect()
}

//! The architecture as a test: who may depend on whom, and what stays inside one crate.
//!
//! The ranks are those of `docs/ARCHITECTURE.md`. A manifest that breaks one fails here with the
//! line to change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// Each crate and its rank; a crate sees only crates of a lower one.
const RANKS: &[(&str, u32)] = &[
    ("longshore-format", 0),
    ("longshore-storage", 0),
    ("longshore-wal", 1),
    ("longshore-protocol", 1),
    ("longshore-apply", 2),
    ("longshore-archive", 2),
    ("longshore-transport", 2),
    ("longshore-sqlite", 3),
    ("longshore", 3),
    ("longshore-cli", 4),
];

/// Faults on demand; only tests may see it.
const TESTKIT: &str = "longshore-testkit";

/// What a crate keeps out of all the others. Dev-dependencies are free: tests may look anywhere.
const CONTAINED: &[(&str, &[&str])] = &[
    ("tonic", &["longshore-transport"]),
    ("tonic-prost", &["longshore-transport"]),
    ("tonic-health", &["longshore-transport"]),
    ("tonic-reflection", &["longshore-transport"]),
    ("tonic-prost-build", &["longshore-transport"]),
    ("hyper-util", &["longshore-transport"]),
    ("rustls", &["longshore-transport", "longshore-cli"]),
    ("tokio-rustls", &["longshore-transport", "longshore-cli"]),
    ("rcgen", &["longshore-transport", "longshore-cli"]),
    ("prost", &["longshore-transport", "longshore-sqlite"]),
    ("rusqlite", &["longshore-sqlite", "longshore-cli"]),
    ("clap", &["longshore-cli"]),
    ("indicatif", &["longshore-cli"]),
    ("comfy-table", &["longshore-cli"]),
    ("axum", &["longshore-cli"]),
    ("metrics-exporter-prometheus", &["longshore-cli"]),
    ("metrics-util", &["longshore-cli"]),
    ("memmap2", &["longshore-storage", "longshore-cli"]),
    ("object_store", &["longshore-archive", "longshore-cli"]),
    ("aws-config", &["longshore-archive"]),
    ("aws-credential-types", &["longshore-archive"]),
    ("zstd", &["longshore-archive"]),
    ("aws-lc-rs", &["longshore-archive"]),
    ("tokio", &["longshore-archive", "longshore-transport", "longshore", "longshore-cli"]),
];

/// Everything that may stand at the top of the repository, dot-files apart.
const TOP_LEVEL: &[&str] =
    &["Cargo.toml", "Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "crates", "docs", "proto", "tests"];

#[test]
fn a_crate_sees_only_crates_of_a_lower_rank() {
    for package in packages() {
        let Some(rank) = rank(&package.name) else {
            continue;
        };
        for dependency in package.dependencies(&["dependencies", "build-dependencies"]) {
            assert_ne!(dependency, TESTKIT, "{} is for tests; {} may only dev-depend on it", TESTKIT, package.name);
            let Some(theirs) = self::rank(&dependency) else {
                continue;
            };
            assert!(theirs < rank, "{} (rank {rank}) must not depend on {dependency} (rank {theirs})", package.name);
        }
    }
}

#[test]
fn every_crate_has_a_rank_and_every_rank_a_crate() {
    let found: BTreeSet<_> = packages().into_iter().map(|package| package.name).collect();
    let expected: BTreeSet<_> = RANKS.iter().map(|(name, _)| *name).chain([TESTKIT]).map(str::to_owned).collect();
    assert_eq!(found, expected, "a new crate needs a rank here and a reason in docs/ARCHITECTURE.md");
}

#[test]
fn each_dependency_stays_in_the_crate_that_exists_to_contain_it() {
    for package in packages().iter().filter(|package| package.name != TESTKIT) {
        let seen = package.dependencies(&["dependencies", "build-dependencies"]);
        for (dependency, homes) in CONTAINED {
            let allowed = homes.contains(&package.name.as_str());
            assert!(allowed || !seen.contains(*dependency), "{} must not see {dependency}", package.name);
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_storage() {
    for package in packages().iter().filter(|package| package.name != "longshore-storage") {
        let roots = ["src/lib.rs", "src/main.rs"].map(|file| package.dir.join(file));
        // The binary denies instead, for the one raw row that must map a file without the library, and the SQLite adapter for
        // the one module that calls C.
        let guard = match package.name.as_str() {
            "longshore-cli" | "longshore-sqlite" => "#![deny(unsafe_code)]",
            _ => "#![forbid(unsafe_code)]",
        };
        for root in roots.iter().filter(|root| root.exists()) {
            let text = fs::read_to_string(root).unwrap();
            assert!(text.contains(guard), "{} must say {guard}", root.display());
        }
    }
    let excused: Vec<_> = ["crates/longshore-cli/src", "crates/longshore-sqlite/src"]
        .iter()
        .flat_map(|dir| sources(&root().join(dir)))
        .filter(|path| fs::read_to_string(path).unwrap().contains("expect(unsafe_code"))
        .collect();
    let named = ["crates/longshore-cli/src/bench/raw_append.rs", "crates/longshore-sqlite/src/shm.rs"];
    assert_eq!(excused, named.map(|path| root().join(path)));
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    dirs.iter().flat_map(|dir| sources(dir)).chain(files).collect()
}

#[test]
fn the_workspace_has_one_binary() {
    for package in packages() {
        let binary = package.name == "longshore-cli";
        let declared = package.manifest.get("bin").and_then(|bins| bins.as_array()).map_or(0, Vec::len);
        assert_eq!(declared, usize::from(binary), "{} declares {declared} binaries", package.name);
        assert_eq!(package.dir.join("src/main.rs").exists(), binary, "{}", package.name);
        assert!(!package.dir.join("src/bin").exists(), "{} must not have src/bin", package.name);
    }
}

#[test]
fn the_top_level_holds_what_the_architecture_names() {
    let listed = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<_> = listed
        .filter(|name| !name.starts_with('.') && name != "target" && !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert!(strangers.is_empty(), "not part of the layout: {strangers:?}");
}

#[test]
fn raw_rows_are_short_and_use_no_longshore_crate() {
    let dir = root().join("crates/longshore-cli/src/bench");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if !entry.file_name().to_str().unwrap().starts_with("raw_") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let path = entry.path();
        assert!(text.lines().count() <= 60, "{} is longer than 60 lines", path.display());
        for word in ["longshore::", "longshore_", "crate::", "super::"] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
        count += 1;
    }
    assert!(count >= 3, "only {count} raw rows found");
}

struct Package {
    name: String,
    dir: PathBuf,
    manifest: Table,
}

impl Package {
    /// The dependencies in the given sections, also in those of a `[target.…]`.
    fn dependencies(&self, sections: &[&str]) -> BTreeSet<String> {
        let targets = self.manifest.get("target").and_then(|targets| targets.as_table());
        let mut tables = vec![&self.manifest];
        tables.extend(targets.into_iter().flat_map(|all| all.values().filter_map(|target| target.as_table())));
        let mut names = BTreeSet::new();
        for (table, section) in tables.iter().flat_map(|table| sections.iter().map(move |section| (table, section))) {
            let Some(listed) = table.get(*section).and_then(|listed| listed.as_table()) else {
                continue;
            };
            for (key, value) in listed {
                let renamed = value.get("package").and_then(|package| package.as_str());
                names.insert(renamed.unwrap_or(key).to_owned());
            }
        }
        names
    }
}

fn packages() -> Vec<Package> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut packages: Vec<_> = crates.chain([root().join("tests")]).map(|dir| package(&dir)).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

fn package(dir: &Path) -> Package {
    let manifest: Table = fs::read_to_string(dir.join("Cargo.toml")).unwrap().parse().unwrap();
    let name = manifest["package"]["name"].as_str().unwrap().to_owned();
    Package { name, dir: dir.to_owned(), manifest }
}

fn rank(name: &str) -> Option<u32> {
    RANKS.iter().find(|(known, _)| *known == name).map(|(_, rank)| *rank)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

//! What a stranger does first: install the binary from a checkout, and use the library from a crate of his own.
//!
//! Both run from another directory, so that nothing which only holds inside the repository, such as a `.cargo/config.toml`, can
//! be what makes them work. They need what the workspace needs and no network. Compiled dependencies are those of this build,
//! where profile and features are the same: that leaves a minute for the first run and seconds for the next.

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_testkit::process::{Running, must, top};
use longshore_testkit::site::ZERO;
use rusqlite::Connection;

/// Cargo, run in `directory` with this build's target directory.
fn cargo(directory: &Path, args: &[&str]) -> Command {
    let test = std::env::current_exe().expect("a running test has a path");
    let target = test.ancestors().nth(3).expect("tests run in target/PROFILE/deps");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(directory).env("CARGO_TARGET_DIR", target);
    // What cargo tells a test of its package would tell another build that something changed.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name.to_string_lossy().starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// A program as it was installed, away from the repository and its environment.
fn installed(place: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(place.join("root/bin/longshore"));
    command.args(args).current_dir(place);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGSHORE_")) {
        command.env_remove(name);
    }
    command
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}

#[test]
fn an_installed_binary_checks_and_captures_a_database() {
    let place = tempfile::tempdir().unwrap();
    let (source, root) = (text(top().join("crates/longshore-cli")), text(place.path().join("root")));
    let install = ["install", "--path", &source, "--root", &root, "--offline", "--locked", "--debug", "--no-track"];
    must(cargo(place.path(), &install), b"");

    let app = Connection::open(place.path().join("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=delete; CREATE TABLE items (name TEXT);").unwrap();
    let refused = installed(place.path(), &["check", "--sqlite", "app.db"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(8), "{said}");
    assert!(said.contains("PRAGMA journal_mode=wal"), "it says how to mend it: {said}");
    app.execute_batch("PRAGMA journal_mode=wal; INSERT INTO items VALUES ('before');").unwrap();
    let said = must(installed(place.path(), &["check", "--sqlite", "app.db"]), b"");
    assert!(said.contains("can be captured"), "{said}");

    must(installed(place.path(), &["certs", "tls", "--name", "primary=admin,append,read,replicate"]), b"");
    let serve = ["--listen", ZERO, "--http", ZERO, "--tls-dir", "tls", "--identity", "primary"];
    let capture = ["primary", "--data-dir", "data", "--sqlite", "app.db", "--log", "app", "--init"];
    let mut primary = Running::start(installed(place.path(), &[&capture[..], &serve[..]].concat()));
    primary.listening();
    app.execute_batch("INSERT INTO items VALUES ('while it is captured')").unwrap();
    // Its end in order copies what was committed before.
    assert!(primary.terminate().success());
    let replay = ["replay", "--from", "data", "--log", "app", "--into", "sqlite:restored.db"];
    must(installed(place.path(), &replay), b"");
    let restored = Connection::open(place.path().join("restored.db")).unwrap();
    let names: String = restored.query_row("SELECT group_concat(name) FROM items", [], |row| row.get(0)).unwrap();
    assert_eq!(names, "before,while it is captured");
}

/// A host with plain rusqlite: it commits, and waits until that is durable in the log.
const HOST: &str = r#"
use std::sync::Arc;
use std::time::Duration;

use longshore_format::Content;
use longshore_sqlite::{CaptureSettings, Capturing};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, Settings, Wal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = rusqlite::Connection::open("app.db")?;
    app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE items (name TEXT);")?;
    let directory = Arc::new(FsDirectory::create("log")?);
    let spec = CreateSpec { content: Content::SqlitePages, ..CreateSpec::default() };
    Wal::create(directory.clone(), &SystemEnvironment, &spec)?;
    let (log, _) = Wal::open(directory, Arc::new(SystemEnvironment), Settings::default())?;
    let threads = log.start();
    let capturing = Capturing::start("app.db", log.clone(), CaptureSettings::new("app.pages"), |_| {})?;
    let before = log.end();
    assert_eq!(capturing.status().position, before);
    app.execute_batch("INSERT INTO items VALUES ('anchor')")?;
    let position = capturing.catch_up(Duration::from_secs(30))?;
    assert!(before < position && position <= log.wait_blocking(position, None)?);
    capturing.stop()?;
    threads.stop();
    println!("in the log");
    Ok(())
}
"#;

/// The manifest of a crate that is no member of the workspace. Its profile is the workspace's, to compile nothing again.
fn manifest() -> String {
    let workspace: toml::Table = std::fs::read_to_string(top().join("Cargo.toml")).unwrap().parse().unwrap();
    let rusqlite = &workspace["workspace"]["dependencies"]["rusqlite"];
    let mut manifest = format!(
        "[package]\nname = \"stranger\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nrusqlite = {rusqlite}\n"
    );
    for name in ["format", "storage", "wal", "sqlite"] {
        let path = text(top().join(format!("crates/longshore-{name}")));
        manifest.push_str(&format!("longshore-{name} = {{ path = {path:?} }}\n"));
    }
    let profile = toml::Table::from_iter([("profile".to_owned(), workspace["profile"].clone())]);
    // Packages that this crate does not have would be warned of.
    manifest + &profile.to_string()
}

#[test]
fn a_crate_outside_the_repository_captures_a_database_and_waits_for_its_commit() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("src")).unwrap();
    std::fs::write(place.path().join("Cargo.toml"), manifest()).unwrap();
    std::fs::write(place.path().join("src/main.rs"), HOST).unwrap();
    // The versions that were fetched; what it does not need of them is dropped.
    std::fs::copy(top().join("Cargo.lock"), place.path().join("Cargo.lock")).unwrap();
    let said = must(cargo(place.path(), &["run", "--quiet", "--offline"]), b"");
    assert_eq!(said, "in the log\n");
}

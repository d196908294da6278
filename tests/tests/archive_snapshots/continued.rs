//! A log that goes on from where it was restored, with the whole region gone.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use longshore_testkit::process::{PATIENCE, Running, longshore, must, run_with, until};
use rusqlite::Connection;
use serde_json::Value;

use super::SNAPSHOTS;
use super::stage::{Stage, agent, newest};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Stage {
    fn go_on(&self, to: &str, into: &str, dir: &str, more: &[&str]) -> Output {
        run_with(self.going_on(to, into, dir, more), b"")
    }

    fn going_on(&self, to: &str, into: &str, dir: &str, more: &[&str]) -> Command {
        let (store, into, dir) = (self.store(), format!("sqlite:{}", self.site.at(into)), self.site.at(dir));
        let args = ["replay", "--from", &store, "--log", "app", "--to", to, "--into", &into, "--continue", &dir];
        let identity = ["--tls-dir", self.site.tls(), "--identity", "eu-west"];
        longshore([&args[..], &identity, more].concat())
    }

    /// The agent that writes the log from now on, beside the restored database.
    fn write_on(&self, database: &str, dir: &str) -> Running {
        let (database, dir, store) = (self.site.at(database), self.site.at(dir), self.store());
        let args = ["primary", "--data-dir", &dir, "--sqlite", &database, "--log", "app"];
        let mut agent = Running::start(agent(
            &self.site,
            "eu-west",
            &[&args[..], &["--archive", &store, "--archive-every", "20ms"]].concat(),
        ));
        agent.listening();
        agent
    }
}

#[test]
fn a_restored_log_goes_on_in_its_archive_under_a_new_epoch() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write_until_forgotten();
    let mark: u64 = stage.ask(&["mark", "here", "--log", "app"]).trim().parse().unwrap();
    stage.write(30);
    stage.end_primary();

    // Somebody must say that the primary is gone, and more so that a part of the log is given up. Nothing was made before.
    for (to, says) in [("latest", "nobody is asked"), ("mark:here", "behind the target")] {
        let refused = stage.go_on(to, "restored.db", "next", &[]);
        assert_eq!(refused.status.code(), Some(9), "{}", said(&refused));
        assert!(said(&refused).contains(says), "{}", said(&refused));
    }
    assert!(!Path::new(&stage.site.at("next")).exists() && !Path::new(&stage.site.at("restored.db")).exists());

    let done = stage.go_on("mark:here", "restored.db", "next", &["--accept-loss", "--json"]);
    assert!(done.status.success(), "{}", said(&done));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["continued"]["epoch"], 2);
    // The mark holds nothing of the database, and names the same point in the log that goes on.
    assert_eq!(done["continued"]["position"], mark);
    assert!(done["position"].as_u64().unwrap() < mark, "{done}");
    let left: Vec<_> =
        std::fs::read_dir(stage.site.at("next")).unwrap().map(|left| left.unwrap().file_name()).collect();
    assert_eq!(left, ["app"], "nothing else is left");
    let again = stage.go_on("mark:here", "other.db", "next", &["--accept-loss"]);
    assert_eq!(again.status.code(), Some(7), "{}", said(&again));

    let mut next = stage.write_on("restored.db", "next");
    next.line_with("resyncs=0");
    let number = stage.rows - 30;
    assert_eq!(newest(&stage.site.at("restored.db")), Some(number));
    let application = Connection::open(stage.site.at("restored.db")).unwrap();
    application.execute("INSERT OR REPLACE INTO rows VALUES (1, ?1, 'after')", [number + 1000]).unwrap();
    assert!(next.terminate().success());

    // One archive, in which the log goes on; what was given up is there when it is asked for.
    let listed = stage.listed().unwrap();
    assert_eq!(listed["epoch"], 2, "{listed}");
    must(longshore(["archive", "verify", "--from", &stage.store()]), b"");
    for (more, expected) in
        [(&[][..], number + 1000), (&["--epoch", "1"], stage.rows), (&["--to", "mark:here"], number)]
    {
        let file = stage.site.at(&format!("of-{expected}.db"));
        let into = format!("sqlite:{file}");
        let args = ["replay", "--from", &stage.store(), "--log", "app", "--into", &into].map(str::to_owned);
        must(longshore(args.iter().map(String::as_str).chain(more.iter().copied())), b"");
        assert_eq!(newest(&file), Some(expected));
    }
}

/// The promotion comes last, and only it is left when it was refused.
#[test]
fn a_log_whose_promotion_is_refused_is_restored_once_and_promoted_later() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write(100);
    stage.end_primary();
    let peer = ["--peer", &stage.server.clone()];
    let refused = stage.go_on("latest", "restored.db", "next", &peer);
    assert_eq!(refused.status.code(), Some(9), "{}", said(&refused));
    assert!(said(&refused).contains("next: stop the primary before for good"), "{}", said(&refused));
    assert_eq!(newest(&stage.site.at("restored.db")), Some(stage.rows), "it is restored");
    assert!(!Path::new(&stage.site.at("next/app")).exists(), "and written by nobody");
    let loss = [&peer[..], &["--accept-loss"]].concat();
    for (flags, says) in [(&peer[..], "are asked and fenced, or it is refused\n"), (&loss, "still confirms is lost\n")]
    {
        let planned = stage.go_on("latest", "restored.db", "next", &[flags, &["--plan"]].concat());
        let told = String::from_utf8_lossy(&planned.stdout).into_owned();
        assert!(told.contains("goes on   in ") && told.ends_with(says), "{told}");
    }
    let other = stage.go_on("lsn:4096", "restored.db", "next", &loss);
    assert_eq!(other.status.code(), Some(7), "{}", said(&other));
    assert!(!Path::new(&stage.site.at("next/app")).exists(), "a plan and another target promote nothing");
    // A container that starts again restores nothing, and has yet to promote.
    let done = stage.go_on("latest", "restored.db", "next", &[&loss[..], &["--if-absent"]].concat());
    assert!(done.status.success(), "{}", said(&done));
    assert!(Path::new(&stage.site.at("next/app")).exists() && !Path::new(&stage.site.at("next/app.replay")).exists());
    let mut next = stage.write_on("restored.db", "next");
    next.line_with("resyncs=0");
    until("it is captured", Instant::now() + PATIENCE, || {
        let application = Connection::open(stage.site.at("restored.db")).ok()?;
        application.execute("INSERT INTO rows (number) VALUES (5)", []).ok()
    });
    assert!(next.terminate().success());
}

/// Whoever promotes waits for nodes that do not answer, and keeps others out meanwhile; asked to stop, it does, and what is left
/// is done later.
#[test]
fn one_restore_goes_on_at_a_time_and_one_that_is_interrupted_is_promoted_later() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write(100);
    stage.end_primary();
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = ["--peer".to_owned(), format!("silent@{}", silent.local_addr().unwrap())];
    let peer = [&peer[0][..], &peer[1]];
    silent.set_nonblocking(true).unwrap();
    let note = stage.site.at("next/app.replay/restored");
    until("one to be asked to stop while it waits", Instant::now() + PATIENCE, || {
        // Of whoever has gone away meanwhile.
        while silent.accept().is_ok() {}
        let first = Running::start(stage.going_on("latest", "restored.db", "next", &peer));
        until("the promotion to ask the others", Instant::now() + PATIENCE, || silent.accept().ok());
        let second = stage.go_on("latest", "restored.db", "next", &peer);
        match first.terminate().code() {
            // On a slow machine it was refused before it was asked to stop.
            Some(9) => None,
            ended => {
                assert_eq!(second.status.code(), Some(7), "{}", said(&second));
                assert!(said(&second).contains("another process restores log app"), "{}", said(&second));
                assert_eq!(ended, Some(130), "it does not wait for a refusal");
                Some(())
            }
        }
    });
    assert_eq!(newest(&stage.site.at("restored.db")), Some(stage.rows));
    assert!(Path::new(&note).exists() && !Path::new(&stage.site.at("next/app")).exists());
    let done = stage.go_on("latest", "restored.db", "next", &["--accept-loss"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(Path::new(&stage.site.at("next/app")).exists() && !Path::new(&note).exists());
}

/// Neither is the lock of a process taken away for a moment that is just about to fetch.
#[test]
fn a_restore_that_has_nothing_to_remove_leaves_the_directory_of_another_alone() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write(100);
    stage.end_primary();
    let scratch = stage.site.at("next/app.replay");
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::write(stage.site.at("restored.db"), "").unwrap();
    let refused = stage.go_on("latest", "restored.db", "next", &["--accept-loss"]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "{}", said(&refused));
}

/// Nothing is fetched into what another process fetches.
#[test]
fn a_restore_that_is_fetched_keeps_others_out() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write(100);
    stage.end_primary();
    // As whoever fetches holds it.
    let scratch = stage.site.at("next/app.replay");
    std::fs::create_dir_all(&scratch).unwrap();
    let lock = longshore_storage::FsDirectory::open(&scratch).unwrap();
    let held = lock.lock_by("replay.lock").unwrap();
    let refused = stage.go_on("latest", "restored.db", "next", &["--accept-loss"]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(!Path::new(&stage.site.at("restored.db")).exists());
    drop(held);
    let done = stage.go_on("latest", "restored.db", "next", &["--accept-loss"]);
    assert!(done.status.success(), "{}", said(&done));
}

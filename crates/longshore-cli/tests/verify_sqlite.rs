//! `verify --sqlite`: a database in use is held against its log, beside the agents and after them.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Agent, eventually, run};
use rusqlite::Connection;

const PRIMARY: &str = "verify --data-dir p --sqlite app.db";
const REPLICA: &str = "verify --data-dir r --sqlite app=copy.db";

fn primary(at: &Path) -> Agent {
    Agent::start(at, "primary --data-dir p --sqlite app.db --log app --init --tls-dir tls --identity primary")
}

fn application(at: &Path) -> Connection {
    let app = Connection::open(at.join("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=wal; PRAGMA busy_timeout=10000; CREATE TABLE IF NOT EXISTS t (x);").unwrap();
    app
}

/// Enough for pages of which nothing is in the `-wal` any more.
fn fill(app: &Connection) {
    for _ in 0..200 {
        app.execute_batch("INSERT INTO t VALUES (hex(randomblob(1000)))").unwrap();
    }
    app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    app.execute_batch("INSERT INTO t VALUES (1)").unwrap();
}

fn flip(database: &Path, page: u32) {
    let at = (page - 1) * 4096 + 1000;
    let script = format!("printf '\\377' | dd of='{}' bs=1 seek={at} conv=notrunc status=none", database.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn primary_and_replica_are_proved_the_same_database_while_both_are_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    let app = application(at);
    fill(&app);
    let p = primary(at);
    let follow = format!("replica --data-dir r --upstream primary@{} --apply app=sqlite:copy.db", p.address);
    let r = Agent::start(at, &format!("{follow} --tls-dir tls --identity eu-west"));
    eventually("the copy is there", || at.join("copy.db").exists());
    for _ in 0..5 {
        app.execute_batch("INSERT INTO t VALUES (hex(randomblob(1000)))").unwrap();
        let told = run(at, PRIMARY).ok();
        assert!(told.contains("log app: app.db: ") && told.contains("pages are what the log says, at "), "{told}");
        run(at, REPLICA).ok();
    }
    let pages = |args: &str| run(at, &format!("{args} --json")).json()["sqlite"].clone();
    eventually("both are at one position", || {
        let (primary, replica) = (pages(PRIMARY), pages(REPLICA));
        assert_eq!((&primary["side"], &replica["side"]), (&"primary".into(), &"replica".into()));
        let is_same = primary["position"] == replica["position"];
        assert!(!is_same || primary["digest"] == replica["digest"] && primary["pages"] == replica["pages"]);
        is_same
    });
    assert_eq!(r.terminate(), 0);
    assert_eq!(p.terminate(), 0);

    flip(&at.join("app.db"), 20);
    let told = run(at, PRIMARY).fails(10);
    assert!(told.contains("page 20") && told.contains("wal_checkpoint(TRUNCATE)"), "{told}");
    flip(&at.join("copy.db"), 21);
    let told = run(at, REPLICA).fails(10);
    assert!(told.contains("page 21") && told.contains("-longshore"), "{told}");
    let verdict: serde_json::Value = serde_json::from_str(&run(at, &format!("{REPLICA} --json")).stdout).unwrap();
    assert_eq!((&verdict["intact"], &verdict["sqlite"]["differing"]), (&true.into(), &1.into()));
    assert_eq!(verdict["sqlite"]["first_differing"], serde_json::json!([21]));
}

#[test]
fn what_was_written_while_no_agent_captured_is_not_called_damage() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate").ok();
    let app = application(at);
    fill(&app);
    assert_eq!(primary(at).terminate(), 0);
    run(at, PRIMARY).ok();
    app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    let told = run(at, PRIMARY).fails(11);
    assert!(told.contains("ahead of the log") && told.contains("longshore primary --sqlite"), "{told}");
    // As it says.
    let p = primary(at);
    run(at, PRIMARY).ok();
    // What the message says for pages that differ makes the agent compare.
    assert_eq!(p.terminate(), 0);
    app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    flip(&at.join("app.db"), 20);
    let p = primary(at);
    run(at, PRIMARY).ok();
    assert_eq!(p.terminate(), 0);
}

#[test]
fn the_log_is_the_one_of_pages_unless_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    application(at);
    run(at, "init --data-dir p --log orders").ok();
    run(at, PRIMARY).fails(3);
    run(at, "verify --data-dir p --sqlite orders=app.db").fails(8);
    run(at, "init --data-dir p --log app --content sqlite-pages").ok();
    assert!(run(at, PRIMARY).fails(8).contains("no whole image"), "an empty log says nothing");
    run(at, "verify --data-dir p --log orders --sqlite app=app.db").fails(2);
    run(at, "init --data-dir p --log other --content sqlite-pages").ok();
    assert!(run(at, PRIMARY).fails(2).contains("LOG=PATH"));
    run(at, "verify --data-dir p --sqlite app=none.db").fails(8);
}

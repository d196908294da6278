//! Something else in the place of a captured database, put there while its agent was stopped: what the agent says, and what
//! becomes of it.

mod common;

use std::fs;
use std::path::Path;

use common::two_nodes::{Site, insert};
use common::{Agent, eventually, run};
use rusqlite::Connection;

const AGENT: &str = "primary --data-dir p --sqlite app.db --log app --tls-dir tls --identity primary";

/// An application that runs for a moment, while `at` holds its database.
fn write(at: &Path, sql: &str) {
    let app = Connection::open(at.join("app.db")).unwrap();
    app.pragma_update(None, "journal_mode", "wal").unwrap();
    app.execute_batch(sql).unwrap();
    app.close().unwrap();
}

fn rows(database: &Path) -> Option<i64> {
    let db = Connection::open(database).ok()?;
    db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).ok()
}

/// Where the log ends.
fn end(at: &Path) -> u64 {
    run(at, "status --data-dir p --json").json()["logs"][0]["end"].as_u64().unwrap()
}

/// A directory with an application's database that was captured, in `old.db` as it was then, and written since.
fn captured() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate").ok();
    write(at, "CREATE TABLE rows (body)");
    for _ in 0..30 {
        write(at, "INSERT INTO rows VALUES (zeroblob(1000))");
    }
    assert_eq!(Agent::start(at, &format!("{AGENT} --init")).terminate(), 0);
    fs::copy(at.join("app.db"), at.join("old.db")).unwrap();
    write(at, "UPDATE rows SET body = randomblob(1000)");
    assert_eq!(Agent::start(at, AGENT).terminate(), 0);
    dir
}

fn restore_into(at: &Path, name: &str) -> Option<i64> {
    run(at, &format!("replay --from p --log app --to latest --into sqlite:{name}")).ok();
    rows(&at.join(name))
}

#[test]
fn a_file_in_the_place_of_a_captured_database_is_refused_until_somebody_says_that_it_is_meant() {
    type Change = fn(&Path);
    let table: [(&str, Change, &str, i64); 4] = [
        (
            "an old copy, written over it",
            |at| {
                let old = fs::read(at.join("old.db")).unwrap();
                fs::write(at.join("app.db"), old).unwrap();
            },
            "in an older copy",
            30,
        ),
        ("an old copy, renamed", |at| fs::rename(at.join("old.db"), at.join("app.db")).unwrap(), "another file", 30),
        (
            "the same rows, of VACUUM INTO",
            |at| {
                write(at, &format!("DELETE FROM rows WHERE rowid = 1; VACUUM INTO '{}'", at.join("new.db").display()));
                fs::rename(at.join("new.db"), at.join("app.db")).unwrap();
            },
            "another file has its name",
            29,
        ),
        (
            "an empty file",
            |at| {
                fs::write(at.join("app.db"), "").unwrap();
            },
            "it is empty",
            0,
        ),
    ];
    for (what, change, why, left) in table {
        let dir = captured();
        let at = dir.path();
        let before = end(at);
        change(at);
        let told = run(at, &format!("{AGENT} --listen 127.0.0.1:0 --http 127.0.0.1:0 --log-accept-weak-storage true"));
        let told = told.fails(9);
        assert!(told.contains(why) && told.contains("--replaced"), "{what}: {told}");
        assert_eq!(end(at), before, "{what}: nothing is shipped");
        assert_eq!(restore_into(at, "there.db"), Some(30), "{what}: the log has what was there");

        // It is meant.
        write(at, "CREATE TABLE IF NOT EXISTS rows (body)");
        assert_eq!(Agent::start(at, &format!("{AGENT} --replaced")).terminate(), 0);
        assert_eq!(restore_into(at, "then.db"), Some(left), "{what}");
        assert_eq!(Agent::start(at, AGENT).terminate(), 0, "{what}: it is the database from then on");
    }
}

#[test]
fn what_the_log_holds_is_brought_back_as_the_agent_says() {
    let dir = captured();
    let at = dir.path();
    fs::write(at.join("app.db"), "").unwrap();
    let told =
        run(at, &format!("{AGENT} --listen 127.0.0.1:0 --http 127.0.0.1:0 --log-accept-weak-storage true")).fails(9);
    let command = told.split("longshore replay ").nth(1).unwrap().lines().next().unwrap();
    let command = command.replace("DATA_DIR", "p").replace("LOG", "app");
    for ending in ["", "-wal", "-shm"] {
        let _may_be_none = fs::remove_file(at.join(format!("app.db{ending}")));
    }
    run(at, &format!("replay {command}")).ok();
    assert_eq!(rows(&at.join("app.db")), Some(30));
    let agent = Agent::start(at, AGENT);
    let app = Connection::open(at.join("app.db")).unwrap();
    eventually("it may be written", || app.execute_batch("INSERT INTO rows VALUES ('on')").is_ok());
    app.close().unwrap();
    assert_eq!(agent.terminate(), 0);
    assert_eq!(restore_into(at, "then.db"), Some(31));
}

/// It was said of what stood there when the agent began to follow, and that was the log's.
#[test]
fn what_is_meant_to_be_there_at_a_follower_is_not_what_is_there_when_it_is_promoted() {
    let site = Site::new();
    let (_p, a) = (site.primary(), site.start("a", "replica --apply app=sqlite:copy.db --replaced"));
    insert(&site.app("app.db"), "one").unwrap();
    site.equal("one");
    for ending in ["", "-wal", "-shm", "-longshore"] {
        let _may_be_none =
            fs::rename(site.at().join(format!("copy.db{ending}")), site.at().join(format!("elsewhere.db{ending}")));
    }
    let done = site.move_to("switchover", "a");
    assert!(done.contains("sqlite:copy.db is not captured"), "{done}");
    let end = site.status("a")["end"].clone();
    let other = site.app("copy.db");
    other.execute_batch("CREATE TABLE others (body); INSERT INTO others VALUES (zeroblob(50000))").unwrap();
    let mut told = String::new();
    eventually("it is refused", || {
        told = a.get("/readyz");
        told.contains("--replaced") || told.starts_with("HTTP/1.1 200")
    });
    assert!(told.contains("log app is not captured from sqlite:copy.db: "), "{told}");
    assert_eq!(site.status("a")["end"], end, "nothing of it is shipped");
}

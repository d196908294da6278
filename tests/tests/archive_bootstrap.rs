//! A new replica that begins with what its region's archive holds, and goes on with the primary.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_testkit::process::{PATIENCE, Running, longshore, until};
use longshore_testkit::site::{Site, ZERO};
use rusqlite::{Connection, OpenFlags, params};

fn write(db: &mut Connection, rows: std::ops::Range<i64>) {
    for row in rows {
        db.execute("INSERT INTO rows VALUES (?1, randomblob(4000))", params![row]).unwrap();
    }
}

fn rows(path: &str) -> Option<i64> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).ok()
}

fn agent(site: &Site, identity: &str, args: &[&str]) -> Running {
    let tls = site.at("tls");
    let common = ["--http", ZERO, "--tls-dir", &tls, "--identity", identity];
    Running::start(longshore([args, &common[..]].concat()))
}

#[test]
fn a_new_replica_takes_what_is_archived_from_there_and_the_rest_from_the_primary() {
    let place = tempfile::tempdir().unwrap();
    let site = Site::new(place.path());
    let mut db = Connection::open(site.at("app.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
    std::fs::create_dir(site.at("store")).unwrap();
    let store = format!("file://{}", site.at("store"));
    let (data, app) = (site.at("captured"), site.at("app.db"));
    let flags = ["primary", "--data-dir", &data, "--sqlite", &app, "--log", "app", "--init", "--listen", ZERO];
    let small = ["--log-segment-size", "1MiB", "--archive", &store, "--archive-every", "50ms"];
    let mut primary = agent(&site, "primary", &[&flags[..], &small].concat());
    let address = primary.listening();
    write(&mut db, 0..1000);
    until("four segments to be archived", Instant::now() + PATIENCE, || {
        let listed = longshore(["archive", "ls", "--from", &store, "--json"]).output().unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).ok()?;
        (4 <= listed["logs"][0]["segments"].as_u64()?).then_some(())
    });

    let (eu, copy, upstream) = (site.at("eu-west"), site.at("copy.db"), format!("primary@{address}"));
    let apply = format!("app=sqlite:{copy}");
    let flags = ["replica", "--data-dir", &eu, "--upstream", &upstream, "--apply", &apply, "--archive", &store];
    let mut replica = agent(&site, "eu-west", &[&flags[..], &["--listen", ZERO]].concat());
    replica.listening();
    assert!(replica.said().contains("fetching a log from the archive"), "{}", replica.said());
    assert!(!Path::new(&eu).join("app.fetching").exists(), "what was fetched is in its place");
    write(&mut db, 1000..1100);
    until("the replica's database to have every row", Instant::now() + PATIENCE, || {
        (rows(&copy) == Some(1100)).then_some(())
    });
    assert!(replica.terminate().success());
    assert!(primary.terminate().success());
    let verify = longshore(["verify", "--data-dir", &eu, "--deep"]).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
}

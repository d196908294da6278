//! A replica of a SQLite database that the log no longer reaches: it is given a snapshot, over links that break, while the
//! application goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_testkit::process::{PATIENCE, Running, longshore, must, until};
use longshore_testkit::proxy::Proxy;
use longshore_testkit::site::{Site, ZERO};
use rusqlite::{Connection, OpenFlags, params};

/// A primary that captures `app.db` and keeps little of its log.
struct Stage {
    site: Site,
    primary: Running,
    address: std::net::SocketAddr,
    db: Connection,
    rows: i64,
    _place: tempfile::TempDir,
}

impl Stage {
    fn start() -> Stage {
        let place = tempfile::tempdir().unwrap();
        let site = Site::new(place.path());
        let db = Connection::open(site.at("app.db")).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
        let data = site.at("captured");
        let (app, little) = (site.at("app.db"), ["--retention-slot-cap", "2MiB", "--retention-keep-size", "1MiB"]);
        let flags = ["primary", "--data-dir", &data, "--sqlite", &app, "--log", "app", "--init", "--listen", ZERO];
        let rest = ["--log-segment-size", "1MiB", "--retention-interval", "100ms", "--network-frame", "256KiB"];
        let mut primary = Running::start(agent(&site, "primary", &[&flags[..], &little, &rest].concat()));
        let address = primary.listening();
        Stage { site, primary, address, db, rows: 0, _place: place }
    }

    fn replica(&self, name: &str, upstream: std::net::SocketAddr) -> Running {
        let (data, apply) = (self.site.at(name), format!("app=sqlite:{}", self.copy(name)));
        let upstream = format!("primary@{upstream}");
        let flags = ["replica", "--data-dir", &data, "--upstream", &upstream, "--apply", &apply, "--listen", ZERO];
        let rest = ["--replica-logs", "app", "--replica-backoff-max", "200ms"];
        let mut replica = Running::start(agent(&self.site, name, &[&flags[..], &rest].concat()));
        replica.listening();
        replica
    }

    fn copy(&self, name: &str) -> String {
        self.site.at(&format!("{name}.db"))
    }

    /// The application goes on: so many rows of 8 KiB, a transaction for each ten.
    fn write(&mut self, rows: i64) {
        for _ in 0..rows / 10 {
            let transaction = self.db.transaction().unwrap();
            for _ in 0..10 {
                self.rows += 1;
                let sql = "INSERT INTO rows VALUES (?1, randomblob(8000))";
                transaction.execute(sql, params![self.rows]).unwrap();
            }
            transaction.commit().unwrap();
        }
    }

    /// Waits until a replica's database has every row, and compares all of them.
    fn assert_follows(&self, name: &str) {
        let path = self.copy(name);
        until("the replica's database to have every row", Instant::now() + PATIENCE, || {
            (count(&path) == Some(self.rows)).then_some(())
        });
        let sums = "SELECT count(*), sum(id), sum(length(body)), group_concat(hex(substr(body, 1, 4))) FROM rows";
        let all = |db: &Connection| {
            db.query_row(sums, [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
            })
            .unwrap()
        };
        let there = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        assert_eq!(all(&there), all(&self.db));
        let sound: String = there.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }

    /// Waits until the primary's log has lost its beginning.
    fn trim(&self) {
        until("the log to be trimmed", Instant::now() + PATIENCE, || {
            let status = longshore([
                "status",
                "--server",
                &format!("primary@{}", self.address),
                "--json",
                "--tls-dir",
                self.site.tls(),
                "--identity",
                "primary",
            ]);
            let status: serde_json::Value = serde_json::from_str(&must(status, b"")).unwrap();
            let log = status["logs"].as_array().unwrap().iter().find(|log| log["name"] == "app").unwrap().clone();
            (1 << 20 <= log["first"].as_u64().unwrap()).then_some(())
        });
    }
}

fn agent(site: &Site, identity: &str, command: &[&str]) -> std::process::Command {
    longshore([command, &["--http", ZERO, "--tls-dir", site.tls(), "--identity", identity]].concat())
}

fn count(path: impl AsRef<Path>) -> Option<i64> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).ok()
}

#[test]
fn a_new_replica_begins_from_a_snapshot_when_the_log_has_lost_its_beginning() {
    let mut stage = Stage::start();
    stage.write(1000);
    stage.trim();
    let proxy = Proxy::start(stage.address);
    let mut replica = stage.replica("eu-west", proxy.address());
    replica.line_with("fetching a snapshot");
    stage.write(500);
    stage.assert_follows("eu-west");
    stage.write(500);
    stage.assert_follows("eu-west");
    assert!(!Path::new(&stage.site.at("eu-west/app.seed")).exists(), "the file goes once it was used");
    assert!(replica.terminate().success());
    assert!(stage.primary.terminate().success());
}

#[test]
fn a_snapshot_arrives_over_a_link_that_breaks_all_the_time() {
    let mut stage = Stage::start();
    stage.write(1000);
    stage.trim();
    let proxy = Proxy::start(stage.address);
    // Less than half of the database at a time: fetched from its beginning each time it would never arrive.
    proxy.cut_after(3 << 20);
    let mut replica = stage.replica("eu-west", proxy.address());
    let mut cuts = 0;
    let deadline = Instant::now() + PATIENCE;
    while count(stage.copy("eu-west")) != Some(stage.rows) {
        assert!(Instant::now() < deadline, "it never arrives, after {cuts} cuts");
        std::thread::sleep(Duration::from_millis(50));
        if proxy.cuts() != cuts {
            cuts = proxy.cuts();
            proxy.cut_after(3 << 20);
        }
    }
    assert!(1 < cuts, "the link did break");
    replica.line_with("fetching a snapshot");
    stage.write(100);
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());
    assert!(stage.primary.terminate().success());
}

#[test]
fn a_replica_that_was_away_for_too_long_is_seeded_by_itself_and_its_readers_never_go_back() {
    let mut stage = Stage::start();
    stage.write(100);
    let replica = stage.replica("eu-west", stage.address);
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());
    let (reader, before) = (Connection::open(stage.copy("eu-west")).unwrap(), stage.rows);
    let rows = || reader.query_row("SELECT count(*) FROM rows", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(rows(), before);

    stage.write(1500);
    stage.trim();
    let mut replica = stage.replica("eu-west", stage.address);
    replica.line_with("begins anew");
    until("the reader to see the rest", Instant::now() + PATIENCE, || {
        let seen = rows();
        assert!(seen == before || stage.rows <= seen, "whole transactions only: {seen}");
        (seen == stage.rows).then_some(())
    });
    stage.write(100);
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());
    assert!(stage.primary.terminate().success());
}

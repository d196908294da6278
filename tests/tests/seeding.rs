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
        Stage::keeping(&LITTLE)
    }

    fn keeping(retention: &[&str]) -> Stage {
        let place = tempfile::tempdir().unwrap();
        let site = Site::new(place.path());
        let db = Connection::open(site.at("app.db")).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
        let (primary, address) = capture(&site, "captured", "app.db", retention);
        Stage { site, primary, address, db, rows: 0, _place: place }
    }

    /// One that keeps its log, with a replica that has applied what the primary no longer knows: `edit` was made after the
    /// moment at which database and log of the primary now begin again.
    fn forked(edit: &str) -> Stage {
        let mut stage = Stage::keeping(&[]);
        stage.write(2000);
        let replica = stage.replica("eu-west", stage.address);
        stage.assert_follows("eu-west");
        let at = |name: &str| stage.site.at(name);
        // Everything is in the file, and nobody writes while it is copied.
        stage.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        for (from, to) in [("captured", "old"), ("app.db", "old.db"), ("app.db-wal", "old.db-wal")] {
            let copied = std::process::Command::new("cp").args(["-r", &at(from), &at(to)]).status().unwrap();
            assert!(copied.success(), "{from}");
        }
        stage.db.execute_batch(edit).unwrap();
        stage.assert_equal("eu-west");
        assert!(replica.terminate().success());
        let Stage { site, primary, db, rows, _place, .. } = stage;
        assert!(primary.terminate().success());
        drop(db);
        let db = Connection::open(site.at("old.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        let (primary, address) = capture(&site, "old", "old.db", &[]);
        let mut stage = Stage { site, primary, address, db, rows, _place };
        stage.write(10);
        stage
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

    /// Waits until a replica's database is the application's, row for row.
    fn assert_equal(&self, name: &str) {
        let path = self.copy(name);
        let digest = |db: &Connection| {
            let rows = "SELECT group_concat(id || hex(body)) FROM (SELECT * FROM rows ORDER BY id)";
            db.query_row(rows, [], |row| row.get::<_, String>(0)).ok()
        };
        until("the replica's database to be the application's", Instant::now() + PATIENCE, || {
            let there = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
            (digest(&there)? == digest(&self.db)?).then_some(())
        });
    }

    fn size(&self) -> u64 {
        let pragma = |name| self.db.pragma_query_value(None, name, |row| row.get::<_, u32>(0).map(u64::from)).unwrap();
        pragma("page_count") * pragma("page_size")
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

/// What keeps little of a log.
const LITTLE: [&str; 4] = ["--retention-slot-cap", "2MiB", "--retention-keep-size", "1MiB"];

/// An agent that captures a database.
fn capture(site: &Site, data: &str, database: &str, retention: &[&str]) -> (Running, std::net::SocketAddr) {
    let (data, database) = (site.at(data), site.at(database));
    let flags = ["primary", "--data-dir", &data, "--sqlite", &database, "--log", "app", "--init", "--listen", ZERO];
    let rest = ["--log-segment-size", "1MiB", "--retention-interval", "100ms", "--network-frame", "256KiB"];
    let mut primary = Running::start(agent(site, "primary", &[&flags[..], retention, &rest].concat()));
    let address = primary.listening();
    (primary, address)
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
    replica.line_with("fetching a snapshot, but for what is held here");
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

/// F-095: failback without a full copy.
#[test]
fn f_095_a_database_that_has_applied_past_a_fork_is_sent_what_differs_alone() {
    let stage = Stage::forked(
        "UPDATE rows SET body = randomblob(8000) WHERE id IN (300, 1200);
         INSERT INTO rows SELECT id + 5000, body FROM rows WHERE id < 4",
    );
    let proxy = Proxy::start(stage.address);
    let mut replica = stage.replica("eu-west", proxy.address());
    replica.line_with("fetching a snapshot, but for what is held here");
    replica.line_with("fetched a snapshot");
    stage.assert_equal("eu-west");
    let (sent, size) = (proxy.sent_down(), stage.size());
    println!("{sent} bytes were sent for a database of {size}");
    assert!(15 << 20 < size && sent < size / 10, "{sent} bytes were sent for a database of {size}");
    let metrics = ["longshore_seed_fetched_bytes_total", "longshore_seed_held_bytes_total"];
    let [fetched, held] = metrics
        .map(|name| until(name, Instant::now() + PATIENCE, || replica.metric(name).filter(|bytes| 0.0 < *bytes)));
    assert!(fetched < sent as f64 && 10.0 * fetched < held && size as f64 * 0.9 < held, "{fetched} and {held}");
    let data = stage.site.at("eu-west");
    for left in ["app.seed", "app.seed-part"] {
        assert!(!Path::new(&data).join(left).exists(), "{left} goes once it was used");
    }
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());
    assert!(stage.primary.terminate().success());
}

#[test]
fn what_differs_arrives_over_a_link_that_breaks_all_the_time() {
    let stage = Stage::forked("UPDATE rows SET body = randomblob(8000) WHERE id BETWEEN 500 AND 1000");
    let proxy = Proxy::start(stage.address);
    // Much less than what differs: fetched from its beginning each time it would never arrive.
    const PIECE: u64 = 700 << 10;
    proxy.cut_after(PIECE);
    let mut replica = stage.replica("eu-west", proxy.address());
    let mut cuts = 0;
    until("the difference to arrive", Instant::now() + PATIENCE, || {
        if proxy.cuts() != cuts {
            cuts = proxy.cuts();
            proxy.cut_after(PIECE);
        }
        // To look at the database would be to wait: nobody reads it now.
        replica.said().contains("fetched a snapshot").then_some(())
    });
    assert!(3 < cuts, "the link did break: {cuts} times");
    proxy.cut_after(u64::MAX);
    stage.assert_equal("eu-west");
    let (sent, size) = (proxy.sent_down(), stage.size());
    println!("{cuts} cuts, {sent} bytes were sent for a database of {size}");
    assert!(sent < size * 3 / 4, "{sent} bytes were sent for a database of {size}, after {cuts} cuts");
    replica.line_with("fetched a snapshot");
    let begun = replica.said().matches("fetching a snapshot").count();
    assert_eq!(begun, 1, "it went on: {}", replica.said());
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());
    assert!(stage.primary.terminate().success());
}

/// The upstream has another snapshot when the link is back: what was fetched of the first one still counts.
#[test]
fn what_differs_is_compared_anew_when_the_snapshot_is_replaced_meanwhile() {
    let mut stage = Stage::forked("UPDATE rows SET body = randomblob(8000) WHERE id BETWEEN 500 AND 1000");
    let proxy = Proxy::start(stage.address);
    proxy.cut_after(2 << 20);
    // The two that it makes now, one of which is cut, and nothing comes through those that it makes then.
    proxy.stall_from(3);
    let mut replica = stage.replica("eu-west", proxy.address());
    replica.line_with("fetching a snapshot, but for what is held here");
    until("the link to be cut", Instant::now() + PATIENCE, || (proxy.cuts() == 1).then_some(()));
    assert!(!replica.said().contains("fetched a snapshot"), "{}", replica.said());
    std::fs::remove_file(stage.site.at("old/app.snapshot")).unwrap();
    stage.write(20);
    proxy.stall_from(u64::MAX);
    replica.line_with("fetched a snapshot");
    let begun = replica.said().matches("fetching a snapshot, but for what is held here").count();
    assert_eq!(begun, 2, "{}", replica.said());
    stage.assert_equal("eu-west");
    let (sent, size) = (proxy.sent_down(), stage.size());
    println!("{sent} bytes were sent for a database of {size}");
    // About 4 MiB differ; half of them were there already.
    assert!(sent < 6 << 20, "{sent} bytes were sent for a database of {size}");
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());
    assert!(stage.primary.terminate().success());
}

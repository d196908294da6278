//! An application, its captured database and the archive.

use std::time::{Duration, Instant};

use longshore_testkit::process::{PATIENCE, Running, longshore, must, until};
use longshore_testkit::site::{Site, ZERO};
use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value;

/// An application's database that is captured and archived, with a snapshot for about each megabyte of log.
pub(crate) struct Stage {
    pub(crate) site: Site,
    pub(crate) primary: Option<Running>,
    pub(crate) server: String,
    pub(crate) db: Connection,
    pub(crate) rows: i64,
    _place: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn start(flags: &[&str]) -> Stage {
        let place = tempfile::tempdir().unwrap();
        let site = Site::new(place.path());
        std::fs::create_dir(site.at("store")).unwrap();
        let db = Connection::open(site.at("app.db")).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        // Few pages that change often: a log much longer than the database.
        db.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, number INTEGER, body BLOB)").unwrap();
        let (data, app, store) = (site.at("captured"), site.at("app.db"), format!("file://{}", site.at("store")));
        let common = ["primary", "--data-dir", &data, "--sqlite", &app, "--log", "app", "--init"];
        let small = ["--log-segment-size", "1MiB", "--archive", &store, "--archive-every", "20ms"];
        let mut primary = Running::start(agent(&site, "primary", &[&common[..], &small, flags].concat()));
        let server = format!("primary@{}", primary.listening());
        Stage { site, primary: Some(primary), server, db, rows: 0, _place: place }
    }

    pub(crate) fn end_primary(&mut self) {
        assert!(self.primary.take().unwrap().terminate().success());
    }

    /// What the primary answers.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let common = ["--server", &self.server, "--tls-dir", self.site.tls(), "--identity", "primary"];
        must(longshore([command, &common].concat()), b"")
    }

    pub(crate) fn store(&self) -> String {
        format!("file://{}", self.site.at("store"))
    }

    /// So many transactions, each of which changes one of fifty rows.
    pub(crate) fn write(&mut self, transactions: i64) {
        for _ in 0..transactions {
            self.rows += 1;
            let sql = "INSERT OR REPLACE INTO rows VALUES (?1, ?2, randomblob(4000))";
            self.db.execute(sql, params![self.rows % 50, self.rows]).unwrap();
        }
    }

    /// What an archive holds of the log.
    pub(crate) fn listed(&self) -> Option<Value> {
        let listed = longshore(["archive", "ls", "--from", &self.store(), "--json"]).output().unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).ok()?;
        Some(listed["logs"][0].clone())
    }

    /// Writes until the archive no longer holds the beginning of the log.
    pub(crate) fn write_until_forgotten(&mut self) {
        until("the archive to begin with a snapshot", Instant::now() + PATIENCE, || {
            self.write(50);
            let listed = self.listed()?;
            (listed["first"].as_u64()? > 1 << 20 && !listed["snapshots"].as_array()?.is_empty()).then_some(())
        });
    }

    pub(crate) fn replica(&self, name: &str, flags: &[&str]) -> Running {
        let (data, apply) = (self.site.at(name), format!("app=sqlite:{}", self.copy(name)));
        let store = self.store();
        let common = ["replica", "--data-dir", &data, "--apply", &apply, "--listen", ZERO];
        let rest = ["--archive", &store, "--archive-every", "50ms"];
        Running::start(agent(&self.site, name, &[&common[..], &rest, flags].concat()))
    }

    pub(crate) fn copy(&self, name: &str) -> String {
        self.site.at(&format!("{name}.db"))
    }

    pub(crate) fn assert_follows(&self, name: &str) {
        let path = self.copy(name);
        until("the replica's database to be as far", Instant::now() + PATIENCE, || {
            (newest(&path) == Some(self.rows)).then_some(())
        });
        self.assert_equal(&path);
    }

    pub(crate) fn assert_equal(&self, path: &str) {
        let there = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        assert_eq!(all(&there), all(&self.db));
        let sound: String = there.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }
}

pub(crate) fn agent(site: &Site, identity: &str, command: &[&str]) -> std::process::Command {
    let common = ["--http", ZERO, "--tls-dir", site.tls(), "--identity", identity];
    let listen: &[&str] = if command.contains(&"--listen") { &[] } else { &["--listen", ZERO] };
    longshore([command, listen, &common].concat())
}

pub(crate) fn newest(path: &str) -> Option<i64> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.query_row("SELECT max(number) FROM rows", [], |row| row.get(0)).ok()
}

pub(crate) fn all(db: &Connection) -> Vec<(i64, i64, String)> {
    let mut rows = db.prepare("SELECT id, number, hex(body) FROM rows ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

//! A SQLite application whose region is gone: its database comes back from object stores, at any point, whoever was killed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_testkit::process::{PATIENCE, Running, longshore, must, until};
use longshore_testkit::seeds;
use longshore_testkit::sim_rng::Rng;
use longshore_testkit::site::{Site, ZERO};
use rusqlite::{Connection, OpenFlags, params};

/// What the database holds: each row's key, and how often it was written.
type Rows = Vec<(i64, i64)>;

struct Stage {
    site: Site,
    place: tempfile::TempDir,
    db: Connection,
}

impl Stage {
    /// An application's database without rows, and two empty stores `a` and `b`.
    fn new() -> Stage {
        let place = tempfile::tempdir().unwrap();
        let site = Site::new(place.path());
        for store in ["a", "b"] {
            std::fs::create_dir(place.path().join(store)).unwrap();
        }
        let db = connect(&site.at("app.db"));
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, writes INTEGER, body BLOB)").unwrap();
        Stage { site, place, db }
    }

    fn store(&self, name: &str) -> String {
        format!("file://{}", self.site.at(name))
    }

    fn agent(&self, identity: &str, args: &[&str]) -> (Running, String) {
        let common = ["--listen", ZERO, "--http", ZERO, "--tls-dir", self.site.tls(), "--identity", identity];
        let mut agent = Running::start(longshore([args, &common[..]].concat()));
        let server = format!("{identity}@{}", agent.listening());
        (agent, server)
    }

    fn primary(&self, stores: &[&str]) -> (Running, String) {
        let (data, app) = (self.site.at("captured"), self.site.at("app.db"));
        let stores: Vec<String> = stores.iter().map(|store| self.store(store)).collect();
        let archives: Vec<&str> = stores.iter().flat_map(|store| ["--archive", store]).collect();
        let flags = ["primary", "--data-dir", &data, "--sqlite", &app, "--log", "app", "--init"];
        let rest = ["--log-segment-size", "1MiB", "--archive-every", "20ms"];
        self.agent("primary", &[&flags[..], &rest, &archives].concat())
    }

    /// The command that restores `store` up to `to` as the database `name`.
    fn replay(&self, store: &str, to: &str, name: &str) -> std::process::Command {
        let (store, into) = (self.store(store), format!("sqlite:{}", self.site.at(name)));
        longshore(["replay", "--from", &store, "--log", "app", "--to", to, "--into", &into])
    }

    fn restored(&self, store: &str, to: &str, name: &str) -> Rows {
        must(self.replay(store, to, name), b"");
        assert!(!self.exists(&format!("{name}.log")), "the scratch is gone");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        rows(&Connection::open_with_flags(self.site.at(name), flags).unwrap())
    }

    fn exists(&self, name: &str) -> bool {
        self.place.path().join(name).exists()
    }

    fn verify(&self, store: &str) {
        must(longshore(["archive", "verify", "--from", &self.store(store), "--log", "app"]), b"");
    }

    fn mark(&self, server: &str, name: &str) {
        let identity = ["--tls-dir", self.site.tls(), "--identity", "primary"];
        must(longshore([&["mark", name, "--server", server, "--log", "app"], &identity[..]].concat()), b"");
    }

    /// The end of the log and the time of its last record.
    fn status(&self, server: &str) -> (u64, String) {
        let status: serde_json::Value = serde_json::from_str(&must(self.site.status_json(server), b"")).unwrap();
        let log = status["logs"].as_array().unwrap().iter().find(|log| log["name"] == "app").unwrap();
        (log["end"].as_u64().unwrap(), log["last_time"].as_str().unwrap().to_owned())
    }
}

fn connect(path: &str) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db
}

/// One transaction: a new row, and one of the older ones written again.
fn commit(db: &Connection, random: &mut Rng, id: i64) {
    let again = random.below(id as u64) as i64;
    let transaction = db.unchecked_transaction().unwrap();
    transaction.execute("INSERT INTO rows VALUES (?1, 1, randomblob(5000))", params![id]).unwrap();
    transaction.execute("UPDATE rows SET writes = writes + 1 WHERE id = ?1", params![again]).unwrap();
    transaction.commit().unwrap();
}

fn rows(db: &Connection) -> Rows {
    let mut select = db.prepare("SELECT id, writes FROM rows ORDER BY id").unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_database_comes_back_from_each_of_two_stores_when_its_region_is_gone() {
    let stage = Stage::new();
    let (primary, _) = stage.primary(&["a", "b"]);
    let mut random = Rng::new(1);
    (1..=300).for_each(|id| commit(&stage.db, &mut random, id));
    assert!(primary.terminate().success());
    std::fs::remove_dir_all(stage.site.at("captured")).unwrap();
    for store in ["a", "b"] {
        stage.verify(store);
        assert_eq!(stage.restored(store, "latest", &format!("{store}.db")), rows(&stage.db));
    }
}

/// `LONGSHORE_TARGETS` says how many; 1,000 before a release.
#[test]
fn any_position_time_or_mark_restores_the_database_as_it_was_then() {
    let targets = seeds::number("LONGSHORE_TARGETS").unwrap_or(30);
    let mut random = Rng::new(seeds::seed("-p longshore-testkit --test recovery"));
    let stage = Stage::new();
    let (primary, server) = stage.primary(&["a"]);
    let mut points = Vec::new();
    let mut captured = stage.status(&server).0;
    for id in 1..=25 {
        commit(&stage.db, &mut random, id);
        let (end, time) = until("the commit to be captured", Instant::now() + PATIENCE, || {
            Some(stage.status(&server)).filter(|(end, _)| captured < *end)
        });
        stage.mark(&server, &format!("after-{id}"));
        captured = stage.status(&server).0;
        points.push(([format!("lsn:{end}"), format!("time:{time}"), format!("mark:after-{id}")], rows(&stage.db)));
    }
    assert!(primary.terminate().success());
    for target in 0..targets {
        let (names, then) = &points[random.below(points.len() as u64) as usize];
        let to = &names[random.below(3) as usize];
        assert_eq!(&stage.restored("a", to, &format!("{target}.db")), then, "{to}");
    }
}

/// `LONGSHORE_KILLS` says how often.
#[test]
fn a_database_whose_restore_is_killed_again_and_again_is_the_same_to_the_byte() {
    let kills = seeds::number("LONGSHORE_KILLS").unwrap_or(50);
    let mut random = Rng::new(seeds::seed("-p longshore-testkit --test recovery"));
    let stage = Stage::new();
    let (primary, _) = stage.primary(&["a"]);
    (1..=600).for_each(|id| commit(&stage.db, &mut random, id));
    assert!(primary.terminate().success());
    let begun = Instant::now();
    stage.restored("a", "latest", "whole.db");
    let whole_takes = begun.elapsed().as_micros() as u64;
    let mut killed = 0;
    for _ in 0..kills {
        let mut restore = Running::start(stage.replay("a", "latest", "killed.db"));
        // A moment that the seed chose; nothing relies on what it falls upon.
        std::thread::sleep(Duration::from_micros(random.below(whole_takes)));
        restore.signal("KILL");
        killed += u64::from(!restore.exit().success());
        if stage.exists("killed.db") {
            assert_same_bytes(&stage);
            std::fs::remove_file(stage.site.at("killed.db")).unwrap();
        }
    }
    assert!(0 < killed, "it was killed");
    assert_eq!(stage.restored("a", "latest", "killed.db"), rows(&stage.db));
    assert_same_bytes(&stage);
}

fn assert_same_bytes(stage: &Stage) {
    let read = |name: &str| std::fs::read(Path::new(&stage.site.at(name))).unwrap();
    assert!(read("killed.db") == read("whole.db"), "the restore that was killed differs");
}

#[test]
fn a_database_written_while_its_primary_is_killed_comes_back_whole() {
    let mut random = Rng::new(seeds::seed("-p longshore-testkit --test recovery"));
    let stage = Stage::new();
    let (app, done, mut writes) = (stage.site.at("app.db"), AtomicBool::new(false), random.split());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let db = connect(&app);
            let (mut id, end) = (0, Instant::now() + PATIENCE);
            // Not for ever: a failure below never says that it is done.
            while !done.load(Ordering::Relaxed) && Instant::now() < end {
                id += 1;
                commit(&db, &mut writes, id);
                // The pace of an application; nothing relies on it.
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..5 {
            let (primary, _) = stage.primary(&["a", "b"]);
            // A moment that the seed chose; nothing relies on what it falls upon.
            std::thread::sleep(Duration::from_millis(random.below(500)));
            primary.kill();
        }
        done.store(true, Ordering::Relaxed);
    });
    let (primary, _) = stage.primary(&["a", "b"]);
    assert!(primary.terminate().success());
    for store in ["a", "b"] {
        stage.verify(store);
        assert_eq!(stage.restored(store, "latest", &format!("{store}.db")), rows(&stage.db));
    }
}

#[test]
fn a_database_comes_back_from_the_store_of_a_replica() {
    let stage = Stage::new();
    let (primary, server) = stage.primary(&["a"]);
    let (data, store) = (stage.site.at("eu-west"), stage.store("b"));
    let flags = ["replica", "--data-dir", &data, "--upstream", &server, "--replica-logs", "app"];
    let (replica, _) =
        stage.agent("eu-west", &[&flags[..], &["--archive", &store, "--archive-every", "20ms"]].concat());
    let mut random = Rng::new(1);
    (1..=300).for_each(|id| commit(&stage.db, &mut random, id));
    until("the replica to archive the log", Instant::now() + PATIENCE, || {
        let listed = longshore(["archive", "ls", "--from", &store, "--log", "app"]).output().unwrap();
        listed.status.success().then_some(())
    });
    // The primary goes first: before it ends, it ships what is durable.
    assert!(primary.terminate().success());
    assert!(replica.terminate().success());
    stage.verify("b");
    assert_eq!(stage.restored("b", "latest", "b.db"), rows(&stage.db));
}

//! `bench sqlite`: what an unmodified application on SQLite notices of an agent beside its database.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::agents::{Agent, Site};
use super::measure::{median, p99_micros, percentile};
use super::place::Place;
use super::report::Row;
use super::{Plan, raw_sqlite};
use crate::failure::Failure;

/// Orders of one run of the writer that count.
const ORDERS: u64 = 20_000;
/// One for each so many of them comes before, and counts by itself: with an agent or without, a `-wal` grows at first to the length
/// at which it is copied back, and while a file grows each of its syncs costs about twice. With one it grows longer.
const FIRST: u64 = 10;
/// The database that is restored.
const DATABASE: u64 = 256 << 20;
/// A day would be longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(300);
const LOG: &str = "app";
const FILE: &str = "bench/raw_sqlite.rs";

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let site = Site::new(&plan.dir)?;
    let orders = plan.amount(ORDERS, 1000);
    let first = (orders / FIRST) as usize;
    let orders = (orders + orders / FIRST) as i64;
    let [mut alone, mut attached, mut applied] = [Writing::default(), Writing::default(), Writing::default()];
    let (mut behind, mut caught_up, mut restored, mut copied) = (vec![], vec![], vec![], vec![]);
    let (mut holds, mut longest) = (vec![], vec![]);
    for _ in plan.runs("orders taken without longshore, beside a primary, and with a replica") {
        let place = Place::new(&plan.dir, "alone")?;
        alone.add(first, &write(&place.path().join("app.db"), orders)?);
        drop(place);

        let place = Place::new(&plan.dir, "attached")?;
        let (data, db) = (place.path().join("log"), place.path().join("app.db"));
        drop(raw_sqlite::open(&db)?);
        let primary = site.capturing(&data, &db, LOG)?;
        attached.add(first, &write(&db, orders)?);
        holds.push(longest_hold(&primary)?);
        caught_up.push(catch_up(&site, place.path(), &primary, orders)? / rate_of(&alone));
        primary.stop()?;
        drop(place);

        let place = Place::new(&plan.dir, "applied")?;
        let db = place.path().join("app.db");
        drop(raw_sqlite::open(&db)?);
        let primary = site.capturing(&place.path().join("log"), &db, LOG)?;
        let there = place.path().join("replica.db");
        let replica = site.applying(&place.path().join("replica"), primary.address(), LOG, &there)?;
        wait_for(&there, 0)?;
        applied.add(first, &write(&db, orders)?);
        wait_for(&there, orders)?;
        behind.push(lag(&db, &there, orders, rate_of(&alone) / 2.0)?);
        replica.stop()?;
        primary.stop()?;
        drop(place);

        let place = Place::new(&plan.dir, "unsynced")?;
        let db = place.path().join("app.db");
        let writer = raw_sqlite::open(&db)?;
        let primary = site.capturing(&place.path().join("log"), &db, LOG)?;
        longest.push(longest_wal(writer, &db, 4 * orders)?);
        holds.push(longest_hold(&primary)?);
        primary.stop()?;
        drop(place);

        let place = Place::new(&plan.dir, "restored")?;
        let (back, copy) = restore(plan, &site, place.path())?;
        restored.push(back);
        copied.push(copy);
    }
    let thousands = |writing: &Writing| rate_of(writing) / 1e3;
    let unit = "thousand orders/s";
    let beside =
        |name: &str, writing: &Writing| Row::new(name, unit, thousands(writing)).beside(thousands(&alone), FILE);
    Ok(vec![
        beside("one writer, a primary beside it, no replica", &attached).ratio_at_least(0.9),
        beside("one writer, and a replica that applies on this machine", &applied).ratio_at_least(0.75),
        Row::new("the first orders beside a primary that has just begun", unit, median(attached.first.clone()) / 1e3)
            .beside(median(alone.first.clone()) / 1e3, FILE),
        Row::new("p99 of a commit, a primary beside it", "µs", median(attached.p99.clone()))
            .beside(median(alone.p99.clone()), FILE)
            .ratio_at_most(1.25),
        Row::new("replica behind at half the writer's rate, p99", "ms", median(behind)).at_most(250.0),
        Row::new("catch-up of a new replica against the writer's own rate", "×", median(caught_up)).at_least(1.0),
        Row::new("longest time that a writer was held up by longshore", "ms", greatest(&holds)).at_most(50.0),
        Row::new("-wal of a writer that does not sync its commits, at most", "MiB", greatest(&longest)).at_most(64.0),
        Row::new("restore", "MiB/s", median(restored)).beside(median(copied), "cp and sync").ratio_at_least(0.6),
    ])
}

/// Runs of one kind.
#[derive(Default)]
struct Writing {
    first: Vec<f64>,
    rate: Vec<f64>,
    p99: Vec<f64>,
}

impl Writing {
    /// A run, of which the `first` count by themselves.
    fn add(&mut self, first: usize, times: &[Duration]) {
        let rate = |times: &[Duration]| times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
        let (first, times) = times.split_at(first);
        self.first.push(rate(first));
        self.rate.push(rate(times));
        self.p99.push(p99_micros(times));
    }
}

fn rate_of(writing: &Writing) -> f64 {
    median(writing.rate.clone())
}

/// Takes orders one after the other, as fast as they go.
fn write(db: &Path, orders: i64) -> Result<Vec<Duration>, Failure> {
    let mut db = raw_sqlite::open(db)?;
    let times = (1..=orders).map(|n| raw_sqlite::take_order(&mut db, n)).collect::<Result<_, _>>()?;
    Ok(times)
}

/// The milliseconds that the agent has held up a writer for at most.
fn longest_hold(primary: &Agent) -> Result<f64, Failure> {
    // It is told twice a second.
    std::thread::sleep(Duration::from_secs(1));
    let hold = primary.metric("longshore_capture_longest_hold_seconds")?;
    hold.map(|hold| hold * 1e3).ok_or_else(|| Failure::internal("the primary does not tell its longest hold"))
}

/// How long the `-wal` of a fast writer becomes: the greatest length that was seen, in MiB.
fn longest_wal(mut writer: Connection, db: &Path, orders: i64) -> Result<f64, Failure> {
    writer.pragma_update(None, "synchronous", "normal")?;
    let wal = PathBuf::from(format!("{}-wal", db.display()));
    let mut longest = 0;
    for n in 1..=orders {
        raw_sqlite::take_order(&mut writer, n)?;
        if n % 64 == 0 {
            longest = longest.max(std::fs::metadata(&wal).map_or(0, |wal| wal.len()));
        }
    }
    Ok(longest as f64 / f64::from(1 << 20))
}

fn greatest(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

/// Orders a second of a replica that begins when everything was written.
fn catch_up(site: &Site, place: &Path, primary: &Agent, orders: i64) -> Result<f64, Failure> {
    let there = place.join("late.db");
    let begun = Instant::now();
    let late = site.applying(&place.join("late"), primary.address(), LOG, &there)?;
    wait_for(&there, orders)?;
    let rate = orders as f64 / begun.elapsed().as_secs_f64();
    late.stop()?;
    site.forget(primary, LOG, "replica")?;
    Ok(rate)
}

/// How far a replica is behind at so many orders a second: the 99th percentile in milliseconds.
fn lag(db: &Path, there: &Path, from: i64, rate: f64) -> Result<f64, Failure> {
    let count = (rate * 3.0) as usize;
    let (told, heard) = std::sync::mpsc::channel::<(i64, Instant)>();
    let path = there.to_owned();
    let looking = std::thread::spawn(move || look(&path, &heard));
    let mut db = raw_sqlite::open(db)?;
    let begun = Instant::now();
    for n in 0..count {
        let due = begun + Duration::from_secs_f64(n as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let order = from + 1 + n as i64;
        raw_sqlite::take_order(&mut db, order)?;
        // The other end hangs up when it fails, and says why when it is joined.
        let _ = told.send((order, Instant::now()));
    }
    drop(told);
    let mut lags = looking.join().map_err(|_| Failure::internal("the thread that looks at the replica panicked"))??;
    Ok(percentile(&mut lags, 99.0))
}

/// The milliseconds from each commit until the replica's readers saw it.
fn look(path: &Path, committed: &std::sync::mpsc::Receiver<(i64, Instant)>) -> Result<Vec<f64>, Failure> {
    let db = reader(path)?;
    let mut statement = db.prepare("SELECT n FROM tick")?;
    let (mut lags, begun) = (Vec::new(), Instant::now());
    while let Ok((order, at)) = committed.recv() {
        while statement.query_row([], |row| row.get::<_, i64>(0))? < order {
            if PATIENCE < begun.elapsed() {
                return Err(Failure::internal("the replica does not follow"));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        lags.push(at.elapsed().as_secs_f64() * 1e3);
    }
    Ok(lags)
}

/// MiB a second of a replay into a new database, and of copying and syncing that database.
fn restore(plan: &Plan, site: &Site, place: &Path) -> Result<(f64, f64), Failure> {
    let (data, db, into) = (place.join("log"), place.join("app.db"), place.join("restored.db"));
    fill(&db, plan.amount(DATABASE, 8 << 20))?;
    site.capturing(&data, &db, LOG)?.stop()?;
    let copy = place.join("copy.db");
    let failed = |error| Failure::file("database", &db, &error);
    let begun = Instant::now();
    std::fs::copy(&db, &copy).and_then(|_| std::fs::File::open(&copy)?.sync_all()).map_err(failed)?;
    let copying = begun.elapsed();
    let begun = Instant::now();
    let output = longshore::Output::file(longshore_sqlite::SqliteOutput, &into);
    longshore::Replay::open(&data, LOG)?.run(&output, |_| std::ops::ControlFlow::Continue(()))?;
    let restoring = begun.elapsed();
    let mib = std::fs::metadata(&into).map_err(failed)?.len() as f64 / f64::from(1 << 20);
    Ok((mib / restoring.as_secs_f64(), mib / copying.as_secs_f64()))
}

/// Makes a database of about so many bytes.
pub(super) fn fill(db: &Path, bytes: u64) -> Result<(), Failure> {
    let mut db = raw_sqlite::open(db)?;
    db.execute_batch("CREATE TABLE filler (id INTEGER PRIMARY KEY, body BLOB)")?;
    let filling = db.transaction()?;
    for _ in 0..bytes / 1000 {
        filling.prepare_cached("INSERT INTO filler (body) VALUES (randomblob(1000))")?.execute([])?;
    }
    filling.commit()?;
    Ok(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// Waits until a replica's database holds so many orders.
fn wait_for(path: &Path, orders: i64) -> Result<(), Failure> {
    let begun = Instant::now();
    let count = || reader(path)?.query_row("SELECT n FROM tick", [], |row| row.get::<_, i64>(0));
    while !count().is_ok_and(|count| orders <= count) {
        if PATIENCE < begun.elapsed() {
            return Err(Failure::internal("the replica does not catch up"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(PathBuf::from(path), OpenFlags::SQLITE_OPEN_READ_ONLY)
}

impl Site {
    /// A primary beside a database.
    fn capturing(&self, data: &Path, db: &Path, log: &str) -> Result<Agent, Failure> {
        let args = ["primary".as_ref(), "--data-dir".as_ref(), data.as_os_str(), "--sqlite".as_ref(), db.as_os_str()];
        self.agent("primary", &[&args[..], &["--log".as_ref(), log.as_ref(), "--init".as_ref()]].concat())
    }

    /// A replica that begins anew and applies to a database.
    fn applying(&self, data: &Path, upstream: SocketAddr, log: &str, db: &Path) -> Result<Agent, Failure> {
        let (upstream, apply) = (upstream.to_string(), format!("{log}=sqlite:{}", db.display()));
        let args =
            ["replica".as_ref(), "--data-dir".as_ref(), data.as_os_str(), "--upstream".as_ref(), upstream.as_ref()];
        self.agent("replica", &[&args[..], &["--reseed".as_ref(), "--apply".as_ref(), apply.as_ref()]].concat())
    }
}

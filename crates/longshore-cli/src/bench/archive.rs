//! `bench archive`: a log into a directory store and back out of it, and out of one that is far away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::archive::{self, Archive, ArchiveSettings, Archiver, Begin, Store, Until};
use longshore_format::{Lsn, Name};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{Settings, Wal};
use object_store::local::LocalFileSystem;
use tokio::runtime::Runtime;

use super::agents::Site;
use super::measure::{anonymous_memory, median};
use super::place::Place;
use super::report::Row;
use super::slow_store::SlowStore;
use super::{Plan, many_segments, raw_copy, raw_hash, sqlite};
use crate::failure::Failure;
use crate::process::Process;
use crate::runtime;

/// The database whose log is archived.
const AMOUNT: u64 = 2 << 30;
/// The archive that is only opened.
const MANY: u64 = 100_000;
/// The link to the store that is far away.
const LATENCY: Duration = Duration::from_millis(50);
const LINK: f64 = 100e6;
/// A day would be longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(300);
const LOG: &str = "app";

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let bench = Bench::new(plan)?;
    let mut rows = bench.rates(plan)?;
    plan.progress.say("memory of a restore, a verification and an agent that archives");
    rows.extend(bench.memory()?);
    rows.push(bench.open_many(plan)?);
    Ok(rows)
}

struct Bench {
    site: Site,
    name: Name,
    runtime: Runtime,
    dir: PathBuf,
    /// The data directory whose log is archived.
    data: PathBuf,
}

/// The rates of each run, in MB/s.
#[derive(Default)]
struct Rates {
    archived: Vec<f64>,
    copied: Vec<f64>,
    verified: Vec<f64>,
    hashed: Vec<f64>,
    fetched: Vec<f64>,
    restored: Vec<f64>,
    from_afar: Vec<f64>,
}

impl Bench {
    /// Captures a database that holds what does not compress.
    fn new(plan: &Plan) -> Result<Self, Failure> {
        plan.progress.say("making a database, and its log");
        let (site, amount) = (Site::new(&plan.dir)?, plan.amount(AMOUNT, 8 << 20));
        let (data, db) = (site.path("log"), site.path("app.db"));
        sqlite::fill(&db, amount)?;
        // Of a small log, too, most is to be sealed.
        let segment = if amount < AMOUNT / 8 { "1MiB" } else { "64MiB" };
        let args = ["primary".as_ref(), "--data-dir".as_ref(), data.as_os_str(), "--sqlite".as_ref(), db.as_os_str()];
        let more = ["--log", LOG, "--init", "--log-segment-size", segment].map(AsRef::as_ref);
        site.agent("primary", &[&args[..], &more].concat())?.stop()?;
        std::fs::remove_file(&db).map_err(|error| Failure::file("database", &db, &error))?;
        let name = LOG.parse().expect("it is a name");
        Ok(Self { site, name, runtime: runtime::for_agents()?, dir: plan.dir.clone(), data })
    }

    fn rates(&self, plan: &Plan) -> Result<Vec<Row>, Failure> {
        let wal = open_log(&self.data.join(LOG))?;
        let threads = wal.start();
        let mut rates = Rates::default();
        for _ in plan.runs("archived, copied, verified, fetched, restored, and fetched from afar") {
            let place = Place::new(&self.dir, "store")?;
            rates.archived.push(self.archive(&wal, place.path())?);
            let failed = |error| Failure::file("directory", place.path(), &error);
            rates.copied.push(rate(raw_copy::copy_and_sync(place.path(), &self.dir.join("copy")).map_err(failed)?));
            let files = raw_copy::files(place.path()).map_err(failed)?;
            rates.hashed.push(rate(raw_hash::read_and_hash(&files).map_err(failed)?));
            let near = self.open(&Store::open(&address(place.path())?)?)?;
            rates.verified.push(self.verify(&near)?);
            rates.fetched.push(self.fetch(&near)?);
            rates.restored.push(self.restore(&near)?);
            let files = LocalFileSystem::new_with_prefix(place.path());
            let files = files.map_err(|error| Failure::internal(error.to_string()))?;
            let far = Store::of(Arc::new(SlowStore::new(files, LATENCY, LINK)), "far away");
            rates.from_afar.push(self.fetch(&self.open(&far)?)?);
        }
        threads.stop();
        wal.close()?;
        let (copied, file) = (median(rates.copied), "bench/raw_copy.rs");
        let row = |name: &str, rates: Vec<f64>| Row::new(name, "MB/s", median(rates));
        Ok(vec![
            row("archived into a directory, not compressed", rates.archived).beside(copied, file).at_least(200.0),
            row("fetched into a durable log", rates.fetched).beside(copied, file).ratio_at_least(0.8),
            row("fetched, and applied to SQLite", rates.restored).beside(copied, file).ratio_at_least(0.4),
            row("verified, warm", rates.verified).beside(median(rates.hashed), "bench/raw_hash.rs").at_least(1000.0),
            row("fetched over 50 ms and 100 MB/s", rates.from_afar).beside(LINK / 1e6, "the link").ratio_at_least(0.9),
        ])
    }

    /// Memory that is no mapped file's, at most.
    fn memory(&self) -> Result<Vec<Row>, Failure> {
        let row = |name: &str, bytes: u64| Row::new(name, "MiB", bytes as f64 / f64::from(1 << 20)).at_most(256.0);
        let place = Place::new(&self.dir, "store")?;
        let url = address(place.path())?;
        let archiving = self.archiving_agent(&Store::open(&url)?, &url)?;
        let from = ["--from", &url, "--log", LOG];
        let into = format!("sqlite:{}", self.site.path("restored.db").display());
        let restore = self.peak(&[&["replay"][..], &from, &["--into", &into]].concat())?;
        let verify = self.peak(&[&["archive", "verify"][..], &from].concat())?;
        Ok(vec![
            row("memory of an agent that archives", archiving),
            row("memory of a restore", restore),
            row("memory of a verification", verify),
        ])
    }

    /// An archive that names 100,000 segments.
    fn open_many(&self, plan: &Plan) -> Result<Row, Failure> {
        let place = Place::new(&self.dir, "many")?;
        let wal = open_log(&self.data.join(LOG))?;
        self.archive(&wal, place.path())?;
        wal.close()?;
        many_segments::pretend(place.path(), LOG, MANY)?;
        let store = Store::open(&address(place.path())?)?;
        let mut times = Vec::new();
        for _ in plan.runs("open an archive of many segments") {
            let begun = Instant::now();
            let archive = self.open(&store)?;
            times.push(begun.elapsed().as_secs_f64());
            let segments = archive.plan(Until::End, Begin::First)?.segments();
            if segments != MANY {
                return Err(Failure::internal(format!("the archive has {segments} segments and not {MANY}")));
            }
        }
        Ok(Row::new(format!("open an archive of {MANY} segments"), "s", median(times)).at_most(2.0))
    }

    fn open(&self, store: &Store) -> Result<Archive, Failure> {
        Ok(self.runtime.block_on(Archive::open(std::slice::from_ref(store), &self.name, None))?)
    }

    /// A log that is there, as fast as it goes.
    fn archive(&self, wal: &Wal, into: &Path) -> Result<f64, Failure> {
        let store = Store::open(&address(into)?)?;
        let settings = ArchiveSettings { level: None, tail_every: Duration::ZERO, ..ArchiveSettings::default() };
        let begun = Instant::now();
        let end = self.runtime.block_on(async {
            let mut archiver = Archiver::open(store, self.name.clone(), wal.clone(), settings).await?;
            archiver.finish().await
        })?;
        Ok(rate((end.get() - wal.first().get(), begun.elapsed())))
    }

    fn verify(&self, archive: &Archive) -> Result<f64, Failure> {
        let begun = Instant::now();
        let verified = self.runtime.block_on(archive::verify(archive, |_| {}))?;
        match verified.findings.is_empty() {
            true => Ok(rate((verified.bytes, begun.elapsed()))),
            false => Err(Failure::internal(format!("the archive does not hold: {:?}", verified.findings))),
        }
    }

    fn fetch(&self, archive: &Archive) -> Result<f64, Failure> {
        let place = Place::new(&self.dir, "fetched")?;
        let plan = archive.plan(Until::End, Begin::First)?;
        let begun = Instant::now();
        self.runtime.block_on(archive.fetch(&plan, &place.path().join(LOG), |_| {}))?;
        Ok(rate((plan.bytes, begun.elapsed())))
    }

    fn restore(&self, archive: &Archive) -> Result<f64, Failure> {
        let place = Place::new(&self.dir, "restored")?;
        let (plan, scratch) = (archive.plan(Until::End, Begin::First)?, place.path().join("log"));
        let output = longshore::Output::file(longshore_sqlite::SqliteOutput, place.path().join("restored.db"));
        let begun = Instant::now();
        let replay = longshore::Replay::fetch(archive, &plan, &scratch, |_| {});
        self.runtime.block_on(replay)?.run(&output, |_| std::ops::ControlFlow::Continue(()))?;
        Ok(rate((plan.bytes, begun.elapsed())))
    }

    /// The most memory of an agent until all of its log is archived.
    fn archiving_agent(&self, store: &Store, url: &str) -> Result<u64, Failure> {
        let wanted = {
            let wal = open_log(&self.data.join(LOG))?;
            let end = wal.end();
            wal.close()?;
            end
        };
        let args = ["primary".as_ref(), "--data-dir".as_ref(), self.data.as_os_str()];
        let agent = self.site.agent("primary", &[&args[..], &["--archive".as_ref(), url.as_ref()]].concat())?;
        let (mut most, begun) = (0, Instant::now());
        while self.archived(store)? < wanted {
            if PATIENCE < begun.elapsed() {
                return Err(Failure::internal("the agent does not archive its log"));
            }
            most = most.max(agent.anonymous_memory());
            std::thread::sleep(LOOK);
        }
        agent.stop()?;
        Ok(most)
    }

    fn archived(&self, store: &Store) -> Result<Lsn, Failure> {
        match self.runtime.block_on(archive::list(store, None))?.into_iter().next() {
            Some((_, Ok(log))) => Ok(log.end),
            // Its first object comes before its manifest.
            None | Some((_, Err(archive::Error::NoManifest { .. }))) => Ok(Lsn::ZERO),
            Some((_, Err(error))) => Err(error.into()),
        }
    }

    /// The most memory of a command.
    fn peak(&self, args: &[&str]) -> Result<u64, Failure> {
        let mut process = Process::start("command", &self.dir, args)?;
        let mut most = 0;
        // One that has ended has none.
        while let Some(memory) = anonymous_memory(process.id()) {
            most = most.max(memory);
            std::thread::sleep(LOOK);
        }
        match process.end()? {
            status if status.success() => Ok(most),
            status => Err(Failure::internal(format!("{} ended with {status}", args[0]))),
        }
    }
}

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);

/// MB/s.
fn rate((bytes, time): (u64, Duration)) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e6
}

fn address(dir: &Path) -> Result<String, Failure> {
    let dir = std::path::absolute(dir).map_err(|error| Failure::file("directory", dir, &error))?;
    url::Url::from_directory_path(&dir)
        .map(String::from)
        .map_err(|()| Failure::internal(format!("{} is no address", dir.display())))
}

fn open_log(dir: &Path) -> Result<Wal, Failure> {
    let directory = FsDirectory::open(dir).map_err(|error| Failure::file("directory", dir, &error))?;
    Ok(Wal::open(Arc::new(directory), Arc::new(SystemEnvironment), Settings::default())?.0)
}

//! A log's database: captured while this node writes the log, applied to while it follows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use longshore::{BothWays, Captured, Name, Node, Snapshotter};
use longshore_format::ErrorKind;
use longshore_sqlite::{CaptureReport, CaptureSettings, CaptureStatus, Capturing, LogDatabase, SqliteSink};
use longshore_wal::Wal;
use metrics::{counter, gauge};

use crate::failure::Failure;
use crate::sinks;

/// A log's database, which changes its role with the log.
pub(crate) struct Database {
    database: Arc<LogDatabase>,
    /// Where what was captured is kept, beside the logs.
    data_dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The capture that runs, or ran last.
    capture: Option<Arc<Capture>>,
    /// It was begun before anybody asked for it.
    is_early: bool,
}

/// How long to try to attach where it is tried again.
const ATTACH_WITHIN: Duration = Duration::from_secs(5);
/// How long a promotion waits here for a transaction that is under way.
const HOLD: Duration = Duration::from_secs(2);
/// How often it is looked how a capture goes.
const LOOK: Duration = Duration::from_millis(500);

impl Database {
    /// The database at `path`, which a log makes.
    pub(crate) fn of_a_log(path: &Path, data_dir: &Path) -> Arc<Self> {
        Self::new(LogDatabase::new(path), data_dir)
    }

    /// An application's database, which goes into `log`. If this node writes that by now it is captured when this returns.
    pub(crate) fn of_an_application(
        path: &Path,
        node: &Node,
        log: &str,
        data_dir: &Path,
    ) -> Result<Arc<Self>, Failure> {
        let database = Self::new(LogDatabase::of_an_application(path), data_dir);
        match node.log(log) {
            Ok(primary) => {
                let first = database.capture(primary.name(), primary.wal(), None)?;
                let mut state = database.lock();
                (state.capture, state.is_early) = (Some(first), true);
            }
            // Another node was promoted: this one follows it, and so does the database.
            Err(error) if error.kind() == ErrorKind::Invalid => {}
            Err(error) => {
                return Err(Failure::from(error).next(format!(
                    "is the volume mounted? `--init` makes the log, and so does `longshore init --data-dir {} --log {log} \
                     --content sqlite-pages`",
                    data_dir.display()
                )));
            }
        }
        Ok(database)
    }

    fn new(database: LogDatabase, data_dir: &Path) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self { database: Arc::new(database), data_dir: data_dir.to_owned(), state })
    }

    /// Lets a node apply a log to it and capture it, by turns.
    pub(crate) fn keep(self: &Arc<Self>, node: &Node, log: Option<&str>) -> Result<(), Failure> {
        let (sink, kept, capture) = (Arc::clone(&self.database), Arc::clone(&self.database), Arc::clone(self));
        let both = BothWays {
            label: format!("sqlite:{}", self.database.path().display()),
            open: Arc::new(move || Ok(Box::new(SqliteSink::of(Arc::clone(&sink))))),
            offer: sinks::offer_of(self.database.path()),
            capture: Arc::new(move |log, wal| capture.next(log, wal)),
            kept: Arc::new(move || kept.kept().iter().map(|path| path.display().to_string()).collect()),
        };
        Ok(node.keep(log, both)?)
    }

    /// The next capture, for whoever asks for it.
    fn next(&self, log: &Name, wal: &Wal) -> Result<Arc<dyn Captured>, longshore::Error> {
        {
            let mut state = self.lock();
            if std::mem::take(&mut state.is_early)
                && let Some(first) = &state.capture
            {
                return Ok(Arc::clone(first) as _);
            }
        }
        let next = self.capture(log, wal, Some(ATTACH_WITHIN)).map_err(refused)?;
        self.lock().capture = Some(Arc::clone(&next));
        Ok(next)
    }

    fn capture(
        &self,
        log: &Name,
        wal: &Wal,
        within: Option<Duration>,
    ) -> Result<Arc<Capture>, longshore_sqlite::Error> {
        let mut settings = CaptureSettings::new(self.data_dir.join(format!("{log}.pages")));
        settings.database = Some(Arc::clone(&self.database));
        settings.attach_within = within.unwrap_or(settings.attach_within);
        let path = self.database.path();
        let has_left_some = Arc::new(AtomicBool::new(false));
        let report = report(log, path, Arc::clone(&has_left_some));
        let capturing = Capturing::start(path, wal.clone(), settings, report)?;
        let (snapshotter, capturing) = (capturing.snapshotter(), RwLock::new(Some(capturing)));
        let (log, path) = (log.to_string(), path.display().to_string());
        Ok(Arc::new(Capture { log, path, capturing, snapshotter, has_left_some, failed: Mutex::default() }))
    }

    /// The capture that runs, or ran last.
    fn running(&self) -> Option<Arc<Capture>> {
        self.lock().capture.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of a capture: in one log that is open for writing.
struct Capture {
    log: String,
    path: String,
    /// Until it is ended.
    capturing: RwLock<Option<Capturing>>,
    snapshotter: Arc<dyn Snapshotter>,
    /// When the log became another's, something was committed that is in no log.
    has_left_some: Arc<AtomicBool>,
    /// Why it ended by itself.
    failed: Mutex<Option<Failure>>,
}

impl Capture {
    fn look<T>(&self, look: impl FnOnce(&Capturing) -> T) -> Option<T> {
        self.capturing.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    fn status(&self) -> Option<CaptureStatus> {
        self.look(Capturing::status)
    }

    fn failure(&self) -> Option<Failure> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("log", &self.log).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Captured for Capture {
    fn hold(&self) {
        if self.look(|capturing| capturing.hold(HOLD)) == Some(false) {
            tracing::warn!(
                log = self.log,
                database = self.path,
                "a transaction is under way while the log becomes another's: it may be left in no log"
            );
        }
    }

    fn release(&self) {
        self.look(Capturing::release);
    }

    fn problem(&self) -> Option<String> {
        let Self { log, path, .. } = self;
        self.status().filter(|status| status.fenced)?;
        let left = match self.has_left_some.load(Ordering::Acquire) {
            false => "",
            true => "; it holds commits that are in no log, of which a copy is kept before they are replaced",
        };
        Some(format!(
            "another node is to write {log}: whoever writes {path} is told that it is busy{left}. It follows once that node is \
             reached, by --upstream"
        ))
    }

    fn snapshotter(&self) -> Arc<dyn Snapshotter> {
        Arc::clone(&self.snapshotter)
    }

    fn has_ended(&self) -> bool {
        self.look(Capturing::has_ended).unwrap_or(true)
    }

    fn end(&self) -> longshore::Result<()> {
        let capturing = self.capturing.write().unwrap_or_else(PoisonError::into_inner).take();
        let ended = capturing.map_or(Ok(()), Capturing::stop).map_err(refused);
        if let Err(error) = &ended {
            let failure = Failure::library(error.kind(), error);
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
        ended
    }
}

fn refused(error: longshore_sqlite::Error) -> longshore::Error {
    let failure = Failure::from(error);
    longshore::Error::Refused { kind: failure.kind(), reason: failure.to_string(), at: None }
}

/// Tells what a capture reports.
fn report(log: &Name, path: &Path, left_some: Arc<AtomicBool>) -> impl Fn(CaptureReport<'_>) + Send + 'static {
    let (log, database) = (log.to_string(), path.display().to_string());
    move |report| match report {
        CaptureReport::Attached(status) => {
            tracing::info!(log, database, position = %status.position, resyncs = status.resyncs, "capturing");
        }
        CaptureReport::Paused(error) => tracing::warn!(log, database, %error, "not capturing"),
        CaptureReport::Fenced(true) => {
            tracing::warn!(
                log,
                database,
                "another node is to write the log: nobody writes the database, all of it is in the log"
            );
        }
        CaptureReport::Fenced(false) => {
            left_some.store(true, Ordering::Release);
            tracing::error!(
                log,
                database,
                "another node is to write the log: nobody writes the database, which holds commits that are in no log; a copy is \
                 kept before they are replaced"
            );
        }
        CaptureReport::Stopped(error) => tracing::error!(log, database, %error, "the capture has ended"),
        _ => {}
    }
}

/// Records how captures go, and completes when one has ended by itself: an agent that captures nothing must not look as if it
/// did.
pub(crate) async fn failed(databases: &[Arc<Database>]) -> Failure {
    loop {
        look(databases);
        let mut running = databases.iter().filter_map(|database| database.running());
        if let Some(failure) = running.find_map(|capture| capture.failure()) {
            return failure;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Records how captures go, for ever.
pub(crate) async fn measured(databases: &[Arc<Database>]) {
    loop {
        look(databases);
        tokio::time::sleep(LOOK).await;
    }
}

fn look(databases: &[Arc<Database>]) {
    for capture in databases.iter().filter_map(|database| database.running()) {
        if let Some(status) = capture.status() {
            measure(&capture.log, &status);
        }
    }
}

fn measure(log: &str, status: &CaptureStatus) {
    let set = |name: &'static str, value: f64| gauge!(name, "log" => log.to_owned()).set(value);
    let count = |name: &'static str, value: u64| counter!(name, "log" => log.to_owned()).absolute(value);
    set("longshore_capture_wal_bytes", status.wal_bytes as f64);
    set("longshore_capture_pinned_seconds", status.pinned_for.unwrap_or_default().as_secs_f64());
    set("longshore_capture_longest_hold_seconds", status.longest_hold.as_secs_f64());
    set("longshore_capture_fenced", f64::from(u8::from(status.fenced)));
    count("longshore_capture_transactions_total", status.transactions);
    count("longshore_capture_pages_total", status.pages);
    count("longshore_capture_bytes_total", status.bytes);
    count("longshore_capture_checkpoints_total", status.checkpoints);
    count("longshore_capture_resyncs_total", status.resyncs);
}

/// Ends them, with the last transactions in the logs. What could not be done is told and done at the next start.
pub(crate) async fn stop(databases: Vec<Arc<Database>>) -> Result<(), Failure> {
    let stopped = tokio::task::spawn_blocking(move || {
        let running = databases.iter().filter_map(|database| database.running());
        running.map(|capture| capture.end()).fold(Ok(()), longshore::Result::and)
    });
    match stopped.await {
        Ok(stopped) => Ok(stopped?),
        Err(error) => Err(Failure::internal(format!("a capture ended in a panic: {error}"))),
    }
}

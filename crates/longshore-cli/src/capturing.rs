//! A log's database: captured while this node writes the log, applied to while it follows.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore::{BothWays, Captured, Name, Node, Snapshotter};
use longshore_format::ErrorKind;
use longshore_sqlite::{
    CaptureReport, CaptureSettings, CaptureStatus, Capturing, Error as SqliteError, LogDatabase, SqliteSink,
};
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
    /// The agent is there to capture it: it ends when that fails. Any other begins again.
    is_needed: bool,
    /// Somebody said that what is there is meant to be, whatever was captured before. It counts for the first capture, and only
    /// until a log is applied to it: what is there then is not what it was said of.
    is_meant: AtomicBool,
    failed: Failed,
}

/// What an operator says of the file of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    /// It is the one that was captured.
    TheSame,
    /// Another one, or an older copy, is meant to be there.
    Whatever,
}

impl Meant {
    /// As the flag says that both agents have.
    pub(crate) fn by(replaced: bool) -> Meant {
        if replaced { Meant::Whatever } else { Meant::TheSame }
    }
}

/// Why a capture ended by itself, which it only does when a person must look: what passes it tries again. It outlives the
/// capture, so that nobody has to look in time.
type Failed = Arc<Mutex<Option<(ErrorKind, String)>>>;

#[derive(Default)]
struct State {
    /// The capture that runs, or ran last.
    capture: Option<Arc<Capture>>,
    /// It was begun before anybody asked for it.
    is_early: bool,
}

/// How long to try to attach where it is tried again, and said who stands in the way.
const ATTACH_WITHIN: Duration = Duration::from_secs(1);
/// How long a promotion waits here for a transaction that is under way.
const HOLD: Duration = Duration::from_secs(2);
/// How often it is looked how a capture goes.
const LOOK: Duration = Duration::from_millis(500);

impl Database {
    /// The database at `path`, which a log makes.
    pub(crate) fn of_a_log(path: &Path, data_dir: &Path, meant: Meant) -> Arc<Self> {
        Self::new(LogDatabase::new(path), data_dir, meant, false)
    }

    /// An application's database, which goes into `log`. If this node writes that by now it is captured when this returns,
    /// unless another captures it.
    pub(crate) fn of_an_application(
        path: &Path,
        node: &Node,
        log: &str,
        data_dir: &Path,
        meant: Meant,
    ) -> Result<Arc<Self>, Failure> {
        let database = Self::new(LogDatabase::of_an_application(path), data_dir, meant, true);
        match node.log(log) {
            Ok(primary) => {
                match database.capture(primary.name(), primary.wal()) {
                    Ok(first) => {
                        let mut state = database.lock();
                        (state.capture, state.is_early) = (Some(first), true);
                    }
                    // Another captures it, most likely. Whoever asks next waits for its end, and the status says so.
                    Err(error @ (SqliteError::Guarded { .. } | SqliteError::Unstable)) => {
                        tracing::warn!(log, database = %path.display(), %error, "not captured yet");
                    }
                    Err(error) => return Err(error.into()),
                }
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

    fn new(database: LogDatabase, data_dir: &Path, meant: Meant, is_needed: bool) -> Arc<Self> {
        let (database, data_dir) = (Arc::new(database), data_dir.to_owned());
        let is_meant = AtomicBool::new(meant == Meant::Whatever);
        Arc::new(Self { database, data_dir, state: Mutex::default(), is_needed, is_meant, failed: Failed::default() })
    }

    /// Lets a node apply a log to it and capture it, by turns.
    pub(crate) fn keep(self: &Arc<Self>, node: &Node, log: Option<&str>) -> Result<(), Failure> {
        if !writes(node, log) && self.is_meant.swap(false, Ordering::AcqRel) {
            tracing::warn!(
                database = %self.database.path().display(),
                "--replaced counts for nothing: another node writes the log, which this one is made of"
            );
        }
        let (applied, kept, capture) = (Arc::clone(self), Arc::clone(&self.database), Arc::clone(self));
        let both = BothWays {
            label: format!("sqlite:{}", self.database.path().display()),
            open: Arc::new(move |log| {
                applied.is_meant.store(false, Ordering::Release);
                Ok(Box::new(SqliteSink::of(Arc::clone(&applied.database)).held_against(log.clone())))
            }),
            offer: sinks::offer_of(self.database.path()),
            capture: Arc::new(move |log, wal| capture.next(log, wal)),
            kept: Arc::new(move || kept.kept().iter().map(|path| path.display().to_string()).collect()),
        };
        Ok(node.keep(log, both)?)
    }

    /// The next capture, for whoever asks for it. None follows one that is to end the agent; one that cannot begin is asked for
    /// again, for nobody writes the database meanwhile.
    fn next(&self, log: &Name, wal: &Wal) -> Result<Arc<dyn Captured>, longshore::Error> {
        if let Some((kind, reason)) = self.failed() {
            return Err(longshore::Error::Refused { kind, reason, at: None });
        }
        {
            let mut state = self.lock();
            if std::mem::take(&mut state.is_early)
                && let Some(first) = &state.capture
            {
                return Ok(Arc::clone(first) as _);
            }
        }
        let next = self.capture(log, wal).map_err(refused)?;
        self.lock().capture = Some(Arc::clone(&next));
        Ok(next)
    }

    fn capture(&self, log: &Name, wal: &Wal) -> Result<Arc<Capture>, SqliteError> {
        let mut settings = CaptureSettings::new(self.data_dir.join(format!("{log}.pages")));
        settings.database = Some(Arc::clone(&self.database));
        settings.attach_within = ATTACH_WITHIN;
        settings.replaced = self.is_meant.load(Ordering::Acquire);
        let path = self.database.path();
        let has_left_some = Arc::new(AtomicBool::new(false));
        let report = report(log, path, Arc::clone(&has_left_some));
        let capturing = Capturing::start(path, wal.clone(), settings, report)?;
        self.is_meant.store(false, Ordering::Release);
        let (snapshotter, capturing) = (capturing.snapshotter(), Mutex::new(Some(Arc::new(capturing))));
        let (log, path) = (log.to_string(), path.display().to_string());
        let failed = Arc::clone(&self.failed);
        Ok(Arc::new(Capture { log, path, capturing, snapshotter, has_left_some, failed }))
    }

    /// What is to end the agent.
    fn failed(&self) -> Option<(ErrorKind, String)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|_| self.is_needed)
    }

    /// The capture that runs, or ran last.
    fn running(&self) -> Option<Arc<Capture>> {
        self.lock().capture.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this node writes that log; any one where none is named.
fn writes(node: &Node, log: Option<&str>) -> bool {
    let names = node.names();
    let mut named = names.iter().map(Name::as_str).filter(|name| log.is_none_or(|log| log == *name));
    named.any(|name| node.log(name).is_ok())
}

/// One life of a capture: in one log that is open for writing.
struct Capture {
    log: String,
    path: String,
    /// Until it is ended. Locked to be taken out alone, for some look at it for seconds.
    capturing: Mutex<Option<Arc<Capturing>>>,
    snapshotter: Arc<dyn Snapshotter>,
    /// When the log became another's, something was committed that is in no log.
    has_left_some: Arc<AtomicBool>,
    failed: Failed,
}

impl Capture {
    fn look<T>(&self, look: impl FnOnce(&Capturing) -> T) -> Option<T> {
        let capturing = self.lock().clone();
        capturing.as_deref().map(look)
    }

    fn paused(&self) -> Option<String> {
        self.look(Capturing::paused).flatten()
    }

    fn status(&self) -> Option<CaptureStatus> {
        self.look(Capturing::status)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Capturing>>> {
        self.capturing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("log", &self.log).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Captured for Capture {
    fn hold(&self) -> bool {
        let is_out = self.look(|capturing| capturing.hold(HOLD)).unwrap_or(true);
        let (log, database) = (&self.log, &self.path);
        match self.paused() {
            _ if is_out => {}
            Some(why) => tracing::warn!(
                log,
                database,
                why,
                "it is not captured while the log becomes another's: what is committed meanwhile may be left in no log"
            ),
            None => tracing::warn!(
                log,
                database,
                "a transaction is under way while the log becomes another's: it may be left in no log"
            ),
        }
        is_out
    }

    fn release(&self) {
        self.look(Capturing::release);
    }

    fn catch_up(&self, timeout: Duration) -> longshore::Result<()> {
        // One that has ended appended what it could; whoever marks the log then marks what it holds.
        let caught_up = self.look(|capturing| capturing.catch_up(timeout).map(drop)).unwrap_or(Ok(()));
        caught_up.map_err(|error| match self.paused() {
            Some(why) => longshore::Error::Refused { kind: error.kind(), reason: why, at: None },
            None => refused(error),
        })
    }

    fn problem(&self) -> Option<String> {
        let Self { log, path, .. } = self;
        if self.status().is_none_or(|status| !status.fenced) {
            return self
                .paused()
                .map(|why| format!("{why}; what is committed meanwhile is captured once that has passed"));
        }
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
        let Some(capturing) = self.lock().take() else { return Ok(()) };
        let is_by_itself = capturing.has_ended();
        let ended = capturing.stop().map_err(refused);
        if let Err(error) = ended.as_ref()
            && is_by_itself
        {
            let failed = (error.kind(), error.to_string());
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
        }
        ended
    }
}

fn refused(error: SqliteError) -> longshore::Error {
    let failure = Failure::from(error);
    longshore::Error::Refused { kind: failure.kind(), reason: failure.to_string(), at: None }
}

/// Tells what a capture reports.
fn report(log: &Name, path: &Path, left_some: Arc<AtomicBool>) -> impl Fn(CaptureReport<'_>) + Send + 'static {
    let (log, database) = (log.to_string(), path.display().to_string());
    let told = RefCell::new(String::new());
    move |report| match report {
        CaptureReport::Attached(status) => {
            told.take();
            tracing::info!(log, database, position = %status.position, resyncs = status.resyncs, "capturing");
        }
        CaptureReport::Paused(error) => {
            let why = error.to_string();
            if told.replace(why.clone()) != why {
                tracing::warn!(log, database, why, "not capturing");
            }
        }
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
        if let Some((kind, reason)) = databases.iter().find_map(|database| database.failed()) {
            return Failure::new(kind, reason);
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
        match capture.status() {
            Some(status) => {
                measure_now(&capture.log, &status, capture.paused().is_some());
                measure_totals(&capture.log, &status);
            }
            // What it counted stays; what it was is no more.
            None => measure_now(&capture.log, &CaptureStatus::default(), false),
        }
    }
}

fn measure_now(log: &str, status: &CaptureStatus, is_paused: bool) {
    let set = |name: &'static str, value: f64| gauge!(name, "log" => log.to_owned()).set(value);
    set("longshore_capture_wal_bytes", status.wal_bytes as f64);
    set("longshore_capture_pinned_seconds", status.pinned_for.unwrap_or_default().as_secs_f64());
    set("longshore_capture_longest_hold_seconds", status.longest_hold.as_secs_f64());
    set("longshore_capture_fenced", f64::from(u8::from(status.fenced)));
    set("longshore_capture_paused", f64::from(u8::from(is_paused)));
}

fn measure_totals(log: &str, status: &CaptureStatus) {
    let count = |name: &'static str, value: u64| counter!(name, "log" => log.to_owned()).absolute(value);
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

#[cfg(test)]
mod tests;

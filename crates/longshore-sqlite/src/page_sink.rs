//! Pages into a database that others read.

mod compared;
mod group;
mod held;
mod kept;
mod left;
mod open;
mod position;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_apply::{DatabaseImage, Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use longshore_format::{Content, LogId, Lsn, Record};
use longshore_wal::Wal;

use self::held::HeldImage;
pub(crate) use self::left::{Left, seen};
use self::open::{Limit, Open, Run, State};
use crate::error::Error;
use crate::log_database::LogDatabase;
use crate::new_file::remove_unfinished;
use crate::pages::{PageHash, page_hash};
use crate::replica_wal::{ReplicaDb, WriteFence};
use crate::sidecar::Sidecar;

/// A SQLite database that a log of content `sqlite-pages` is applied to, while others read it.
///
/// It is made by the log's first run, which is a whole database, written straight to a file of its own that gets its name
/// once it is complete. From then on runs that come together become one transaction of its `-wal`; readers, in this process
/// or others, see whole runs and never go back. Nobody else can write meanwhile: SQLite tells them that it is busy.
///
/// How far it is stands in `PATH-longshore`. A database without that file is refused, for it
/// was not made by a log; the file without a database means nothing, and the log begins anew. A page that is not what the log
/// changes is never written: the database is refused as diverged. So is one whose pages are of another size than the log's
/// from now on; both are mended by deleting it, after which it is restored.
///
/// One that an application may write at other times ([`LogDatabase`]) and that somebody has written since is *astray*: where it
/// is nobody knows. A copy of it is kept, nobody reads it, and it takes a whole database and nothing else.
#[derive(Debug)]
pub struct PageSink {
    path: PathBuf,
    limit: Limit,
    database: Option<Arc<LogDatabase>>,
    log: Option<Wal>,
    gives_way: bool,
    open: Option<Open>,
}

impl PageSink {
    /// A sink for the database at `path`, made with mode 0600 if it is not there.
    pub fn new(path: impl AsRef<Path>) -> PageSink {
        let limit = Limit { pages: 4096, bytes: 16 << 20 };
        PageSink { path: path.as_ref().to_owned(), limit, database: None, log: None, gives_way: false, open: None }
    }

    /// A sink for a database that is captured at other times.
    pub fn of(database: Arc<LogDatabase>) -> PageSink {
        PageSink { database: Some(database.clone()), ..PageSink::new(database.path()) }
    }

    /// The log that is applied to it: where the database is not as it was left, the log says whether somebody wrote it.
    pub(crate) fn held_against(self, log: Option<Wal>) -> PageSink {
        PageSink { log, ..self }
    }

    /// Where the database at `path` is, which nobody writes, and to which `log` was applied.
    pub(crate) fn left(path: &Path, sidecar: &Sidecar, fence: WriteFence, log: &Wal) -> Result<Left, Error> {
        let db = ReplicaDb::open_behind(path, Some(fence))?;
        left::find(path, sidecar, &db, Some(log))
    }

    /// An application is to write the database next: once the sink is finished, its position says so.
    pub(crate) fn giving_way(self) -> PageSink {
        PageSink { gives_way: true, ..self }
    }

    #[cfg(test)]
    fn with_limit(self, pages: usize) -> PageSink {
        PageSink { limit: Limit { pages, ..self.limit }, ..self }
    }

    /// Where the database at `path` is, if it was made by a log.
    pub(crate) fn held(path: &Path) -> Result<Option<Held>, Error> {
        let path = resolved(path);
        if !is_there(&path)? {
            return Ok(None);
        }
        let Some(sidecar) = Sidecar::open(&path)? else { return Ok(None) };
        match left::find(&path, &sidecar, &ReplicaDb::open(&path)?, None)? {
            Left::At(held) => Ok(Some(held)),
            Left::Astray { .. } => Err(Error::OtherPosition { position: Sidecar::path_of(&path) }),
        }
    }

    fn start(&self, log: LogId) -> Result<Open, Error> {
        let path = resolved(&self.path);
        remove_unfinished(&path)?;
        let mut open = Open {
            path,
            log,
            limit: self.limit,
            state: State::Absent,
            durable: None,
            run: Run::default(),
            database: self.database.clone(),
            source: self.log.clone(),
            is_written: self.database.is_some(),
            only_log: true,
            is_astray: false,
            gives_way: self.gives_way,
            withheld: false,
            has_failed: false,
        };
        if is_there(&open.path)? {
            open.find()?;
        }
        Ok(open)
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("a sink is opened before anything else")
    }
}

impl Sink for PageSink {
    fn name(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        if log.content != Content::SqlitePages {
            let message = format!(
                "{} is to hold a log of content sqlite-pages, this one holds {}; apply it with SqliteSink, jsonl:PATH or exec:CMD",
                self.name(),
                log.content
            );
            return Err(SinkError::new(Failure::Content, message));
        }
        let open = self.start(log.id).map_err(|error| error.for_sink(&self.name()))?;
        let held = open.durable;
        self.open = Some(open);
        Ok(held)
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        self.opened().forget_run();
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let open = self.opened();
        let result = open.record(record);
        if result.is_err() {
            open.forget_run();
        }
        result.map_err(|error| error.for_sink(&self.name()))
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        let open = self.opened();
        let result = open.commit(run);
        if result.is_err() {
            open.forget_run();
        }
        result.map_err(|error| error.for_sink(&self.name()))
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.opened().sync().map_err(|error| error.for_sink(&self.name()))
    }

    fn durable(&self) -> Option<Lsn> {
        self.open.as_ref().and_then(|open| open.durable).map(|held| held.lsn)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.opened().finish().map_err(|error| error.for_sink(&self.name()))
    }

    fn is_astray(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_astray)
    }

    /// By the locks that SQLite's own readers take. A reader that comes waits as long as SQLite does, some ten seconds, and
    /// fails; one whose transaction began before keeps what it sees until that ends.
    fn withhold(&mut self) -> Result<(), SinkError> {
        self.opened().withhold().map_err(|error| error.for_sink(&self.name()))
    }

    fn held_image(&mut self) -> Result<Option<Box<dyn DatabaseImage>>, SinkError> {
        let open = self.opened();
        let State::There { group, .. } = &open.state else { return Ok(None) };
        // Also of one that is astray: what is the same need not be sent, wherever it came from.
        let position = open.durable.map_or(Lsn::ZERO, |held| held.lsn);
        let image = HeldImage::of(group.database(), position).map_err(|error| error.for_sink(&self.name()))?;
        Ok(Some(Box::new(image)))
    }
}

/// The database's own path: what stands beside it stands beside the file, not beside a link to it.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn is_there(path: &Path) -> Result<bool, Error> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::at(path)(error)),
    }
}

fn hash_in(db: &ReplicaDb, page: u32) -> Result<PageHash, Error> {
    let mut bytes = vec![0; db.page_size().bytes()];
    db.read(page, &mut bytes)?;
    Ok(page_hash(page, &bytes))
}

#[cfg(test)]
mod tests;

//! Pages into a database that others read.

mod compared;
mod group;
mod held;
mod kept;
mod left;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_apply::{DatabaseImage, Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use longshore_format::{Content, LogId, Lsn, Record};
use longshore_wal::Wal;

use self::group::Group;
use self::held::HeldImage;
pub(crate) use self::left::{Left, seen};
use crate::error::Error;
use crate::log_database::LogDatabase;
use crate::new_file::{NewFile, remove_unfinished};
use crate::pages::{Commit, KIND, PageHash, PageRecord, page_hash};
use crate::points::reached;
use crate::replica_wal::{ReplicaDb, WriteFence, sync_directory_of};
use crate::sidecar::{Sidecar, Standing, Written};

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

/// How many pages may wait in memory.
#[derive(Debug, Clone, Copy)]
struct Limit {
    pages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    log: LogId,
    limit: Limit,
    state: State,
    durable: Option<Held>,
    run: Run,
    database: Option<Arc<LogDatabase>>,
    /// What it is held against where it is not as it was left.
    source: Option<Wal>,
    /// An application may write it at other times.
    is_written: bool,
    /// None ever could.
    only_log: bool,
    /// Nobody knows where it is.
    is_astray: bool,
    /// Once it is finished an application writes it.
    gives_way: bool,
    /// Readers are kept out until the next commit.
    withheld: bool,
    /// Something could not be written, and what memory holds is no longer what belongs there.
    has_failed: bool,
}

#[derive(Debug)]
enum State {
    /// There is no database, and no run has come.
    Absent,
    /// The run that makes it is coming.
    Making(NewFile),
    /// It is there.
    There { group: Box<Group>, sidecar: Sidecar },
}

/// The position of a database of which none is known.
const NOWHERE: Held = Held { lsn: Lsn::ZERO, crc: None };

/// The run that is being given.
#[derive(Debug, Default)]
struct Run {
    /// The last page that it changed.
    page: u32,
    commit: Option<Commit>,
    is_image: bool,
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

impl Open {
    /// Takes the database that is there, at the position that stands beside it.
    fn find(&mut self) -> Result<(), Error> {
        let sidecar = Sidecar::open(&self.path)?;
        if sidecar.is_some() && self.path.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            return Err(Error::Emptied { path: self.path.clone() });
        }
        let fence = self.fence()?;
        if let Some(Standing { log, intent, .. }) = sidecar.as_ref().map(Sidecar::standing)
            && *log != self.log
        {
            return Err(Error::OtherLog { held: *log, lsn: intent.lsn, asked: self.log });
        }
        if sidecar.is_none() && !self.database.as_ref().is_some_and(|database| database.is_claimed()) {
            return Err(Error::NoPosition { position: Sidecar::path_of(&self.path) });
        }
        let db = ReplicaDb::open_behind(&self.path, fence)?;
        let mut sidecar = match sidecar {
            Some(sidecar) => sidecar,
            None => self.claim(&db)?,
        };
        let standing = *sidecar.standing();
        self.is_written |= standing.written.is_some();
        self.only_log &= standing.written.is_none_or(|written| written.only_log);
        let left = left::find(&self.path, &sidecar, &db, self.source.as_ref())?;
        let mut group = Box::new(Group::new(db));
        match left {
            Left::At(held) => {
                if self.is_written || standing.applied != Some(held) || standing.witness.is_some() {
                    // What it was asked once it need not be asked again.
                    sidecar.write(self.standing_at(&group, held, false)?)?;
                }
                self.durable = Some(held);
            }
            Left::Astray { is_as_left, held } => self.begin_astray(&mut sidecar, &mut group, is_as_left, held)?,
        }
        self.state = State::There { group, sidecar };
        Ok(())
    }

    /// What keeps writers out also between this sink and whatever comes next.
    fn fence(&self) -> Result<Option<WriteFence>, Error> {
        self.database.as_ref().map(|database| database.fence(&self.path)).transpose()
    }

    /// The position of an application's database that has none yet.
    fn claim(&self, db: &ReplicaDb) -> Result<Sidecar, Error> {
        let sidecar = Sidecar::create(&self.path, Standing::captured(self.log, db.page_size(), NOWHERE))?;
        sync_directory_of(&self.path)?;
        Ok(sidecar)
    }

    /// Keeps a copy of what no log may hold, and keeps readers out.
    fn begin_astray(
        &mut self,
        sidecar: &mut Sidecar,
        group: &mut Group,
        is_as_left: bool,
        held: Option<Held>,
    ) -> Result<(), Error> {
        (self.is_astray, self.withheld) = (true, true);
        let standing = *sidecar.standing();
        let is_kept = is_as_left && standing.written.is_some_and(|written| written.kept);
        if !is_kept {
            let kept = kept::keep(&self.path, group.database())?;
            tracing::warn!(
                database = %self.path.display(), kept = %kept.display(),
                "the database holds what no log does, and is about to be replaced: it is kept there, remove it when it is not needed"
            );
            // Who reads it once this process has ended leaves it as it is then.
            let is_settled = group.database_mut().copy_back()?;
            let written = self.written(group, is_settled)?;
            let origin = held.or(standing.origin()).unwrap_or(NOWHERE);
            sidecar.write(Standing { written, ..Standing::captured(self.log, group.page_size(), origin) })?;
        }
        let _some_may_still_read = group.database().keep_readers_out()?;
        Ok(())
    }

    /// What stands beside the database once it is at `held` and stays there.
    fn standing_at(&self, group: &Group, held: Held, is_settled: bool) -> Result<Standing, Error> {
        let (db, written) = (group.database(), self.written(group, is_settled)?);
        Ok(Standing { written, ..Standing::at(self.log, db.page_size(), held) })
    }

    fn written(&self, group: &Group, is_settled: bool) -> Result<Option<Written>, Error> {
        if !self.is_written {
            return Ok(None);
        }
        let db = group.database();
        // An empty -wal has other salts, or none, once its index was made anew: then the file says that it is the same.
        let seen = seen(&self.path, db.last_place(), is_settled || db.place().frame == 0)?;
        Ok(Some(Written { seen: Some(seen), kept: self.is_astray, only_log: self.only_log }))
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        if record.kind != KIND {
            return Err(Error::Pages(format!("it is of kind {}", record.kind.get())));
        }
        let pages = PageRecord::decode(record.payload)?;
        if self.run.commit.is_some() {
            return Err(Error::Pages("it comes after the last of its transaction".to_owned()));
        }
        if let State::Absent = self.state {
            if !pages.is_image {
                return Err(Error::NoImage);
            }
            self.state = State::Making(NewFile::create(&self.path, pages.size)?);
        }
        let here = match &self.state {
            State::Making(file) => file.page_size(),
            State::There { group, .. } => group.page_size(),
            State::Absent => unreachable!("it was made above"),
        };
        if here != pages.size {
            return Err(Error::OtherPageSize { here: here.bytes(), there: pages.size.bytes() });
        }
        if self.is_astray && !pages.is_image {
            return Err(Error::Astray { path: self.path.clone() });
        }
        self.run.is_image |= pages.is_image;
        for change in pages.changes() {
            let change = change?;
            let before = std::mem::replace(&mut self.run.page, change.page);
            if change.page <= before {
                return Err(Error::Pages(format!("page {} comes after page {before}", change.page)));
            }
            match &mut self.state {
                State::Making(file) => file.put(change)?,
                State::There { group, .. } => {
                    if pages.is_image {
                        group.clear(before + 1..change.page)?;
                    }
                    group.change(change, record.end)?;
                    if self.limit.is_passed(group) {
                        self.spill()?;
                    }
                }
                State::Absent => unreachable!("it was made above"),
            }
        }
        self.run.commit = pages.commit;
        Ok(())
    }

    fn commit(&mut self, end: &RunEnd) -> Result<(), Error> {
        let Run { page, commit, is_image } = std::mem::take(&mut self.run);
        let Some(Commit { pages, .. }) = commit else {
            return Err(Error::Pages("the last of a transaction does not say that it is".to_owned()));
        };
        if pages < page {
            return Err(Error::Pages(format!("it changes page {page} of a database of {pages}")));
        }
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Making(file) => {
                let size = file.page_size();
                let mut sidecar = file.complete(pages, Standing::at(self.log, size, end.held()))?;
                self.durable = Some(end.held());
                let group = Box::new(Group::new(ReplicaDb::open_behind(&self.path, self.fence()?)?));
                if self.is_written {
                    sidecar.write(self.standing_at(&group, end.held(), true)?)?;
                }
                self.state = State::There { group, sidecar };
                Ok(())
            }
            State::There { mut group, sidecar } => {
                if is_image {
                    let last = pages.min(group.pages());
                    group.clear(page + 1..last + 1)?;
                }
                let has_spilled = group.end_run(pages, end.held());
                let is_full = self.limit.is_passed(&group);
                self.state = State::There { group, sidecar };
                if has_spilled || is_full { self.sync() } else { Ok(()) }
            }
            State::Absent => Err(Error::Pages("a transaction has no record".to_owned())),
        }
    }

    /// Makes room in memory: runs that are complete become durable, then what there is of this one goes to the `-wal`, where
    /// nobody sees it.
    fn spill(&mut self) -> Result<(), Error> {
        self.sync()?;
        match &mut self.state {
            State::There { group, .. } if self.limit.is_passed(group) => group.spill(),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::at(&self.path)(std::io::Error::other("an earlier write failed, open it again")));
        }
        self.has_failed = true;
        self.sync_what_waits()?;
        self.has_failed = false;
        Ok(())
    }

    fn sync_what_waits(&mut self) -> Result<(), Error> {
        let mut state = std::mem::replace(&mut self.state, State::Absent);
        let synced = match &mut state {
            State::There { group, sidecar } => self.sync_group(group, sidecar),
            _ => Ok(()),
        };
        self.state = state;
        synced
    }

    fn sync_group(&mut self, group: &mut Group, sidecar: &mut Sidecar) -> Result<(), Error> {
        let Some(end) = group.end() else { return Ok(()) };
        let witness = group.witness()?;
        if witness.is_none() && !group.is_resized() {
            sidecar.write(self.standing_at(group, end, false)?)?;
            group.close_unchanged();
        } else {
            let standing = self.standing_at(group, end, false)?;
            sidecar.write(Standing { applied: self.durable, witness, ..standing })?;
            reached("an intent is written");
            group.commit()?;
            reached("a group is committed");
        }
        (self.durable, self.is_astray) = (Some(end), false);
        if std::mem::take(&mut self.withheld) {
            group.database().let_readers_in()?;
        }
        if group.database_mut().copy_back_if_due()? {
            reached("the -wal is copied back");
            self.begin_anew(group, sidecar, end, ReplicaDb::begin_anew)?;
            reached("the -wal begins anew");
        }
        Ok(())
    }

    /// Begins the `-wal` anew, all of which is in the file: that is how the database is known again until something is committed,
    /// whether or not the index outlives this process that says that the `-wal` has begun anew.
    fn begin_anew(
        &self,
        group: &mut Group,
        sidecar: &mut Sidecar,
        held: Held,
        begin: impl FnOnce(&mut ReplicaDb) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.is_written {
            sidecar.write(self.standing_at(group, held, true)?)?;
        }
        begin(group.database_mut())
    }

    fn withhold(&mut self) -> Result<(), Error> {
        if let State::There { group, .. } = &self.state {
            self.withheld = true;
            let _some_may_still_read = group.database().keep_readers_out()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.forget_run();
        self.sync()?;
        let mut state = std::mem::replace(&mut self.state, State::Absent);
        let left = match (&mut state, self.durable) {
            (State::There { group, sidecar }, Some(held)) => self.leave(group, sidecar, held),
            _ => Ok(()),
        };
        self.state = state;
        left
    }

    /// Writes down where it is, for whoever opens it next.
    fn leave(&self, group: &mut Group, sidecar: &mut Sidecar, held: Held) -> Result<(), Error> {
        if self.gives_way {
            return sidecar.write(Standing::captured(self.log, group.page_size(), held));
        }
        if self.is_written {
            return match group.database_mut().copy_back()? {
                true => self.begin_anew(group, sidecar, held, ReplicaDb::empty),
                false => sidecar.write(self.standing_at(group, held, false)?),
            };
        }
        match sidecar.standing().witness {
            Some(_) => sidecar.write(Standing::at(self.log, group.page_size(), held)),
            None => Ok(()),
        }
    }

    fn forget_run(&mut self) {
        self.run = Run::default();
        match &mut self.state {
            State::There { group, .. } => group.forget_run(),
            state => *state = State::Absent,
        }
    }
}

impl Limit {
    fn is_passed(&self, group: &Group) -> bool {
        let waiting = group.waiting();
        self.pages < waiting || self.bytes < waiting * group.page_size().bytes()
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

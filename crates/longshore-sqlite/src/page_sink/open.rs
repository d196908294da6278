//! A sink that is open: runs come, wait together and are committed.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_apply::{Held, RunEnd};
use longshore_format::{LogId, Record};
use longshore_wal::Wal;

use super::group::Group;
use crate::error::Error;
use crate::log_database::LogDatabase;
use crate::new_file::NewFile;
use crate::pages::{Commit, KIND, PageRecord};
use crate::points::reached;
use crate::replica_wal::ReplicaDb;
use crate::sidecar::{Sidecar, Standing};

#[derive(Debug)]
pub(super) struct Open {
    pub(super) path: PathBuf,
    pub(super) log: LogId,
    pub(super) limit: Limit,
    pub(super) state: State,
    pub(super) durable: Option<Held>,
    pub(super) run: Run,
    pub(super) database: Option<Arc<LogDatabase>>,
    /// What it is held against where it is not as it was left.
    pub(super) source: Option<Wal>,
    /// An application may write it at other times.
    pub(super) is_written: bool,
    /// None ever could.
    pub(super) only_log: bool,
    /// Nobody knows where it is.
    pub(super) is_astray: bool,
    /// Once it is finished an application writes it.
    pub(super) gives_way: bool,
    /// Readers are kept out until the next commit.
    pub(super) withheld: bool,
    /// Something could not be written, and what memory holds is no longer what belongs there.
    pub(super) has_failed: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// There is no database, and no run has come.
    Absent,
    /// The run that makes it is coming.
    Making(NewFile),
    /// It is there.
    There { group: Box<Group>, sidecar: Sidecar },
}

/// The run that is being given.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The last page that it changed.
    pub(super) page: u32,
    pub(super) commit: Option<Commit>,
    pub(super) is_image: bool,
}

/// How many pages may wait in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) pages: usize,
    pub(super) bytes: usize,
}

impl Open {
    pub(super) fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
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

    pub(super) fn commit(&mut self, end: &RunEnd) -> Result<(), Error> {
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

    pub(super) fn sync(&mut self) -> Result<(), Error> {
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

    pub(super) fn withhold(&mut self) -> Result<(), Error> {
        if let State::There { group, .. } = &self.state {
            self.withheld = true;
            let _some_may_still_read = group.database().keep_readers_out()?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), Error> {
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

    pub(super) fn forget_run(&mut self) {
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

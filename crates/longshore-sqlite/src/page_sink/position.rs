//! What stands beside a database while a log is applied to it: where it is, and how it was left.

use longshore_apply::Held;
use longshore_format::Lsn;

use super::group::Group;
use super::kept;
use super::left::{self, Left, seen};
use super::open::{Open, State};
use crate::error::Error;
use crate::replica_wal::{ReplicaDb, WriteFence, sync_directory_of};
use crate::sidecar::{Sidecar, Standing, Written};

/// The position of a database of which none is known.
const NOWHERE: Held = Held { lsn: Lsn::ZERO, crc: None };

impl Open {
    /// Takes the database that is there, at the position that stands beside it.
    pub(super) fn find(&mut self) -> Result<(), Error> {
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
        let mut db = ReplicaDb::open_behind(&self.path, fence)?;
        let mut sidecar = match sidecar {
            Some(sidecar) => sidecar,
            None => self.claim(&db)?,
        };
        let standing = *sidecar.standing();
        self.is_written |= standing.written.is_some();
        self.only_log &= standing.written.is_none_or(|written| written.only_log);
        if let Some(seen) = standing.written.and_then(|written| written.seen) {
            db.stood_at(seen.place);
        }
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
    pub(super) fn fence(&self) -> Result<Option<WriteFence>, Error> {
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
    pub(super) fn standing_at(&self, group: &Group, held: Held, is_settled: bool) -> Result<Standing, Error> {
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

    /// Begins the `-wal` anew, all of which is in the file: that is how the database is known again until something is committed,
    /// whether or not the index outlives this process that says that the `-wal` has begun anew.
    pub(super) fn begin_anew(
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

    /// Writes down where it is, for whoever opens it next.
    pub(super) fn leave(&self, group: &mut Group, sidecar: &mut Sidecar, held: Held) -> Result<(), Error> {
        if self.gives_way {
            return sidecar.write(Standing::captured(self.log, group.page_size(), held));
        }
        if self.is_written {
            if !group.database_mut().copy_back()? {
                return sidecar.write(self.standing_at(group, held, false)?);
            }
            self.begin_anew(group, sidecar, held, ReplicaDb::empty)?;
            // Nothing is left that anybody could copy back who does not write.
            return if group.database().place().frame == 0 {
                sidecar.write(self.standing_at(group, held, true)?)
            } else {
                Ok(())
            };
        }
        match sidecar.standing().witness {
            Some(_) => sidecar.write(Standing::at(self.log, group.page_size(), held)),
            None => Ok(()),
        }
    }
}

//! The store that the log is archived in: one manifest, changed by compare-and-swap alone.

use std::rc::Rc;

use longshore_format::{Epoch, EpochHistory};

use super::clock::Moment;
use super::record::{Id, Records, What};
use super::world::Step;

/// What is archived.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    /// The lives of what is archived, and the one that was going on.
    pub(super) history: EpochHistory,
    pub(super) log: Vec<Id>,
    /// Where its objects end: of each, all is kept or nothing.
    pub(super) pieces: Vec<usize>,
    /// What later epochs did not go on with.
    pub(super) forks: Vec<Rc<Branch>>,
}

/// What was archived beyond a fork.
#[derive(Debug)]
pub(super) struct Branch {
    start: usize,
    beyond: Vec<Id>,
}

impl Manifest {
    /// Of a log that is not archived yet.
    pub(super) fn beginning(history: &EpochHistory) -> Manifest {
        let history = EpochHistory::new(history.entries()[0]);
        Manifest { history, log: Vec::new(), pieces: Vec::new(), forks: Vec::new() }
    }

    /// As it is gone on from by a log that parted from it at `at`: the one from before has a name of its own.
    pub(super) fn parted(&self, at: usize) -> Manifest {
        let mut next = self.clone();
        next.pieces.retain(|end| *end <= at);
        let start = next.pieces.last().copied().unwrap_or(0);
        next.forks.push(Rc::new(Branch { start, beyond: next.log.split_off(start) }));
        next
    }

    fn holds(&self, at: usize, id: Id) -> bool {
        let in_branch = |fork: &Rc<Branch>| at.checked_sub(fork.start).and_then(|at| fork.beyond.get(at)) == Some(&id);
        self.log.get(at) == Some(&id) || self.forks.iter().any(in_branch)
    }
}

/// The store.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    manifest: Option<Rc<Manifest>>,
    /// How often the manifest was changed, and what a swap names.
    version: u64,
    /// Until when nobody reaches it.
    pub(super) away_until: Moment,
    /// The newest epoch of anybody who changed the manifest, and the log that it was changed for.
    closed: Option<(Epoch, Vec<Id>)>,
}

/// A manifest, and what a swap has to name to take its place.
pub(super) type Seen = (u64, Rc<Manifest>);

impl Bucket {
    /// What is there.
    pub(super) fn manifest(&self) -> Option<Seen> {
        self.manifest.as_ref().map(|manifest| (self.version, Rc::clone(manifest)))
    }

    /// Puts `next` in the place of the one that was seen; `None` if somebody else was faster. `log` is what the one who asks
    /// has, in its epoch.
    pub(super) fn swap(
        &mut self,
        seen: u64,
        next: &Rc<Manifest>,
        (epoch, log): (Epoch, &[Id]),
        records: &Records,
    ) -> Step<Option<u64>> {
        if seen != self.version {
            return Ok(None);
        }
        let same = self.log().iter().zip(&next.log).take_while(|(ours, theirs)| ours == theirs).count();
        self.keeps_what_it_has(next, same)?;
        is_one_log(next, same, records)?;
        self.is_no_older_writers(next, epoch)?;
        if self.closed.as_ref().is_none_or(|(newest, _)| newest.number < epoch.number) {
            self.closed = Some((epoch, log.to_vec()));
        }
        self.manifest = Some(Rc::clone(next));
        self.version += 1;
        Ok(Some(self.version))
    }

    /// Whether a record that was acknowledged as archived is there, in the log or in a branch that has a name.
    pub(super) fn holds(&self, at: usize, id: Id) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.holds(at, id))
    }

    /// How much of the log is archived.
    pub(super) fn log(&self) -> &[Id] {
        self.manifest.as_ref().map_or(&[], |manifest| &manifest.log)
    }

    /// What was archived is in what goes on, or in a branch that has a name.
    fn keeps_what_it_has(&self, next: &Manifest, same: usize) -> Step {
        let Some(there) = &self.manifest else { return Ok(()) };
        let kept = |fork: &Rc<Branch>| next.forks.iter().any(|other| Rc::ptr_eq(fork, other));
        if !there.forks.iter().all(kept) {
            return Err("the archive forgets a branch".to_owned());
        }
        match there.log.iter().enumerate().skip(same).find(|(at, id)| !next.holds(*at, **id)) {
            Some((at, id)) => Err(format!("the archive held record {id} at {at}, and no branch names it")),
            None => Ok(()),
        }
    }

    /// Once somebody of a later epoch has changed the manifest, nobody of an earlier one adds anything but what that one has.
    fn is_no_older_writers(&self, next: &Manifest, epoch: Epoch) -> Step {
        let Some((newest, log)) = &self.closed else { return Ok(()) };
        let parts = next.log.iter().zip(log).position(|(ours, theirs)| ours != theirs);
        match parts {
            Some(at) if epoch.number < newest.number => {
                Err(format!("epoch {epoch} archives its own record at {at}, after epoch {newest} has archived"))
            }
            Some(at) if epoch == *newest => Err(format!("two logs of epoch {epoch} are archived, which part at {at}")),
            _ => Ok(()),
        }
    }
}

/// What the manifest names is one log, and its history is that log's; the first `same` records were looked at before.
fn is_one_log(manifest: &Manifest, same: usize, records: &Records) -> Step {
    let mut before = same.checked_sub(1).map(|last| manifest.log[last]);
    for (at, id) in manifest.log.iter().enumerate().skip(same) {
        let record = records.get(*id);
        if record.before != before {
            return Err(format!("the archive's record {id} at {at} does not follow the one before"));
        }
        if let What::EpochStart(life) | What::Incarnation(life) = &record.what
            && !manifest.history.entries().contains(life)
        {
            return Err(format!("the archive's history lacks the life that begins at {at}"));
        }
        before = Some(*id);
    }
    Ok(())
}

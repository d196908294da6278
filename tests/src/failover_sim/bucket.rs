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
    /// Where the log parted from it.
    at: usize,
    /// Where the last object ends that both have.
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
        let beyond = next.log.split_off(start);
        if at < self.log.len() {
            next.forks.push(Rc::new(Branch { at, start, beyond }));
        }
        next
    }

    /// Where the log parts from the branch that was set aside last.
    pub(super) fn parts_at(&self) -> Option<usize> {
        self.forks.last().map(|fork| fork.at)
    }

    /// What the log does not go on with, of the branch that was set aside last.
    pub(super) fn set_aside(&self) -> &[Id] {
        self.forks.last().map_or(&[], |fork| &fork.beyond[fork.at - fork.start..])
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
}

/// A manifest, and what a swap has to name to take its place.
pub(super) type Seen = (u64, Rc<Manifest>);

impl Bucket {
    /// What is there.
    pub(super) fn manifest(&self) -> Option<Seen> {
        self.manifest.as_ref().map(|manifest| (self.version, Rc::clone(manifest)))
    }

    /// Puts `next` in the place of the one that was seen, as somebody wants whose log is of this epoch; `None` if somebody else
    /// was faster.
    pub(super) fn swap(
        &mut self,
        seen: u64,
        next: &Rc<Manifest>,
        epoch: Epoch,
        records: &Records,
    ) -> Step<Option<u64>> {
        if seen != self.version {
            return Ok(None);
        }
        let same = self.log().iter().zip(&next.log).take_while(|(ours, theirs)| ours == theirs).count();
        self.keeps_what_it_has(next, same)?;
        is_one_log(next, same, records)?;
        self.is_open_to(epoch)?;
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

    /// Where somebody of a later epoch has archived, nobody of an earlier one goes on, nor another writer of the same number.
    fn is_open_to(&self, epoch: Epoch) -> Step {
        let Some(there) = self.manifest.as_ref().map(|manifest| manifest.history.current().epoch) else {
            return Ok(());
        };
        let other = there.number == epoch.number && there != epoch;
        match epoch.number < there.number || other {
            true => Err(format!("epoch {epoch} changes the manifest in which epoch {there} has archived")),
            false => Ok(()),
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

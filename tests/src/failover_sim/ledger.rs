//! What was promised, and whether it was kept: looked at after every event.

use longshore_format::{Epoch, EpochHistory, WriterId};
use std::collections::BTreeMap;

use super::archived::ArchivedLedger;
use super::record::Id;
use super::shape::NODES;
use super::world::{Step, World};

/// What any writer ever acknowledged at its policy, and who became a writer.
#[derive(Debug)]
pub(super) struct Ledger {
    /// By position: the record, and the lowest number of an epoch whose writer acknowledged it.
    acknowledged: Vec<Option<(Id, u64)>>,
    /// By epoch, what was acknowledged in it so far.
    reached: BTreeMap<(u64, WriterId), usize>,
    begun: Vec<Begun>,
    writers: BTreeMap<u64, WriterId>,
    accepted: [Epoch; NODES],
    /// Somebody accepted a loss: from there on nothing is said of what is acknowledged.
    pub(super) loss_accepted: bool,
    pub(super) archived: ArchivedLedger,
}

/// A promotion that ended with a writer, and the log that it went on from.
#[derive(Debug)]
struct Begun {
    epoch: Epoch,
    log: Vec<Id>,
}

impl Ledger {
    pub(super) fn new(history: EpochHistory) -> Ledger {
        Ledger {
            acknowledged: Vec::new(),
            reached: BTreeMap::new(),
            begun: Vec::new(),
            writers: BTreeMap::new(),
            accepted: [history.current().epoch; NODES],
            loss_accepted: false,
            archived: ArchivedLedger::default(),
        }
    }

    /// A writer acknowledges all of `log`; answers how many records that is more than it had.
    pub(super) fn acknowledge(&mut self, epoch: Epoch, log: &[Id], unprotected: bool) -> Step<usize> {
        let reached = self.reached.entry((epoch.number, epoch.writer)).or_insert(0);
        let before = (*reached).min(log.len());
        *reached = log.len().max(before);
        if self.loss_accepted || unprotected || before == log.len() {
            return Ok(log.len() - before);
        }
        let writer = *self.writers.entry(epoch.number).or_insert(epoch.writer);
        if writer != epoch.writer {
            return Err(format!("two writers of epoch {} acknowledge: {writer} and {}", epoch.number, epoch.writer));
        }
        if self.acknowledged.len() < log.len() {
            self.acknowledged.resize(log.len(), None);
        }
        for (position, id) in log.iter().enumerate().skip(before) {
            match &mut self.acknowledged[position] {
                Some((other, by)) if other != id => {
                    return Err(format!(
                        "two records are acknowledged at {position}: {other} in epoch {by}, {id} in epoch {}",
                        epoch.number
                    ));
                }
                Some((_, by)) => *by = epoch.number.min(*by),
                none => *none = Some((*id, epoch.number)),
            }
            for later in self.begun.iter().filter(|begun| epoch.number < begun.epoch.number) {
                if later.log.get(position) != Some(id) {
                    return Err(format!(
                        "record {id} at {position} is acknowledged in epoch {}, but epoch {} began without it",
                        epoch.number, later.epoch.number
                    ));
                }
            }
        }
        Ok(log.len() - before)
    }

    /// A promotion ended with a writer, or that writer came back.
    pub(super) fn begins(&mut self, epoch: Epoch, log: &[Id]) -> Step {
        if self.loss_accepted || self.begun.iter().any(|begun| begun.epoch == epoch) {
            return Ok(());
        }
        for (position, acknowledged) in self.acknowledged.iter().enumerate() {
            if let Some((id, by)) = acknowledged
                && *by < epoch.number
                && log.get(position) != Some(id)
            {
                return Err(format!(
                    "epoch {} begins without record {id} at {position}, which was acknowledged in epoch {by}",
                    epoch.number
                ));
            }
        }
        self.begun.push(Begun { epoch, log: log.to_vec() });
        Ok(())
    }

    /// An epoch is to begin on no more than the word of the writer before, as a log of this history has it: no other began
    /// meanwhile that this word says nothing of.
    pub(super) fn follows_the_last(&self, epoch: Epoch, history: &EpochHistory) -> Step {
        let is_known = |begun: Epoch| history.entries().iter().any(|life| life.epoch == begun);
        let between = self.begun.iter().map(|begun| begun.epoch).find(|begun| {
            history.current().epoch.number < begun.number && begun.number < epoch.number && !is_known(*begun)
        });
        match between.filter(|_| !self.loss_accepted) {
            Some(other) => {
                Err(format!("epoch {epoch} is to begin by the word of a writer that had given way to {other}"))
            }
            None => Ok(()),
        }
    }

    /// What a node has accepted by now.
    fn accepted(&mut self, node: usize, epoch: Epoch) -> Step {
        let before = std::mem::replace(&mut self.accepted[node], epoch);
        if epoch.number < before.number || epoch.number == before.number && epoch != before {
            return Err(format!("node {node} had accepted epoch {before}, and now it is {epoch}"));
        }
        Ok(())
    }
}

impl World {
    /// What holds at every moment.
    pub(super) fn check(&mut self) -> Step {
        for (number, node) in self.nodes.iter().enumerate() {
            self.ledger.accepted(number, node.copy.accepted())?;
        }
        self.check_lease()
    }

    /// A writer comes back: whatever it lost, nobody has passed on or archived.
    pub(super) fn check_shown(&self, writer: usize) -> Step {
        let ours = &self.nodes[writer].copy;
        let kept = ours.log().len();
        for node in &self.nodes {
            let theirs = &node.copy;
            let goes_on = kept < theirs.shown() && theirs.log().starts_with(ours.log());
            // Whoever accepted a later epoch may be told by its writer, who went on with it.
            let of_this_life =
                theirs.history().current() == ours.history().current() && theirs.accepted() == ours.accepted();
            if goes_on && of_this_life {
                return Err(format!("{} shows {} records, and the writer kept {kept}", node.id, theirs.shown()));
            }
        }
        Ok(())
    }

    /// The record that a node has just appended is another node's, too, or an epoch begins with one of the two; or a life, where a
    /// writer may lose what it has shipped.
    pub(super) fn check_fork(&self, number: usize) -> Step {
        let ours = self.nodes[number].copy.log();
        let at = ours.len() - 1;
        for other in self.nodes.iter().filter(|node| node.id != self.nodes[number].id) {
            let theirs = other.copy.log();
            let parts = theirs.get(at).is_some_and(|id| *id != ours[at]) && (at == 0 || theirs[at - 1] == ours[at - 1]);
            let begins = |id| self.records.begins_an_epoch(id) || self.ships_ahead && self.records.begins_a_life(id);
            let explained = || begins(theirs[at]) || begins(ours[at]);
            if parts && !explained() {
                let (us, them) = (&self.nodes[number].id, &other.id);
                return Err(format!("the logs of {us} and {them} part at {at}, and no epoch says so"));
            }
        }
        Ok(())
    }
}

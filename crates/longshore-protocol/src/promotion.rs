//! From a failed writer to the next one: which log to go on from, and whether anybody may.
//!
//! The course of a promotion, each step durable before the next, so that it can be run again after a crash at any of them:
//!
//! ```text
//!  choose a number above every one that was accepted, and a random id of its own
//!  accept it here, then at as many nodes as answer          they believe no earlier writer from here on
//!  decide: is the old writer fenced?                        if not, refuse, or go on with an accepted loss
//!          who holds the best log among those fenced?       fetch it, and decide again
//!  begin the epoch where that log ends                      its first record makes this node the writer
//! ```

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use longshore_format::{Epoch, EpochHistory, Fork, Lsn, WriterId};

use crate::{Fence, NodeId, Policy, fence};

mod archived;
mod given_up;
mod given_way;

pub use archived::{Archived, Beside};
pub use given_up::GivenUp;
pub use given_way::GivenWay;

/// What a node says of its copy of a log. After it accepted an epoch, nothing of an earlier one is added to what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Whose copy.
    pub node: NodeId,
    /// Its lives.
    pub history: EpochHistory,
    /// Its oldest position.
    pub first: Lsn,
    /// The end of what is durable there.
    pub end: Lsn,
    /// The highest epoch it accepted.
    pub accepted: Epoch,
    /// Whether it minted the last epoch it knows, or would have if it had not been fenced.
    pub writes: bool,
    /// What it acknowledged and lost, until it has it again.
    pub lost: Option<Lsn>,
    /// The policies that hold in its log, the newest last, and where their records end: see [`in_force`](crate::in_force).
    pub policies: Vec<(Lsn, Policy)>,
    /// The time of its last record, in microseconds UTC; zero if it has none.
    pub time: u64,
    /// What it had accepted before what it accepted last, and has not heard begin: see [`GivenWay`].
    pub gave_way: Vec<Epoch>,
    /// What it was to begin and gave up, though the writer before was fenced: see [`GivenUp`].
    pub given_up: Vec<Epoch>,
}

impl Witness {
    /// The epoch that it accepted and has not heard begin.
    fn gives_way(&self) -> Option<Epoch> {
        Some(self.accepted).filter(|accepted| self.history.current().epoch.number < accepted.number)
    }

    fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().map(|(_, policy)| policy)
    }

    /// Up to where it had acknowledged what it lost and does not have again.
    fn lost_to(&self) -> Option<Lsn> {
        self.lost.filter(|lost| self.end < *lost)
    }
}

/// Two logs that no rule puts in order: the same epoch, other lives. An operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The two nodes.
    pub between: (NodeId, NodeId),
    /// The last position up to which both can be the same, if their histories meet at all.
    pub at: Option<Lsn>,
}

/// What a promotion does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The old writer may still confirm at its policy: have more nodes accept the epoch, or give up.
    Fence(Fence),
    /// Bring the own log up to that node's, then decide again.
    Fetch {
        /// Who has it.
        from: NodeId,
        /// Where it ends.
        to: Lsn,
    },
    /// The own log is the one to go on from, but it lost what it once acknowledged, and nobody fenced has that.
    Lost {
        /// Up to where it had acknowledged.
        to: Lsn,
    },
    /// This node has no vote in the log's policy. Only a voter may begin an epoch, because a fence reckons with no other writer:
    /// promote one of these, or give this node a vote first.
    NoVote {
        /// Those who have one.
        voters: BTreeSet<NodeId>,
    },
    /// Begin the epoch where the own log ends.
    Begin {
        /// The policies that go on, each of which gets a record in the new epoch: two if a change is under way.
        policies: Vec<Policy>,
    },
}

/// One attempt to become the writer, under one epoch.
#[derive(Debug, Clone)]
pub struct Promotion {
    own: NodeId,
    epoch: Epoch,
    fenced: BTreeMap<NodeId, Witness>,
    /// Who had accepted which epoch before this one, and had not heard it begin.
    gave_way: Vec<(NodeId, Epoch)>,
    /// Epochs that nobody begins any more.
    void: Vec<Epoch>,
}

impl Promotion {
    /// The number that an attempt must take at least, given what these nodes accepted.
    pub fn next_number<'a>(witnesses: impl IntoIterator<Item = &'a Witness>) -> u64 {
        witnesses.into_iter().map(|witness| witness.accepted.number).max().unwrap_or(0).saturating_add(1)
    }

    /// An attempt of `own` under `epoch`.
    pub fn new(own: NodeId, epoch: Epoch) -> Self {
        Self { own, epoch, fenced: BTreeMap::new(), gave_way: Vec::new(), void: Vec::new() }
    }

    /// Takes what a node said before it was asked to accept the epoch; the own node's words, too. A writer that had given way to
    /// somebody else by then cannot answer for who came after it.
    pub fn surveyed(&mut self, witness: &Witness) {
        let accepted = witness.gives_way().filter(|accepted| *accepted != self.epoch);
        self.note(&witness.node, accepted.iter().chain(&witness.gave_way));
        self.void.extend(&witness.given_up);
    }

    /// Takes the word of the node that was to begin an epoch that it never will.
    pub fn is_void(&mut self, epoch: Epoch) {
        self.void.push(epoch);
    }

    /// The epoch that it is to begin.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes what a node said *after* it accepted the epoch; the own node's words, too. Answers whether it counts: a node
    /// that accepted another epoch is not fenced by this one.
    pub fn heard(&mut self, witness: Witness) -> bool {
        let fenced = witness.accepted == self.epoch;
        if fenced {
            self.note(&witness.node, &witness.gave_way);
            self.void.extend(&witness.given_up);
            self.fenced.insert(witness.node.clone(), witness);
        }
        fenced
    }

    /// As if all of these accepted the epoch with what they say now. What does not go on even so is refused before anybody is asked
    /// to accept it: whoever does takes nothing more from the writer before, and would be disturbed for nothing.
    pub fn supposing<'a>(mut self, witnesses: impl IntoIterator<Item = &'a Witness>) -> Self {
        for witness in witnesses {
            self.heard(Witness { accepted: self.epoch, ..witness.clone() });
        }
        self
    }

    fn note<'a>(&mut self, node: &NodeId, gave_way: impl IntoIterator<Item = &'a Epoch>) {
        self.gave_way.extend(gave_way.into_iter().map(|epoch| (node.clone(), *epoch)));
    }

    /// The nodes that accepted the epoch.
    pub fn fenced(&self) -> impl Iterator<Item = &Witness> {
        self.fenced.values()
    }

    /// The best log among those fenced: the later epoch's before a longer one, because what the longer one has more may be a
    /// dead branch. (As in Raft, section 5.4.1 of Ongaro and Ousterhout, 2014.)
    ///
    /// # Errors
    /// Where two of them cannot be put in order.
    pub fn best(&self) -> Result<Option<&Witness>, Dispute> {
        best(self.fenced.values())
    }

    /// What to do next.
    ///
    /// # Errors
    /// As [`best`](Self::best).
    pub fn step(&self) -> Result<Step, Dispute> {
        let open = || Step::Fence(Fence::Open { unfenced: BTreeSet::from([self.own.clone()]) });
        let (Some(best), Some(own)) = (self.best()?, self.fenced.get(&self.own)) else { return Ok(open()) };
        let closed_to_us = |policy: &&Policy| policy.needs_voters() && !policy.voters.contains_key(&self.own);
        if let Some(policy) = best.policies().find(closed_to_us) {
            return Ok(Step::NoVote { voters: policy.voters.keys().cloned().collect() });
        }
        match self.fence_of(best) {
            Fence::Whole => Ok(self.after_fence(best, own)),
            fence => Ok(Step::Fence(fence)),
        }
    }

    /// What to do next where the loss of what the old writer may still confirm was accepted.
    ///
    /// # Errors
    /// As [`best`](Self::best).
    pub fn step_accepting_loss(&self) -> Result<Step, Dispute> {
        let (Some(best), Some(own)) = (self.best()?, self.fenced.get(&self.own)) else { return self.step() };
        Ok(match self.after_fence(best, own) {
            Step::Lost { .. } => Step::Begin { policies: own.policies().cloned().collect() },
            step => step,
        })
    }

    /// Whether the writer before is fenced, as the best log's policy says.
    pub fn fence(&self) -> Result<Fence, Dispute> {
        Ok(self.best()?.map_or(Fence::Unprotected { writer: None }, |best| self.fence_of(best)))
    }

    fn fence_of(&self, best: &Witness) -> Fence {
        let writer = writer_of(best, self.fenced.values());
        // Who lost what it had acknowledged can no longer speak for it.
        let sound = self.fenced.values().filter(|witness| witness.lost_to().is_none());
        let fenced = sound.map(|witness| witness.node.clone()).collect();
        let overtaken = writer.as_ref().is_some_and(|writer| self.may_be_overtaken(writer));
        let fence = |policy: Option<&Policy>| match overtaken && policy.is_none_or(Policy::rests_on_its_writer) {
            true => Fence::Unprotected { writer: None },
            false => fence(policy, writer.as_ref(), &fenced),
        };
        if best.policies.is_empty() {
            return fence(None);
        }
        let mut fences = best.policies().map(|policy| fence(Some(policy)));
        fences.find(|fence| *fence != Fence::Whole).unwrap_or(Fence::Whole)
    }

    /// Whether a writer gave way to an epoch that somebody may have begun, and then says nothing of who writes now.
    fn may_be_overtaken(&self, writer: &NodeId) -> bool {
        let is_void = |epoch: &Epoch| epoch.writer == WriterId::NOBODY || self.void.contains(epoch);
        self.gave_way.iter().any(|(node, epoch)| node == writer && !is_void(epoch))
    }

    fn after_fence(&self, best: &Witness, own: &Witness) -> Step {
        if order(own, best) == Ok(Ordering::Less) {
            return Step::Fetch { from: best.node.clone(), to: best.end };
        }
        match own.lost_to() {
            Some(to) => Step::Lost { to },
            None => Step::Begin { policies: own.policies().cloned().collect() },
        }
    }
}

/// The best of some logs; of equal ones the first.
///
/// # Errors
/// Where two of them cannot be put in order.
pub fn best<'a>(witnesses: impl IntoIterator<Item = &'a Witness>) -> Result<Option<&'a Witness>, Dispute> {
    let mut best: Option<&Witness> = None;
    for witness in witnesses {
        match best {
            Some(before) if order(witness, before)? != Ordering::Greater => {}
            _ => best = Some(witness),
        }
    }
    Ok(best)
}

/// Which node writes the last epoch of `log`: the one that says so itself, else the one that wrote a policy in that epoch.
pub fn writer_of<'a>(log: &Witness, witnesses: impl IntoIterator<Item = &'a Witness>) -> Option<NodeId> {
    let current = log.history.current();
    let says_so = |witness: &&Witness| witness.writes && witness.history.current().epoch == current.epoch;
    if let Some(writer) = witnesses.into_iter().find(says_so) {
        return Some(writer.node.clone());
    }
    let (end, policy) = log.policies.last()?;
    let epoch_start = log.history.entries().iter().find(|life| life.epoch == current.epoch)?.start;
    (epoch_start < *end).then(|| policy.writer.clone())
}

/// Which of two logs is the later one.
fn order(a: &Witness, b: &Witness) -> Result<Ordering, Dispute> {
    let (ours, theirs) = (a.history.current().epoch, b.history.current().epoch);
    let dispute = |at| Dispute { between: (a.node.clone(), b.node.clone()), at };
    match a.history.fork(&b.history) {
        Fork::Same => Ok(a.end.cmp(&b.end)),
        Fork::Ahead { .. } => Ok(Ordering::Greater),
        Fork::Behind { .. } => Ok(Ordering::Less),
        Fork::Forked { .. } | Fork::Unrelated if ours.number != theirs.number => Ok(ours.number.cmp(&theirs.number)),
        Fork::Forked { at } => Err(dispute(Some(at))),
        Fork::Unrelated => Err(dispute(None)),
    }
}

#[cfg(test)]
mod tests;

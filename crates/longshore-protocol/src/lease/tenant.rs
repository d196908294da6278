//! One node's part in a lease: what it asks of the store next, and what it believes.

use std::time::Duration;

use longshore_format::{Epoch, WriterId};

use super::candidate::{Candidate, Seen};
use super::holder::Holder;
use super::{LeaseObject, Stamps, Ttl};
use crate::{Error, NodeId, Result};

/// One node's part in the lease of one log, without I/O: what is due, what was answered, what follows.
///
/// Whoever drives it has at most one request under way, swaps against the version that the store named last, and tells it of
/// every one that began: [`swapped`](Tenant::swapped), [`found`](Tenant::found) or [`lost`](Tenant::lost). `now` is of a clock
/// that runs on while the machine is suspended.
#[derive(Debug)]
pub struct Tenant {
    node: NodeId,
    ttl: Ttl,
    stamps: Stamps,
    candidate: Candidate,
    holder: Option<Holder>,
    /// Whether the version that the store named last is still the one to swap against, as far as is known here.
    settled: bool,
    due: Duration,
}

/// Who holds a lease, as far as one node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// This node. Whoever acts on it looks at the clock first: tasks and timers may be late, and suspended with the machine.
    Held {
        /// The epoch that it began.
        epoch: Epoch,
        /// Until then, by the boot-time clock.
        until: Duration,
    },
    /// Another node, or this one in an earlier life.
    Other {
        /// Which.
        holder: NodeId,
        /// The epoch that it began.
        epoch: Epoch,
    },
    /// Nobody: it was given back, or whoever had it was silent for so long that it has stopped. It can be taken.
    Free,
    /// Nobody has answered yet, or not lately; or this node could not renew it in time and may have lost it.
    Unknown,
}

impl LeaseState {
    /// The epoch that this node may act in at `now`.
    pub fn held(&self, now: Duration) -> Option<Epoch> {
        match self {
            LeaseState::Held { epoch, until } if now < *until => Some(*epoch),
            _ => None,
        }
    }
}

/// In which epoch a node wants a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// In a new one: its number is one more than the lease's, or than `above`, whichever is greater.
    Mint {
        /// Random bits that were drawn for this epoch; the same when it is asked again after an answer that was lost.
        writer: WriterId,
        /// The highest number of an epoch that this node has heard of.
        above: u64,
    },
    /// In one that this node writes already: after a restart, or when a log gets its first lease.
    Keep(Epoch),
}

/// What to ask the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// What is there.
    Read,
    /// To change what was named last into this.
    Swap(LeaseObject),
}

impl Tenant {
    /// A node that knows nothing of its lease yet. `life` is random bits of this process, `ttl` what it writes when it holds.
    pub fn new(node: NodeId, ttl: Ttl, life: u64) -> Tenant {
        Tenant {
            node,
            ttl,
            stamps: Stamps::new(life),
            candidate: Candidate::new(ttl),
            holder: None,
            settled: false,
            due: Duration::ZERO,
        }
    }

    /// What is to be asked at `now`; nothing before [`wake`](Tenant::wake).
    pub fn due(&mut self, now: Duration) -> Option<Due> {
        if now < self.due {
            return None;
        }
        let seen = self.candidate.seen().filter(|_| self.settled);
        Some(match (seen, &self.holder) {
            (Some(_), Some(holder)) => Due::Swap(holder.renewal(self.stamps.fresh())),
            (Some(Seen { object: None, .. }), None) => Due::Swap(self.candidate.placeholder(self.stamps.fresh())),
            _ => Due::Read,
        })
    }

    /// When to ask [`due`](Tenant::due) again after `now`, unless an answer or a wish comes before.
    pub fn wake(&self, now: Duration) -> Duration {
        self.changes(now).map_or(self.due, |changes| changes.min(self.due))
    }

    /// When what [`state`](Tenant::state) says changes by itself, if nothing is heard.
    pub fn changes(&self, now: Duration) -> Option<Duration> {
        let lapses = self.holder.as_ref().map(Holder::until);
        let forgotten = self.candidate.seen().map(|seen| seen.known_until(self.ttl));
        [lapses, forgotten].into_iter().flatten().filter(|at| now < *at).min()
    }

    /// Whether the store has named what to swap against; if not, it is to be read first.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// How long to wait for an answer before it counts as lost.
    pub fn patience(&self) -> Duration {
        self.ttl.rhythm()
    }

    /// Who holds it, as far as is known at `now`.
    pub fn state(&self, now: Duration) -> LeaseState {
        if let Some(holder) = self.holder.as_ref().filter(|holder| holder.trusts(now)) {
            return LeaseState::Held { epoch: holder.epoch(), until: holder.until() };
        }
        let Some(seen) = self.candidate.seen().filter(|seen| now < seen.known_until(self.ttl)) else {
            return LeaseState::Unknown;
        };
        if seen.is_free() {
            return LeaseState::Free;
        }
        match &seen.object {
            Some(LeaseObject { holder: Some(holder), epoch, stamp, .. }) if !self.stamps.gave(*stamp) => {
                LeaseState::Other { holder: holder.clone(), epoch: *epoch }
            }
            _ => LeaseState::Unknown,
        }
    }

    /// What to swap in to have the lease.
    ///
    /// # Errors
    /// [`Error::LeaseHeld`] and [`Error::LeaseUnknown`] pass; [`Error::Fenced`] and [`Error::TwoWriters`] when a later epoch
    /// than the one to keep was begun with it.
    pub fn bid(&mut self, claim: Claim) -> Result<LeaseObject> {
        let seen = self.candidate.seen().filter(|_| self.settled).ok_or(Error::LeaseUnknown)?;
        if !seen.is_free() && !seen.object.as_ref().is_some_and(|object| self.is_own(object, claim)) {
            return Err(match &seen.object {
                Some(LeaseObject { holder: Some(holder), epoch, .. }) => {
                    Error::LeaseHeld { holder: holder.clone(), epoch: *epoch }
                }
                _ => Error::LeaseUnknown,
            });
        }
        let epoch = self.epoch_of(seen, claim)?;
        Ok(LeaseObject { holder: Some(self.node.clone()), epoch, ttl: self.ttl, stamp: self.stamps.fresh() })
    }

    /// What to swap in to give the lease back; `None` if it is not this node's. From here on it is not acted on.
    ///
    /// # Errors
    /// [`Error::LeaseUnknown`] if the last answer was lost: read first.
    pub fn resign(&mut self) -> Result<Option<LeaseObject>> {
        self.holder = None;
        let seen = self.candidate.seen().filter(|_| self.settled).ok_or(Error::LeaseUnknown)?;
        let own = seen.object.clone().filter(|object| self.has_written(object));
        Ok(own.map(|object| LeaseObject { holder: None, stamp: self.stamps.fresh(), ..object }))
    }

    /// The store holds this now, as it was asked when it was `sent`.
    pub fn swapped(&mut self, object: LeaseObject, sent: Duration, now: Duration) {
        self.saw(Some(object.clone()), now);
        self.holder = object.holder.is_some().then(|| Holder::new(object, sent));
        if self.holder.is_some() {
            self.due = sent.saturating_add(self.ttl.rhythm()).max(now);
        }
    }

    /// The store holds this: it was read, or it was in the way of a swap.
    pub fn found(&mut self, object: Option<LeaseObject>, now: Duration) {
        // A renewal whose answer was lost is what to go on from, and no reason to go on for longer.
        let goes_on = |holder: &Holder| {
            object.as_ref().is_some_and(|object| object.epoch == holder.epoch() && self.has_written(object))
        };
        let holds = self.holder.as_ref().is_some_and(goes_on);
        self.holder.take_if(|_| !holds);
        self.saw(object, now);
        if holds {
            self.due = now;
        }
    }

    /// What became of a request is not known: no answer, or one that says nothing. It is read next; at once if that has taken
    /// long enough since it was `sent`.
    pub fn lost(&mut self, sent: Duration, now: Duration) {
        self.settled = false;
        self.due = sent.saturating_add(self.ttl.retry()).max(now);
    }

    fn saw(&mut self, object: Option<LeaseObject>, now: Duration) {
        self.candidate.saw(object, now);
        self.settled = true;
        self.due = self.candidate.seen().map_or(now, |seen| seen.look_at(now, self.ttl.rhythm()));
    }

    /// Whether this life of this node holds with it, whatever became of the answer.
    fn has_written(&self, object: &LeaseObject) -> bool {
        object.holder.as_ref() == Some(&self.node) && self.stamps.gave(object.stamp)
    }

    /// Whether what was seen is this node's, so that there is nobody to wait for.
    fn is_own(&self, object: &LeaseObject, claim: Claim) -> bool {
        let kept = object.holder.as_ref() == Some(&self.node) && claim == Claim::Keep(object.epoch);
        kept || self.has_written(object)
    }

    fn epoch_of(&self, seen: &Seen, claim: Claim) -> Result<Epoch> {
        match (claim, &seen.object) {
            // It was asked before, and landed.
            (Claim::Mint { writer, .. }, Some(object)) if object.epoch.writer == writer && self.has_written(object) => {
                Ok(object.epoch)
            }
            (Claim::Mint { writer, above }, there) => {
                let highest = there.as_ref().map_or(above, |there| there.epoch.number.max(above));
                match highest < LeaseObject::MAX_NUMBER {
                    true => Ok(Epoch { number: highest + 1, writer }),
                    false => Err(Error::NoLease { why: "the number of its epoch is too great" }),
                }
            }
            (Claim::Keep(found), Some(LeaseObject { epoch: current, .. })) if found.number < current.number => {
                Err(Error::Fenced { current: *current, found })
            }
            (Claim::Keep(found), Some(LeaseObject { epoch: current, .. }))
                if found.number == current.number && found != *current =>
            {
                Err(Error::TwoWriters { current: *current, found })
            }
            (Claim::Keep(epoch), _) => Ok(epoch),
        }
    }
}

#[cfg(test)]
mod tests;

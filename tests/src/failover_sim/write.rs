//! A node that writes: what it appends, and when it acknowledges.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::rc::Rc;

use longshore_format::{Epoch, EpochEntry, Incarnation};
use longshore_protocol::{AckTable, Durability, Policy, Shortfall, records_of};

use super::archive::Archiver;
use super::clock::{MILLI, Moment, SECOND};
use super::net::Said;
use super::record::{What, index, lsn};
use super::shape::{NODES, name, promise, region};
use super::world::{Event, Step, World};

/// A node that is the writer, as far as it knows.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) epoch: Epoch,
    pub(super) table: AckTable,
    /// Whom it has told that its epoch has begun.
    pub(super) told: BTreeSet<usize>,
    tell_at: Moment,
}

impl World {
    /// The node is the writer from here on.
    pub(super) fn take_office(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let epoch = node.copy.history().current().epoch;
        let mut table = AckTable::new();
        for other in (0..NODES).filter(|other| *other != number) {
            table.admit(name(other), Some(region(other))).expect("they are few");
        }
        node.copy.show_all();
        let start = node.copy.epoch_start();
        if self.records.begins_an_epoch(node.copy.log()[start]) {
            table.set_floor(lsn(start + 1));
        }
        table.set_policies(node.copy.in_force());
        node.writer = Some(Writer { epoch, table, told: BTreeSet::new(), tell_at: self.at });
    }

    /// Whoever writes in an epoch that is over here stops; what was under way under another one, too.
    pub(super) fn abide(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let accepted = node.copy.accepted();
        if node.writer.take_if(|writer| writer.epoch != accepted).is_some() {
            self.tally.fenced_writers += 1;
            node.archiver = Archiver::default();
            self.note(|| format!("{} writes no more: epoch {accepted} is accepted", name(number)));
        }
    }

    pub(super) fn attend_writing(&mut self, number: usize) -> Step {
        self.acknowledge(number)?;
        self.end_change(number)?;
        let Some(writer) = &mut self.nodes[number].writer else { return Ok(()) };
        if writer.tell_at <= self.at {
            writer.tell_at = self.at + 5 * SECOND;
            let (epoch, told) = (writer.epoch, writer.told.clone());
            for other in (0..NODES).filter(|other| *other != number && !told.contains(other)) {
                self.call(number, other, Said::Fence(epoch));
            }
        }
        Ok(())
    }

    /// Waits of clients end as far as every policy in force is met.
    fn acknowledge(&mut self, number: usize) -> Step {
        if !self.holds_lease(number) {
            return Ok(());
        }
        let node = &mut self.nodes[number];
        let local = node.ack();
        let stores = node.stores();
        let Some(writer) = &mut node.writer else { return Ok(()) };
        writer.table.set_local(local);
        writer.table.set_stores(stores);
        // Whoever was shipped ahead may have it before this disk has, which then counts, too.
        let reached = index(writer.table.policies_reached()).min(node.copy.synced());
        let log =
            node.copy.log().get(..reached).ok_or_else(|| {
                format!("{} acknowledges {reached} records and has {}", node.id, node.copy.log().len())
            })?;
        let epoch = writer.epoch;
        let archived = index(writer.table.reached(&Durability::archived(NonZeroU32::MIN)));
        let unprotected = writer.table.policies().iter().all(|policy| !policy.needs_voters());
        let more = self.ledger.acknowledge(epoch, log, unprotected)?;
        self.tally.acknowledged += more as u64;
        self.tally.archived_alone += if unprotected { more as u64 } else { 0 };
        if 0 < more {
            self.note(|| format!("{} acknowledges up to {reached}", name(number)));
        }
        self.acknowledge_archived(number, epoch, archived)
    }

    /// A change of the policy is over once its record is confirmed by the old and the new one.
    fn end_change(&mut self, number: usize) -> Step {
        let node = &self.nodes[number];
        let Some(writer) = &node.writer else { return Ok(()) };
        let Some((end, policy)) = node.copy.policy() else { return Ok(()) };
        if !node.copy.is_changing() || writer.table.policies_reached().min(lsn(node.copy.synced())) < end {
            return Ok(());
        }
        let again = Policy { writer: node.id.clone(), ..policy.clone() };
        self.tally.policies_changed += 1;
        self.promise(number, again)
    }

    /// Appends a policy; it holds from here on, beside the one that may still be in force.
    pub(super) fn promise(&mut self, number: usize, policy: Policy) -> Step {
        self.note(|| format!("{} promises {} by {:?}", name(number), policy.durability, policy.voters.keys()));
        self.mint(number, What::Policy(Rc::new(policy)))?;
        let node = &mut self.nodes[number];
        if let Some(writer) = &mut node.writer {
            writer.table.set_policies(node.copy.in_force());
        }
        Ok(())
    }

    /// A client appends to whoever takes it.
    pub(super) fn client(&mut self) -> Step {
        if !self.clients {
            return Ok(());
        }
        let next = match self.rng.one_in(4) {
            true => self.rng.within(SECOND..6 * SECOND),
            false => self.rng.within(20 * MILLI..SECOND),
        };
        self.schedule(self.at + next, Event::Client);
        let takes =
            |node: &usize| self.nodes[*node].writer.is_some() && self.is_awake(*node) && self.holds_lease(*node);
        let writers: Vec<usize> = (0..NODES).filter(takes).collect();
        if writers.is_empty() {
            return Ok(());
        }
        let number = *self.rng.pick(&writers);
        if self.calm.is_none() && self.rng.one_in(15) && !self.nodes[number].copy.is_changing() {
            let policy = promise(number, self.all_archive(), &mut self.rng);
            self.tally.policy_changes += 1;
            self.promise(number, policy)?;
            if self.rng.one_in(4) {
                self.attend(number)?;
                return self.strike_the_writer();
            }
        }
        if self.calm.is_none() && self.rng.one_in(20) {
            self.say_again(number)?;
        }
        for _ in 0..self.rng.within(1..4) {
            self.mint(number, What::Data)?;
            self.tally.appended += 1;
        }
        self.attend(number)
    }

    /// The writer says its policy again, with another word on what happens when it cannot be had.
    fn say_again(&mut self, number: usize) -> Step {
        let holding = self.nodes[number].copy.in_force();
        let Some(newest) = holding.last().cloned() else { return Ok(()) };
        let shortfall = if self.rng.one_in(2) { Shortfall::Refuse } else { Shortfall::Accept };
        let again = Policy { writer: name(number), shortfall, ..newest };
        self.tally.said_again += u64::from(1 < holding.len());
        for policy in records_of(&holding, again).into_iter().flatten() {
            self.promise(number, policy)?;
        }
        Ok(())
    }

    /// A node comes back, and goes on as what its log says it is.
    pub(super) fn start(&mut self, number: usize) -> Step {
        let node = &mut self.nodes[number];
        if node.up {
            return Ok(());
        }
        node.up = true;
        node.dial_at = self.at;
        let current = *node.copy.history().current();
        self.note(|| format!("{} starts", name(number)));
        self.join_lease(number);
        if self.nodes[number].copy.is_own() && current.epoch == self.nodes[number].copy.accepted() {
            self.tally.restarted_writers += 1;
            self.resume(number)?;
        }
        // The worst moment to be promoted is when one has just found out what one lost.
        if self.calm.is_none() && self.nodes[number].copy.has_lost() && self.rng.one_in(2) {
            self.try_promotion(number, false)?;
        }
        self.attend(number)
    }

    /// The writer of before is the writer again, in another life.
    fn resume(&mut self, number: usize) -> Step {
        self.check_shown(number)?;
        let start = lsn(self.nodes[number].copy.log().len());
        let epoch = self.nodes[number].copy.accepted();
        let life = EpochEntry { start, epoch, incarnation: Incarnation::new(self.rng.next_u64()) };
        self.mint(number, What::Incarnation(life))?;
        if !self.nodes[number].copy.has_policy_of_epoch() {
            for policy in self.nodes[number].copy.in_force() {
                self.promise(number, Policy { writer: name(number), ..policy })?;
            }
        }
        self.nodes[number].copy.sync();
        let log = self.nodes[number].copy.log();
        self.ledger.begins(epoch, log)?;
        self.take_office(number);
        Ok(())
    }

    pub(super) fn is_awake(&self, number: usize) -> bool {
        self.nodes[number].up && self.nodes[number].asleep_until <= self.at
    }
}

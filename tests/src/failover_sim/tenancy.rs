//! The lease: a store with one object, and each node's part in it.

use std::time::Duration;

use longshore_format::{Epoch, WriterId};
use longshore_protocol::lease::{Claim, Due, LeaseObject, LeaseState, Tenant, Ttl};

use super::clock::{Moment, SECOND};
use super::shape::{NODES, name};
use super::world::{Event, Step, World, random_bytes};

/// A store that compares and swaps.
#[derive(Debug, Default)]
pub(super) struct Store {
    object: Option<LeaseObject>,
    asked: u64,
}

/// What a node asks of the store: what is there, or to change what it expects there.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) node: usize,
    life: u64,
    number: u64,
    swap: Option<(Option<LeaseObject>, LeaseObject)>,
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Holds(Option<LeaseObject>),
    Swapped,
}

/// A node's part.
#[derive(Debug)]
pub(super) struct Tenancy {
    tenant: Tenant,
    /// Which question is not answered, what it wanted to put there, and when it was sent.
    waits: Option<(u64, Option<LeaseObject>, Duration)>,
    named: Option<LeaseObject>,
    mints: WriterId,
    /// The highest number of an epoch that it has heard of.
    above: u64,
    gives_back: bool,
    bids_at: Moment,
    held: bool,
}

impl Tenancy {
    pub(super) fn wake(&self, now: Duration) -> Duration {
        self.waits.as_ref().map_or(self.tenant.wake(now), |(_, _, sent)| *sent + self.tenant.patience())
    }
}

impl World {
    pub(super) fn establish_lease(&mut self) {
        self.store = Some(Store::default());
        (0..NODES).for_each(|node| self.join_lease(node));
    }

    /// A node that has just started takes part.
    pub(super) fn join_lease(&mut self, number: usize) {
        if self.store.is_none() {
            return;
        }
        let tenant = Tenant::new(name(number), Ttl::DEFAULT, self.rng.next_u64());
        let mints = WriterId::from_bytes(random_bytes(&mut self.rng));
        self.nodes[number].tenancy = Some(Tenancy {
            tenant,
            waits: None,
            named: None,
            mints,
            above: 0,
            gives_back: false,
            bids_at: self.at,
            held: false,
        });
    }

    /// The clock that a lease goes by.
    fn lease_clock(&self, number: usize) -> Duration {
        self.nodes[number].clock.boot(self.at)
    }

    /// The epoch that a node may write in, as far as its lease goes.
    fn leased(&self, number: usize) -> Option<Epoch> {
        let now = self.lease_clock(number);
        self.nodes[number].tenancy.as_ref().and_then(|tenancy| tenancy.tenant.state(now).held(now))
    }

    /// Whether a writer may go on.
    pub(super) fn holds_lease(&self, number: usize) -> bool {
        self.store.is_none() || self.nodes[number].writer.is_some() && self.leased(number).is_some()
    }

    pub(super) fn give_lease_back(&mut self, number: usize) {
        let pause = self.rng.within(2 * SECOND..20 * SECOND);
        if let Some(tenancy) = &mut self.nodes[number].tenancy {
            tenancy.gives_back = true;
            tenancy.bids_at = self.at + pause;
        }
    }

    /// A node hears of an epoch that somebody accepted.
    pub(super) fn heard_of(&mut self, number: usize, epoch: Epoch) {
        if let Some(tenancy) = &mut self.nodes[number].tenancy {
            tenancy.above = tenancy.above.max(epoch.number);
        }
    }

    pub(super) fn attend_lease(&mut self, number: usize) -> Step {
        let (now, held) = (self.lease_clock(number), self.leased(number));
        let node = &mut self.nodes[number];
        let Some(tenancy) = &mut node.tenancy else { return Ok(()) };
        if let Some((_, _, sent)) = tenancy.waits {
            if sent + tenancy.tenant.patience() <= now {
                tenancy.waits = None;
                tenancy.tenant.lost(sent, now);
            }
            return Ok(());
        }
        let accepted = node.copy.accepted();
        if let Some(epoch) = held.filter(|_| node.writer.is_none() && node.attempt.is_none() && !tenancy.gives_back)
            && (accepted.number < epoch.number || accepted == epoch)
        {
            self.stand(number, epoch);
            return Ok(());
        }
        if let Some(due) = self.wish(number, now) {
            self.ask(number, due, now);
        }
        Ok(())
    }

    /// Whether a node may take the lease. While things go wrong anybody may, whatever comes of it: the rules must stand that.
    fn may_stand(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        // Whoever writes and cannot keep the lease in its epoch, as another was minted meanwhile, holds it for one that it mints
        // and does not begin.
        if self.calm.is_none() || node.writer.is_some() {
            return true;
        }
        let has_vote = node.copy.policy().is_some_and(|(_, policy)| policy.may_stand(&node.id));
        has_vote && !node.copy.has_lost() && !self.follows_a_writer(number)
    }

    /// What to ask of the store: to have the lease, to give it back, or what is due anyway.
    fn wish(&mut self, number: usize, now: Duration) -> Option<Due> {
        let may_stand = self.may_stand(number);
        let node = &mut self.nodes[number];
        let writes = node.writer.as_ref().map(|writer| writer.epoch);
        let tenancy = node.tenancy.as_mut()?;
        let tenant = &mut tenancy.tenant;
        let idle = tenant.state(now).held(now).is_some() && writes.is_none() && node.attempt.is_none();
        if (std::mem::take(&mut tenancy.gives_back) || idle && !may_stand)
            && let Ok(Some(object)) = tenant.resign()
        {
            return Some(Due::Swap(object));
        }
        let state = tenant.state(now);
        let held = state.held(now);
        if let Some(epoch) = writes.filter(|_| held.is_none())
            && let Ok(object) = tenant.bid(Claim::Keep(epoch))
        {
            return Some(Due::Swap(object));
        }
        let wants = state == LeaseState::Free || held.is_some() && writes.is_none();
        if wants && may_stand && node.attempt.is_none() && tenancy.bids_at <= self.at {
            let above = tenancy.above.max(node.copy.accepted().number);
            tenancy.bids_at = self.at + 2 * SECOND;
            if let Ok(object) = tenant.bid(Claim::Mint { writer: tenancy.mints, above }) {
                return Some(Due::Swap(object));
            }
        }
        tenant.due(now)
    }

    fn ask(&mut self, number: usize, due: Due, now: Duration) {
        let Some(store) = &mut self.store else { return };
        store.asked += 1;
        let asked = store.asked;
        let life = self.nodes[number].life;
        let Some(tenancy) = &mut self.nodes[number].tenancy else { return };
        let object = match due {
            Due::Read => None,
            Due::Swap(object) => Some(object),
        };
        tenancy.waits = Some((asked, object.clone(), now));
        let swap = object.map(|object| (tenancy.named.clone(), object));
        let ask = Ask { node: number, life, number: asked, swap };
        for _ in 0..self.times() {
            // It may sleep between looking at its clock and sending.
            let delay = self.delay();
            self.schedule(self.at + delay, Event::Ask(Box::new(ask.clone())));
        }
    }

    /// A question arrives at the store.
    pub(super) fn asked(&mut self, ask: Ask) -> Step {
        if self.net.store_cut[ask.node] {
            self.tally.lost += 1;
            return Ok(());
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        let answer = match &ask.swap {
            // It came twice, and the first one did it.
            Some((_, object)) if Some(object) == store.object.as_ref() => Answer::Swapped,
            Some((expected, object)) if *expected == store.object => {
                let before = store.object.as_ref().map_or(0, |object| object.epoch.number);
                let taken = object.holder.is_some() && before < object.epoch.number;
                store.object = Some(object.clone());
                self.tally.leases_taken += u64::from(taken);
                Answer::Swapped
            }
            _ => Answer::Holds(store.object.clone()),
        };
        let delay = self.delay();
        self.schedule(self.at + delay, Event::Told(Box::new((ask, answer))));
        Ok(())
    }

    /// An answer of the store arrives.
    pub(super) fn told(&mut self, ask: Ask, answer: Answer) -> Step {
        let now = self.lease_clock(ask.node);
        let node = &mut self.nodes[ask.node];
        let Some(tenancy) = node.tenancy.as_mut().filter(|_| ask.life == node.life) else { return Ok(()) };
        if self.net.store_cut[ask.node] {
            self.tally.lost += 1;
            return Ok(());
        }
        let Some((_, object, sent)) = tenancy.waits.take_if(|(number, ..)| *number == ask.number) else {
            return Ok(());
        };
        match (answer, object) {
            (Answer::Holds(holds), _) => {
                tenancy.named = holds.clone();
                tenancy.tenant.found(holds, now);
            }
            (Answer::Swapped, Some(object)) => {
                if object.epoch.writer == tenancy.mints {
                    tenancy.mints = WriterId::from_bytes(random_bytes(&mut self.rng));
                }
                tenancy.named = Some(object.clone());
                tenancy.tenant.swapped(object, sent, now);
            }
            (Answer::Swapped, None) => return Err("the store swapped what nobody asked to".to_owned()),
        }
        self.attend(ask.node)
    }

    /// At no moment do two nodes trust the lease.
    pub(super) fn check_lease(&mut self) -> Step {
        if self.store.is_none() {
            return Ok(());
        }
        let mut holders = Vec::new();
        for number in 0..NODES {
            let held = self.leased(number).filter(|_| self.nodes[number].up);
            holders.extend(held.map(|epoch| (name(number), epoch.number)));
            if let Some(tenancy) = &mut self.nodes[number].tenancy {
                let lapsed = tenancy.held && held.is_none();
                tenancy.held = held.is_some();
                self.tally.leases_lapsed += u64::from(lapsed);
            }
        }
        match holders.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("the lease is held by all of {holders:?}")),
        }
    }
}

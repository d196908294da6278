//! A node that wants to be the writer: the loop around `Promotion`.

use std::collections::BTreeSet;

use longshore_format::{Epoch, EpochEntry, Incarnation, WriterId};
use longshore_protocol::{Dispute, Fence, Policy, Promotion, Step as Next, Witness};

use super::clock::{Moment, SECOND};
use super::consult::{Consultation, Consulted};
use super::net::{Call, Said};
use super::record::{What, index, lsn};
use super::shape::{NODES, name, number as number_of};
use super::world::{Step, World, random_bytes};

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Which, of all that there were.
    number: u64,
    stage: Stage,
    until: Moment,
    again: Moment,
    /// What it knows of the archive.
    pub(super) consultation: Consultation,
    /// Whether the operator accepts a loss.
    loss: bool,
    /// The epoch of a lease which this node holds, if it is for that.
    minted: Option<Epoch>,
}

#[derive(Debug)]
enum Stage {
    /// Asks what was accepted, to choose a number above it.
    Survey(Vec<Witness>),
    /// Has all accept its epoch, and fetches what another has more.
    Fence { promotion: Promotion, fetches: bool },
    /// The first records of its epoch are on their way to the disk.
    Begin { epoch: Epoch, end: usize },
}

impl Attempt {
    pub(super) fn wake(&self) -> Moment {
        match self.stage {
            Stage::Survey(_) => self.until,
            _ => self.until.min(self.again),
        }
    }

    pub(super) fn fetches(&self) -> bool {
        matches!(self.stage, Stage::Fence { fetches: true, .. })
    }
}

impl World {
    /// An operator asks a node to become the writer.
    pub(super) fn try_promotion(&mut self, number: usize, loss: bool) -> Step {
        if !self.is_awake(number) || self.nodes[number].attempt.is_some() {
            return Ok(());
        }
        self.note(|| format!("{} is to be promoted", name(number)));
        self.survey(number, loss, None);
        self.attend(number)
    }

    /// Asks what everybody holds, before anything is done.
    fn survey(&mut self, number: usize, loss: bool, minted: Option<Epoch>) {
        self.tally.attempts += 1;
        let attempt = self.tally.attempts;
        let until = self.at + self.rng.within(SECOND..4 * SECOND);
        let stage = Stage::Survey(Vec::new());
        let consultation = self.consult(number);
        self.nodes[number].attempt =
            Some(Attempt { number: attempt, stage, until, again: 0, consultation, loss, minted });
        for other in (0..NODES).filter(|other| *other != number) {
            self.call(number, other, Said::Survey(attempt));
        }
    }

    /// A node promotes itself in the epoch of its lease. While things go wrong it does not even ask what others hold.
    pub(super) fn stand(&mut self, number: usize, minted: Epoch) {
        if self.calm.is_some() {
            return self.survey(number, false, Some(minted));
        }
        self.tally.attempts += 1;
        self.raise_fence(number, Promotion::new(name(number), minted), false, Some(minted));
    }

    /// A node begins to have its epoch accepted: by itself first.
    fn raise_fence(&mut self, number: usize, promotion: Promotion, loss: bool, minted: Option<Epoch>) {
        let node = &mut self.nodes[number];
        let epoch = promotion.epoch();
        if !node.copy.accept_own(epoch) {
            return self.end_attempt(number);
        }
        node.copy.sync();
        let stage = Stage::Fence { promotion, fetches: false };
        let (until, again) = (self.at + 20 * SECOND, self.at);
        let consultation = match self.nodes[number].attempt.take() {
            Some(attempt) => attempt.consultation,
            None => self.consult(number),
        };
        self.nodes[number].attempt =
            Some(Attempt { number: self.tally.attempts, stage, until, again, consultation, loss, minted });
        self.abide(number);
        self.note(|| format!("{} accepts its own epoch {epoch}", name(number)));
    }

    pub(super) fn end_attempt(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(attempt) = node.attempt.take() else { return };
        if let Stage::Fence { promotion, .. } = &attempt.stage
            && promotion.fence() == Ok(Fence::Whole)
        {
            node.copy.gives_up(promotion.epoch());
        }
        if attempt.minted.is_some() {
            self.give_lease_back(number);
        }
    }

    pub(super) fn begins(&self, number: usize) -> bool {
        self.nodes[number].attempt.as_ref().is_some_and(|attempt| matches!(attempt.stage, Stage::Begin { .. }))
    }

    pub(super) fn attend_attempt(&mut self, number: usize) -> Step {
        let node = &mut self.nodes[number];
        let accepted = node.copy.accepted();
        let Some(attempt) = &mut node.attempt else { return Ok(()) };
        match &mut attempt.stage {
            Stage::Survey(heard) => {
                let hears = heard.len() + 1 < NODES || attempt.consultation.is_pending(self.at);
                if self.at < attempt.until && hears {
                    return Ok(());
                }
                let mut heard = std::mem::take(heard);
                heard.push(node.copy.witness(node.id.clone(), &self.records));
                self.surveyed(number, &heard)
            }
            Stage::Fence { promotion, .. } if promotion.epoch() != accepted => self.overtaken(number),
            Stage::Begin { epoch, .. } if *epoch != accepted => self.overtaken(number),
            Stage::Fence { .. } => self.go_on(number),
            Stage::Begin { epoch, end } if *end <= node.copy.synced() => {
                let epoch = *epoch;
                node.attempt = None;
                self.ledger.begins(epoch, self.nodes[number].copy.log())?;
                self.tally.promotions += 1;
                self.note(|| format!("{} begins epoch {epoch}", name(number)));
                self.take_office(number);
                Ok(())
            }
            Stage::Begin { .. } => {
                attempt.until = self.at + SECOND;
                attempt.again = attempt.until;
                Ok(())
            }
        }
    }

    /// Everybody has answered, or is not waited for any longer.
    fn surveyed(&mut self, number: usize, heard: &[Witness]) -> Step {
        let Some(attempt) = &self.nodes[number].attempt else { return Ok(()) };
        let (loss, minted) = (attempt.loss, attempt.minted);
        let next = Promotion::next_number(heard).max(attempt.consultation.next_number());
        if minted.is_some_and(|minted| minted.number < next) {
            heard.iter().for_each(|witness| self.heard_of(number, witness.accepted));
            return self.overtaken(number);
        }
        let writer = WriterId::from_bytes(random_bytes(&mut self.rng));
        let mut promotion = Promotion::new(name(number), minted.unwrap_or(Epoch { number: next, writer }));
        heard.iter().for_each(|witness| promotion.surveyed(witness));
        if self.calm.is_some() && !self.may_succeed(number, &promotion, heard) {
            return Ok(());
        }
        self.raise_fence(number, promotion, loss, minted);
        match self.crashes_between_steps(number) {
            true => Ok(()),
            false => self.attend_attempt(number),
        }
    }

    /// Whether it can come to a good end, as far as they say who answered; else nobody is asked to accept its epoch. A promotion
    /// looks at this only when nothing goes wrong any more: what was said may always be over, and the rules must stand that.
    fn may_succeed(&mut self, number: usize, promotion: &Promotion, heard: &[Witness]) -> bool {
        let Some(attempt) = &self.nodes[number].attempt else { return false };
        let supposed = promotion.clone().supposing(heard);
        match next_step(&supposed, attempt.loss) {
            Ok(Next::Begin { .. } | Next::Fetch { .. }) => {
                let copy = supposed.best().ok().flatten().filter(|_| !attempt.loss);
                let Some(at) = copy.and_then(|copy| attempt.consultation.later(copy)) else { return true };
                self.tally.refused_archive += 1;
                self.give_up(number, || format!("the archive has a later epoch from {at} on"));
            }
            Ok(refusal) => self.refuse(number, &refusal),
            // The operator sets one of them aside, once neither is written any more.
            Err(_) => return true,
        }
        self.tally.refused_before += 1;
        false
    }

    fn overtaken(&mut self, number: usize) -> Step {
        self.tally.overtaken += 1;
        self.note(|| format!("{} is overtaken", name(number)));
        self.end_attempt(number);
        Ok(())
    }

    /// Has those accept that have not, and takes the next step.
    fn go_on(&mut self, number: usize) -> Step {
        let node = &mut self.nodes[number];
        let (witness, at) = (node.copy.witness(node.id.clone(), &self.records), self.at);
        let Some(attempt) = &mut node.attempt else { return Ok(()) };
        let Stage::Fence { promotion, fetches } = &mut attempt.stage else { return Ok(()) };
        promotion.heard(witness);
        let (epoch, over, loss) = (promotion.epoch(), attempt.until <= at, attempt.loss);
        let step = next_step(promotion, loss);
        let loses = loss && !matches!(promotion.step(), Ok(Next::Begin { .. }));
        *fetches = matches!(step, Ok(Next::Fetch { .. }));
        if attempt.again <= at {
            attempt.again = at + 3 * SECOND;
            let fenced: BTreeSet<usize> = promotion.fenced().map(|witness| number_of(&witness.node)).collect();
            for other in (0..NODES).filter(|other| !fenced.contains(other)) {
                self.call(number, other, Said::Fence(epoch));
            }
        }
        match step {
            Err(dispute) => self.dispute(number, &dispute),
            Ok(Next::Begin { policies }) => match self.consulted(number, epoch, (loss, over)) {
                Consulted::Begin { loses: more } => self.begin(number, epoch, policies, loses || more),
                Consulted::Wait => Ok(()),
                Consulted::Refused(why) => {
                    self.give_up(number, || why);
                    Ok(())
                }
            },
            Ok(Next::Fetch { from, .. }) if !over => {
                let from = number_of(&from);
                if self.nodes[number].follow.as_ref().is_none_or(|follow| follow.upstream != from) {
                    self.tally.fetches += 1;
                    self.note(|| format!("{} fetches from {}", name(number), name(from)));
                    self.dial(number, from);
                }
                Ok(())
            }
            Ok(Next::Fence(_)) if !over => Ok(()),
            Ok(refusal) => {
                self.refuse(number, &refusal);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, number: usize, refusal: &Next) {
        let is_overtaken = matches!(refusal, Next::Fence(Fence::Unprotected { writer: None }));
        self.tally.former_writers += u64::from(is_overtaken);
        self.tally.refused_open += u64::from(matches!(refusal, Next::Fence(_)));
        self.tally.refused_voteless += u64::from(matches!(refusal, Next::NoVote { .. }));
        self.tally.refused_lost += u64::from(matches!(refusal, Next::Lost { .. }));
        self.give_up(number, || format!("{refusal:?}"));
    }

    fn give_up(&mut self, number: usize, why: impl FnOnce() -> String) {
        self.note(|| format!("{} gives up: {}", name(number), why()));
        self.end_attempt(number);
    }

    /// Appends the first records of the epoch; it has begun when they are durable.
    fn begin(&mut self, number: usize, epoch: Epoch, policies: Vec<Policy>, loses: bool) -> Step {
        self.hang_up(number);
        if loses {
            self.tally.losses += 1;
            self.ledger.loss_accepted = true;
        }
        // While a change is under way another policy may need voters, which then meet whoever began meanwhile.
        if policies.iter().all(Policy::rests_on_its_writer) {
            self.ledger.follows_the_last(epoch, self.nodes[number].copy.history())?;
        }
        let start = lsn(self.nodes[number].copy.log().len());
        let life = EpochEntry { start, epoch, incarnation: Incarnation::new(self.rng.next_u64()) };
        let asked = self.nodes[number].attempt.as_ref().and_then(|attempt| attempt.consultation.asked());
        self.reopen_archiver(number);
        self.mint(number, What::EpochStart(life))?;
        self.ledger.goes_on(epoch, asked, self.nodes[number].copy.log(), &self.records)?;
        for policy in policies {
            self.promise(number, Policy { writer: name(number), ..policy })?;
        }
        let node = &mut self.nodes[number];
        let end = node.copy.log().len();
        if let Some(attempt) = &mut node.attempt {
            attempt.stage = Stage::Begin { epoch, end };
            (attempt.until, attempt.again) = (self.at + SECOND, self.at + SECOND);
        }
        self.crashes_between_steps(number);
        Ok(())
    }

    /// Two logs that no rule puts in order: when all is well otherwise, the operator sets one of them aside.
    fn dispute(&mut self, number: usize, dispute: &Dispute) -> Step {
        self.note(|| format!("{}: {dispute:?}", name(number)));
        self.end_attempt(number);
        let other = [&dispute.between.0, &dispute.between.1].map(number_of).into_iter().find(|node| *node != number);
        if let (Some(_), Some(other), Some(at)) = (self.calm, other, dispute.at) {
            self.tally.disputes += 1;
            self.truncate(other, index(at));
        }
        Ok(())
    }

    fn crashes_between_steps(&mut self, number: usize) -> bool {
        let crashes = self.calm.is_none() && self.rng.one_in(12);
        if crashes {
            self.tally.crashed_attempts += 1;
            self.crash(number);
        }
        crashes
    }

    /// A question or an answer arrives.
    pub(super) fn called(&mut self, call: Call) -> Step {
        let Call { from, to, what } = call;
        match what {
            Said::Survey(attempt) => {
                let witness = self.nodes[to].copy.witness(name(to), &self.records);
                self.call(to, from, Said::Surveyed(attempt, Box::new(witness)));
            }
            Said::Surveyed(asked, witness) => {
                if let Some(Attempt { number, stage: Stage::Survey(heard), .. }) = &mut self.nodes[to].attempt
                    && *number == asked
                    && heard.iter().all(|known| known.node != witness.node)
                {
                    heard.push(*witness);
                }
            }
            Said::Fence(epoch) => self.fence(from, to, epoch),
            Said::Fenced(witness) => {
                let node = &mut self.nodes[to];
                if let Some(Attempt { stage: Stage::Fence { promotion, .. }, .. }) = &mut node.attempt {
                    promotion.heard(*witness.clone());
                }
                if let Some(writer) = node.writer.as_mut().filter(|writer| writer.epoch == witness.accepted) {
                    writer.told.insert(from);
                }
            }
            Said::Refused { asked, accepted } => self.refused(to, asked, accepted),
        }
        self.attend(to)
    }

    /// A node accepts an epoch, durable before it says so. Nothing of an earlier one is added to what it says.
    fn fence(&mut self, from: usize, number: usize, epoch: Epoch) {
        let node = &mut self.nodes[number];
        if !node.copy.accept(epoch) {
            let accepted = node.copy.accepted();
            return self.call(number, from, Said::Refused { asked: epoch, accepted });
        }
        node.copy.sync();
        let witness = node.copy.witness(node.id.clone(), &self.records);
        self.note(|| format!("{} accepts epoch {epoch} at {} of {}", name(number), index(witness.end), name(from)));
        self.abide(number);
        self.call(number, from, Said::Fenced(Box::new(witness)));
    }

    fn refused(&mut self, number: usize, asked: Epoch, accepted: Epoch) {
        let node = &mut self.nodes[number];
        if node.writer.as_ref().is_some_and(|writer| writer.epoch == asked) {
            node.copy.accept(accepted);
            return;
        }
        let attempt = node.attempt.as_ref();
        if attempt.is_some_and(
            |Attempt { stage, .. }| matches!(stage, Stage::Fence { promotion, .. } if promotion.epoch() == asked),
        ) {
            self.tally.overtaken += 1;
            self.heard_of(number, accepted);
            self.end_attempt(number);
        }
    }
}

fn next_step(promotion: &Promotion, loss: bool) -> Result<Next, Dispute> {
    match loss {
        true => promotion.step_accepting_loss(),
        false => promotion.step(),
    }
}

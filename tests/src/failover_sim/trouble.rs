//! Everything that goes wrong.

use super::clock::{MILLI, SECOND};
use super::shape::{NODES, name};
use super::world::{Event, Step, World};

impl World {
    /// One thing goes wrong, and another is on its way.
    pub(super) fn trouble(&mut self) -> Step {
        if self.calm.is_some() {
            return Ok(());
        }
        let node = self.rng.index(NODES);
        match self.rng.below(21) {
            0..3 => self.crash(node),
            3..5 => self.suspend(node),
            5..7 => self.partition(),
            7..10 => self.cut_one_way(),
            10 => self.jump(node),
            11 => self.tear(node),
            12 => self.cut_from_store(node),
            13 => self.mend()?,
            14..17 => self.try_promotion(node, false)?,
            17 => self.try_rivals()?,
            18 => self.strike_the_writer()?,
            19 => self.lose_the_archive(),
            _ if self.rng.one_in(20) => self.try_promotion(node, true)?,
            _ => {}
        }
        let next = match self.rng.one_in(3) {
            true => self.rng.within(10 * MILLI..SECOND),
            false => self.rng.within(SECOND..8 * SECOND),
        };
        self.schedule(self.at + next, Event::Trouble);
        Ok(())
    }

    /// A process dies; of what was not durable any part may stay.
    pub(super) fn crash(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.up {
            return;
        }
        let (end, synced) = (node.copy.log().len(), node.copy.synced());
        let kept = synced + self.rng.index(end - synced + 1);
        node.copy.crash(kept);
        node.up = false;
        node.asleep_until = 0;
        node.forget();
        node.tenancy = None;
        self.tally.crashes += 1;
        self.tally.unsynced_lost += (end - kept) as u64;
        self.note(|| format!("{} crashes, and keeps {kept} of {end}", name(number)));
        let away = match self.rng.one_in(3) {
            true => self.rng.within(5 * SECOND..40 * SECOND),
            false => self.rng.within(50 * MILLI..3 * SECOND),
        };
        self.schedule(self.at + away, Event::Start(number));
    }

    /// A machine stops for a while, its clocks but not its timers.
    fn suspend(&mut self, number: usize) {
        let long = self.rng.one_in(4);
        let sleeps =
            if long { self.rng.within(60 * SECOND..200 * SECOND) } else { self.rng.within(SECOND..20 * SECOND) };
        self.nodes[number].asleep_until = self.at + sleeps;
        self.tally.suspends += 1;
        self.tally.long_suspends += u64::from(long);
        self.note(|| format!("{} sleeps for {} s", name(number), sleeps / SECOND));
    }

    /// Some reach the others no longer, nor those them.
    fn partition(&mut self) {
        let side = self.rng.within(1..15);
        for (from, to) in pairs().filter(|(from, to)| side >> from & 1 != side >> to & 1) {
            self.net.cut(from, to);
        }
        self.tally.partitions += 1;
        self.note(|| format!("partition: {side:04b}"));
        self.mend_later();
    }

    fn cut_one_way(&mut self) {
        let all: Vec<_> = pairs().collect();
        let (from, to) = *self.rng.pick(&all);
        self.net.cut(from, to);
        self.tally.one_way_cuts += 1;
        self.note(|| format!("{} no longer reaches {}", name(from), name(to)));
        self.mend_later();
    }

    fn cut_from_store(&mut self, number: usize) {
        self.net.store_cut[number] = true;
        self.mend_later();
    }

    /// The store that the log is archived in answers nobody for a while.
    fn lose_the_archive(&mut self) {
        let lasts = self.rng.within(2 * SECOND..60 * SECOND);
        let Some(bucket) = &mut self.bucket else { return };
        bucket.away_until = self.at + lasts;
        self.tally.archive_outages += 1;
        self.note(|| format!("the archive is away for {} s", lasts / SECOND));
    }

    fn mend_later(&mut self) {
        let lasts = match self.rng.one_in(3) {
            true => self.rng.within(20 * SECOND..60 * SECOND),
            false => self.rng.within(SECOND..15 * SECOND),
        };
        self.schedule(self.at + lasts, Event::Mend);
    }

    /// All links work again; where two went on writing, neither has told the other yet.
    pub(super) fn mend(&mut self) -> Step {
        self.net.mend();
        let node = self.rng.index(NODES);
        match self.calm.is_none() && self.rng.one_in(3) {
            true => self.try_promotion(node, false),
            false => Ok(()),
        }
    }

    /// Somebody sets a wall clock.
    fn jump(&mut self, number: usize) {
        let by = self.rng.within(1..3600) as i64 * SECOND as i64;
        self.nodes[number].clock.jump(if self.rng.one_in(2) { by } else { -by });
        self.tally.clock_jumps += 1;
    }

    /// A follower's disk loses some of what it had promised to keep, but no beginning of a life: the policy covers no more.
    fn tear(&mut self, number: usize) {
        let node = &self.nodes[number];
        let life = super::record::index(node.copy.history().current().start) + 1;
        let synced = node.copy.synced();
        if !node.up || node.copy.is_own() || synced <= life || self.others_have_lost(number) {
            return;
        }
        let to = life + self.rng.index(synced - life);
        self.crash(number);
        self.nodes[number].copy.tear(to);
        self.tally.torn += 1;
        self.note(|| format!("the disk of {} keeps only {to} of {synced}", name(number)));
    }

    /// Several nodes are to be promoted at once.
    fn try_rivals(&mut self) -> Step {
        self.tally.rivals += 1;
        for number in 0..NODES {
            if self.rng.one_in(2) {
                self.try_promotion(number, false)?;
            }
        }
        Ok(())
    }

    /// The writer is cut off while others are to take its place: what everything else is built for.
    pub(super) fn strike_the_writer(&mut self) -> Step {
        let Some(writer) = (0..NODES).find(|node| self.nodes[*node].writer.is_some()) else { return Ok(()) };
        match self.rng.below(3) {
            0 => self.crash(writer),
            1 => self.suspend(writer),
            _ => {
                pairs()
                    .filter(|(from, to)| *from == writer || *to == writer)
                    .for_each(|(from, to)| self.net.cut(from, to));
                self.tally.partitions += 1;
                self.mend_later();
            }
        }
        let other = (writer + 1 + self.rng.index(NODES - 1)) % NODES;
        self.try_promotion(other, false)
    }

    fn others_have_lost(&self, number: usize) -> bool {
        (0..NODES).any(|other| other != number && self.nodes[other].copy.has_lost())
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

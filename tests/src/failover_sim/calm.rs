//! After all trouble: the operator does what is left to a person, and in the end there is one log.

use super::clock::SECOND;
use super::shape::NODES;
use super::world::{Event, Step, World};

/// When all must be well again after the last trouble.
const PATIENCE: u64 = 600 * SECOND;

impl World {
    /// Nothing goes wrong from here on: links work, whoever slept or was down is there.
    pub(super) fn calm_down(&mut self) -> Step {
        self.note(|| "nothing goes wrong any more".to_owned());
        self.calm = Some(self.at);
        self.net.mend();
        if let Some(bucket) = &mut self.bucket {
            bucket.away_until = self.at;
        }
        for number in 0..NODES {
            self.nodes[number].asleep_until = self.nodes[number].asleep_until.min(self.at);
            if !self.nodes[number].up {
                self.schedule(self.at + SECOND, Event::Start(number));
            }
        }
        self.progress = (self.tally.acknowledged, self.at);
        self.schedule(self.at + SECOND, Event::Look);
        Ok(())
    }

    /// Whether all is well; if nothing moves any more, the operator promotes a node.
    pub(super) fn look(&mut self) -> Step {
        let calm = self.calm.expect("it is calm");
        if calm + PATIENCE < self.at {
            return Err(format!("after {} s without trouble the nodes have not come to one log", PATIENCE / SECOND));
        }
        if self.progress.0 < self.tally.acknowledged {
            self.progress = (self.tally.acknowledged, self.at);
            // Somebody writes, and it is confirmed: what is left is that all get it.
            self.clients = self.at < calm + 10 * SECOND;
        }
        if !self.clients && self.is_one_log() {
            self.done = true;
            return Ok(());
        }
        if self.progress.1 + 30 * SECOND < self.at {
            self.progress.1 = self.at;
            if !std::mem::replace(&mut self.clients, true) {
                self.schedule(self.at + SECOND, Event::Client);
            }
            self.tally.operators += 1;
            let number = self.rng.index(NODES);
            self.try_promotion(number, calm + PATIENCE / 2 < self.at)?;
        }
        self.schedule(self.at + SECOND, Event::Look);
        Ok(())
    }

    /// One writer, and all have what it has, durable; and if it is archived, so has the archive.
    fn is_one_log(&self) -> bool {
        let log = self.nodes[0].copy.log();
        let equal = |node: &super::node::Node| node.copy.log() == log && node.copy.synced() == log.len();
        let writers = self.nodes.iter().filter(|node| node.writer.is_some()).count();
        writers == 1 && self.nodes.iter().all(equal) && self.is_archived()
    }
}

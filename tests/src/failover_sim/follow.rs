//! A node that follows another: the loop around `Follower`.

use longshore_protocol::{
    Fit, Follower, FollowerTurn, Frames, Hello, NodeAck, Offer, Probed, ToReplica, ToUpstream, Verdict,
};

use super::clock::{MILLI, Moment, SECOND};
use super::net::StreamId;
use super::record::{decode, index, lsn};
use super::shape::{NODES, name};
use super::world::{Step, World};

/// The stream from an upstream.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) stream: StreamId,
    pub(super) upstream: usize,
    pub(super) follower: Follower,
    /// Whether the upstream writes, as it said when it was asked for its logs.
    writes: bool,
    since: Moment,
}

impl World {
    /// Opens a stream to `upstream`. What is offered as held is durable before.
    pub(super) fn dial(&mut self, number: usize, upstream: usize) {
        self.hang_up(number);
        let writes = self.nodes[upstream].writer.is_some();
        let node = &mut self.nodes[number];
        node.copy.sync();
        let now = node.clock.boot(self.at);
        let follower = Follower::new(lsn(node.copy.log().len()), node.copy.accepted(), self.limits, now);
        let holding = node.copy.holding(&self.records);
        let hello = Hello { node: node.id.clone(), offer: Offer::ours(), holding };
        let stream = self.net.open(number, upstream);
        node.follow = Some(Follow { stream, upstream, follower, writes, since: self.at });
        self.tally.streams += 1;
        self.send_up(stream, Some(ToUpstream::Hello(Box::new(hello))));
    }

    /// Ends the stream from the upstream, if there is one; another is opened soon.
    pub(super) fn hang_up(&mut self, number: usize) {
        if let Some(follow) = self.nodes[number].follow.take() {
            self.send_up(follow.stream, None);
        }
        let pause = self.rng.within(50 * MILLI..SECOND);
        self.nodes[number].dial_at = self.at + pause;
    }

    /// A message of an upstream arrives; `None` is the end of its stream.
    pub(super) fn hear_upstream(&mut self, number: usize, id: StreamId, message: Option<ToReplica>) -> Step {
        let records = &self.records;
        let node = &mut self.nodes[number];
        let Some(follow) = node.follow.as_mut().filter(|follow| node.up && follow.stream == id) else {
            if message.is_some() {
                self.send_up(id, None);
            }
            return Ok(());
        };
        let Some(message) = message else {
            self.hang_up(number);
            return self.attend(number);
        };
        follow.follower.note_accepted(node.copy.accepted());
        let turn = follow.follower.on(&message, node.clock.boot(self.at));
        // Before anything is done on its word: a restart must not bring the old epoch's writer back (F-113).
        let accepted = node.copy.accept(follow.follower.epoch());
        assert!(accepted, "a follower goes by what was accepted");
        match turn {
            Err(_) => self.hang_up(number),
            Ok(FollowerTurn::Frames) => {
                if let ToReplica::Frames(frames) = message {
                    self.store(number, &frames)?;
                }
            }
            Ok(FollowerTurn::Answer(at)) => {
                let crc = node.copy.crc_at(at, records);
                self.send_up(id, Some(ToUpstream::Probed(Probed { at, crc })));
            }
            Ok(FollowerTurn::Verdict(verdict)) => self.act_on(number, verdict),
            Ok(FollowerTurn::Heard { durable, .. }) if follow.follower.is_streaming() => {
                node.copy.show_up_to(index(durable));
            }
            Ok(FollowerTurn::Welcomed { .. } | FollowerTurn::Heard { .. } | FollowerTurn::Proved { .. }) => {}
        }
        self.attend(number)
    }

    fn act_on(&mut self, number: usize, verdict: Verdict) {
        match verdict {
            Verdict::Continue { at } => {
                let node = &mut self.nodes[number];
                let shown = lsn(node.copy.shown());
                match node.follow.as_ref().and_then(|follow| follow.follower.holds_back_from(at, shown)) {
                    Some(from) => node.copy.hold_back(index(from)),
                    None => node.copy.show_all(),
                }
            }
            Verdict::Wait { .. } => {}
            Verdict::Truncate { fork, crc } if self.nodes[number].copy.crc_at(fork, &self.records) == Some(crc) => {
                self.truncate(number, index(fork));
                self.nodes[number].dial_at = self.at;
            }
            _ => self.hang_up(number),
        }
    }

    /// Sets aside what is no part of the log. Who follows this node begins anew.
    pub(super) fn truncate(&mut self, number: usize, to: usize) {
        self.hang_up(number);
        let tail = self.nodes[number].copy.log().len() - to;
        self.note(|| format!("{} sets {tail} records aside from {to} on", name(number)));
        self.tally.truncations += 1;
        self.tally.tail_records += tail as u64;
        for peer in 0..NODES {
            self.end_feed(number, peer);
        }
        self.nodes[number].below.clear();
        self.nodes[number].copy.truncate(to);
        self.reopen_archiver(number);
    }

    /// Puts frames into the log; what does not fit ends the stream.
    fn store(&mut self, number: usize, frames: &Frames) -> Step {
        let node = &mut self.nodes[number];
        let follow = node.follow.as_mut().expect("they came on it");
        let Ok(fit) = follow.follower.fit(frames.start, frames.bytes.len()) else {
            self.hang_up(number);
            return Ok(());
        };
        let skip = match fit {
            Fit::Append => 0,
            Fit::Overlap { skip } => skip,
            Fit::Duplicate => frames.bytes.len(),
        };
        let from = index(frames.start);
        let known = decode(&frames.bytes[..skip])
            .eq(node.copy.log()[from..].iter().copied().take(skip / super::record::RECORD));
        if !known {
            return Err(format!("{} holds other records at {from} than it is sent again", name(number)));
        }
        for id in decode(&frames.bytes[skip..]) {
            if !self.append(number, id)? {
                return Err(format!("{} is sent a record that does not follow its last one", name(number)));
            }
        }
        let node = &mut self.nodes[number];
        let end = lsn(node.copy.log().len());
        let follow = node.follow.as_mut().expect("they came on it");
        follow.follower.on_stored(end, frames.bytes.len());
        Ok(())
    }

    pub(super) fn attend_following(&mut self, number: usize) -> Step {
        if self.nodes[number].writer.is_some() || self.begins(number) {
            if self.nodes[number].follow.is_some() {
                self.hang_up(number);
            }
            return Ok(());
        }
        let fetches = self.nodes[number].attempt.as_ref().is_some_and(|attempt| attempt.fetches());
        // Chains of replicas last for a while, but in the end all find the writer.
        let patience = if self.calm.is_some() { 3 * SECOND..12 * SECOND } else { 5 * SECOND..60 * SECOND };
        let patience = self.rng.within(patience);
        match &self.nodes[number].follow {
            None if self.nodes[number].dial_at <= self.at && !fetches => {
                let upstream = self.choose_upstream(number);
                self.dial(number, upstream);
            }
            // It may be one that follows this very node.
            Some(follow) if !follow.writes && !fetches && follow.since + patience < self.at => {
                let upstream = self.choose_upstream(number);
                self.dial(number, upstream);
            }
            _ => {}
        }
        self.say(number);
        Ok(())
    }

    /// Whoever is said to write, else anybody.
    fn choose_upstream(&mut self, number: usize) -> usize {
        let others = (0..NODES).filter(|other| *other != number);
        let writes = |other: &usize| self.nodes[*other].writer.as_ref().map(|writer| writer.epoch.number);
        let newest = others.filter(|other| writes(other).is_some()).max_by_key(writes);
        match newest {
            Some(writer) if self.rng.one_in(3) => writer,
            _ => (number + 1 + self.rng.index(NODES - 1)) % NODES,
        }
    }

    /// Whether what a node follows leads to one that writes.
    pub(super) fn follows_a_writer(&self, number: usize) -> bool {
        let upstream = |node: &usize| self.nodes[*node].follow.as_ref().map(|follow| follow.upstream);
        let mut path = std::iter::successors(upstream(&number), upstream).take(NODES);
        path.any(|node| self.nodes[node].writer.is_some())
    }

    fn say(&mut self, number: usize) {
        loop {
            let node = &mut self.nodes[number];
            let (own, now) = (node.ack(), node.clock.boot(self.at));
            let below: Vec<NodeAck> =
                node.below.iter().map(|(node, ack)| NodeAck { node: node.clone(), ack: *ack }).collect();
            let Some(follow) = &mut node.follow else { return };
            follow.follower.note_accepted(node.copy.accepted());
            let stream = follow.stream;
            match follow.follower.say(own, &below, now) {
                Ok(Some(message)) => self.send_up(stream, Some(message)),
                Ok(None) => return,
                Err(_) => return self.hang_up(number),
            }
        }
    }
}

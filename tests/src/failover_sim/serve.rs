//! A node as somebody's upstream: the loop around `Reception` and `Session`.

use longshore_protocol::{
    Ack, Error, Feature, Frames, Heard, Hello, NodeAck, Offer, Peer, Reception, Reply, Session, ToReplica, ToUpstream,
    Turn, Verdict,
};

use super::net::StreamId;
use super::record::{RECORD, encode, index, lsn};
use super::shape::{name, region};
use super::world::{Step, World};

/// One replica that is served.
#[derive(Debug)]
pub(super) struct Feed {
    stream: StreamId,
    /// What was shipped ahead on an earlier stream is durable before the replica's log is judged.
    judges_from: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Receiving(Box<Reception>),
    Shipping(Box<Session>),
}

/// What became of a feed for now.
enum Fed {
    GoesOn,
    Ends,
}

impl World {
    /// A message of a replica arrives; `None` is the end of its stream.
    pub(super) fn hear_replica(&mut self, number: usize, id: StreamId, message: Option<ToUpstream>) -> Step {
        let peer = self.net.streams[&id].replica;
        if !self.nodes[number].up {
            self.send_down(id, None);
            return Ok(());
        }
        let now = self.nodes[number].clock.boot(self.at);
        if let Some(ToUpstream::Hello(hello)) = message {
            let stream = self.net.streams.get_mut(&id).expect("something came on it");
            if !std::mem::replace(&mut stream.greeted, true) {
                return self.greet(number, peer, id, *hello);
            }
            // A second one is out of turn.
            if self.nodes[number].feeds.get(&peer).is_some_and(|feed| feed.stream == id) {
                self.end_feed(number, peer);
            }
            return self.attend(number);
        }
        let feed = self.nodes[number].feeds.get_mut(&peer).filter(|feed| feed.stream == id);
        let (Some(feed), Some(message)) = (feed, message) else {
            if let Some(feed) = self.nodes[number].feeds.get(&peer)
                && feed.stream == id
            {
                self.nodes[number].feeds.remove(&peer);
            }
            self.send_down(id, None);
            return Ok(());
        };
        let heard = match &mut feed.stage {
            Stage::Receiving(reception) => reception.on(message, now).map(|()| Heard::Nothing),
            Stage::Shipping(session) => session.on(message, now),
        };
        match heard {
            Ok(Heard::Acks(acks)) => self.take_acks(number, &acks),
            Ok(Heard::Refused(_)) => self.end_feed(number, peer),
            Ok(Heard::Nothing | Heard::Sealed | Heard::Probed) => {}
            Err(Error::AckBeyond { node, acked, sent }) => {
                return Err(format!("{node} acknowledges {acked}, but was sent only up to {sent}"));
            }
            Err(_) => self.end_feed(number, peer),
        }
        self.attend(number)
    }

    /// A stream begins; an older one of the same replica is over.
    fn greet(&mut self, number: usize, peer: usize, id: StreamId, hello: Hello) -> Step {
        let now = self.nodes[number].clock.boot(self.at);
        let node = &mut self.nodes[number];
        let session = node.registry.open(&name(peer));
        let who = Peer { node: name(peer), region: Some(region(peer)), may_promote: true };
        let writes = node.writer.is_some();
        let ahead = if writes { self.ships_ahead } else { node.copy.holds_back() };
        let offer = if ahead { Offer::ours() } else { Offer::ours().without(Feature::SHIP_AHEAD) };
        let reception = Reception::new(hello, who, &offer, session, self.limits, now)
            .map_err(|error| format!("{} cannot receive {}: {error}", node.id, name(peer)))?;
        let judges_from = if writes { node.copy.log().len() } else { 0 };
        let welcome = reception.welcome(node.id.clone(), &node.copy.view(&self.records, writes));
        let stage = Stage::Receiving(Box::new(reception));
        node.feeds.insert(peer, Feed { stream: id, judges_from, stage });
        self.send_down(id, Some(ToReplica::Welcome(welcome)));
        self.attend(number)
    }

    fn take_acks(&mut self, number: usize, acks: &[NodeAck]) {
        let node = &mut self.nodes[number];
        for NodeAck { node: whose, ack } in acks.iter().filter(|ack| ack.node != node.id) {
            let known = node.below.entry(whose.clone()).or_insert(Ack::NONE);
            *known = known.max(*ack);
            if let Some(writer) = &mut node.writer {
                writer.table.merge(whose, *ack);
            }
        }
    }

    pub(super) fn attend_feeds(&mut self, number: usize) -> Step {
        let peers: Vec<usize> = self.nodes[number].feeds.keys().copied().collect();
        for peer in peers {
            if let Fed::Ends = self.feed(number, peer) {
                self.end_feed(number, peer);
            }
        }
        self.abide(number);
        Ok(())
    }

    pub(super) fn end_feed(&mut self, number: usize, peer: usize) {
        if let Some(feed) = self.nodes[number].feeds.remove(&peer) {
            self.send_down(feed.stream, None);
        }
    }

    /// Says and ships what is due to one replica.
    fn feed(&mut self, number: usize, peer: usize) -> Fed {
        loop {
            let Some(feed) = self.nodes[number].feeds.get(&peer) else { return Fed::GoesOn };
            match feed.stage {
                Stage::Receiving(_) => match self.receive(number, peer) {
                    Some(fed) => return fed,
                    None => continue,
                },
                Stage::Shipping(_) => return self.ship(number, peer),
            }
        }
    }

    /// One step towards a verdict; `None` once frames may flow.
    fn receive(&mut self, number: usize, peer: usize) -> Option<Fed> {
        let node = &mut self.nodes[number];
        let (now, writes) = (node.clock.boot(self.at), node.writer.is_some());
        let feed = node.feeds.get_mut(&peer).expect("it is served");
        let (stream, Stage::Receiving(reception)) = (feed.stream, &mut feed.stage) else { return None };
        match reception.turn(now) {
            Err(_) => return Some(Fed::Ends),
            Ok(Turn::Heartbeat) => {
                let heartbeat = self.heartbeat(number, 0);
                self.send_down(stream, Some(heartbeat));
                return Some(Fed::GoesOn);
            }
            Ok(Turn::Until(_)) => {}
        }
        if node.copy.synced() < feed.judges_from {
            return Some(Fed::GoesOn);
        }
        let whole = reception.ships_ahead() && !writes;
        let view = if whole { node.copy.whole(&self.records) } else { node.copy.view(&self.records, writes) };
        let Ok(reply) = reception.step(&view, now);
        let believed = reception.is_believed();
        match reply {
            Reply::Nothing => return Some(Fed::GoesOn),
            Reply::Probe { at } => {
                self.send_down(stream, Some(ToReplica::Probe { at }));
                return Some(Fed::GoesOn);
            }
            Reply::Verdict(verdict) => {
                self.send_down(stream, Some(ToReplica::Verdict(verdict)));
                self.note(|| format!("{} tells {}: {verdict}", name(number), name(peer)));
                match verdict {
                    Verdict::Wait { .. } => return Some(Fed::GoesOn),
                    Verdict::Continue { .. } => {}
                    Verdict::Stale { epoch } if believed => {
                        self.tally.stale_writers += u64::from(writes);
                        self.nodes[number].copy.accept(epoch);
                        return Some(Fed::Ends);
                    }
                    _ => return Some(Fed::Ends),
                }
            }
        }
        self.accepted(number, peer);
        None
    }

    /// Frames may flow: everything before is on the replica's disk, whatever it once held.
    fn accepted(&mut self, number: usize, peer: usize) {
        let node = &mut self.nodes[number];
        let now = node.clock.boot(self.at);
        let Some(Feed { stream, judges_from, stage: Stage::Receiving(reception) }) = node.feeds.remove(&peer) else {
            return;
        };
        let session = reception.into_session(now).expect("the verdict was to continue");
        let ack = Ack::new(session.sent(), session.sent(), longshore_format::Lsn::ZERO).expect("in order");
        node.below.insert(name(peer), ack);
        if let Some(writer) = &mut node.writer {
            writer.table.set(&name(peer), ack);
        }
        node.feeds.insert(peer, Feed { stream, judges_from, stage: Stage::Shipping(Box::new(session)) });
    }

    fn ship(&mut self, number: usize, peer: usize) -> Fed {
        loop {
            let node = &mut self.nodes[number];
            let now = node.clock.boot(self.at);
            let feed = node.feeds.get_mut(&peer).expect("it is served");
            let (stream, Stage::Shipping(session)) = (feed.stream, &mut feed.stage) else { return Fed::GoesOn };
            let news = session.take_news(lsn(node.copy.shown()), now);
            match session.turn(now) {
                Err(_) => return Fed::Ends,
                Ok(turn) if news || turn == Turn::Heartbeat => {
                    let sent = index(session.sent());
                    let heartbeat = self.heartbeat(number, sent);
                    self.send_down(stream, Some(heartbeat));
                    continue;
                }
                Ok(_) => {}
            }
            let offered = if node.writer.is_some() { node.copy.log().len() } else { node.copy.synced() };
            let end = if session.ships_ahead() { offered } else { node.copy.shown() };
            let Some(want) = session.wants(lsn(end)) else { return Fed::GoesOn };
            let from = index(want.from);
            let to = (from + (want.max / RECORD).max(1)).min(end);
            self.tally.shipped_ahead += to.saturating_sub(node.copy.synced().max(from)) as u64;
            let bytes = encode(&node.copy.log()[from..to]);
            session.on_sent(lsn(to), bytes.len(), now);
            // A node that only follows may serve under a later epoch than its records are of.
            let frames = Frames { start: want.from, epoch: node.copy.accepted(), bytes };
            self.send_down(stream, Some(ToReplica::Frames(frames)));
        }
    }

    fn heartbeat(&self, number: usize, sent: usize) -> ToReplica {
        let copy = &self.nodes[number].copy;
        let sent = if sent == 0 { longshore_format::Lsn::ZERO } else { lsn(sent) };
        ToReplica::Heartbeat { durable: lsn(copy.shown()), epoch: copy.accepted(), retain: lsn(0), sent }
    }
}

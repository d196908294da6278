//! This node as somebody's upstream: one stream, from its hello to its end, in terms of the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::{Ack, NodeAck, NodeId, Peer};
use longshore_transport::UpstreamEnd;
use longshore_wal::{Role, SlotAck};

use crate::error::Result;
use crate::event::Event;
use crate::feed::{self, FeedReport};
use crate::lock;
use crate::log::Log;
use crate::node::Node;

/// Serves one stream of one replica, which connected `from` there, until it ends.
pub(crate) async fn serve(
    node: &Node,
    log: Arc<Log>,
    peer: Peer,
    from: SocketAddr,
    channel: UpstreamEnd,
) -> Result<()> {
    let replica = peer.node.clone();
    let limits = node.settings().network.limits();
    let served = Served { node, log: &log, replica: &replica, from };
    let report = |report| served.note(report);
    let ended = feed::feed(&log, node.id(), peer, channel, limits, &report).await;
    served.ended(&ended);
    ended
}

/// A replica that is being served.
struct Served<'a> {
    node: &'a Node,
    log: &'a Arc<Log>,
    replica: &'a NodeId,
    from: SocketAddr,
}

impl Served<'_> {
    fn note(&self, report: FeedReport) {
        let (log, now) = (self.log, self.log.now());
        match report {
            FeedReport::Opened => self.opened(now),
            FeedReport::Accepted { from } => self.accepted(from),
            // An upstream that follows another one is behind its own replica now and then; who writes never is.
            FeedReport::Ahead { holds } if log.wal.role() == Role::Writer => {
                let (name, durable, replica) = (log.name.clone(), log.wal.durable().get(), self.replica.clone());
                log.events.raise(Event::BehindReplica { log: name, durable, replica, holds });
            }
            FeedReport::Ahead { .. } => {}
            FeedReport::Sent { to } => log.standing.sent(self.replica, to),
            FeedReport::Heard => log.standing.heard(self.replica, &[], now),
            FeedReport::Acks(acks) => {
                self.admit_relayed(&acks);
                log.standing.heard(self.replica, &acks, now);
                // Whoever waits for them does not wait for this as well.
                self.keep(&acks);
            }
            FeedReport::Proved { to } => {
                log.standing.proved(self.replica, to, now);
                let replica = self.replica.clone();
                log.events.raise(Event::Proved { log: log.name.clone(), replica, equal_to: to });
            }
            FeedReport::Stale { epoch, begun, believed } => self.is_stale(epoch, begun, believed),
            // A stream that a newer one of the same replica replaced ends without it.
            FeedReport::Left => {
                lock(&log.rivals).left(self.replica);
                log.standing.disconnected(self.replica);
            }
            FeedReport::Diverged { at } => {
                let peer = self.replica.to_string();
                log.events.raise(Event::Diverged { log: log.name.clone(), peer, position: at });
            }
        }
    }

    /// The replica knows of a later epoch than this node. If records of it exist, and it may promote, this node is no writer any
    /// more; an epoch that was only accepted there may never begin, and stops nothing.
    fn is_stale(&self, epoch: Epoch, begun: bool, believed: bool) {
        let (log, replica) = (self.log, self.replica);
        let warn = |what: String| {
            log.events.raise(Event::Warning { message: format!("log {}: {replica} {what}", log.name) });
        };
        match (begun, believed) {
            (true, true) => {
                if let Err(error) = self.node.accept_epoch(log, epoch) {
                    warn(format!("is in epoch {epoch}, which cannot be accepted here: {error}"));
                }
            }
            (true, false) => warn(format!("claims epoch {epoch}, but may not promote; not believed")),
            (false, _) => {
                // It comes back every few seconds, and says so each time.
                if log.standing.note_accepted(replica, epoch) {
                    warn(format!(
                        "has accepted epoch {epoch} of a promotion and takes nothing from earlier ones: finish that promotion, or \
                         promote this node again, with --peer {replica}@HOST:PORT where that is none of its upstreams"
                    ));
                }
            }
        }
    }

    /// An older stream of the replica is no longer served, if there is one: here it is seen whose that is.
    fn opened(&self, now: Duration) {
        let (log, replica) = (self.log, self.replica);
        let rivals = lock(&log.rivals).opened(replica, self.from, now);
        if let Some((one, other)) = rivals {
            let message = format!(
                "log {}: two agents are {replica}, at {one} and at {other}, and push each other out: give one of them an identity \
                 and a data directory of its own, or stop it",
                log.name
            );
            log.events.raise(Event::Warning { message });
        }
    }

    /// Frames follow from `from`: the replica holds everything before, whatever it once held.
    fn accepted(&self, from: Lsn) {
        let (log, replica) = (self.log, self.replica.clone());
        // Its hello, which the verdict has checked, says that everything before is on its disk.
        let applied = log.standing.ack_of(&replica).map_or(Lsn::ZERO, |held| held.applied()).min(from);
        let ack = Ack::new(from, from, applied).expect("applied is not beyond durable");
        let slot = SlotAck { durable: from, applied };
        let name = replica.as_name();
        let went_back = log.wal.slots().iter().any(|slot| slot.name == *name && (from < slot.ack.durable || slot.lost));
        let kept = if went_back { log.wal.reset_slot(name, slot) } else { log.wal.ack(name, slot) };
        if let Err(error) = kept {
            tracing::error!(log = %log.name, %replica, %error, "cannot keep the replica's slot");
        }
        log.standing.connected(&replica, ack, log.now());
        log.events.raise(Event::ReplicaConnected { log: log.name.clone(), replica, from });
    }

    /// Keeps the replica's own ack in its slot. It is durable with the next sync of the control file:
    /// any older one is also true.
    fn keep(&self, acks: &[NodeAck]) {
        let Some(own) = acks.iter().find(|ack| ack.node == *self.replica) else { return };
        let slot = SlotAck { durable: own.ack.durable(), applied: own.ack.applied() };
        if let Err(error) = self.log.wal.ack(self.replica.as_name(), slot) {
            tracing::error!(log = %self.log.name, replica = %self.replica, %error, "cannot keep the replica's slot");
        }
    }

    /// Lets nodes below the replica count, as far as the grants here know them.
    fn admit_relayed(&self, acks: &[NodeAck]) {
        for NodeAck { node, .. } in acks.iter().filter(|ack| ack.node != *self.replica) {
            if self.log.standing.ack_of(node).is_some() {
                continue;
            }
            let Some((region, provider)) = self.node.granted(node, &self.log.name) else { continue };
            self.log.standing.admit(node, region, provider);
        }
    }

    fn ended(&self, ended: &Result<()>) {
        let (log, replica) = (self.log, self.replica.clone());
        let reason = match ended {
            Ok(()) => "it ended the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        log.events.raise(Event::ReplicaDisconnected { log: log.name.clone(), replica, reason });
    }
}

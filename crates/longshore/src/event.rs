//! What happened, for those who want to hear it: a bounded queue, and a line in the trace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use longshore_format::{Lsn, Name};
use longshore_protocol::NodeId;
use longshore_wal::Consumer;

use crate::lock;

/// Something that an operator or the embedding program may want to act on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A log was opened; what recovery found.
    Opened {
        /// Which log.
        log: Name,
        /// Where it ends.
        end: Lsn,
        /// Bytes of a torn tail that were cut and set aside.
        cut: u64,
    },
    /// A replica began to follow a log here.
    ReplicaConnected {
        /// Which log.
        log: Name,
        /// Which replica.
        replica: NodeId,
        /// From which position.
        from: Lsn,
    },
    /// A replica's stream ended. Its slot stays and its lag stays visible.
    ReplicaDisconnected {
        /// Which log.
        log: Name,
        /// Which replica.
        replica: NodeId,
        /// Why.
        reason: String,
    },
    /// A replica lost its place in the log and must be seeded anew.
    ReplicaLost {
        /// Which log.
        log: Name,
        /// Which replica.
        replica: NodeId,
        /// Where it was.
        position: Lsn,
        /// Which limit took its place.
        reason: String,
    },
    /// A replica's bytes were proved equal up to a position.
    Proved {
        /// Which log.
        log: Name,
        /// Which replica.
        replica: NodeId,
        /// Everything before this is equal.
        equal_to: Lsn,
    },
    /// A replica holds more of a log than this node, which writes it: what was acknowledged here is gone, or an old copy
    /// of the log was restored (F-039). Whatever is appended here now makes the two diverge: stop, and decide which wins.
    BehindReplica {
        /// Which log.
        log: Name,
        /// Where what is durable here ends.
        durable: Lsn,
        /// Which replica.
        replica: NodeId,
        /// Where the replica's log ends.
        holds: Lsn,
    },
    /// Two copies of a log hold different bytes. Nothing was changed.
    Diverged {
        /// Which log.
        log: Name,
        /// The other end.
        peer: String,
        /// The first position at which they differ.
        position: Lsn,
    },
    /// This agent began to follow a log of its upstream.
    Following {
        /// Which log.
        log: Name,
        /// The upstream's address.
        upstream: String,
        /// From which position.
        from: Lsn,
    },
    /// This agent does not follow a log, and why. It keeps trying unless a person must decide.
    NotFollowing {
        /// Which log; none when the upstream as a whole could not be used.
        log: Option<Name>,
        /// The upstream's address.
        upstream: String,
        /// Why, and what to do.
        reason: String,
    },
    /// What this replica held beyond a proven fork was set aside as a log of its own.
    SetAside {
        /// Which log.
        log: Name,
        /// Where it ends now.
        from: Lsn,
        /// Where it ended before.
        to: Lsn,
        /// The directory below the log's own that holds the rest.
        place: String,
    },
    /// What lay beyond a proven fork was the log's own and nothing that anybody wrote: it is not kept.
    NothingAside {
        /// Which log.
        log: Name,
        /// Where it ends now.
        from: Lsn,
        /// Where it ended before.
        to: Lsn,
    },
    /// The upstream's log no longer reached back to this replica's: the copy was begun anew, and sinks get a snapshot.
    Reseeded {
        /// Which log.
        log: Name,
        /// Where the copy ended before.
        from: Lsn,
        /// Where it begins now.
        to: Lsn,
    },
    /// A change of a log's policy is durable under the old and the new one, so that the new one holds alone.
    PolicyHolds {
        /// Which log.
        log: Name,
        /// What it asks for now.
        durability: String,
    },
    /// A log's policy could not be had for as long as it allows: what is durable here alone is confirmed now. Or it can be
    /// had again.
    Degraded {
        /// Which log.
        log: Name,
        /// Whether it is so now.
        degraded: bool,
        /// What the policy asks for.
        durability: String,
    },
    /// A later epoch was accepted here: this node no longer writes the log. Appends and waits are refused as `Fenced`.
    Fenced {
        /// Which log.
        log: Name,
        /// The epoch, as people read it.
        epoch: String,
    },
    /// This node writes a log from here on.
    Promoted {
        /// Which log.
        log: Name,
        /// The epoch, as people read it.
        epoch: String,
        /// Where it begins.
        position: Lsn,
    },
    /// A sink refused a record: applying has stopped, receiving goes on (F-106).
    ApplyStopped {
        /// Which log.
        log: Name,
        /// Which sink.
        sink: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A log can no longer be written: a sync failed, or its directory changed under it.
    Poisoned {
        /// Which log.
        log: Name,
        /// Why.
        reason: String,
    },
    /// The log's own keeping: space, trimming, clocks, files.
    Log {
        /// Which log.
        log: Name,
        /// What it says.
        event: longshore_wal::Event,
    },
    /// Something to look at that stopped nothing.
    Warning {
        /// What and where.
        message: String,
    },
}

/// A bounded queue of events. Clones share it; each event is taken once.
///
/// When nobody takes them the oldest are dropped and counted, so that an event never blocks the log.
#[derive(Debug, Clone, Default)]
pub struct Events {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Event>,
    dropped: u64,
}

impl Events {
    /// Events that are kept while nobody takes them. At a few hundred bytes each this stays far
    /// below a mebibyte.
    pub const CAPACITY: usize = 1024;

    /// Takes the oldest event, if there is one. Never blocks.
    pub fn take(&self) -> Option<Event> {
        self.lock().waiting.pop_front()
    }

    /// How many events were dropped because nobody took them.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Raises an event: into the trace and into the queue.
    pub(crate) fn raise(&self, event: Event) {
        event.trace();
        let mut queue = self.lock();
        if queue.waiting.len() == Self::CAPACITY {
            queue.waiting.pop_front();
            queue.dropped += 1;
        }
        queue.waiting.push_back(event);
    }

    /// The queue holds plain values, whole at every moment: a panic elsewhere cannot have torn it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Event {
    /// What a log's own event means to an agent.
    pub(crate) fn of_log(log: &Name, event: longshore_wal::Event) -> Self {
        let log = log.clone();
        match event {
            longshore_wal::Event::Poisoned { cause } => Self::Poisoned { log, reason: cause },
            longshore_wal::Event::Dropped { consumer: Consumer::Slot(name), at } => {
                let reason = "it held more of the log than its cap, or was silent for too long".to_owned();
                Self::ReplicaLost { log, replica: name.into(), position: at, reason }
            }
            event => Self::Log { log, event },
        }
    }

    fn trace(&self) {
        match self {
            Self::Opened { log, end, cut: 0 } => tracing::info!(%log, %end, "log opened"),
            Self::Opened { log, end, cut } => {
                tracing::warn!(%log, %end, cut_bytes = cut, "log opened, a torn tail was cut")
            }
            Self::ReplicaConnected { log, replica, from } => tracing::info!(%log, %replica, %from, "replica follows"),
            Self::ReplicaDisconnected { log, replica, reason } => {
                tracing::info!(%log, %replica, reason, "replica left")
            }
            Self::ReplicaLost { log, replica, position, reason } => {
                tracing::error!(%log, %replica, %position, reason, "replica lost its place and must be seeded anew");
            }
            Self::Proved { log, replica, equal_to } => {
                tracing::debug!(%log, %replica, %equal_to, "replica proved equal")
            }
            Self::BehindReplica { log, durable, replica, holds } => {
                tracing::error!(%log, %durable, %replica, %holds, "a replica holds more than this node, which writes the log; \
                    an old copy was restored, or bytes are gone: stop appending, an operator decides which one wins");
            }
            Self::Diverged { log, peer, position } => {
                tracing::error!(%log, peer, %position, "copies differ; an operator decides which one wins");
            }
            Self::Following { log, upstream, from } => tracing::info!(%log, upstream, %from, "following"),
            Self::NotFollowing { log, upstream, reason } => {
                let log = log.as_ref().map_or("-", |log| log.as_str());
                tracing::warn!(log, upstream, reason, "not following");
            }
            Self::SetAside { log, from, to, place } => {
                tracing::warn!(%log, %from, %to, place, "set aside what forked from the upstream's history");
            }
            Self::NothingAside { log, from, to } => {
                tracing::info!(%log, %from, %to, "what forked from the upstream's history held nothing that anybody wrote: it is not kept");
            }
            Self::Reseeded { log, from, to } => {
                tracing::warn!(%log, %from, %to, "the upstream no longer reached back to this copy, which begins anew");
            }
            Self::PolicyHolds { log, durability } => tracing::info!(%log, durability, "the new policy holds"),
            Self::Degraded { log, degraded: true, durability } => {
                tracing::error!(%log, durability, "the policy cannot be had: what is durable here alone is confirmed");
            }
            Self::Degraded { log, degraded: false, durability } => {
                tracing::warn!(%log, durability, "the policy can be had again");
            }
            Self::Fenced { log, epoch } => {
                tracing::error!(%log, epoch, "fenced by a later epoch: this node no longer writes the log");
            }
            Self::Promoted { log, epoch, position } => {
                tracing::warn!(%log, epoch, %position, "promoted: this node writes the log")
            }
            Self::ApplyStopped { log, sink, reason } => tracing::error!(%log, sink, reason, "applying stopped"),
            Self::Poisoned { log, reason } => tracing::error!(%log, reason, "log can no longer be written"),
            Self::Log { log, event } => match event {
                longshore_wal::Event::Trimmed { first } => tracing::info!(%log, %first, "trimmed"),
                longshore_wal::Event::SpaceAgain => tracing::info!(%log, "segments can be prepared again"),
                longshore_wal::Event::TemporaryRemoved { name } => {
                    tracing::info!(%log, name, "removed a temporary file")
                }
                event => tracing::warn!(%log, ?event, "log"),
            },
            Self::Warning { message } => tracing::warn!("{message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unheard_queue_drops_its_oldest_and_counts_them() {
        let events = Events::default();
        for n in 0..Events::CAPACITY + 3 {
            events.raise(Event::Warning { message: n.to_string() });
        }
        assert_eq!(events.dropped(), 3);
        assert_eq!(events.take(), Some(Event::Warning { message: "3".to_owned() }));
    }
}

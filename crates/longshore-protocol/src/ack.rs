//! How far a node is with a log.

use longshore_format::Lsn;

use crate::{Error, NodeId, Result, Stage};

/// How far a node is: `applied <= durable <= received`, each the end of a record, or zero for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ack {
    received: Lsn,
    durable: Lsn,
    applied: Lsn,
}

impl Ack {
    /// Nothing held.
    pub const NONE: Self = Self { received: Lsn::ZERO, durable: Lsn::ZERO, applied: Lsn::ZERO };

    /// An ack; refused when a later stage is ahead of an earlier one.
    pub fn new(received: Lsn, durable: Lsn, applied: Lsn) -> Result<Self> {
        if applied <= durable && durable <= received {
            Ok(Self { received, durable, applied })
        } else {
            Err(Error::AckOrder { received, durable, applied })
        }
    }

    /// The end of what is in the node's log, perhaps in memory only.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// The end of what survives a power cut at the node.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The end of what is in the node's sink; zero without one.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// The position of one stage.
    pub fn at(&self, stage: Stage) -> Lsn {
        match stage {
            Stage::Received => self.received,
            Stage::Durable => self.durable,
            Stage::Applied => self.applied,
        }
    }

    /// The further of two acks of one node, stage by stage: acks may arrive late, but what was held stays held.
    pub fn max(self, other: Self) -> Self {
        Self {
            received: self.received.max(other.received),
            durable: self.durable.max(other.durable),
            applied: self.applied.max(other.applied),
        }
    }

    /// The same, but nothing beyond `limit`.
    pub fn min(self, limit: Lsn) -> Self {
        Self { received: self.received.min(limit), durable: self.durable.min(limit), applied: self.applied.min(limit) }
    }
}

/// The ack of a named node, as another node passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeAck {
    /// Whose it is. It counts once, whatever paths it came by.
    pub node: NodeId,
    /// How far that node is.
    pub ack: Ack,
}

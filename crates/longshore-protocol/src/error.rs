//! What can go wrong between two ends, and what to do about it.

use std::time::Duration;

use longshore_format::{Epoch, ErrorKind, FormatError, Lsn};

use crate::{Feature, NodeId, Refusal, VersionRange};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a name, a message or a stream was refused. Each ends the stream it happened on and changes no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name or another value of the format is not one.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A durability is not spelled like one.
    #[error("no durability: {why}: {given:?}")]
    Durability {
        /// What was given.
        given: String,
        /// What is expected instead.
        why: &'static str,
    },
    /// The two ends speak no common version, or one requires a feature that the other lacks (F-108).
    #[error(
        "{our_program} here speaks protocol version {ours}, {their_program} there speaks version {theirs}{}: upgrade the older one",
        lacks(missing, *missing_here)
    )]
    Version {
        /// Versions spoken here.
        ours: VersionRange,
        /// The program here.
        our_program: String,
        /// Versions spoken there.
        theirs: VersionRange,
        /// The program there.
        their_program: String,
        /// The required feature that one end lacks, if versions were not the reason.
        missing: Option<Feature>,
        /// Whether it is this end that lacks it.
        missing_here: bool,
    },
    /// The peer calls itself by another name than its certificate does (F-124).
    #[error(
        "the certificate belongs to {certificate}, but the peer calls itself {claimed}: set its node name to {certificate}"
    )]
    Identity {
        /// Who the certificate says it is.
        certificate: NodeId,
        /// Who it says it is.
        claimed: NodeId,
    },
    /// A message broke a rule of its own.
    #[error("the peer sent a malformed {what}: are both ends longshore, of versions that belong together?")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// A message came that cannot come at this point.
    #[error("the peer sent {what} out of turn: the stream is opened again")]
    OutOfTurn {
        /// Which message.
        what: &'static str,
    },
    /// A message is larger than the protocol allows (F-099).
    #[error("the peer sent {bytes} bytes of frames in one message, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A later stage of an ack is ahead of an earlier one.
    #[error("an ack out of order: applied {applied}, durable {durable}, received {received}")]
    AckOrder {
        /// The stage that must be furthest.
        received: Lsn,
        /// The stage in the middle.
        durable: Lsn,
        /// The stage that must be last.
        applied: Lsn,
    },
    /// A replica acknowledged what it was never sent.
    #[error("{node} acknowledges {acked}, but was sent only up to {sent}: its acks are not believed")]
    AckBeyond {
        /// Which replica.
        node: NodeId,
        /// What it acknowledged.
        acked: Lsn,
        /// What it was sent.
        sent: Lsn,
    },
    /// More nodes than an ack table counts.
    #[error("more than {limit} nodes for one log: let some follow a replica instead of the primary")]
    TooManyNodes {
        /// The limit.
        limit: usize,
    },
    /// Frames that do not begin where the log ends (F-092).
    #[error(
        "a gap in the stream: the log ends at {expected}, the frames begin at {found}: asking again from {expected}"
    )]
    Gap {
        /// Where the log ends.
        expected: Lsn,
        /// Where the frames begin.
        found: Lsn,
    },
    /// More frames than credit was granted for.
    #[error("the upstream sent {over} bytes more than it had credit for")]
    OverCredit {
        /// How many.
        over: u64,
    },
    /// A writer's message of a lower epoch (F-113).
    #[error("epoch {found} is over: {current} is accepted here; a node that still writes in it must stop and rejoin")]
    Fenced {
        /// The epoch accepted here.
        current: Epoch,
        /// The epoch of the message.
        found: Epoch,
    },
    /// Two writers of one epoch number (F-112).
    #[error(
        "two writers minted one epoch number: {current} is accepted here, {found} was met; an operator decides which history wins"
    )]
    TwoWriters {
        /// The epoch accepted here.
        current: Epoch,
        /// The epoch that was met.
        found: Epoch,
    },
    /// The same position, other bytes.
    #[error(
        "the logs differ from position {at} on: nothing was changed; `verify --against` shows where, an operator decides which copy wins"
    )]
    Diverged {
        /// The first position known to differ.
        at: Lsn,
    },
    /// Nothing was heard for too long (F-086, F-087).
    #[error("nothing heard from the peer for {} s", .heard.as_secs())]
    Silent {
        /// How long.
        heard: Duration,
    },
    /// The peer lives, but does not take or answer what it was sent (F-088, F-089).
    #[error("the peer did not {what} for {} s", .waited.as_secs())]
    Stalled {
        /// What it did not do.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// A newer stream of the same replica is served (F-091).
    #[error(
        "a newer stream of {node} is open: this one ends; if that happens again and again, another agent has this identity"
    )]
    Superseded {
        /// Which replica.
        node: NodeId,
    },
    /// What stands where a lease should, or would stand there, is none.
    #[error("no lease: {why}; look at what is there: name another place with --lease, or remove it")]
    NoLease {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another node has the lease, or had it until lately.
    #[error(
        "{holder} holds the lease, in epoch {epoch}: wait until it gives it back or is silent for longer than its ttl"
    )]
    LeaseHeld {
        /// Who.
        holder: NodeId,
        /// The epoch that it began.
        epoch: Epoch,
    },
    /// Nobody has answered yet who has the lease, or not lately.
    #[error(
        "who holds the lease is not known: its store is asked again; if that lasts, look whether it can be reached"
    )]
    LeaseUnknown,
    /// The other end refused.
    #[error("refused by the peer: {}", .0.text)]
    Refused(Refusal),
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Format(_) | Self::Durability { .. } => ErrorKind::Invalid,
            Self::Version { .. } | Self::NoLease { .. } => ErrorKind::Preflight,
            Self::Identity { .. } => ErrorKind::Denied,
            Self::Malformed { .. }
            | Self::OutOfTurn { .. }
            | Self::TooLarge { .. }
            | Self::AckOrder { .. }
            | Self::AckBeyond { .. }
            | Self::OverCredit { .. } => ErrorKind::Invalid,
            Self::TooManyNodes { .. } => ErrorKind::Full,
            Self::Gap { .. }
            | Self::Silent { .. }
            | Self::Stalled { .. }
            | Self::Superseded { .. }
            | Self::LeaseHeld { .. }
            | Self::LeaseUnknown => ErrorKind::Unavailable,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::TwoWriters { .. } | Self::Diverged { .. } => ErrorKind::Diverged,
            Self::Refused(refusal) => refusal.kind,
        }
    }

    /// The same as the last message to the peer.
    pub fn to_refusal(&self) -> Refusal {
        let at = match self {
            Self::Diverged { at } | Self::Gap { expected: at, .. } => Some(*at),
            _ => None,
        };
        Refusal::new(self.kind(), self.to_string(), at)
    }
}

/// The part of the version message about a feature.
fn lacks(missing: &Option<Feature>, here: bool) -> String {
    match missing {
        None => String::new(),
        Some(feature) => {
            format!(", and the required feature {feature} is missing {}", if here { "here" } else { "there" })
        }
    }
}

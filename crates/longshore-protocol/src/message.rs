//! What the two ends say to each other. Each message is data; the rules are in the types that take them.

use bytes::Bytes;
use longshore_format::{Content, Digest, Epoch, EpochHistory, ErrorKind, LogId, Lsn, SegmentSize};

use crate::{Ack, Agreed, NodeAck, NodeId, Offer, SessionId, Verdict};

/// The first message of a stream: who the replica is, what it speaks, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name the replica believes to have. Only compared with the identity in its certificate (F-124).
    pub node: NodeId,
    /// What it speaks.
    pub offer: Offer,
    /// Its copy of the log.
    pub holding: Holding,
}

/// A copy of a log, as its owner describes it.
///
/// A replica without a log first asks for the header of the upstream's oldest segment and creates an empty copy
/// from it, so that there is always something to describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which log.
    pub log: LogId,
    /// What its records mean.
    pub content: Content,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// Its lives, oldest first.
    pub history: EpochHistory,
    /// Its oldest position.
    pub first: Lsn,
    /// The end of its last record, durable or not.
    pub end: Lsn,
    /// The header checksum of the last record before `end`. It proves the whole past, because each record holds
    /// the one before. For an empty log: the link that its first record will carry.
    pub last_crc: u32,
    /// The highest epoch it accepted; its own history may not have come so far.
    pub accepted: Epoch,
    /// Where its disk once was, if it had to cut below what it had acknowledged.
    pub lost: Option<Lsn>,
    /// What its sink has applied, if the sink cannot rewind.
    pub applied: Option<Lsn>,
}

/// From a replica to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToUpstream {
    /// Opens the stream.
    Hello(Box<Hello>),
    /// The answer to [`ToReplica::Probe`].
    Probed(Probed),
    /// How far the replica is, and what changed below it.
    Ack {
        /// The replica's own positions.
        ack: Ack,
        /// Those of the nodes that follow it, in any depth; at most [`Limits::MAX_RELAYED`](crate::Limits::MAX_RELAYED).
        relayed: Vec<NodeAck>,
    },
    /// The replica takes this many bytes of frames, counted from the beginning of the stream. Never goes back.
    Credit {
        /// The total.
        total: u64,
    },
    /// The replica sealed a segment: the digest of its own bytes.
    Sealed {
        /// Where the segment begins.
        base: Lsn,
        /// Its digest.
        digest: Digest,
    },
    /// The replica lives.
    Heartbeat,
    /// The replica ends the stream, and why.
    Refused(Refusal),
}

/// From an upstream to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToReplica {
    /// The upstream accepted the names, versions and features of the `Hello`; a verdict on its log follows.
    Welcome(Welcome),
    /// Which record ends at this position in the replica's log?
    Probe {
        /// A boundary in the upstream's log.
        at: Lsn,
    },
    /// What is to become of the replica's log. After [`Verdict::Wait`] another one follows.
    Verdict(Verdict),
    /// Records, exactly as they stand in the log.
    Frames(Frames),
    /// The upstream lives, and how far it is.
    Heartbeat {
        /// The end of what is durable at the upstream.
        durable: Lsn,
        /// Its epoch.
        epoch: Epoch,
        /// The oldest position that a slot of the upstream still needs: keep at least from here.
        retain: Lsn,
        /// The end of the frames that were sent on this stream, perhaps still behind this message; zero before any may be.
        sent: Lsn,
    },
    /// The segment that the replica reported is equal to the upstream's own.
    Proved {
        /// Where the segment begins.
        base: Lsn,
        /// Where it ends: what the replica holds is equal up to here.
        end: Lsn,
    },
    /// The upstream ends the stream, and why.
    Refused(Refusal),
}

/// The answer to an acceptable `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// This stream. Only the newest one of a replica and log is served.
    pub session: SessionId,
    /// What is spoken from here on.
    pub agreed: Agreed,
    /// Who the upstream is.
    pub node: NodeId,
    /// The upstream's epoch.
    pub epoch: Epoch,
    /// The end of what is durable at the upstream.
    pub durable: Lsn,
}

/// Whole records that follow one another within one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// Where the first byte belongs.
    pub start: Lsn,
    /// The epoch of the upstream that sent them. The records carry their own in their checksums.
    pub epoch: Epoch,
    /// At most [`Limits::MAX_FRAMES`](crate::Limits::MAX_FRAMES) bytes.
    pub bytes: Bytes,
}

/// What a replica holds at a position it was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The position.
    pub at: Lsn,
    /// The header checksum of the record that ends there; `None` when none does, or it is no longer held.
    pub crc: Option<u32>,
}

/// Why an end closes the stream. After it nothing follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the other end can do about it.
    pub kind: ErrorKind,
    /// The same for a person; at most [`Refusal::MAX_TEXT`] bytes.
    pub text: String,
    /// The position it is about, if it is about one.
    pub at: Option<Lsn>,
}

impl Refusal {
    /// The longest text, in bytes; longer ones are cut.
    pub const MAX_TEXT: usize = 1024;

    /// A refusal, its text cut to what may be sent.
    pub fn new(kind: ErrorKind, text: impl Into<String>, at: Option<Lsn>) -> Self {
        let mut text = text.into();
        if text.len() > Self::MAX_TEXT {
            text.truncate(text.floor_char_boundary(Self::MAX_TEXT));
        }
        Self { kind, text, at }
    }
}

impl ToReplica {
    /// About how many bytes the message holds, for queues that are bounded in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Frames(frames) => 64 + frames.bytes.len(),
            Self::Refused(refusal) => 64 + refusal.text.len(),
            _ => 128,
        }
    }
}

impl ToUpstream {
    /// About how many bytes the message holds, for queues that are bounded in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Hello(_) => 8192,
            Self::Ack { relayed, .. } => 64 + relayed.len() * 128,
            Self::Refused(refusal) => 64 + refusal.text.len(),
            _ => 64,
        }
    }
}

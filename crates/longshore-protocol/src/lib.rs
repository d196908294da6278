//! How a primary and a replica agree: state machines without I/O, clocks or async.
//!
//! Every rule of replication is here and nowhere else: what a [`Hello`] means ([`decide`]), which bytes an
//! upstream may send next ([`Session`]), whether a batch fits a follower's log ([`Follower`]), and when a
//! position is as durable as somebody asked ([`AckTable`]). The types take a message and `now`, a monotonic
//! [`Duration`](std::time::Duration) since any fixed moment, and answer with what to do; the loops that move
//! messages (`feed` and `follow` in `longshore`) hold no rule of their own. So the same code runs over gRPC and,
//! millions of times, in a simulator.
//!
//! The course of one stream, for one log:
//!
//! ```text
//!  replica (downstream)                         upstream
//!    Hello ───────────────────────────────────▶ Reception::new   names, versions, features
//!          ◀─────────────────────────────────── Welcome          session id, what was agreed, intervals
//!          ◀───────── Probe … Probed ─────────▶ Reception::step  only when the bytes must be compared
//!          ◀─────────────────────────────────── Verdict          continue, wait, truncate, re-seed, …
//!    Credit ──────────────────────────────────▶ Session          after `continue` only
//!          ◀─────────────────────────────────── Frames …
//!    Ack, Sealed, Heartbeat ──────────────────▶
//!          ◀─────────────────────────────────── Heartbeat, Proved
//! ```

#![forbid(unsafe_code)]

mod ack;
mod ack_policy;
mod ack_table;
mod backoff;
mod durability;
mod error;
mod fence;
mod follower;
pub mod lease;
mod limits;
mod locate;
mod message;
mod name;
mod onward;
mod policy;
mod promotion;
mod pulse;
mod rate;
mod reception;
mod session;
mod telling;
mod verdict;
mod version;

pub use ack::{Ack, NodeAck};
pub use ack_policy::{AckPolicy, Shortfall};
pub use ack_table::{AckTable, NodeState, StoreState};
pub use backoff::Backoff;
pub use durability::{Durability, Quorum, Stage};
pub use error::{Error, Result};
pub use fence::{Fence, fence};
pub use follower::{Fit, Follower, FollowerTurn};
pub use limits::Limits;
pub use locate::{Locate, Located};
pub use message::{Frames, Hello, Holding, Probed, Refusal, ToReplica, ToUpstream, Welcome};
pub use name::{Name, NodeId, Region};
pub use onward::Onward;
pub use policy::{Policy, in_force, records_of};
pub use promotion::{Archived, Beside, Dispute, GivenUp, GivenWay, Promotion, Step, Witness, best, writer_of};
pub use rate::{CatchUp, Rate, Timeline, catch_up};
pub use reception::{Peer, Reception, Reply};
pub use session::{Heard, Registry, Session, SessionId, Turn, Want};
pub use verdict::{Difference, LogState, ReseedReason, Verdict, decide};
pub use version::{Agreed, Feature, Offer, VersionRange};

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod fake;

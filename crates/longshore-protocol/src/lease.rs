//! The lease: who may try to be the primary next, without anybody being asked.
//!
//! One small object in a system that many nodes reach and that can compare and swap: a bucket, a directory, etcd. Its
//! [`holder`](LeaseObject::holder) renews it; a node that has seen it unchanged for long enough takes it, and with it the
//! number of a new epoch. Nothing here needs the clocks of two nodes to agree, only to run about as fast:
//!
//! ```text
//!  holder      sent ├──────── trusts it ────────┤ 0.7 ttl, then it stops by itself
//!  object         landed ●
//!  candidate           seen ├──────────────── waits ─────────────────┤ 1.1 ttl, then it swaps
//! ```
//!
//! The holder counts from before it *sent* a renewal, a candidate from after it *saw* it, and the renewal landed in between:
//! what is between 0.7 and 1.1 is for clocks that run at different rates. `now` is of a clock that runs on while the machine is
//! suspended (F-083); wall clocks play no part (F-082). Whoever swaps does so against the very version that it saw, so
//! that a node that slept for an hour between looking and swapping only fails.
//!
//! **A lease gives liveness, never safety.** A process can be stopped between looking at its clock and the write that it does
//! next. What an old primary may still acknowledge is for the fence to say.

mod candidate;
mod holder;
mod object;
#[cfg(test)]
mod sim;
mod stamp;
mod tenant;
mod ttl;

pub use object::LeaseObject;
pub use stamp::{Stamp, Stamps};
pub use tenant::{Claim, Due, LeaseState, Tenant};
pub use ttl::Ttl;

//! What a log asks for, and what becomes of it when that cannot be had.

use std::time::Duration;

use crate::Durability;

/// What a log asks for when a wait does not say, and what happens when it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckPolicy {
    /// What a wait asks for by default.
    pub durability: Durability,
    /// How long a wait lasts before it answers that the position is not confirmed.
    pub timeout: Duration,
    /// What an append does while too few nodes are connected.
    pub shortfall: Shortfall,
}

/// What an append does while the policy's durability cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shortfall {
    /// It is accepted, and its wait ends by time: durable here, not confirmed there.
    #[default]
    Accept,
    /// It is refused before anything is written.
    Refuse,
    /// Once it could not be had for so long, waits for it are answered when the record is durable here, until it can be had
    /// again. What was confirmed meanwhile is not protected by failover.
    Degrade {
        /// How long.
        after: Duration,
    },
}

impl Default for AckPolicy {
    fn default() -> Self {
        Self { durability: Durability::LOCAL, timeout: Duration::from_secs(30), shortfall: Shortfall::Accept }
    }
}

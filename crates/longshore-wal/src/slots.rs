//! Who follows this log, how far each has come, and what may be trimmed therefore.

use std::time::Duration;

use longshore_format::{Lsn, Name};

use crate::{Consumer, Decision, Result, Retention, Wal};

/// How far a replica has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotAck {
    /// It made everything below durable.
    pub durable: Lsn,
    /// It applied everything below.
    pub applied: Lsn,
}

/// A replica's slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Its name: its certificate's identity.
    pub name: Name,
    /// How far it has come.
    pub ack: SlotAck,
    /// When it was last heard of, in microseconds since 1970 UTC; zero for never.
    pub last_seen: u64,
    /// For how long it has been silent, of the time that some process had this log open (monotonic).
    pub silent: Duration,
    /// It lost its place and must be seeded again.
    pub lost: bool,
    /// How many more bytes can be appended before it loses its place, or appends block; `None` without a cap.
    pub headroom: Option<u64>,
}

/// A consumer that lost its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Who.
    pub consumer: Consumer,
    /// Where it was.
    pub at: Lsn,
    /// Whether it was silent for too long, rather than too far behind.
    pub idle: bool,
}

/// What a trim did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The first position that is left.
    pub first: Lsn,
    /// How many segments were removed.
    pub segments: usize,
    /// Who lost its place.
    pub dropped: Vec<Dropped>,
    /// What was decided.
    pub decision: Decision,
}

impl Wal {
    /// Notes how far a replica has come; its slot is made on first use. Acks never move back, but for a slot that was lost
    /// and begins again. Durable with the next sync of the control file: an older ack is also true.
    pub fn ack(&self, slot: &Name, ack: SlotAck) -> Result<()> {
        let _ = (slot, ack);
        todo!()
    }

    /// Begins a slot anew at `ack`, whatever it was: for a replica that was seeded or truncated.
    pub fn reset_slot(&self, slot: &Name, ack: SlotAck) -> Result<()> {
        let _ = (slot, ack);
        todo!()
    }

    /// Every slot, by name.
    pub fn slots(&self) -> Vec<SlotState> {
        todo!()
    }

    /// Forgets a slot; durable when it returns. `false` if there was none.
    pub fn forget(&self, slot: &Name) -> Result<bool> {
        let _ = slot;
        todo!()
    }

    /// Says from where on the archive, the applier or the upstream's slowest replica needs the log; `None` for not at all.
    /// Kept in memory: say it after each open, before the first [`Wal::retain`].
    pub fn hold(&self, consumer: Consumer, from: Option<Lsn>) {
        let _ = (consumer, from);
        todo!()
    }

    /// What is kept, and for whom.
    pub fn retention(&self) -> Retention {
        todo!()
    }

    /// Changes what is kept; takes effect at the next [`Wal::retain`].
    pub fn set_retention(&self, retention: Retention) {
        let _ = retention;
        todo!()
    }

    /// Trims what nobody needs, and takes their place from consumers that are beyond the cap or silent for too long. The
    /// threads of [`Wal::start`] do this after each seal and each second.
    pub fn retain(&self) -> Result<Trimmed> {
        todo!()
    }
}

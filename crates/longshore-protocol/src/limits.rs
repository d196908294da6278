//! Every number that bounds a stream, with its reason.

use std::time::Duration;

/// Intervals, deadlines and sizes of a stream. Both ends have their own; nothing of it is negotiated, because
/// every rule holds for any value at the other end, as long as a heartbeat comes within the other's `silence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Say something at least this often. 2 s: three may be lost before the default `silence` is over.
    pub heartbeat: Duration,
    /// Give up a peer that was silent for this long. 10 s (F-086, F-087).
    pub silence: Duration,
    /// How long a peer may take to say its first message, or to answer a probe. 10 s (F-088).
    pub answer: Duration,
    /// How long one message may wait for room in a full queue before the peer counts as one that never reads.
    /// 30 s (F-089).
    pub stall: Duration,
    /// How many bytes of frames may be under way to this replica. 16 MiB: enough for 1 Gbit/s at 100 ms.
    pub window: u64,
    /// The size frames are gathered to when there is much to send. 512 KiB.
    pub batch: usize,
}

impl Limits {
    /// The most bytes in one [`Frames`](crate::Frames): any one record fits, a longer message is refused (F-099).
    pub const MAX_FRAMES: usize = 1 << 20;
    /// The most relayed acks in one message; more are sent in the next.
    pub const MAX_RELAYED: usize = 256;
    /// The most nodes an [`AckTable`](crate::AckTable) counts.
    pub const MAX_NODES: usize = 256;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            silence: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            window: 16 << 20,
            batch: 512 << 10,
        }
    }
}

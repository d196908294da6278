//! Appends that come one after another and are synced together.
//!
//! The log's own thread syncs as soon as there is anything: whoever appends once a millisecond or seldom has nothing to gain
//! by waiting. A thread that knows that it will append much at once says so; what it appends would otherwise be synced in
//! whatever pieces the disk keeps up with, and every sync delays those of everybody else on that disk.

use std::sync::atomic::Ordering;

use longshore_format::Lsn;

use crate::Wal;
use crate::shared::Shared;

/// So many bytes are synced at once whoever goes on appending: a longer sync would delay others for longer.
const MOST: u64 = 1 << 20;

/// Somebody appends much at once. Until this is dropped the log's thread syncs only a mebibyte at a time, or half of what may wait
/// unsynced. Whoever waits on a thread of his own, for his append ([`Wal::wait_blocking`]) or for room
/// ([`Wal::wait_room_blocking`]), syncs by himself as ever; whoever waits otherwise waits for the drop.
#[derive(Debug)]
#[must_use = "what is gathered is synced when this is dropped"]
pub struct Gathering(Wal);

impl Wal {
    /// Appends from here on are synced together, whoever makes them, until what this returns is dropped.
    pub fn gather(&self) -> Gathering {
        self.shared().gathering.fetch_add(1, Ordering::SeqCst);
        Gathering(self.clone())
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        let shared = self.0.shared();
        shared.gathering.fetch_sub(1, Ordering::SeqCst);
        shared.wake_syncer.wake();
    }
}

impl Shared {
    /// Whether the log's thread should sync what was appended up to `end`.
    #[inline]
    pub(crate) fn is_to_be_synced(&self, end: Lsn) -> bool {
        let unsynced = end.since(self.view.synced.get());
        match self.gathering.load(Ordering::SeqCst) {
            0 => 0 < unsynced,
            _ => MOST.min(self.settings.unsynced_limit / 2) < unsynced,
        }
    }
}

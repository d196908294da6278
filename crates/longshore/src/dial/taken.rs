//! Which upstream each log is followed through.

use std::collections::BTreeMap;
use std::sync::Mutex;

use longshore_format::Name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lock;

/// The logs that are followed, and through which upstream.
#[derive(Default)]
pub(super) struct Taken {
    logs: Mutex<BTreeMap<Name, By>>,
    /// Counts what was given up, for those who wait to take it.
    freed: watch::Sender<u64>,
}

struct By {
    /// Which upstream.
    place: usize,
    /// Whether the log comes from its writer that way.
    is_rooted: bool,
    /// Has the upstream leave it to another.
    leave: CancellationToken,
}

impl Taken {
    /// Takes a log for the upstream at `place`; `None` while it is followed through another. That one is asked to leave it if
    /// it does not lead to the writer and this one does.
    pub(super) fn take(&self, log: &Name, place: usize, is_rooted: bool) -> Option<CancellationToken> {
        let mut logs = lock(&self.logs);
        if let Some(by) = logs.get(log) {
            if is_rooted && !by.is_rooted && by.place != place {
                by.leave.cancel();
            }
            return None;
        }
        let leave = CancellationToken::new();
        logs.insert(log.clone(), By { place, is_rooted, leave: leave.clone() });
        Some(leave)
    }

    /// Notes whether a log that the upstream at `place` is followed for comes from its writer; `stays` is false when it must
    /// not be followed that way any longer.
    pub(super) fn note(&self, log: &Name, place: usize, is_rooted: bool, stays: bool) {
        if let Some(by) = lock(&self.logs).get_mut(log).filter(|by| by.place == place) {
            by.is_rooted = is_rooted;
            if !stays {
                by.leave.cancel();
            }
        }
    }

    /// Whether anybody follows a log.
    pub(super) fn is_taken(&self, log: &Name) -> bool {
        lock(&self.logs).contains_key(log)
    }

    /// Whether a log is followed through the upstream at `place`.
    pub(super) fn is_by(&self, log: &Name, place: usize) -> bool {
        lock(&self.logs).get(log).is_some_and(|by| by.place == place)
    }

    /// The upstream at `place` no longer follows a log.
    pub(super) fn free(&self, log: &Name, place: usize) {
        let mut logs = lock(&self.logs);
        if logs.get(log).is_some_and(|by| by.place == place) {
            logs.remove(log);
        }
        drop(logs);
        self.freed.send_modify(|freed| *freed += 1);
    }

    /// Changes whenever a log is given up.
    pub(super) fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }
}

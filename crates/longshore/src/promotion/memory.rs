//! What a node remembers of promotions while it runs: to whom it gave way, what it gave up itself, and
//! whose transaction it left behind.
//!
//! A log is closed and opened again when it changes hands; this outlives that. Nothing of it need outlive the node: what is
//! forgotten makes a promotion ask for more, never for less.

use std::collections::BTreeMap;
use std::sync::Mutex;

use longshore_format::{Epoch, Name};
use longshore_protocol::GivenWay;

use crate::lock;

/// What is remembered of each log.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Name, OfLog>>);

#[derive(Default)]
struct OfLog {
    given_way: GivenWay,
    given_up: Option<Epoch>,
    /// The epoch that was accepted while an application's transaction was under way.
    left_open: Option<Epoch>,
}

impl Memory {
    /// Notes that `accepted` was accepted after `before`, in a log of epoch `current`.
    pub(crate) fn accepts(&self, log: &Name, accepted: Epoch, before: Epoch, current: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().given_way.accepts(accepted, before, current);
    }

    /// Notes that an epoch which was to begin here will not, though the writer before was fenced.
    pub(super) fn gave_up(&self, log: &Name, epoch: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().given_up = Some(epoch);
    }

    /// What was accepted before `accepted` and has not been heard to begin.
    pub(super) fn gave_way(&self, log: &Name, accepted: Epoch, current: Epoch) -> Vec<Epoch> {
        let logs = lock(&self.0);
        logs.get(log).map(|known| known.given_way.clone()).unwrap_or_default().before(accepted, current)
    }

    /// Notes that an application's transaction was under way when an epoch was accepted: what it commits is in no log.
    pub(crate) fn left_open(&self, log: &Name, epoch: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().left_open = Some(epoch);
    }

    /// Whether one was under way when that epoch was accepted.
    pub(super) fn is_left_open(&self, log: &Name, epoch: Epoch) -> bool {
        lock(&self.0).get(log).is_some_and(|known| known.left_open == Some(epoch))
    }

    /// The last epoch that was given up here.
    pub(super) fn given_up(&self, log: &Name) -> Option<Epoch> {
        lock(&self.0).get(log)?.given_up
    }
}

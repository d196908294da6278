//! What a node remembers of promotions while it runs: to whom it gave way, what it gave up itself, and
//! whose transaction it left behind.
//!
//! A log is closed and opened again when it changes hands; this outlives that. Nothing of it need outlive the node: of an epoch
//! that is forgotten a promotion asks for more, never for less, and of a transaction only the telling is lost.

use std::collections::BTreeMap;
use std::sync::Mutex;

use longshore_format::{Epoch, Name};
use longshore_protocol::{GivenUp, GivenWay, NodeId};

use crate::lock;

/// What is remembered of each log.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Name, OfLog>>);

#[derive(Default)]
struct OfLog {
    given_way: GivenWay,
    given_up: GivenUp,
    /// The epoch that was accepted while an application's transaction was under way.
    left_open: Option<Epoch>,
    /// Another node that said so of itself, and the epoch of the last attempt that knew it.
    left_open_at: Option<(NodeId, Epoch)>,
}

impl Memory {
    /// Notes that `accepted` was accepted after `before`, in a log of epoch `current`.
    pub(crate) fn accepts(&self, log: &Name, accepted: Epoch, before: Epoch, current: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().given_way.accepts(accepted, before, current);
    }

    /// Notes that an epoch which was to begin here will not, though the writer before was fenced; the log's own is `current`.
    pub(super) fn gave_up(&self, log: &Name, epoch: Epoch, current: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().given_up.notes(epoch, current);
    }

    /// What was accepted before `accepted` and has not been heard to begin.
    pub(super) fn gave_way(&self, log: &Name, accepted: Epoch, current: Epoch) -> Vec<Epoch> {
        let logs = lock(&self.0);
        logs.get(log).map(|known| known.given_way.clone()).unwrap_or_default().before(accepted, current)
    }

    /// Notes that an application's transaction was under way when an epoch was accepted: what it commits is in no log.
    pub(crate) fn note_left_open(&self, log: &Name, epoch: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().left_open = Some(epoch);
    }

    /// Whether one was under way when an epoch after `current` was accepted: none has begun since, so that whoever is about
    /// to begin one is told, however many attempts there were.
    pub(super) fn is_left_open(&self, log: &Name, current: Epoch) -> bool {
        let logs = lock(&self.0);
        let epoch = logs.get(log).and_then(|known| known.left_open);
        epoch.is_some_and(|epoch| current.number < epoch.number)
    }

    /// Notes that a transaction was left behind at `node`, as an attempt under `epoch` knows.
    pub(super) fn note_left_open_at(&self, log: &Name, node: NodeId, epoch: Epoch) {
        lock(&self.0).entry(log.clone()).or_default().left_open_at = Some((node, epoch));
    }

    /// Where one was left behind, as an earlier attempt was told that began nothing.
    pub(super) fn left_open_since(&self, log: &Name, current: Epoch) -> Option<NodeId> {
        let logs = lock(&self.0);
        let (node, epoch) = logs.get(log)?.left_open_at.as_ref()?;
        (current.number < epoch.number).then(|| node.clone())
    }

    /// Where one was left behind when `epoch` began.
    pub(super) fn left_open_before(&self, log: &Name, epoch: Epoch) -> Option<NodeId> {
        let logs = lock(&self.0);
        let (node, known) = logs.get(log)?.left_open_at.as_ref()?;
        (*known == epoch).then(|| node.clone())
    }

    /// What was given up here.
    pub(super) fn given_up(&self, log: &Name, current: Epoch) -> Vec<Epoch> {
        lock(&self.0).get(log).map_or_else(Vec::new, |known| known.given_up.after(current))
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::WriterId;

    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch { number, writer: WriterId::from_bytes([number as u8; 16]) }
    }

    #[test]
    fn a_transaction_that_was_left_open_is_told_until_an_epoch_begins() {
        let (memory, log) = (Memory::default(), "app".parse().unwrap());
        assert!(!memory.is_left_open(&log, epoch(1)));
        memory.note_left_open(&log, epoch(2));
        assert!(memory.is_left_open(&log, epoch(1)), "to the attempt under epoch 2, and to the next one");
        assert!(!memory.is_left_open(&log, epoch(2)) && !memory.is_left_open(&log, epoch(3)));
    }

    #[test]
    fn an_attempt_knows_what_the_one_before_it_was_told() {
        let (memory, log) = (Memory::default(), "app".parse().unwrap());
        let node = || NodeId::new("p").unwrap();
        assert_eq!(memory.left_open_since(&log, epoch(1)), None);
        memory.note_left_open_at(&log, node(), epoch(2));
        assert_eq!(memory.left_open_since(&log, epoch(1)), Some(node()));
        memory.note_left_open_at(&log, node(), epoch(4));
        assert_eq!(memory.left_open_before(&log, epoch(4)), Some(node()), "who asks again is told again");
        assert_eq!(memory.left_open_since(&log, epoch(4)), None, "and nobody who begins another epoch");
        assert_eq!(memory.left_open_before(&log, epoch(5)), None);
    }
}

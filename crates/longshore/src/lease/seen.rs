//! What a log's status says of its lease: who holds it, and why nobody here does.

use std::sync::Mutex;
use std::time::Duration;

use longshore_protocol::NodeId;
use longshore_transport::{LeaseHolder, LeaseStatus};
use tokio::sync::watch;

use super::{Lease, LeaseState};
use crate::lock;

/// The lease of an open log as it is attended to; nothing where none is set.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Option<Sight>>);

struct Sight {
    node: NodeId,
    state: Option<watch::Receiver<LeaseState>>,
    store: Option<watch::Receiver<Option<String>>>,
    /// Why this node does not take what it could.
    refused: Option<String>,
}

impl Seen {
    /// It is attended to; `refused` is what went wrong last, if anything did.
    pub(crate) fn attended(&self, node: &NodeId, lease: &Lease, refused: Option<String>) {
        let (state, store) = (Some(lease.state.clone()), Some(lease.trouble.clone()));
        *lock(&self.0) = Some(Sight { node: node.clone(), state, store, refused });
    }

    /// It is not attended to.
    pub(crate) fn unattended(&self, node: &NodeId, why: String) {
        *lock(&self.0) = Some(Sight { node: node.clone(), state: None, store: None, refused: Some(why) });
    }

    /// What is known of it at `now`, by the clock that runs on while the machine is suspended.
    pub(crate) fn status(&self, now: Duration) -> Option<LeaseStatus> {
        let seen = lock(&self.0);
        let sight = seen.as_ref()?;
        let state = sight.state.as_ref().map_or(LeaseState::Unknown, |state| state.borrow().clone());
        let (holder, epoch, valid) = match state {
            LeaseState::Held { epoch, until } => {
                let holder = LeaseHolder::Node(sight.node.clone());
                (holder, epoch.number, Some(until.saturating_sub(now)))
            }
            LeaseState::Other { holder, epoch } => (LeaseHolder::Node(holder), epoch.number, None),
            LeaseState::Free => (LeaseHolder::Nobody, 0, None),
            LeaseState::Unknown => (LeaseHolder::Unknown, 0, None),
        };
        let store = sight.store.as_ref().and_then(|store| store.borrow().clone());
        Some(LeaseStatus { holder, epoch, valid, trouble: store.or_else(|| sight.refused.clone()) })
    }
}

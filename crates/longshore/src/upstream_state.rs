//! What a replica knows of the upstream of one log: for its status and its metrics, never for decisions.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use longshore_format::Lsn;
use longshore_protocol::NodeId;
use longshore_transport::UpstreamStatus;

use crate::lock;

/// The last that was heard of, and done about, the upstream.
#[derive(Debug, Default)]
pub(crate) struct UpstreamState {
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    address: String,
    doing: Doing,
    problem: Option<String>,
    durable: Lsn,
    heard: Option<Duration>,
    proved: Option<(Lsn, Duration)>,
    path: Vec<NodeId>,
}

/// What the follower is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Dialling, or greeting.
    Connecting,
    /// Taking frames.
    Following,
    /// The upstream is behind this replica on the same history.
    Waiting,
    /// Nothing, until the next attempt.
    Pausing,
    /// Nothing, until a person has decided.
    Refused,
}

impl Doing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Waiting => "waiting",
            Self::Pausing => "pausing",
            Self::Refused => "refused",
        }
    }
}

impl UpstreamState {
    /// Notes what is being done, at which upstream, and what stands in the way.
    pub(crate) fn set(&self, address: &str, doing: Doing, problem: Option<String>) {
        let mut known = self.lock();
        let before = known.take();
        *known = Some(Known {
            address: address.to_owned(),
            doing,
            problem,
            durable: before.as_ref().map_or(Lsn::ZERO, |before| before.durable),
            heard: before.as_ref().and_then(|before| before.heard),
            proved: before.as_ref().and_then(|before| before.proved),
            path: before.map_or(Vec::new(), |before| before.path),
        });
    }

    /// The nodes that the upstream gets the log through, itself first; empty where it follows nobody who follows the writer.
    pub(crate) fn came_by(&self, path: Vec<NodeId>) {
        if let Some(known) = &mut *self.lock() {
            known.path = path;
        }
    }

    /// The upstream is no longer followed, until something else is noted.
    pub(crate) fn left(&self) {
        if let Some(known) = &mut *self.lock()
            && matches!(known.doing, Doing::Following | Doing::Waiting)
        {
            known.doing = Doing::Connecting;
        }
    }

    /// The nodes that the log comes through while it does.
    pub(crate) fn path(&self) -> Vec<NodeId> {
        let known = self.lock();
        let following = known.as_ref().filter(|known| matches!(known.doing, Doing::Following | Doing::Waiting));
        following.map_or(Vec::new(), |known| known.path.clone())
    }

    /// The upstream was heard, and how far it is.
    pub(crate) fn heard(&self, durable: Lsn, now: Duration) {
        if let Some(known) = &mut *self.lock() {
            known.durable = known.durable.max(durable);
            known.heard = Some(now);
        }
    }

    /// Where what is durable at the upstream ends, as last heard.
    pub(crate) fn durable(&self) -> Lsn {
        self.lock().as_ref().map_or(Lsn::ZERO, |known| known.durable)
    }

    /// The upstream compared digests: what is held here is equal up to there.
    pub(crate) fn proved(&self, to: Lsn, now: Duration) {
        if let Some(known) = &mut *self.lock() {
            known.proved = Some((to, now));
        }
    }

    /// For the status; none on a primary.
    pub(crate) fn status(&self, now: Duration) -> Option<UpstreamStatus> {
        let known = self.lock().clone()?;
        Some(UpstreamStatus {
            address: known.address,
            state: known.doing.as_str().to_owned(),
            problem: known.problem,
            durable: known.durable,
            heard_ago: known.heard.map(|heard| now.saturating_sub(heard)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        lock(&self.known)
    }
}

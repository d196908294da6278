//! The lease of a log, held or watched: what makes a failover start without anybody being asked.
//!
//! [`Lease::join`] keeps asking a store and tells through a [`watch`] who holds the lease of one log. A primary
//! [`keep`](Lease::keep)s it for the epoch that it writes; a replica that sees it [`Free`](LeaseState::Free) may
//! [`take`](Lease::take) it, which mints the number of the next epoch. The rules are
//! [`longshore_protocol::lease`]'s; here is only what asks and waits.
//!
//! **It gives liveness, never safety.** That a node holds the lease says that it is the one to try a promotion, and nothing
//! about what another may still acknowledge: that is for the fence. So it is of use with a policy of at least `replicas:1`.
//!
//! ```
//! use longshore::lease::{self, Lease, LeaseState, Ttl};
//!
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let place = tempfile::tempdir()?;
//! # let url = format!("file://{}", place.path().display());
//! # runtime.block_on(async {
//! let store = lease::open(&url, &"orders".parse()?)?;
//! let lease = Lease::join(store, "eu-west".parse()?, Ttl::DEFAULT)?;
//! let mut state = lease.watch();
//! // Nobody has it yet; before anybody may take it the ttl must pass.
//! assert_eq!(*state.borrow_and_update(), LeaseState::Unknown);
//! lease.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod etcd;
mod keeper;
mod object;
mod seen;
mod store;

pub use longshore_protocol::lease::{LeaseObject, LeaseState, Ttl};
pub use store::{Found, LeaseStore, Swap, Version, in_store, open};

use std::sync::Arc;

use longshore_format::{Epoch, Name, WriterId};
use longshore_protocol::NodeId;
use longshore_protocol::lease::{Claim, Tenant};
use longshore_storage::{Environment, SystemEnvironment};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Result};
use crate::settings::LeaseSettings;
use keeper::{Keeper, Wish};
pub(crate) use seen::Seen;

/// One node's part in the lease of one log. Dropped, it stops asking; what it holds lapses by itself.
#[derive(Debug)]
pub struct Lease {
    environment: Arc<dyn Environment>,
    state: watch::Receiver<LeaseState>,
    trouble: watch::Receiver<Option<String>>,
    wishes: mpsc::Sender<Wish>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Lease {
    /// What the settings say about the lease of `log`, joined as `node`; `None` if they name none. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// As [`open`](open()) and [`join`](Lease::join).
    pub fn of(settings: &LeaseSettings, log: &Name, node: NodeId) -> Result<Option<Lease>> {
        let Some(url) = &settings.url else { return Ok(None) };
        Lease::join(open(url, log)?, node, Ttl::new(settings.ttl)?).map(Some)
    }

    /// Begins to ask `store`, as `node`. Must be called within a runtime.
    ///
    /// # Errors
    /// [`Error::Io`] on a machine without random bytes.
    pub fn join(store: Arc<dyn LeaseStore>, node: NodeId, ttl: Ttl) -> Result<Lease> {
        Lease::join_with(store, node, ttl, Arc::new(SystemEnvironment))
    }

    /// As [`join`](Lease::join), by another clock and other random bits.
    ///
    /// # Errors
    /// As [`join`](Lease::join).
    pub fn join_with(
        store: Arc<dyn LeaseStore>,
        node: NodeId,
        ttl: Ttl,
        environment: Arc<dyn Environment>,
    ) -> Result<Lease> {
        let mut life = [0; 8];
        let failed = |error| Error::io("draw random bytes for", "the lease".as_ref(), error);
        environment.random(&mut life).map_err(failed)?;
        let tenant = Tenant::new(node, ttl, u64::from_le_bytes(life));
        let (state, told) = watch::channel(LeaseState::Unknown);
        let (trouble, troubled) = watch::channel(None);
        let (wishes, heard) = mpsc::channel(WISHES);
        let stop = CancellationToken::new();
        let keeper = Keeper::new(store, tenant, environment.clone(), state, trouble);
        let task = tokio::spawn(keeper.run(heard, stop.clone()));
        Ok(Lease { environment, state: told, trouble: troubled, wishes, task, stop: stop.drop_guard() })
    }

    /// Who holds it, as far as is known here, and every change of that.
    ///
    /// Whoever acts on [`LeaseState::Held`] asks [`held`](Lease::held) just before: what was told a moment ago may be over.
    pub fn watch(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// The epoch that this node may act in now, by the clock that runs on while the machine is suspended.
    pub fn held(&self) -> Option<Epoch> {
        self.state.borrow().held(self.environment.boottime())
    }

    /// Why the store cannot be asked, while it cannot.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Takes a lease that is free, or has it already, and mints the next epoch: a number above the lease's and above `above`,
    /// the highest that this node has heard of, and `writer`, which was drawn for it.
    ///
    /// Asks once and does not wait until it is free. After an error by which the outcome is not known, and after dropping this
    /// future, call it again with the same writer: an epoch that was minted meanwhile is found, and none is minted twice.
    ///
    /// # Errors
    /// Of kind `Unavailable` while another holds it or its store gives no answer.
    pub async fn take(&self, writer: WriterId, above: u64) -> Result<Epoch> {
        self.claim(Claim::Mint { writer, above }).await
    }

    /// Holds it for an epoch that this node writes: after a restart at once if it is still this node's, else once it is free.
    ///
    /// # Errors
    /// As [`take`](Lease::take); of kind `Fenced` or `Diverged` if a later epoch, or another of that number, was minted.
    pub async fn keep(&self, epoch: Epoch) -> Result<()> {
        self.claim(Claim::Keep(epoch)).await.map(drop)
    }

    /// Gives it back, so that another may take it at once; does nothing if it is not this node's.
    ///
    /// From the call on this node does not act on it, whatever becomes of the request.
    ///
    /// # Errors
    /// Of kind `Unavailable` if its store gives no answer: then it lapses by itself.
    pub async fn release(&self) -> Result<()> {
        self.ask(Wish::Release).await
    }

    /// Stops asking. Without a [`release`](Lease::release) before, what it holds lapses by itself.
    pub async fn close(self) {
        drop(self.stop);
        if self.task.await.is_err() {
            tracing::error!("the task of a lease ended in a panic; report a bug");
        }
    }

    async fn claim(&self, claim: Claim) -> Result<Epoch> {
        self.ask(|answer| Wish::Claim(claim, answer)).await
    }

    async fn ask<T>(&self, wish: impl FnOnce(oneshot::Sender<Result<T>>) -> Wish) -> Result<T> {
        let ended = || Error::Task { task: "lease".to_owned() };
        let (answer, answered) = oneshot::channel();
        self.wishes.send(wish(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// How many may wait for a wish to be heard; more wait until there is room.
const WISHES: usize = 8;

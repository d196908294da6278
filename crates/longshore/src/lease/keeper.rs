//! The task that asks a store about a lease, one request at a time.
//!
//! It may be dropped at any moment: what was asked and not answered counts as lost, which is an ordinary case.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use longshore_format::Epoch;
use longshore_protocol::lease::{Claim, Due, LeaseObject, LeaseState, Tenant};
use longshore_storage::Environment;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::store::{Found, LeaseStore, Swap, Version};
use crate::error::{Error, Result};

/// Moves requests and answers between a store and the rules.
pub(super) struct Keeper {
    store: Arc<dyn LeaseStore>,
    tenant: Tenant,
    /// What the store named last.
    version: Version,
    /// When the last request began.
    asked: Duration,
    environment: Arc<dyn Environment>,
    state: watch::Sender<LeaseState>,
    trouble: watch::Sender<Option<String>>,
}

/// What somebody wants of a lease.
pub(super) enum Wish {
    /// To hold it.
    Claim(Claim, oneshot::Sender<Result<Epoch>>),
    /// To give it back.
    Release(oneshot::Sender<Result<()>>),
}

impl Keeper {
    pub(super) fn new(
        store: Arc<dyn LeaseStore>,
        tenant: Tenant,
        environment: Arc<dyn Environment>,
        state: watch::Sender<LeaseState>,
        trouble: watch::Sender<Option<String>>,
    ) -> Keeper {
        Keeper { store, tenant, version: Version::Absent, asked: Duration::ZERO, environment, state, trouble }
    }

    pub(super) async fn run(mut self, wishes: mpsc::Receiver<Wish>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.go_on(wishes) => {}
        }
    }

    async fn go_on(&mut self, mut wishes: mpsc::Receiver<Wish>) {
        loop {
            let now = self.tell();
            let due = self.tenant.due(now);
            let wait = match due {
                Some(_) => Duration::ZERO,
                None => self.tenant.wake(now).saturating_sub(now),
            };
            tokio::select! {
                // First, because somebody waits for it; while a store is silent something is due all the time.
                biased;
                wish = wishes.recv() => match wish {
                    Some(wish) => self.grant(wish).await,
                    None => return,
                },
                () = sleep(wait) => match due {
                    // What fails is told as trouble, and tried again.
                    Some(Due::Read) => drop(self.read().await),
                    Some(Due::Swap(object)) => drop(self.swap(object).await),
                    None => {}
                },
            }
        }
    }

    async fn grant(&mut self, wish: Wish) {
        match wish {
            // Nobody waits any more for an answer that is not taken.
            Wish::Claim(_, answer) if answer.is_closed() => {}
            Wish::Claim(claim, answer) => drop(answer.send(self.claim(claim).await)),
            Wish::Release(answer) => drop(answer.send(self.release().await)),
        }
    }

    async fn claim(&mut self, claim: Claim) -> Result<Epoch> {
        for _ in 0..ROUNDS {
            if !self.tenant.is_settled() {
                self.read().await?;
            }
            let object = self.tenant.bid(claim)?;
            let epoch = object.epoch;
            if self.swap(object).await? {
                return Ok(epoch);
            }
        }
        Err(longshore_protocol::Error::LeaseUnknown.into())
    }

    async fn release(&mut self) -> Result<()> {
        for _ in 0..ROUNDS {
            let resigned = self.tenant.resign();
            self.tell();
            match resigned {
                Ok(None) => return Ok(()),
                Ok(Some(object)) => {
                    if self.swap(object).await? {
                        return Ok(());
                    }
                }
                Err(_not_known) => self.read().await?,
            }
        }
        Err(longshore_protocol::Error::LeaseUnknown.into())
    }

    async fn read(&mut self) -> Result<()> {
        let store = self.store.clone();
        let found = self.answer(async move { store.read().await }).await?;
        self.found(found)
    }

    /// Whether it was done.
    async fn swap(&mut self, object: LeaseObject) -> Result<bool> {
        let (store, version, bytes) = (self.store.clone(), self.version.clone(), object.encode().into());
        // Before anything is sent: what the holder may rely on is counted from here.
        let sent = self.now();
        match self.answer(async move { store.swap(&version, bytes).await }).await? {
            Swap::Swapped(version) => {
                self.version = version;
                self.tenant.swapped(object, sent, self.now());
                self.heard();
                Ok(true)
            }
            Swap::Conflict(found) => self.found(found).map(|()| false),
        }
    }

    fn found(&mut self, found: Found) -> Result<()> {
        let object = match found.object.map(|bytes| LeaseObject::decode(&bytes)).transpose() {
            Ok(object) => object,
            Err(error) => return Err(self.failed(error.into())),
        };
        self.version = found.version;
        self.tenant.found(object, self.now());
        self.heard();
        Ok(())
    }

    /// What the store says, unless that takes too long. Tells meanwhile what time alone changes.
    async fn answer<T>(&mut self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        self.asked = self.now();
        let (mut asked, waited) = (pin!(asked), self.tenant.patience());
        let mut over = pin!(sleep(waited));
        loop {
            let now = self.tell();
            let changes = self.tenant.changes(now).map_or(waited, |changes| changes.saturating_sub(now));
            tokio::select! {
                biased;
                answer = &mut asked => return answer.map_err(|error| self.failed(error)),
                () = &mut over => {
                    let store = self.store.label().to_owned();
                    return Err(self.failed(Error::LeaseSilent { store, waited }));
                }
                () = sleep(changes) => {}
            }
        }
    }

    /// The store has answered, with something that can be understood.
    fn heard(&self) {
        self.trouble.send_if_modified(|trouble| trouble.take().is_some());
        self.tell();
    }

    /// What became of a request is not known.
    fn failed(&mut self, error: Error) -> Error {
        self.tenant.lost(self.asked, self.now());
        self.tell();
        let told = error.to_string();
        self.trouble.send_if_modified(|trouble| {
            let is_new = trouble.as_ref() != Some(&told);
            if is_new {
                tracing::warn!(store = self.store.label(), %error, "a lease cannot be looked after");
                *trouble = Some(told);
            }
            is_new
        });
        error
    }

    /// Tells whoever watches, if there is something new; returns what time it is.
    fn tell(&self) -> Duration {
        let now = self.now();
        let state = self.tenant.state(now);
        self.state.send_if_modified(|told| {
            let is_new = *told != state;
            if is_new {
                *told = state;
            }
            is_new
        });
        now
    }

    fn now(&self) -> Duration {
        self.environment.boottime()
    }
}

/// How often a wish is tried against others who are faster, before whoever has it is to look again.
const ROUNDS: usize = 3;

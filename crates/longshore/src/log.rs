//! One open log with everything that concerns it alone: the bytes, the acks, the waits.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use longshore_format::{Lsn, Name};
use longshore_protocol::{Ack, AckPolicy, Durability, NodeId, Quorum, Registry, Shortfall, Stage};
use longshore_storage::Environment;
use longshore_transport::{LogSummary, Positions, ReplicaPosition};
use longshore_wal::{Consumer, Ended, Pressure, RecordDraft, Role, SlotAck, Threads, Wal};

use crate::applying::Applying;
use crate::archived::Sources;
use crate::archiving::Archiving;
use crate::claim::Claim;
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::lease::Seen;
use crate::lock;
use crate::policy::Lack;
use crate::rivals::Rivals;
use crate::seeding::Seeding;
use crate::settings::{RetentionSettings, Settings};
use crate::snapshot::Offered;
use crate::standing::Standing;
use crate::ticket::Ticket;
use crate::upstream_state::UpstreamState;
use crate::wal_settings::capped;

/// An open log.
pub(crate) struct Log {
    pub(crate) name: Name,
    pub(crate) wal: Wal,
    pub(crate) standing: Arc<Standing>,
    /// The newest stream of each replica.
    pub(crate) registry: Mutex<Registry>,
    /// Who takes a replica's place by turns.
    pub(crate) rivals: Mutex<Rivals>,
    /// Where this log comes from, on a replica.
    pub(crate) upstream: UpstreamState,
    /// Where its records go, on a replica.
    pub(crate) applying: Applying,
    /// The object stores that it goes into.
    pub(crate) archiving: Archiving,
    /// What its sinks wait for when the log does not reach back to what they hold.
    pub(crate) seeding: Seeding,
    /// Snapshots for replicas in that state.
    pub(crate) offered: Offered,
    /// Where else what it lacks may be had.
    pub(crate) sources: Arc<OnceLock<Sources>>,
    pub(crate) events: Events,
    pub(crate) environment: Arc<dyn Environment>,
    /// The directory that its own is in, for files beside it.
    pub(crate) data_dir: PathBuf,
    /// What a wait asks for by default: what the log says, else the settings.
    policy: RwLock<Arc<AckPolicy>>,
    pub(crate) lack: Mutex<Lack>,
    /// Whether replicas are sent what is still synced here.
    ship_ahead: bool,
    /// Who holds its lease, where there is one.
    pub(crate) lease: Seen,
    /// Whether it may be written as far as its lease goes; always where there is none.
    leased: AtomicBool,
    /// Set while somebody other than the dialler follows for this log.
    pub(crate) claim: Claim,
    /// What it retains; an operator may change it while it runs.
    retention: Mutex<RetentionSettings>,
    stopping: AtomicBool,
    threads: Mutex<Option<Threads>>,
}

impl Log {
    /// Takes an opened log and starts its threads.
    pub(crate) fn start(
        name: Name,
        wal: Wal,
        settings: &Settings,
        events: Events,
        environment: Arc<dyn Environment>,
        data_dir: PathBuf,
        sources: Arc<OnceLock<Sources>>,
    ) -> Arc<Self> {
        // Session ids only have to differ from those of an earlier life, which this makes very likely.
        let registry = Registry::new(crate::random(&*environment));
        if wal.role() == Role::Follower {
            // Until it is known whether there are sinks, and what they hold, nothing is trimmed.
            wal.hold(Consumer::Applier, Some(wal.first()));
        }
        let threads = wal.start();
        let standing = Arc::new(Standing::new());
        let log = Self {
            name,
            wal,
            archiving: Archiving::new(Arc::clone(&standing)),
            standing,
            registry: Mutex::new(registry),
            rivals: Mutex::default(),
            upstream: UpstreamState::default(),
            applying: Applying::default(),
            seeding: Seeding::default(),
            offered: Offered::default(),
            sources,
            events,
            environment,
            data_dir,
            policy: RwLock::new(Arc::new(settings.ack.policy())),
            lack: Mutex::default(),
            ship_ahead: settings.network.ship_ahead,
            lease: Seen::default(),
            leased: AtomicBool::new(settings.lease.url.is_none()),
            claim: Claim::default(),
            retention: Mutex::new(settings.retention.clone()),
            stopping: AtomicBool::new(false),
            threads: Mutex::new(Some(threads)),
        };
        log.admit_slots();
        if let Err(error) = log.take_policies() {
            log.events.raise(Event::Warning { message: format!("log {}: {error}", log.name) });
        }
        log.tick();
        log.lower_cap();
        Arc::new(log)
    }

    /// Replicas with a slot count from the start, connected or not.
    fn admit_slots(&self) {
        for slot in self.wal.slots() {
            let node = slot.name.into();
            self.standing.admit(&node, None, None);
            let ack = Ack::new(slot.ack.durable, slot.ack.durable, slot.ack.applied.min(slot.ack.durable));
            let ack = ack.expect("durable is not beyond received, applied not beyond durable");
            self.standing.heard(&node, &[longshore_protocol::NodeAck { node: node.clone(), ack }], Duration::ZERO);
            self.standing.disconnected(&node);
        }
    }

    /// What a wait asks for by default.
    pub(crate) fn policy(&self) -> Arc<AckPolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_policy(&self, policy: AckPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Bytes of its volume that are to stay free.
    pub(crate) fn min_free(&self) -> u64 {
        self.retention().min_free.0
    }

    pub(crate) fn now(&self) -> Duration {
        self.environment.monotonic()
    }

    pub(crate) fn append(self: &Arc<Self>, batch: &[RecordDraft<'_>], expect: Option<Lsn>) -> Result<Ticket> {
        self.may_append()?;
        let appended = self.wal.append(batch, expect)?;
        Ok(Ticket::new(Arc::clone(self), appended.start, appended.end))
    }

    pub(crate) fn mark(self: &Arc<Self>, name: &Name) -> Result<Ticket> {
        self.may_append()?;
        // A mark stands for what an application had committed when it was asked for.
        self.applying.catch_up(&self.name)?;
        let position = self.wal.mark(name)?;
        Ok(Ticket::new(Arc::clone(self), position, position))
    }

    /// Refuses appends while the agent stops, and while the policy cannot be had if it says so.
    pub(crate) fn may_append(&self) -> Result<()> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::Stopping { log: self.name.clone() });
        }
        if !self.leased.load(Ordering::Acquire) {
            return Err(Error::NoLease { log: self.name.clone() });
        }
        let policy = self.policy();
        if policy.shortfall == Shortfall::Refuse && !self.standing.within_reach(&policy.durability) {
            let durability = Box::new(policy.durability.clone());
            return Err(Error::OutOfReach { log: self.name.clone(), durability });
        }
        Ok(())
    }

    /// Notes whether this node holds the log's lease: without it appends are refused.
    pub(crate) fn set_leased(&self, leased: bool) {
        self.leased.store(leased, Ordering::Release);
    }

    /// Whether replicas that hold back are sent what is shown to nobody: what is still synced here, or what this node holds back itself.
    pub(crate) fn ships_ahead(&self) -> bool {
        match self.wal.role() {
            Role::Writer => self.ship_ahead,
            Role::Follower => self.wal.holds_back(),
        }
    }

    /// Takes no appends from here on.
    pub(crate) fn stop_appends(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The position up to which the log is as safe as asked.
    pub(crate) fn reached(&self, durability: &Durability) -> Lsn {
        match (&durability.quorum, durability.stage) {
            (Quorum::Local, Stage::Received) => self.wal.end(),
            (Quorum::Local, Stage::Durable) => self.wal.durable().get(),
            (Quorum::Local, Stage::Applied) => self.applying.applied(self.wal.durable().get()),
            _ if self.is_degraded() && *durability == self.policy().durability => self.wal.durable().get(),
            // Whoever was shipped ahead may have it before this disk has, which then counts, too.
            _ => self.standing.reached(durability).min(self.wal.durable().get()),
        }
    }

    /// Waits until `position` is as safe as asked; answers what is.
    pub(crate) async fn wait(&self, position: Lsn, durability: &Durability) -> Result<Lsn> {
        self.may_be_reached(position)?;
        self.may_be_had(durability)?;
        if *durability == Durability::LOCAL || durability.quorum != Quorum::Local {
            let durable = self.wal.durable().wait(position).await.map_err(|ended| self.ended(ended, position))?;
            if *durability == Durability::LOCAL {
                return Ok(durable);
            }
        }
        loop {
            let moved = self.standing.listen();
            if let Some(reached) = self.look(position, durability)? {
                return Ok(reached);
            }
            moved.await;
        }
    }

    /// The same, blocking the thread, for at most `timeout`.
    pub(crate) fn wait_blocking(&self, position: Lsn, durability: &Durability, timeout: Duration) -> Result<Lsn> {
        self.may_be_reached(position)?;
        self.may_be_had(durability)?;
        let deadline = Instant::now().checked_add(timeout);
        if *durability == Durability::LOCAL {
            return self.sync_blocking(position, durability, timeout);
        }
        if durability.quorum != Quorum::Local {
            // Nothing is confirmed that is not durable here, too.
            self.sync_blocking(position, durability, timeout)?;
        }
        loop {
            let moved = self.standing.listen();
            if let Some(reached) = self.look(position, durability)? {
                return Ok(reached);
            }
            match deadline {
                None => moved.wait(),
                Some(deadline) if !moved.wait_until(deadline) => {
                    let late = self.look(position, durability)?;
                    return late.ok_or_else(|| self.unconfirmed(position, durability, timeout));
                }
                Some(_) => {}
            }
        }
    }

    /// Waits until `position` is durable here, and syncs on this thread if nobody else is at it: that saves two switches.
    fn sync_blocking(&self, position: Lsn, durability: &Durability, timeout: Duration) -> Result<Lsn> {
        match self.wal.wait_blocking(position, Some(timeout)) {
            Err(longshore_wal::Error::TimedOut { .. }) => Err(self.unconfirmed(position, durability, timeout)),
            outcome => Ok(outcome?),
        }
    }

    /// What a wait that ran out of time says.
    pub(crate) fn unconfirmed(&self, position: Lsn, durability: &Durability, waited: Duration) -> Error {
        if self.wal.durable().get() < position {
            return Error::NotDurable { position, waited };
        }
        Error::Unconfirmed { position, durability: Box::new(durability.clone()), waited }
    }

    fn look(&self, position: Lsn, durability: &Durability) -> Result<Option<Lsn>> {
        // Whoever fenced this node counts on that it confirms nothing more; also of what was under way.
        if durability.quorum != Quorum::Local {
            self.must_not_be_fenced()?;
        }
        let reached = self.reached(durability);
        if position <= reached {
            return Ok(Some(reached));
        }
        match self.wal.durable().ended() {
            None => Ok(None),
            Some(ended) => Err(self.ended(ended.clone(), position)),
        }
    }

    /// Refuses what no waiting brings: replicas may come, stores are those that the agent was started with.
    pub(crate) fn may_be_had(&self, durability: &Durability) -> Result<()> {
        must_have_stores(durability, self.standing.stores())
    }

    /// Fails once a later epoch was accepted here by the log's writer.
    fn must_not_be_fenced(&self) -> Result<()> {
        match self.wal.is_fenced() {
            true => {
                let (epoch, accepted) = (self.wal.history().current().epoch, self.wal.accepted_epoch());
                Err(longshore_wal::Error::Fenced { epoch: epoch.to_string(), accepted: accepted.to_string() }.into())
            }
            false => Ok(()),
        }
    }

    /// Beyond the end of a log that is written here nothing will come by waiting: it was lost, or belongs to another log. What
    /// is followed may still come: so a program reads what it wrote elsewhere.
    fn may_be_reached(&self, position: Lsn) -> Result<()> {
        if self.wal.role() == Role::Follower {
            return Ok(());
        }
        let end = self.wal.end();
        if end < position {
            return Err(longshore_wal::Error::Beyond { lsn: position, end }.into());
        }
        Ok(())
    }

    fn ended(&self, ended: Ended, position: Lsn) -> Error {
        match ended {
            Ended::Failed(error) => error.into(),
            _ => Error::Closed { log: self.name.clone(), position },
        }
    }

    /// The nodes that the log comes through, this one first and the writer last; empty where it follows nobody who does.
    pub(crate) fn path(&self, own: &NodeId) -> Vec<NodeId> {
        let further = match self.wal.role() {
            Role::Writer if self.wal.is_fenced() => return Vec::new(),
            Role::Writer => Vec::new(),
            Role::Follower => self.upstream.path(),
        };
        if self.wal.role() == Role::Follower && further.is_empty() {
            return Vec::new();
        }
        [own.clone()].into_iter().chain(further).take(LogSummary::MAX_PATH).collect()
    }

    /// The node's own positions.
    pub(crate) fn ack(&self) -> Ack {
        // Read from the last stage to the first: each is then at least what the one before was.
        let applied = self.applying.applied(self.wal.end()).min(self.wal.durable().get());
        let durable = self.wal.synced().get().max(applied);
        let received = self.wal.end().max(durable);
        Ack::new(received, durable, applied).expect("ordered by the lines above")
    }

    /// What happens a few times a second, on whichever thread keeps house.
    pub(crate) fn tick(&self) {
        let now = self.now();
        self.standing.tick(self.ack(), now);
        self.archiving.tick(now);
        for event in self.wal.events().take() {
            self.events.raise(Event::of_log(&self.name, event));
        }
        self.keep_acks();
        self.settle_policies();
        self.watch_policy(now);
        if self.wal.durable().ended().is_some() {
            self.standing.wake();
        }
    }

    /// Keeps in their slots what connected replicas acknowledged before it was durable here.
    fn keep_acks(&self) {
        if !self.ship_ahead {
            return;
        }
        let durable = self.wal.durable().get();
        for slot in self.wal.slots().into_iter().filter(|slot| slot.ack.durable < durable && !slot.lost) {
            let node = slot.name.clone().into();
            let held = self.standing.ack_of(&node).filter(|held| slot.ack.durable < held.durable());
            if let Some(held) = held
                && self.standing.is_connected(&node)
            {
                let ack = SlotAck { durable: held.durable(), applied: held.applied() };
                if let Err(error) = self.wal.ack(&slot.name, ack) {
                    tracing::debug!(log = %self.name, replica = %node, %error, "cannot keep the replica's slot");
                }
            }
        }
    }

    /// Fits what is kept to the settings and to the space that is left.
    pub(crate) fn lower_cap(&self) {
        self.wal.set_retention(capped(&self.retention(), &self.wal.pressure()));
    }

    /// What it retains.
    pub(crate) fn retention(&self) -> MutexGuard<'_, RetentionSettings> {
        lock(&self.retention)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.wal.pressure()
    }

    pub(crate) fn positions(&self) -> Positions {
        let replicas = self.standing.replicas(self.now()).into_iter();
        let replicas = replicas.map(|replica| ReplicaPosition {
            replica: replica.node,
            region: replica.region,
            connected: replica.connected,
            ack: replica.ack,
        });
        Positions {
            first: self.wal.first(),
            end: self.wal.end(),
            durable: self.wal.durable().get(),
            replicas: replicas.collect(),
        }
    }

    /// Stops what applies its records, then closes it.
    pub(crate) fn end(self: &Arc<Self>) -> Result<()> {
        self.applying.stop(self);
        self.close()
    }

    /// Stops the threads, syncs and closes. A second call does nothing.
    pub(crate) fn close(&self) -> Result<()> {
        self.stop_appends();
        let threads = lock(&self.threads).take();
        let Some(threads) = threads else { return Ok(()) };
        self.archiving.stop();
        threads.stop();
        let closed = self.wal.close();
        self.tick();
        self.standing.wake();
        Ok(closed?)
    }
}

/// Refuses a durability that asks for more stores than there are.
pub(crate) fn must_have_stores(durability: &Durability, stores: usize) -> Result<()> {
    match durability.quorum {
        Quorum::Archived(count) if stores < count.get() as usize => {
            Err(Error::TooFewStores { durability: Box::new(durability.clone()), stores })
        }
        _ => Ok(()),
    }
}

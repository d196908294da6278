//! A log's bytes into object stores: a thread for each store, so that none holds up another.
//!
//! What is not archived in every store is not trimmed here. A store that fails is tried again for ever, with longer and longer
//! pauses; one that says that this node is fenced is left alone, and the log stays whole here.

mod snapshots;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_archive::estimate::RegionId;
use longshore_archive::{ArchiveSettings, Archiver, Ledger, Meter, Round, Store};
use longshore_format::{Lsn, Name};
use longshore_protocol::{Rate, StoreState};
use longshore_wal::{Consumer, Role, Wal};

use crate::lock;
use crate::log::Log;
use crate::standing::{SMOOTHING, Standing};
use snapshots::Snapshots;

/// The stores of one log.
pub(crate) struct Archiving {
    workers: Mutex<Vec<Worker>>,
    shared: Arc<Shared>,
}

struct Shared {
    stop: AtomicBool,
    stores: Mutex<Vec<ArchiveStatus>>,
    moved: Condvar,
    /// Who waits for what is archived.
    standing: Arc<Standing>,
}

struct Worker {
    thread: JoinHandle<()>,
}

/// How a log is archived in one store.
#[derive(Debug, Clone)]
pub struct ArchiveStatus {
    /// Which store.
    pub store: String,
    /// Its provider and region, where they are known.
    pub region: Option<RegionId>,
    /// Up to where the log is archived; `None` until the store has said so.
    pub archived: Option<Lsn>,
    /// The newest snapshot that this node has archived since it started.
    pub snapshot: Option<Lsn>,
    /// Objects made since the agent started.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// While there are writes, how often what is new of them is archived.
    pub tail_every: Duration,
    /// Why it does not go on, while it does not.
    pub trouble: Option<String>,
    /// Whether it has ended: a person must look.
    pub ended: bool,
    /// The longest time that a record was durable here and not archived there, since the agent started.
    pub longest_lag: Duration,
    meter: Meter,
    sent: Rate,
    behind: Option<Behind>,
}

/// How far behind a store was seen.
#[derive(Debug, Clone, Copy)]
struct Behind {
    archived: Lsn,
    lag: Duration,
    seen: Duration,
}

/// Between two looks for something to archive.
const LOOK: Duration = Duration::from_millis(100);
/// Between two attempts: the first time, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a log that is closed waits for its last bytes to be archived.
const LAST: Duration = Duration::from_secs(5);

impl Archiving {
    /// Nothing is archived yet; what is moves `standing`.
    pub(crate) fn new(standing: Arc<Standing>) -> Archiving {
        let (stop, stores, moved) = (AtomicBool::new(false), Mutex::default(), Condvar::new());
        Archiving { workers: Mutex::default(), shared: Arc::new(Shared { stop, stores, moved, standing }) }
    }

    /// Begins to archive a log into each of `stores`.
    pub(crate) fn start(&self, log: &Arc<Log>, stores: &[Store], settings: &ArchiveSettings) {
        let wal = &log.wal;
        let mut workers = lock(&self.workers);
        for store in stores {
            let (store, meter) = store.metered();
            let index = {
                let mut states = lock(&self.shared.stores);
                states.push(ArchiveStatus::new(&store, meter, settings.tail_every));
                states.len() - 1
            };
            self.shared.change(index, |_| ());
            self.shared.hold(wal);
            let worker = Work {
                shared: Arc::clone(&self.shared),
                index,
                store,
                name: log.name.clone(),
                wal: wal.clone(),
                settings: settings.clone(),
                log: Arc::downgrade(log),
            };
            let spawned = std::thread::Builder::new().name("longshore-store".to_owned()).spawn(move || worker.run());
            match spawned {
                Ok(thread) => workers.push(Worker { thread }),
                Err(error) => self.shared.change(index, |state| state.end(&error.to_string())),
            }
        }
    }

    /// How it goes, store by store.
    pub(crate) fn status(&self) -> Vec<ArchiveStatus> {
        lock(&self.shared.stores).clone()
    }

    /// Takes how time passed for the stores. Called a few times a second.
    pub(crate) fn tick(&self, now: Duration) {
        for state in lock(&self.shared.stores).iter_mut() {
            state.sent.observe(Lsn::new(state.meter.ledger().sent), now);
            if let Some(at) = state.archived {
                state.observe(at, self.shared.standing.lag(at, now), now);
            }
        }
    }

    /// Archives the last bytes, for some seconds at most, and ends.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.moved.notify_all();
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            if worker.thread.join().is_err() {
                tracing::error!("a thread that archives ended in a panic; report a bug");
            }
        }
    }
}

impl ArchiveStatus {
    fn new(store: &Store, meter: Meter, tail_every: Duration) -> ArchiveStatus {
        ArchiveStatus {
            store: store.label().to_owned(),
            region: store.region().cloned(),
            archived: None,
            snapshot: None,
            objects: 0,
            bytes: 0,
            tail_every,
            trouble: None,
            ended: false,
            longest_lag: Duration::ZERO,
            meter,
            sent: Rate::new(SMOOTHING),
            behind: None,
        }
    }

    /// Notes how far behind it is. Nobody remembers when what a failing store lacks became durable: from what was seen of it
    /// before, its lag grows as time passes.
    fn observe(&mut self, archived: Lsn, lag: Option<Duration>, now: Duration) {
        let grown = |behind: Behind| behind.lag.saturating_add(now.saturating_sub(behind.seen));
        let stuck = self.behind.filter(|behind| behind.archived == archived);
        let Some(lag) = lag.or_else(|| stuck.map(grown)) else { return };
        self.longest_lag = self.longest_lag.max(lag);
        self.behind = Some(Behind { archived, lag, seen: now });
    }

    /// What this log asked the store for since the agent started.
    pub fn ledger(&self) -> Ledger {
        self.meter.ledger()
    }

    /// Bytes per second sent to the store, over the last while.
    pub fn rate(&self) -> f64 {
        self.sent.per_second()
    }

    /// What a wait goes by. A store that has not answered yet takes nothing yet.
    fn standing(&self) -> StoreState {
        let taking = self.archived.is_some() && self.trouble.is_none() && !self.ended;
        StoreState { archived: self.archived.unwrap_or(Lsn::ZERO), taking }
    }

    fn end(&mut self, why: &str) {
        self.trouble = Some(why.to_owned());
        self.ended = true;
    }
}

impl Shared {
    fn change(&self, index: usize, change: impl FnOnce(&mut ArchiveStatus)) {
        let mut stores = lock(&self.stores);
        change(&mut stores[index]);
        self.standing.archived(stores.iter().map(ArchiveStatus::standing).collect());
    }

    /// Keeps in the log what some store does not have yet.
    fn hold(&self, wal: &Wal) {
        let slowest = lock(&self.stores).iter().map(|state| state.archived.unwrap_or(wal.first())).min();
        wal.hold(Consumer::Archive, slowest);
    }

    fn trouble(&self, index: usize) -> Option<String> {
        lock(&self.stores)[index].trouble.clone()
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn pause(&self, pause: Duration) {
        let states = lock(&self.stores);
        if !self.stopping() {
            let _woken = self.moved.wait_timeout(states, pause).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether a log may go on behind a gap in its archive, and for how long nobody must have archived anything there: what a copy
/// lacks that began anew its writer may be about to archive. Of a writer's log nothing is left out unless it is told.
pub(crate) fn leave_for_gaps(role: Role, dropping: bool) -> Option<Duration> {
    match role {
        Role::Follower => Some(OTHERS_MAY_FILL),
        Role::Writer => dropping.then_some(Duration::ZERO),
    }
}

/// A writer that archives does so every second, and comes back to a store that failed within a minute.
const OTHERS_MAY_FILL: Duration = Duration::from_secs(600);

struct Work {
    shared: Arc<Shared>,
    index: usize,
    store: Store,
    name: Name,
    wal: Wal,
    settings: ArchiveSettings,
    /// Who can make snapshots. The log itself waits for this thread when it ends.
    log: Weak<Log>,
}

impl Work {
    fn run(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => self.archive(&runtime),
            Err(error) => self.shared.change(self.index, |state| state.end(&error.to_string())),
        }
    }

    fn archive(&self, runtime: &tokio::runtime::Runtime) {
        let (mut archiver, mut failures) = (None, 0u32);
        let mut snapshots = Snapshots::new();
        while !self.shared.stopping() {
            match runtime.block_on(self.turn(&mut archiver, &mut snapshots)) {
                Ok(round) => {
                    // An archiver that was opened anew may have nothing due yet: that is no sign that the store takes it.
                    if 0 < round.objects || self.wal.durable().get() <= round.archived {
                        failures = 0;
                        self.shared.change(self.index, |state| (state.trouble, state.ended) = (None, false));
                    }
                    if !round.more {
                        self.shared.pause(LOOK);
                    }
                }
                Err(error) if error.is_passing() || self.is_behind(&error) => {
                    // Read anew: what became of the last request is not known.
                    archiver = None;
                    if failures == 0 {
                        tracing::warn!(log = %self.name, store = self.store.label(), %error, "archiving is interrupted");
                    }
                    self.shared.change(self.index, |state| state.trouble = Some(error.to_string()));
                    let pause = LONGEST_PAUSE.min(SHORTEST_PAUSE * 2u32.saturating_pow(failures.min(16)));
                    failures = failures.saturating_add(1);
                    // Between half and all of it, so that those that failed together do not come back together.
                    let jitter = std::collections::hash_map::RandomState::new();
                    let part = std::hash::BuildHasher::hash_one(&jitter, failures) % 512;
                    self.shared.pause(pause / 2 + pause / 1024 * u32::try_from(part).unwrap_or(0));
                }
                Err(error) => {
                    // A person must look; whatever they put right is seen without starting the agent again.
                    archiver = None;
                    let told = error.to_string();
                    if self.shared.trouble(self.index).as_ref() != Some(&told) {
                        tracing::error!(log = %self.name, store = self.store.label(), %error, "nothing more is archived there");
                    }
                    self.shared.change(self.index, |state| state.end(&told));
                    self.shared.pause(LONGEST_PAUSE);
                }
            }
        }
        if let Some(mut archiver) = archiver {
            // What was appended last is to be archived, too; what cannot be synced says so elsewhere.
            let _synced = self.wal.sync_once();
            let last = runtime.block_on(async { tokio::time::timeout(LAST, archiver.finish()).await });
            match last {
                Ok(Ok(archived)) => self.shared.change(self.index, |state| state.archived = Some(archived)),
                Ok(Err(error)) => {
                    tracing::warn!(log = %self.name, %error, "the last bytes are archived when the agent starts again")
                }
                Err(_) => tracing::warn!(log = %self.name, "the last bytes are archived when the agent starts again"),
            }
        }
    }

    /// Archives what there is, and a snapshot if one is due.
    async fn turn(
        &self,
        archiver: &mut Option<Archiver>,
        snapshots: &mut Snapshots,
    ) -> longshore_archive::Result<Round> {
        let open = match archiver {
            Some(open) => open,
            None => {
                let (store, name, wal) = (self.store.clone(), self.name.clone(), self.wal.clone());
                archiver.insert(Archiver::open(store, name, wal, self.settings.clone()).await?)
            }
        };
        let round = open.round().await?;
        self.note(&round);
        if !round.more {
            self.snapshot(open, snapshots).await?;
        }
        Ok(round)
    }

    fn note(&self, round: &Round) {
        self.shared.change(self.index, |state| {
            state.archived = Some(round.archived);
            state.objects += round.objects;
            state.bytes += round.bytes;
        });
        self.shared.hold(&self.wal);
        if 0 < round.objects {
            let (bytes, position) = (round.bytes, round.archived);
            tracing::debug!(log = %self.name, store = self.store.label(), %position, bytes, "archived");
        }
    }

    /// A copy that has not received yet what another node has archived only has to wait; behind a gap it goes on, opened anew.
    fn is_behind(&self, error: &longshore_archive::Error) -> bool {
        match error {
            longshore_archive::Error::Fenced { .. } => self.wal.role() == Role::Follower,
            longshore_archive::Error::Gap { .. } => self.settings.go_on_behind_gaps.is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_store_that_is_stuck_grows_as_time_passes() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", place.path().display())).unwrap();
        let mut status = ArchiveStatus::new(&store, Meter::default(), Duration::from_secs(1));
        let second = Duration::from_secs;
        let mut check = |archived: u64, lag: Option<u64>, now: u64, longest: u64| {
            status.observe(Lsn::new(archived), lag.map(second), second(now));
            assert_eq!(status.longest_lag, second(longest), "at {now}");
        };
        check(100, None, 1, 0);
        check(100, Some(0), 2, 0);
        check(100, Some(2), 4, 2);
        check(100, None, 14, 12);
        check(100, None, 15, 13);
        check(200, None, 16, 13);
        check(300, Some(1), 17, 13);
        check(300, None, 18, 13);
    }
}

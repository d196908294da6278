//! A log's bytes into object stores: a thread for each store, so that none holds up another.
//!
//! What is not archived in every store is not trimmed here. A store that fails is tried again for ever, with longer and longer
//! pauses; one that says that this node is fenced is left alone, and the log stays whole here.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_archive::{ArchiveSettings, Archiver, Round, SnapshotFacts, Store};
use longshore_format::{Lsn, Name};
use longshore_wal::{Consumer, Role, Wal};

use crate::lock;
use crate::log::Log;
use crate::snapshot;

/// The stores of one log.
#[derive(Default)]
pub(crate) struct Archiving {
    workers: Mutex<Vec<Worker>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    stores: Mutex<Vec<ArchiveStatus>>,
    moved: Condvar,
}

struct Worker {
    thread: JoinHandle<()>,
}

/// How a log is archived in one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// Which store.
    pub store: String,
    /// Up to where the log is archived; `None` until the store has said so.
    pub archived: Option<Lsn>,
    /// The newest snapshot that this node has archived since it started.
    pub snapshot: Option<Lsn>,
    /// Objects made since the agent started.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it does not go on, while it does not.
    pub trouble: Option<String>,
    /// Whether it has ended: a person must look.
    pub ended: bool,
}

/// Between two looks for something to archive.
const LOOK: Duration = Duration::from_millis(100);
/// Between two attempts: the first time, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After an attempt to make a snapshot that failed.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(60);
/// How long a log that is closed waits for its last bytes to be archived.
const LAST: Duration = Duration::from_secs(5);

impl Archiving {
    /// Begins to archive a log into each of `stores`.
    pub(crate) fn start(&self, log: &Arc<Log>, stores: &[Store], settings: &ArchiveSettings) {
        let wal = &log.wal;
        let mut workers = lock(&self.workers);
        for store in stores {
            let index = {
                let mut states = lock(&self.shared.stores);
                states.push(ArchiveStatus::new(store));
                states.len() - 1
            };
            self.shared.hold(wal);
            let worker = Work {
                shared: Arc::clone(&self.shared),
                index,
                store: store.clone(),
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
    fn new(store: &Store) -> ArchiveStatus {
        let store = store.label().to_owned();
        ArchiveStatus { store, archived: None, snapshot: None, objects: 0, bytes: 0, trouble: None, ended: false }
    }

    fn end(&mut self, why: &str) {
        self.trouble = Some(why.to_owned());
        self.ended = true;
    }
}

impl Shared {
    fn change(&self, index: usize, change: impl FnOnce(&mut ArchiveStatus)) {
        change(&mut lock(&self.stores)[index]);
    }

    /// Keeps in the log what some store does not have yet.
    fn hold(&self, wal: &Wal) {
        let slowest = lock(&self.stores).iter().map(|state| state.archived.unwrap_or(wal.first())).min();
        wal.hold(Consumer::Archive, slowest);
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

/// When a snapshot is made next, and the one that is made: it is archived once the log is archived up to its position.
struct Snapshots {
    made: Option<(SnapshotFacts, File)>,
    not_before: Instant,
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
        let mut snapshots = Snapshots { made: None, not_before: Instant::now() };
        while !self.shared.stopping() {
            match runtime.block_on(self.turn(&mut archiver, &mut snapshots)) {
                Ok(more) => {
                    failures = 0;
                    if !more {
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
                    tracing::error!(log = %self.name, store = self.store.label(), %error, "archiving has ended");
                    self.shared.change(self.index, |state| state.end(&error.to_string()));
                    return;
                }
            }
        }
        if let Some(mut archiver) = archiver {
            // What was appended last is to be archived, too; what cannot be synced says so elsewhere.
            let _synced = self.wal.wait_blocking(self.wal.end(), Some(LAST));
            let last = runtime.block_on(async { tokio::time::timeout(LAST, archiver.finish()).await });
            match last {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(log = %self.name, %error, "the last bytes are archived when the agent starts again")
                }
                Err(_) => tracing::warn!(log = %self.name, "the last bytes are archived when the agent starts again"),
            }
        }
    }

    /// Archives what there is; whether there is more at once.
    async fn turn(
        &self,
        archiver: &mut Option<Archiver>,
        snapshots: &mut Snapshots,
    ) -> longshore_archive::Result<bool> {
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
        Ok(round.more)
    }

    /// Makes a snapshot when one is due, and archives it.
    async fn snapshot(&self, archiver: &mut Archiver, snapshots: &mut Snapshots) -> longshore_archive::Result<()> {
        if snapshots.made.is_none() && archiver.is_snapshot_due() && snapshots.not_before <= Instant::now() {
            snapshots.made = self.make_snapshot(archiver.snapshot().map_or(Lsn::ZERO, |(position, _)| position));
            if snapshots.made.is_none() {
                snapshots.not_before = Instant::now() + SNAPSHOT_PAUSE;
            }
        }
        let is_archived = |made: &mut (SnapshotFacts, File)| made.0.position <= archiver.archived();
        let Some((facts, file)) = snapshots.made.take_if(is_archived) else { return Ok(()) };
        let watch = |round| {
            self.note(&round);
            if self.shared.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if archiver.put_snapshot(facts, file, watch).await? {
            self.shared.change(self.index, |state| state.snapshot = Some(facts.position));
            tracing::info!(log = %self.name, store = self.store.label(), position = %facts.position, "archived a snapshot");
        }
        Ok(())
    }

    /// A snapshot of more than everything up to `beyond`, if this node can make one.
    fn make_snapshot(&self, beyond: Lsn) -> Option<(SnapshotFacts, File)> {
        let log = self.log.upgrade()?;
        let path = snapshot::path_of(&log.data_dir, &log.name);
        let made = log.offered.for_archive(&log, &path, beyond).and_then(|made| {
            let Some((head, file)) = made else { return Ok(None) };
            let time = self.wal.reader(head.lsn)?.chain().time;
            Ok(Some((SnapshotFacts { position: head.lsn, time }, file)))
        });
        made.unwrap_or_else(|error| {
            tracing::warn!(log = %self.name, %error, "no snapshot is archived now");
            None
        })
    }

    fn note(&self, round: &Round) {
        self.shared.change(self.index, |state| {
            state.archived = Some(round.archived);
            state.objects += round.objects;
            state.bytes += round.bytes;
            state.trouble = None;
        });
        self.shared.hold(&self.wal);
        if 0 < round.objects {
            let (bytes, position) = (round.bytes, round.archived);
            tracing::debug!(log = %self.name, store = self.store.label(), %position, bytes, "archived");
        }
    }

    /// A copy that has not received yet what another node has archived only has to wait.
    fn is_behind(&self, error: &longshore_archive::Error) -> bool {
        self.wal.role() == Role::Follower && matches!(error, longshore_archive::Error::Fenced { .. })
    }
}

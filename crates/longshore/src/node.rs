//! All logs under one data directory, and what they share: settings, events, a housekeeper.

mod logs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use longshore_apply::Snapshotter;
use longshore_archive::keys::KeyProvider;
use longshore_archive::{ArchiveSettings, Store};
use longshore_format::{Content, ErrorKind, Name};
use longshore_protocol::{NodeId, Quorum, Region};
use longshore_storage::{Directory, Environment, FsDirectory, SystemEnvironment};
use longshore_transport::tls::ServerTls;
use longshore_transport::{Access, LogStatus, Status};
use longshore_wal::{Role, Settings as WalSettings};

use crate::archived::Sources;
use crate::error::{Error, Result};
use crate::event::Events;
use crate::housekeeper::Housekeeper;
use crate::lock;
use crate::log::{Log, must_have_stores};
use crate::metrics;
use crate::policy;
use crate::primary::Primary;
use crate::promotion::Memory;
use crate::replica::Sinks;
use crate::server::{Server, ready, tls_files};
use crate::settings::{AtCap, Settings};
use crate::snapshot;
use crate::wal_settings::wal_settings;

/// Every log under a data directory, in one role.
///
/// A [`Primary`] or a [`Replica`](crate::Replica) has one inside; use it directly to serve several
/// logs from one agent. Clones share it. When the last is dropped its logs are closed.
///
/// ```no_run
/// # async fn example() -> Result<(), longshore::Error> {
/// use longshore::{Node, Settings};
///
/// let node = Node::primary("/var/lib/longshore", &Settings::default())?;
/// node.open_all()?;
/// node.listen().await?.run(async { tokio::signal::ctrl_c().await.unwrap() }).await
/// # }
/// ```
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    data_dir: PathBuf,
    directory: Arc<dyn Directory>,
    environment: Arc<dyn Environment>,
    settings: Settings,
    role: Role,
    id: NodeId,
    logs: RwLock<BTreeMap<Name, Arc<Log>>>,
    /// Who may do what, once the node listens.
    access: Mutex<Option<Access>>,
    events: Events,
    housekeeper: Housekeeper,
    check: OnceLock<CheckPayload>,
    archive: OnceLock<(Vec<Store>, ArchiveSettings)>,
    sources: Arc<OnceLock<Sources>>,
    sinks: Sinks,
    /// Counts the epochs that were accepted here of each log, for its dialler, which is to find who writes in them.
    accepted: tokio::sync::watch::Sender<BTreeMap<Name, u64>>,
    memory: Memory,
}

/// Says why a payload cannot be in a log of some content, and what to append instead; see [`Node::check_payloads`].
pub type CheckPayload = fn(Content, &[u8]) -> Result<(), String>;

impl Node {
    /// A node that writes its logs. Makes the directory, mode 0700, if it is not there; opens nothing.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot be, `Preflight` when the directory cannot be used.
    pub fn primary(data_dir: impl AsRef<Path>, settings: &Settings) -> Result<Self> {
        Self::new(data_dir.as_ref(), settings, Role::Writer)
    }

    /// A node that follows its logs.
    pub(crate) fn replica(data_dir: &Path, settings: &Settings) -> Result<Self> {
        Self::new(data_dir, settings, Role::Follower)
    }

    fn new(data_dir: &Path, settings: &Settings, role: Role) -> Result<Self> {
        let id = checked(settings, role)?;
        crate::metrics::describe();
        let directory =
            FsDirectory::create(data_dir).map_err(|error| Error::io("use the data directory", data_dir, error))?;
        let inner = Arc::new_cyclic(|node: &Weak<Inner>| Inner {
            data_dir: data_dir.to_owned(),
            directory: Arc::new(directory),
            environment: Arc::new(SystemEnvironment),
            settings: settings.clone(),
            role,
            id,
            logs: RwLock::default(),
            access: Mutex::default(),
            events: Events::default(),
            housekeeper: Housekeeper::start(Weak::clone(node)),
            check: OnceLock::new(),
            archive: OnceLock::new(),
            accepted: tokio::sync::watch::Sender::default(),
            memory: Memory::default(),
            sources: Arc::default(),
            sinks: Sinks::default(),
        });
        Ok(Self { inner })
    }

    /// Opens every log under the directory that is not open yet, and returns the names of all.
    ///
    /// # Errors
    /// The first log that cannot be opened; those before it stay open.
    pub fn open_all(&self) -> Result<Vec<Name>> {
        for name in self.present()? {
            if self.get(&name).is_none() {
                self.open(name.as_str())?;
            }
        }
        Ok(self.names())
    }

    /// The names of all open logs.
    pub fn names(&self) -> Vec<Name> {
        self.inner.logs().keys().cloned().collect()
    }

    /// The writer of an open log.
    ///
    /// # Errors
    /// `NotFound` when there is no such log, `Unavailable` while it changes hands, `Invalid` where another node writes it.
    pub fn log(&self, name: &str) -> Result<Primary> {
        let name = parse_name("log", name)?;
        let log = self.require(&name)?;
        self.must_write(&name)?;
        Ok(Primary::of(self.clone(), log))
    }

    /// Creates a log and opens it for writing.
    ///
    /// # Errors
    /// `Busy` when there is one of that name, `Invalid` on a replica.
    pub fn create_log(&self, name: &str, content: Content) -> Result<Primary> {
        Ok(Primary::of(self.clone(), self.create(name, content, None)?))
    }

    /// From now on, what clients append over the network must pass `check`, or is refused as `Invalid` with nothing appended.
    ///
    /// This library does not look into payloads; whoever puts it together with an adapter does, so that a record that no sink
    /// could take is not on every node before that is found out. Set once: later calls change nothing.
    pub fn check_payloads(&self, check: CheckPayload) {
        let _set_before = self.inner.check.set(check);
    }

    /// From now on a replica that an open log no longer reaches gets a snapshot that `snapshotter` makes. The file lies beside
    /// the log while replicas fetch it, and some minutes longer.
    ///
    /// # Errors
    /// `NotFound` when no such log is open.
    pub fn offer_snapshots(&self, log: &str, snapshotter: Arc<dyn Snapshotter>) -> Result<()> {
        self.require(&parse_name("log", log)?)?.offered.set(snapshotter);
        Ok(())
    }

    /// From now on every log, those that are opened later too, is archived into each of `stores`: its sealed segments at once,
    /// what is written meanwhile as often as the settings say. Nothing is trimmed here that a store does not have. Set once:
    /// later calls change nothing.
    pub fn archive_into(&self, stores: Vec<Store>, settings: ArchiveSettings) {
        let logs = self.inner.logs_mut();
        if self.inner.archive.set((stores, settings)).is_ok() {
            logs.values().for_each(|log| self.start_archiving(log));
        }
    }

    /// From now on this node takes from these stores what it lacks: logs, what its upstream no longer keeps of them, and snapshots
    /// for its sinks. Set once: later calls change nothing.
    pub fn take_from(&self, sources: Sources) {
        let _once = self.inner.sources.set(sources);
    }

    pub(crate) fn sources(&self) -> Option<&Sources> {
        self.inner.sources.get()
    }

    /// Every store that logs are taken from or archived into, and whose keys encrypt what it holds; each once.
    pub(crate) fn archives(&self) -> Vec<(Store, Option<Arc<dyn KeyProvider>>)> {
        let sources = self.sources().map(|sources| (&sources.stores, &sources.keys));
        let archives = self.inner.archive.get().map(|(stores, settings)| (stores, &settings.keys));
        let all = sources.into_iter().chain(archives);
        let all = all.flat_map(|(stores, keys)| stores.iter().map(|store| (store.clone(), keys.clone())));
        let mut each: Vec<(Store, _)> = Vec::new();
        for (store, keys) in all {
            if each.iter().all(|(known, _)| known.label() != store.label()) {
                each.push((store, keys));
            }
        }
        each
    }

    fn start_archiving(&self, log: &Arc<Log>) {
        if let Some((stores, settings)) = self.inner.archive.get() {
            let dropping = self.inner.settings.retention.archive_at_cap == AtCap::Drop;
            let go_on_behind_gaps = crate::archiving::leave_for_gaps(self.inner.role, dropping);
            log.archiving.start(log, stores, &ArchiveSettings { go_on_behind_gaps, ..settings.clone() });
        }
    }

    /// How an open log is archived, store by store.
    ///
    /// # Errors
    /// `NotFound` when no such log is open.
    pub fn archive_status(&self, log: &str) -> Result<Vec<crate::ArchiveStatus>> {
        Ok(self.require(&parse_name("log", log)?)?.archiving.status())
    }

    pub(crate) fn check_payload(&self, content: Content, payload: &[u8]) -> Result<()> {
        let checked = self.inner.check.get().map_or(Ok(()), |check| check(content, payload));
        checked.map_err(|reason| Error::Refused { kind: ErrorKind::Invalid, reason, at: None })
    }

    /// What happened, each event once, among all who take them.
    pub fn events(&self) -> Events {
        self.inner.events.clone()
    }

    /// This node's name: its identity where it has one.
    pub fn id(&self) -> &NodeId {
        &self.inner.id
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// All that is known of the logs and their replicas.
    pub fn status(&self) -> Status {
        Status {
            node: self.inner.id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time_micros: self.inner.environment.wall_micros(),
            certificate_days_left: self.access().and_then(|access| access.certificate_days_left()),
            logs: self.logs().iter().map(|log| self.log_status(log)).collect(),
        }
    }

    /// A node that followed once may have a slot of its own name from then; it is no replica of itself.
    fn log_status(&self, log: &Log) -> LogStatus {
        let mut status = log.status();
        status.replicas.retain(|replica| replica.name != self.inner.id);
        status
    }

    /// Finds out whether a node that writes its logs, and archives them into so many `stores`, could be with these settings and
    /// serve, for whoever is to make nothing for one that could not: reads its certificates and grants, and looks at the addresses.
    /// Whether those it listens on are free, [`listen`](Self::listen) finds out.
    ///
    /// # Errors
    /// `Invalid`, `Preflight` or `Denied`, as [`primary`](Self::primary) and [`listen`](Self::listen).
    pub fn check_primary(settings: &Settings, stores: usize) -> Result<()> {
        Self::check(settings, Role::Writer)?;
        must_have_stores(&settings.ack.durability, stores)
    }

    pub(crate) fn check(settings: &Settings, role: Role) -> Result<()> {
        checked(settings, role)?;
        ready(settings).map(drop)
    }

    /// Listens as the settings say, without serving yet. Needs a tokio runtime. Where the settings ask for `archived:N` by
    /// default, the stores must have been named before ([`archive_into`](Self::archive_into)).
    ///
    /// # Errors
    /// `Invalid` when the settings ask for more stores than there are; `Busy` when the address is taken, `Preflight` or `Denied` when certificates cannot be used.
    pub async fn listen(&self) -> Result<Server> {
        if self.inner.role == Role::Writer {
            let stores = self.inner.archive.get().map_or(0, |(stores, _)| stores.len());
            must_have_stores(&self.inner.settings.ack.durability, stores)?;
        }
        Server::listen(self.clone()).await
    }

    /// Syncs and closes every log. Waiters for what is not durable then get `Unavailable`.
    ///
    /// # Errors
    /// The first log whose last sync failed; the others are closed nevertheless.
    pub fn close(&self) -> Result<()> {
        self.inner.housekeeper.stop();
        self.inner.close()
    }

    /// What logs are opened with.
    pub(crate) fn wal_settings(&self) -> WalSettings {
        wal_settings(&self.inner.settings, self.inner.role)
    }

    /// Where the records of its logs go.
    pub(crate) fn sinks(&self) -> &Sinks {
        &self.inner.sinks
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    pub(crate) fn directory(&self) -> &Arc<dyn Directory> {
        &self.inner.directory
    }

    pub(crate) fn environment(&self) -> &Arc<dyn Environment> {
        &self.inner.environment
    }

    pub(crate) fn access(&self) -> Option<Access> {
        self.inner.access()
    }

    /// Counts for each log how often this node accepted a later epoch at somebody's word.
    pub(crate) fn accepted(&self) -> &tokio::sync::watch::Sender<BTreeMap<Name, u64>> {
        &self.inner.accepted
    }

    /// What it remembers of promotions.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    pub(crate) fn set_access(&self, access: Access) {
        *lock(&self.inner.access) = Some(access);
    }

    /// Region and provider of a node that may replicate a log, as the grants here say.
    pub(crate) fn granted(&self, node: &NodeId, log: &Name) -> Option<(Option<Region>, Option<String>)> {
        let Some(grants) = self.access()?.grants() else { return Some((None, None)) };
        let identity = node.as_name();
        if !grants.allows(identity, longshore_transport::grants::Role::Replicate, log) {
            return None;
        }
        let grant = grants.of(identity)?;
        Some((grant.region.clone(), grant.provider.clone()))
    }
}

impl Inner {
    /// What happens a few times a second.
    pub(crate) fn tick(&self) {
        for log in self.open_logs() {
            log.tick();
        }
    }

    /// What happens once a second.
    pub(crate) fn measure(&self) {
        metrics::record_certificate(self.access().and_then(|access| access.certificate_days_left()));
        for log in self.open_logs() {
            log.lower_cap();
            metrics::record(&log);
            log.offered.tidy(&log, &snapshot::path_of(&self.data_dir, &log.name));
        }
    }

    fn access(&self) -> Option<Access> {
        lock(&self.access).clone()
    }

    fn open_logs(&self) -> Vec<Arc<Log>> {
        self.logs().values().cloned().collect()
    }

    fn close(&self) -> Result<()> {
        let logs = std::mem::take(&mut *self.logs_mut());
        let mut outcome = Ok(());
        for log in logs.into_values() {
            outcome = outcome.and(log.end());
        }
        outcome
    }

    fn logs(&self) -> RwLockReadGuard<'_, BTreeMap<Name, Arc<Log>>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Name, Arc<Log>>> {
        self.logs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "a log was not closed in order");
        }
    }
}

/// A lease moves the role by itself: only where a fence protects what the log promises.
fn must_suit_lease(settings: &Settings) -> Result<()> {
    let needs_voters = matches!(settings.ack.durability.quorum, Quorum::Replicas(_) | Quorum::Regions { .. });
    match settings.lease.url.is_some() && !needs_voters {
        true => Err(Error::Refused {
            kind: ErrorKind::Invalid,
            reason: format!(
                "a lease moves the role by itself, and needs a policy that this protects, not {}; set ack.durability to at \
                 least replicas:1 (--ack-durability) and say who has a vote (--ack-voters), or leave lease.url away",
                settings.ack.durability
            ),
            at: None,
        }),
        false => Ok(()),
    }
}

/// Who a node of this role with these settings is, if there can be one.
fn checked(settings: &Settings, role: Role) -> Result<NodeId> {
    settings.validate()?;
    if role == Role::Writer {
        must_suit_lease(settings)?;
    }
    let id = own_id(settings, role)?;
    if role == Role::Writer {
        policy::must_be_had(&settings.ack, &id)?;
    }
    Ok(id)
}

/// Who this node is: what its certificate says, where it has one.
pub(crate) fn own_id(settings: &Settings, role: Role) -> Result<NodeId> {
    let tls = &settings.tls;
    if tls.identity.is_none() && tls.cert.is_some() && !tls.plaintext {
        return Ok(ServerTls::load(tls_files(tls)?)?.identity()?.into());
    }
    let id = tls.identity.as_deref().unwrap_or(match role {
        Role::Writer => "primary",
        Role::Follower => "replica",
    });
    Ok(parse_name("tls.identity", id)?.into())
}

/// A name given by a person.
pub(crate) fn parse_name(what: &'static str, name: &str) -> Result<Name> {
    Name::new(name).map_err(|_| Error::Argument {
        what,
        reason: "must match [a-z0-9][a-z0-9_-]{0,62}".to_owned(),
        value: name.chars().take(Name::MAX_LEN + 1).collect(),
    })
}

//! A node of a story: a log on a simulated disk, its clockwork of syncs and seals, and what it knows of others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore::feed::Upstream;
use longshore::follow::Downstream;
use longshore_format::Lsn;
use longshore_protocol::{Ack, AckTable, NodeAck, NodeId, Registry};
use longshore_testkit::sim_disk::SimDisk;
use longshore_testkit::sim_env::SimEnvironment;
use longshore_testkit::sim_rng::Rng;
use longshore_wal::{Bell, CreateSpec, FollowerSpec, Listening, Role, Settings, Wal, set_aside};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// The directory of the log, below the disk's top.
const LOG: &str = "log";

/// A machine with a disk; its log is open while the power is on.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    environment: SimEnvironment,
    role: Role,
    ahead: bool,
    pub(crate) log: Arc<Log>,
    /// Everything that runs on this machine, and ends when its power does.
    pub(crate) tasks: Tasks,
    following: Option<AbortHandle>,
}

/// Tasks that end together.
pub(crate) type Tasks = Arc<Mutex<JoinSet<()>>>;

/// An open log, as feeds and followers see it.
pub(crate) struct Log {
    pub(crate) wal: Wal,
    registry: Mutex<Registry>,
    pub(crate) table: Mutex<AckTable>,
    /// Whether it is shipped ahead of its own sync.
    ahead: bool,
    stirred: Bell,
}

impl Node {
    pub(crate) fn primary(rng: &mut Rng, id: &str, ahead: bool) -> Result<Self, String> {
        Self::create(rng, id, Role::Writer, ahead, |dir, environment| {
            let spec = CreateSpec { segment_size: longshore_format::SegmentSize::MIN, ..CreateSpec::default() };
            Wal::create(dir, environment, &spec).map(drop)
        })
    }

    pub(crate) fn replica(rng: &mut Rng, id: &str, spec: &FollowerSpec) -> Result<Self, String> {
        Self::create(rng, id, Role::Follower, false, |dir, _| Wal::create_follower(dir, spec))
    }

    fn create(
        rng: &mut Rng,
        id: &str,
        role: Role,
        ahead: bool,
        create: impl FnOnce(Arc<dyn longshore_storage::Directory>, &SimEnvironment) -> longshore_wal::Result<()>,
    ) -> Result<Self, String> {
        let environment = SimEnvironment::new(rng.next_u64());
        let disk = SimDisk::new(rng.next_u64(), environment.clone());
        let root = disk.root();
        let dir = root.subdir(LOG).and_then(|dir| root.sync().map(|()| dir)).map_err(|error| error.to_string())?;
        create(dir, &environment).map_err(|error| format!("{id}: create: {error}"))?;
        let id = NodeId::new(id).unwrap();
        let log = open(&disk, &environment, role, ahead, &id)?;
        let mut node = Self { id, disk, environment, role, ahead, log, tasks: Tasks::default(), following: None };
        node.start(rng);
        Ok(node)
    }

    /// A second machine that begins with what this one's disk holds now, as after a restore from a backup.
    pub(crate) fn reopened(&self, rng: &mut Rng, seed: u64) -> Self {
        let (disk, environment) = (self.disk.fork(seed), SimEnvironment::new(rng.next_u64()));
        let log = open(&disk, &environment, self.role, self.ahead, &self.id).unwrap();
        let (id, tasks) = (self.id.clone(), Tasks::default());
        let mut node = Self { id, disk, environment, role: self.role, ahead: self.ahead, log, tasks, following: None };
        node.start(rng);
        node
    }

    /// The power goes off and comes back. Answers where the log ends now.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Result<Lsn, String> {
        // Streams and links that hold on to the old set start nothing on this machine any more.
        *self.tasks.lock().unwrap() = JoinSet::new();
        self.disk.power_cut();
        self.begin(rng)
    }

    /// What lies behind a fork is set aside. Answers where the log ends now.
    pub(crate) fn truncate(&mut self, rng: &mut Rng, fork: Lsn) -> Result<Lsn, String> {
        *self.tasks.lock().unwrap() = JoinSet::new();
        self.log.wal.close().map_err(|error| format!("{}: close: {error}", self.id))?;
        let dir = self.disk.root().open_subdir(LOG).map_err(|error| error.to_string())?;
        let environment: Arc<dyn longshore_storage::Environment> = Arc::new(self.environment.clone());
        set_aside(&dir, &environment, fork).map_err(|error| format!("{}: set aside: {error}", self.id))?;
        self.begin(rng)
    }

    fn begin(&mut self, rng: &mut Rng) -> Result<Lsn, String> {
        self.log = open(&self.disk, &self.environment, self.role, self.ahead, &self.id)?;
        self.start(rng);
        Ok(self.log.wal.end())
    }

    /// Runs the loop that follows, in place of the one before.
    pub(crate) fn follow(&mut self, following: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.lock().unwrap().spawn(following);
        if let Some(before) = self.following.replace(handle) {
            before.abort();
        }
    }

    /// Syncs, prepares and seals now and then, as the threads of a real node would.
    fn start(&mut self, rng: &mut Rng) {
        let (log, mut rng, environment) = (Arc::clone(&self.log), rng.split(), self.environment.clone());
        let busy = *rng.pick(&[10, 50, 300]);
        self.tasks.lock().unwrap().spawn(async move {
            let mut pause = busy;
            loop {
                let passed = Duration::from_millis(1 + rng.below(pause));
                sleep(passed).await;
                environment.advance(passed);
                let wal = &log.wal;
                // A disk without room is tried again.
                while wal.prepare_once().unwrap_or(false) {}
                // What is shown now may have been synced before.
                while wal.seal_once().expect("the disk does not fail") {}
                // The less there is to do, the seldomer it looks, so that quiet times cost nothing.
                if wal.synced().get() == wal.end() {
                    pause = (pause * 2).min(2_000);
                    continue;
                }
                pause = busy;
                if log.ahead {
                    // A sync begins, and takes its time.
                    wal.offer();
                    sleep(Duration::from_millis(rng.below(30))).await;
                }
                wal.sync_once().expect("the disk of this simulator does not fail");
                log.stirred.ring();
                while wal.seal_once().expect("the disk does not fail") {}
            }
        });
    }
}

fn open(
    disk: &SimDisk,
    environment: &SimEnvironment,
    role: Role,
    ahead: bool,
    id: &NodeId,
) -> Result<Arc<Log>, String> {
    let dir = disk.root().open_subdir(LOG).map_err(|error| error.to_string())?;
    let settings = Settings { role, ..Settings::default() };
    let (wal, recovery) =
        Wal::open(dir, Arc::new(environment.clone()), settings).map_err(|error| format!("{id}: open: {error}"))?;
    if let Some(lost) = recovery.lost {
        return Err(format!("{id}: lost what it had acknowledged up to {lost}"));
    }
    Ok(Arc::new(Log {
        wal,
        registry: Mutex::new(Registry::new(1)),
        table: Mutex::new(AckTable::new()),
        ahead,
        stirred: Bell::new(),
    }))
}

impl Log {
    /// Notes what `node` holds, and wakes the follower that passes it on.
    pub(crate) fn acked(&self, acks: &[NodeAck]) {
        let mut table = self.table.lock().unwrap();
        for NodeAck { node, ack } in acks {
            table.admit(node.clone(), None).unwrap();
            table.merge(node, *ack);
        }
        drop(table);
        self.stirred.ring();
    }

    /// Knows nothing of `node` any more: what it acknowledged is not in its log.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.table.lock().unwrap().forget(node);
    }

    /// The furthest ack of each node that is known here.
    pub(crate) fn known(&self) -> BTreeMap<NodeId, Ack> {
        self.table.lock().unwrap().nodes().map(|(node, state)| (node.clone(), state.ack)).collect()
    }
}

impl Upstream for Log {
    fn wal(&self) -> &Wal {
        &self.wal
    }

    fn registry(&self) -> &Mutex<Registry> {
        &self.registry
    }

    fn retain(&self) -> Lsn {
        self.wal.first()
    }

    fn ships_ahead(&self) -> bool {
        self.ahead || self.wal.holds_back()
    }
}

impl Downstream for Log {
    fn wal(&self) -> &Wal {
        &self.wal
    }

    fn ack(&self) -> Ack {
        let durable = self.wal.synced().get();
        Ack::new(self.wal.end().max(durable), durable, Lsn::ZERO).unwrap()
    }

    fn below(&self) -> Vec<NodeAck> {
        self.known().into_iter().map(|(node, ack)| NodeAck { node, ack }).collect()
    }

    fn stirred(&self) -> Listening {
        self.stirred.listen()
    }
}

//! A disk in memory that may lose, after a power cut, everything that a real one may lose.
//!
//! Per 512-byte sector it keeps every version since the last sync, stores through a mapped region included, because the
//! kernel may write a page back at any instant. [`SimDisk::power_cut`] leaves any version of each sector independently,
//! torn at 8-byte words; names, lengths and allocations have a durable state of their own, and each change of them that
//! was not synced is kept or lost independently. [`SimDisk::kill`] ends the process alone: the page cache stays, with
//! whatever lies it tells after a failed sync.
//!
//! Nothing here knows what a log is. Everything that happens follows from the seed and the calls.

mod crash;
mod directory;
mod file;
mod inode;
mod names;
mod stats;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_storage::Directory;

use self::crash::Manner;
use self::directory::SimDirectory;
use self::inode::Inode;
use self::names::{Names, NodeId, ROOT};
pub use self::stats::DiskStats;
use crate::sim_env::SimEnvironment;
use crate::sim_rng::Rng;

/// What a sync does instead of working (F-063, F-069).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// EIO. Dirty pages that were not written count as clean from now on but stay in the page cache: a second sync
    /// succeeds, reads show the new bytes, and a power cut brings back the old ones (ext4, xfs).
    MarkedClean,
    /// EIO. Dirty pages that were not written are dropped from the page cache: reads show the old bytes.
    Reverted,
    /// ENOSPC, else as [`SyncFault::MarkedClean`] (a full thin volume or loop device).
    NoSpace,
    /// Works, after this long on every clock.
    Slow(Duration),
}

impl SyncFault {
    fn error(self) -> io::Error {
        errno(if self == SyncFault::NoSpace { ENOSPC } else { EIO })
    }
}

/// The simulated disk. Clones are the same disk; [`SimDisk::fork`] makes another.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    environment: SimEnvironment,
}

#[derive(Clone, Debug)]
struct State {
    names: Names,
    inodes: BTreeMap<NodeId, Inode>,
    next_node: NodeId,
    locks: BTreeSet<NodeId>,
    capacity: u64,
    /// Counts processes; a handle of an earlier one is dead.
    process: u64,
    power: Power,
    /// The fault of a sync to come, of a file or a directory, and how many syncs work before it.
    armed_sync: Option<(u64, SyncFault)>,
    /// The error number that the next open or creation fails with.
    armed_open: Option<i32>,
    rng: Rng,
    stats: DiskStats,
}

/// Whether the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// Goes off in the operation after so many more.
    OffAfter(u64),
    Off,
}

/// Error numbers of Linux that the disk answers with.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl SimDisk {
    /// An empty disk of unlimited size. Slow syncs let time go by in `environment`.
    pub fn new(seed: u64, environment: SimEnvironment) -> SimDisk {
        let state = State {
            names: Names::new(),
            inodes: BTreeMap::new(),
            next_node: ROOT + 1,
            locks: BTreeSet::new(),
            capacity: u64::MAX,
            process: 0,
            power: Power::On,
            armed_sync: None,
            armed_open: None,
            rng: Rng::new(seed),
            stats: DiskStats::default(),
        };
        SimDisk { state: Arc::new(Mutex::new(state)), environment }
    }

    /// The top directory, as the process now running sees it.
    pub fn root(&self) -> Arc<dyn Directory> {
        let process = self.state().process;
        Arc::new(SimDirectory::new(self.clone(), process, ROOT, "sim:".to_owned()))
    }

    /// A copy of this disk as it stands, the page cache included and no fault armed, for trying out one future of
    /// several. What chance
    /// decides in it follows from `seed`; handles lead to the original.
    pub fn fork(&self, seed: u64) -> SimDisk {
        let mut state = self.state().clone();
        state.rng = Rng::new(seed);
        state.stats = DiskStats::default();
        state.begin_process();
        (state.armed_sync, state.armed_open, state.capacity) = (None, None, u64::MAX);
        if state.power != Power::Off {
            state.power = Power::On;
        }
        SimDisk { state: Arc::new(Mutex::new(state)), environment: self.environment.clone() }
    }

    /// Ends the process: handles are dead, locks free, maps gone; the page cache stays as it is.
    pub fn kill(&self) {
        let mut state = self.state();
        state.stats.kills += 1;
        state.restart();
    }

    /// Cuts the power and starts the machine again: the disk holds some version of each thing that was not synced.
    pub fn power_cut(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.stats.power_cuts += 1;
        let manner = Manner::draw(&mut state.rng);
        state.names.power_cut(manner, &mut state.rng, &mut state.stats);
        for inode in state.inodes.values_mut() {
            inode.power_cut(manner, &mut state.rng, &mut state.stats);
        }
        state.restart();
    }

    /// Lets the power fail in the operation after `operations` more (changes, stores through a map, and syncs): it and
    /// everything after it fails until [`SimDisk::power_cut`] decides what is left.
    pub fn power_off_after(&self, operations: u64) {
        let mut state = self.state();
        if state.power != Power::Off {
            state.power = Power::OffAfter(operations);
        }
    }

    /// Takes back [`SimDisk::power_off_after`], if the power is still on.
    pub fn keep_power(&self) {
        let mut state = self.state();
        if state.power != Power::Off {
            state.power = Power::On;
        }
    }

    /// Whether the power went off in the middle of something.
    pub fn is_off(&self) -> bool {
        self.state().power == Power::Off
    }

    /// Lets the sync after `syncs` more, of a file or a directory, go wrong in this way.
    pub fn arm_sync(&self, syncs: u64, fault: SyncFault) {
        self.state().armed_sync = Some((syncs, fault));
    }

    /// Takes back [`SimDisk::arm_sync`]; says whether the fault was still to come.
    pub fn disarm_sync(&self) -> bool {
        self.state().armed_sync.take().is_some()
    }

    /// Lets the next open or creation of a file fail with this error number (F-067).
    pub fn arm_open(&self, errno: i32) {
        self.state().armed_open = Some(errno);
    }

    /// Takes back [`SimDisk::arm_open`].
    pub fn disarm_open(&self) {
        self.state().armed_open = None;
    }

    /// Limits the space: allocations beyond it fail and leave what fitted (F-041, F-059).
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes that are allocated.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Changes one byte of a file at rest, in cache and on disk; says whether there is such a byte.
    pub fn damage(&self, path: &str, offset: u64, change: impl Fn(&mut u8)) -> bool {
        self.with_file(path, |inode| {
            inode.damage(offset as usize, change);
            (offset as usize) < inode.len()
        })
    }

    /// Makes the sector at `offset` of a file unreadable until it is written (F-030).
    pub fn spoil(&self, path: &str, offset: u64) -> bool {
        self.with_file(path, |inode| {
            inode.spoil(offset as usize);
            (offset as usize) < inode.len()
        })
    }

    /// The bytes of a file as processes read them; `None` if there is no such file.
    pub fn read(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        let state = self.state();
        Some(state.inodes.get(&state.names.walk(ROOT, path)?)?.bytes().clone())
    }

    /// The names in a directory, given by its path from the top (empty for the top itself).
    pub fn names(&self, path: &str) -> Vec<String> {
        let state = self.state();
        let node = if path.is_empty() { Some(ROOT) } else { state.names.walk(ROOT, path) };
        node.and_then(|node| state.names.entries(node))
            .map(|entries| entries.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// What the disk did so far.
    pub fn stats(&self) -> DiskStats {
        self.state().stats
    }

    fn with_file<T: Default>(&self, path: &str, act: impl FnOnce(&mut Inode) -> T) -> T {
        let mut state = self.state();
        let node = state.names.walk(ROOT, path);
        node.and_then(|node| state.inodes.get_mut(&node)).map(act).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an operation that was let through is the one in which the power fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    PowerFails,
}

impl Progress {
    /// The result of the operation, once its effect on the page cache is made.
    fn result<T>(self, value: T) -> io::Result<T> {
        match self {
            Progress::Done => Ok(value),
            Progress::PowerFails => Err(no_power()),
        }
    }
}

impl State {
    /// Refuses handles of dead processes, and everything without power.
    fn alive(&self, process: u64) -> io::Result<()> {
        if self.process != process {
            return Err(io::Error::other("a handle of a process that has ended"));
        }
        if self.power == Power::Off {
            return Err(no_power());
        }
        Ok(())
    }

    /// Counts an operation that could be a crash point.
    fn begin(&mut self, process: u64) -> io::Result<Progress> {
        self.alive(process)?;
        self.stats.operations += 1;
        match self.power {
            Power::OffAfter(0) => {
                self.power = Power::Off;
                return Ok(Progress::PowerFails);
            }
            Power::OffAfter(left) => self.power = Power::OffAfter(left - 1),
            Power::On | Power::Off => {}
        }
        Ok(Progress::Done)
    }

    fn restart(&mut self) {
        self.begin_process();
        self.power = Power::On;
        let reachable: BTreeSet<NodeId> = self.names.reachable().into_iter().collect();
        self.inodes.retain(|node, _| reachable.contains(node));
    }

    /// Makes every handle, map and lock a thing of the past.
    fn begin_process(&mut self) {
        self.process += 1;
        self.locks.clear();
    }

    fn new_node(&mut self) -> NodeId {
        self.next_node += 1;
        self.next_node - 1
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.allocated() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// The fault of the sync that is now made, if one was armed for it.
    fn take_sync_fault(&mut self) -> Option<SyncFault> {
        let (left, fault) = self.armed_sync?;
        if left > 0 {
            self.armed_sync = Some((left - 1, fault));
            return None;
        }
        self.armed_sync = None;
        Some(fault)
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

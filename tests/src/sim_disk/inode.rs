//! One file of the simulated disk: what processes see, what the platter holds, and everything in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SyncFault;
use super::crash::{Manner, SECTOR, Sector};
use super::stats::DiskStats;
use crate::sim_rng::Rng;

/// A file's content in all the states that it may be found in after a power cut.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// The page cache: what every process reads. Its length is the file's. Shared with forks until it changes.
    cache: Arc<Vec<u8>>,
    /// The platter, whole sectors: what a power cut leaves of sectors that are not dirty. May be shorter than the cache
    /// (then zeros follow) or longer.
    disk: Arc<Vec<u8>>,
    /// Per sector, every version since the last sync, oldest first: the kernel may write any of them at any instant.
    dirty: BTreeMap<usize, Vec<Sector>>,
    /// Every length since the last sync, oldest (durable) first; never empty once the file exists.
    lengths: Vec<usize>,
    /// Bytes with blocks behind them now, and as the platter knows.
    allocated: usize,
    allocated_on_disk: usize,
    /// Sectors that cannot be read (F-030).
    bad: Vec<usize>,
}

impl Default for Inode {
    /// An empty file.
    fn default() -> Inode {
        Inode {
            cache: Arc::default(),
            disk: Arc::default(),
            dirty: BTreeMap::new(),
            lengths: vec![0],
            allocated: 0,
            allocated_on_disk: 0,
            bad: Vec::new(),
        }
    }
}

impl Inode {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    pub(super) fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.cache
    }

    /// Whether a read of this range meets a sector that cannot be read.
    pub(super) fn is_bad(&self, start: usize, end: usize) -> bool {
        self.bad.iter().any(|sector| sector * SECTOR < end && start < (sector + 1) * SECTOR)
    }

    pub(super) fn spoil(&mut self, offset: usize) {
        self.bad.push(offset / SECTOR);
    }

    /// Changes bytes at rest, in cache and on disk alike, as a fault of the medium would.
    pub(super) fn damage(&mut self, offset: usize, change: impl Fn(&mut u8)) {
        if let Some(byte) = Arc::make_mut(&mut self.cache).get_mut(offset) {
            change(byte);
        }
        if let Some(byte) = Arc::make_mut(&mut self.disk).get_mut(offset) {
            change(byte);
        }
    }

    /// Writes, by system call or through a map. The same bytes again make a sector dirty again.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if self.cache.len() < end {
            Arc::make_mut(&mut self.cache).resize(end, 0);
            self.lengths.push(end);
            self.allocated = self.allocated.max(end);
        }
        Arc::make_mut(&mut self.cache)[offset..end].copy_from_slice(bytes);
        self.bad.retain(|sector| end <= sector * SECTOR || (sector + 1) * SECTOR <= offset);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let version = sector_of(&self.cache, sector);
            self.dirty.entry(sector).or_default().push(version);
        }
    }

    pub(super) fn allocate(&mut self, len: usize) {
        self.allocated = self.allocated.max(len);
        if self.cache.len() < len {
            Arc::make_mut(&mut self.cache).resize(len, 0);
            self.lengths.push(len);
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let before = self.cache.len().max(self.disk.len());
        Arc::make_mut(&mut self.cache).resize(len, 0);
        self.lengths.push(len);
        self.allocated = self.allocated.min(len);
        // What was cut is zero if the file grows again, unless the cut itself is lost.
        for sector in len / SECTOR..before.div_ceil(SECTOR) {
            let version = sector_of(&self.cache, sector);
            self.dirty.entry(sector).or_default().push(version);
        }
    }

    /// A sync that works: the platter is the cache.
    pub(super) fn sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let newest = versions.last().expect("a dirty sector has a version");
            put_sector(Arc::make_mut(&mut self.disk), sector, newest);
        }
        Arc::make_mut(&mut self.disk).truncate(self.cache.len().next_multiple_of(SECTOR));
        self.lengths = vec![self.cache.len()];
        self.allocated_on_disk = self.allocated;
    }

    /// A sync that fails: some sectors were written, the others never will be, and all of them count as clean.
    pub(super) fn fail_sync(&mut self, fault: SyncFault, rng: &mut Rng) {
        let manner = Manner::draw(rng);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if manner.keeps(rng) {
                put_sector(
                    Arc::make_mut(&mut self.disk),
                    sector,
                    versions.last().expect("a dirty sector has a version"),
                );
            } else if fault == SyncFault::Reverted {
                let old = sector_of(&self.disk, sector);
                let end = self.cache.len().min((sector + 1) * SECTOR);
                if sector * SECTOR < end {
                    Arc::make_mut(&mut self.cache)[sector * SECTOR..end].copy_from_slice(&old[..end - sector * SECTOR]);
                }
            }
        }
    }

    pub(super) fn power_cut(&mut self, manner: Manner, rng: &mut Rng, stats: &mut DiskStats) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let durable = sector_of(&self.disk, sector);
            let versions: Vec<&Sector> = std::iter::once(&durable).chain(&versions).collect();
            let kept = manner.sector(&versions, rng, stats);
            put_sector(Arc::make_mut(&mut self.disk), sector, &kept);
        }
        let len = self.lengths[manner.choose(self.lengths.len(), rng)];
        stats.lengths_lost += u64::from(len != self.cache.len());
        if self.allocated != self.allocated_on_disk && !manner.keeps(rng) {
            self.allocated = self.allocated_on_disk;
            stats.allocations_lost += 1;
        }
        self.allocated = self.allocated.min(len.next_multiple_of(SECTOR));
        self.allocated_on_disk = self.allocated;
        if self.disk.len() != len {
            Arc::make_mut(&mut self.disk).resize(len, 0);
        }
        self.cache = Arc::clone(&self.disk);
        if !len.is_multiple_of(SECTOR) {
            Arc::make_mut(&mut self.disk).resize(len.next_multiple_of(SECTOR), 0);
        }
        self.lengths = vec![len];
    }
}

/// A sector of `bytes`, with zeros where they end.
fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut copy = [0; SECTOR];
    let start = (sector * SECTOR).min(bytes.len());
    let end = ((sector + 1) * SECTOR).min(bytes.len());
    copy[..end - start].copy_from_slice(&bytes[start..end]);
    copy
}

fn put_sector(disk: &mut Vec<u8>, sector: usize, content: &Sector) {
    let end = (sector + 1) * SECTOR;
    if disk.len() < end {
        disk.resize(end, 0);
    }
    disk[end - SECTOR..end].copy_from_slice(content);
}

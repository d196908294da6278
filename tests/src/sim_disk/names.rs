//! The names of the simulated disk: what processes see, and which changes a power cut may still undo.

use std::collections::BTreeMap;

use super::crash::Manner;
use super::stats::DiskStats;
use crate::sim_rng::Rng;

/// A file or directory.
pub(super) type NodeId = usize;

/// The directory that is always there.
pub(super) const ROOT: NodeId = 0;

type Entries = BTreeMap<String, NodeId>;
type Tree = BTreeMap<NodeId, Entries>;

/// All directories. An entry's change is seen at once and pending until a sync of a directory that it touches.
#[derive(Clone, Debug)]
pub(super) struct Names {
    now: Tree,
    on_disk: Tree,
    pending: Vec<Change>,
}

/// A change of one entry, or of two by a rename, kept or lost as a whole.
#[derive(Clone, Debug)]
enum Change {
    Add { dir: NodeId, name: String, node: NodeId },
    Remove { dir: NodeId, name: String, node: NodeId },
    Rename { from: (NodeId, String), to: (NodeId, String), node: NodeId },
}

impl Names {
    pub(super) fn new() -> Names {
        let tree = Tree::from([(ROOT, Entries::new())]);
        Names { now: tree.clone(), on_disk: tree, pending: Vec::new() }
    }

    /// The entries of a directory, or `None` if the node is not one.
    pub(super) fn entries(&self, dir: NodeId) -> Option<&Entries> {
        self.now.get(&dir)
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        self.now.contains_key(&node)
    }

    pub(super) fn find(&self, dir: NodeId, name: &str) -> Option<NodeId> {
        self.entries(dir)?.get(name).copied()
    }

    /// Follows `a/b/c` from a directory.
    pub(super) fn walk(&self, dir: NodeId, path: &str) -> Option<NodeId> {
        path.split('/').try_fold(dir, |dir, name| self.find(dir, name))
    }

    /// Whether any directory has an entry for this node.
    pub(super) fn has_name(&self, node: NodeId) -> bool {
        self.now.values().any(|entries| entries.values().any(|found| *found == node))
    }

    pub(super) fn add_file(&mut self, dir: NodeId, name: &str, node: NodeId) {
        self.make(Change::Add { dir, name: name.to_owned(), node });
    }

    pub(super) fn add_directory(&mut self, dir: NodeId, name: &str, node: NodeId) {
        self.now.insert(node, Entries::new());
        self.on_disk.insert(node, Entries::new());
        self.make(Change::Add { dir, name: name.to_owned(), node });
    }

    pub(super) fn remove(&mut self, dir: NodeId, name: &str, node: NodeId) {
        self.make(Change::Remove { dir, name: name.to_owned(), node });
    }

    pub(super) fn rename(&mut self, from: (NodeId, &str), to: (NodeId, &str), node: NodeId) {
        let owned = |(dir, name): (NodeId, &str)| (dir, name.to_owned());
        self.make(Change::Rename { from: owned(from), to: owned(to), node });
    }

    /// Makes every change that touches `dir` durable.
    pub(super) fn sync(&mut self, dir: NodeId) {
        let (settled, pending) = std::mem::take(&mut self.pending).into_iter().partition(|change| change.touches(dir));
        self.pending = pending;
        for change in settled {
            change.apply(&mut self.on_disk);
        }
    }

    pub(super) fn power_cut(&mut self, manner: Manner, rng: &mut Rng, stats: &mut DiskStats) {
        for change in std::mem::take(&mut self.pending) {
            if manner.keeps(rng) {
                change.apply(&mut self.on_disk);
            } else {
                stats.entries_lost += 1;
            }
        }
        self.now = self.on_disk.clone();
    }

    /// Every node that a name or a pending change still leads to.
    pub(super) fn reachable(&self) -> Vec<NodeId> {
        let trees = self.now.values().chain(self.on_disk.values()).flat_map(|entries| entries.values().copied());
        trees.chain(self.pending.iter().map(Change::node)).collect()
    }

    fn make(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }
}

impl Change {
    fn node(&self) -> NodeId {
        match self {
            Change::Add { node, .. } | Change::Remove { node, .. } | Change::Rename { node, .. } => *node,
        }
    }

    fn touches(&self, directory: NodeId) -> bool {
        match self {
            Change::Add { dir, .. } | Change::Remove { dir, .. } => *dir == directory,
            Change::Rename { from, to, .. } => from.0 == directory || to.0 == directory,
        }
    }

    /// A node has one name at most: whatever earlier change was lost, taking it away or moving it leaves no second one.
    fn apply(&self, tree: &mut Tree) {
        match self {
            Change::Add { dir, name, node } => {
                tree.entry(*dir).or_default().insert(name.clone(), *node);
            }
            Change::Remove { dir, name, node } => {
                let entries = tree.entry(*dir).or_default();
                if entries.get(name) == Some(node) {
                    entries.remove(name);
                }
            }
            Change::Rename { from, to, node } => {
                tree.entry(from.0).or_default().retain(|_, found| found != node);
                tree.entry(to.0).or_default().insert(to.1.clone(), *node);
            }
        }
    }
}

//! What is remembered between two looks, so that the next one fetches only what is new.

use serde::{Deserialize, Serialize};

use crate::archive::Copy;
use crate::fork::ForkEntry;
use crate::manifest::{SegmentEntry, SnapshotEntry};
use crate::place::Place;

/// Up to where the stores of some logs were found whole. What is before need not be fetched again: a sealed segment never
/// changes, and its name says what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proven(Vec<ProvenUpTo>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ProvenUpTo {
    store: String,
    log: String,
    id: String,
    /// The last segment of those that hold, if the first one does. A manifest that still names it still names all before
    /// it: each segment holds the digest of the one before.
    object: Option<String>,
    /// The snapshots that hold: a name of one tells what it holds, too.
    #[serde(default)]
    snapshots: Vec<String>,
    /// What earlier epochs left behind forks, and holds: the epoch, and where the later one began.
    #[serde(default)]
    branches: Vec<(u64, u64)>,
}

impl Proven {
    /// Takes what another look has proven in the place of what was known of the same stores and logs.
    pub fn update(&mut self, newer: Proven) {
        for entry in newer.0 {
            self.0.retain(|old| (&old.store, &old.log) != (&entry.store, &entry.log));
            self.0.push(entry);
        }
    }

    /// How many of a store's segments, from the oldest on, were proven before.
    pub(super) fn segments(&self, place: &Place<'_>, copy: &Copy) -> usize {
        let Some(entry) = self.of(place) else { return 0 };
        copy.segments.iter().position(|segment| Some(&segment.object) == entry.object.as_ref()).map_or(0, |at| at + 1)
    }

    /// Whether a snapshot was proven before.
    pub(super) fn holds_snapshot(&self, place: &Place<'_>, snapshot: &SnapshotEntry) -> bool {
        self.of(place).is_some_and(|entry| entry.snapshots.contains(&snapshot.object))
    }

    pub(super) fn note(&mut self, place: &Place<'_>, last: Option<&SegmentEntry>) {
        self.entry(place).object = last.map(|last| last.object.clone());
    }

    pub(super) fn note_snapshot(&mut self, place: &Place<'_>, snapshot: &SnapshotEntry) {
        self.entry(place).snapshots.push(snapshot.object.clone());
    }

    /// Whether what lies behind a fork was proven before.
    pub(super) fn holds_branch(&self, place: &Place<'_>, fork: &ForkEntry) -> bool {
        self.of(place).is_some_and(|entry| entry.branches.contains(&(fork.epoch, fork.start)))
    }

    pub(super) fn note_branch(&mut self, place: &Place<'_>, fork: &ForkEntry) {
        self.entry(place).branches.push((fork.epoch, fork.start));
    }

    fn of(&self, place: &Place<'_>) -> Option<&ProvenUpTo> {
        self.0.iter().find(|entry| entry.is_of(place))
    }

    fn entry(&mut self, place: &Place<'_>) -> &mut ProvenUpTo {
        let at = self.0.iter().position(|entry| entry.is_of(place)).unwrap_or_else(|| {
            self.0.push(ProvenUpTo {
                store: place.store.label().to_owned(),
                log: place.log.to_string(),
                id: id(place),
                object: None,
                snapshots: Vec::new(),
                branches: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl ProvenUpTo {
    fn is_of(&self, place: &Place<'_>) -> bool {
        self.store == place.store.label() && self.log == place.log.as_str() && self.id == id(place)
    }
}

fn id(place: &Place<'_>) -> String {
    place.id.map(|id| id.to_string()).unwrap_or_default()
}

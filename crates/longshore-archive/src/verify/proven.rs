//! What is remembered between two looks, so that the next one fetches only what is new.

use serde::{Deserialize, Serialize};

use crate::archive::Copy;
use crate::manifest::SegmentEntry;
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
        let id = place.id.map(|id| id.to_string()).unwrap_or_default();
        let ours = |entry: &&ProvenUpTo| {
            entry.store == place.store.label() && entry.log == place.log.as_str() && entry.id == id
        };
        let Some(entry) = self.0.iter().find(ours) else { return 0 };
        copy.segments.iter().position(|segment| Some(&segment.object) == entry.object.as_ref()).map_or(0, |at| at + 1)
    }

    pub(super) fn note(&mut self, place: &Place<'_>, last: Option<&SegmentEntry>) {
        let id = place.id.map(|id| id.to_string()).unwrap_or_default();
        let (store, log) = (place.store.label().to_owned(), place.log.to_string());
        self.0.push(ProvenUpTo { store, log, id, object: last.map(|last| last.object.clone()) });
    }
}

//! What `longshore archive` says, as text and as JSON.

use std::fmt;

use longshore::archive::{Archive, Copied, Finding, Listed, Pruned, Store, Verified};
use longshore_format::{ErrorKind, Name};
use serde::Serialize;

use crate::failure::Failure;
use crate::output;
use crate::quantity::{rfc3339, show_bytes};

/// The logs in some stores.
#[derive(Serialize)]
pub(super) struct Listing {
    logs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    log: String,
    store: String,
    id: String,
    content: String,
    epoch: u64,
    first: u64,
    end: u64,
    segments: u64,
    tail_objects: u64,
    snapshots: Vec<u64>,
    set_aside: u64,
    updated: String,
}

impl From<&[Listed]> for Listing {
    fn from(logs: &[Listed]) -> Self {
        let row = |log: &Listed| Row {
            log: log.name.to_string(),
            store: log.store.clone(),
            id: log.facts.log.to_string(),
            content: log.facts.content.to_string(),
            epoch: log.facts.history.current().epoch.number,
            first: log.first.get(),
            end: log.end.get(),
            segments: log.segments,
            tail_objects: log.tail,
            snapshots: log.snapshots.iter().map(|position| position.get()).collect(),
            set_aside: log.aside,
            updated: rfc3339(log.updated),
        };
        Self { logs: logs.iter().map(row).collect() }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["LOG", "CONTENT", "EPOCH", "FIRST", "END", "SEGMENTS", "TAIL", "SNAPSHOTS", "CHANGED", "STORE"];
        let mut table = output::table(&header);
        for row in &self.logs {
            table.add_row(vec![
                row.log.clone(),
                row.content.clone(),
                row.epoch.to_string(),
                row.first.to_string(),
                row.end.to_string(),
                row.segments.to_string(),
                row.tail_objects.to_string(),
                row.snapshots.len().to_string(),
                row.updated.clone(),
                row.store.clone(),
            ]);
        }
        f.write_str(&output::render(&mut table))
    }
}

/// What was verified.
#[derive(Serialize)]
pub(super) struct Proof {
    log: String,
    first: u64,
    end: u64,
    intact: bool,
    objects: u64,
    bytes: u64,
    missing: Vec<Object>,
    corrupt: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    store: String,
    object: String,
    what: String,
}

impl Proof {
    pub(super) fn new(archive: &Archive, verified: Verified) -> Self {
        let (mut missing, mut corrupt) = (Vec::new(), Vec::new());
        for finding in verified.findings {
            match finding {
                Finding::Missing { store, object, start, end } => {
                    missing.push(Object { store, object, what: format!("{start} to {end} is gone") });
                }
                Finding::Corrupt { store, object, what } => corrupt.push(Object { store, object, what }),
            }
        }
        Self {
            log: archive.name().to_string(),
            first: archive.first().get(),
            end: archive.end().get(),
            intact: missing.is_empty() && corrupt.is_empty(),
            objects: verified.objects,
            bytes: verified.bytes,
            missing,
            corrupt,
        }
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        let (kind, first, what) = match (self.corrupt.first(), self.missing.first()) {
            (Some(first), _) => (ErrorKind::Corrupt, first, "damaged"),
            (None, Some(first)) => (ErrorKind::Gap, first, "missing"),
            (None, None) => return None,
        };
        let text = format!("log {}: {} in {} is {what}: {}", self.log, first.object, first.store, first.what);
        let next = "copy it from another store with `longshore archive copy`, or restore with several --from: the good copy wins";
        Some(Failure::new(kind, text).next(next))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.intact { "intact" } else { "NOT INTACT" };
        writeln!(
            f,
            "log {}  {state}  {} to {}, {} objects, {}",
            self.log,
            self.first,
            self.end,
            self.objects,
            show_bytes(self.bytes)
        )?;
        for (what, objects) in [("missing", &self.missing), ("damaged", &self.corrupt)] {
            for object in objects {
                writeln!(f, "  {what}  {}  {}  {}", object.object, object.what, object.store)?;
            }
        }
        Ok(())
    }
}

/// What was copied, or would be.
#[derive(Serialize)]
pub(super) struct CopiedLog {
    log: String,
    from: String,
    to: String,
    plan: bool,
    objects: u64,
    copied: u64,
    bytes: u64,
}

impl CopiedLog {
    pub(super) fn new(log: &Name, from: &Store, to: &Store, plan: bool, copied: Copied) -> Self {
        let Copied { objects, copied, bytes } = copied;
        Self {
            log: log.to_string(),
            from: from.label().to_owned(),
            to: to.label().to_owned(),
            plan,
            objects,
            copied,
            bytes,
        }
    }
}

impl fmt::Display for CopiedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.plan { "would copy" } else { "copied" };
        let there = self.objects - self.copied;
        writeln!(
            f,
            "log {}: {verb} {} of {} objects, {}, from {} to {}; {there} are there",
            self.log,
            self.copied,
            self.objects,
            show_bytes(self.bytes),
            self.from,
            self.to
        )
    }
}

/// What nobody needs.
#[derive(Serialize)]
pub(super) struct Waste {
    log: String,
    plan: bool,
    objects: Vec<String>,
    bytes: u64,
}

impl Waste {
    pub(super) fn new(log: &Name, plan: bool, pruned: Pruned) -> Self {
        Self { log: log.to_string(), plan, objects: pruned.objects, bytes: pruned.bytes }
    }
}

impl fmt::Display for Waste {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.plan { "would remove" } else { "removed" };
        writeln!(f, "log {}: {verb} {} objects, {}", self.log, self.objects.len(), show_bytes(self.bytes))?;
        self.objects.iter().try_for_each(|object| writeln!(f, "  {object}"))
    }
}

//! What `longshore archive` says, as text and as JSON.

use std::fmt;

use longshore::archive::{Archive, Finding, Listed, Pruned, Verified};
use longshore_format::{ErrorKind, Lsn, Name};
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
    gaps: Vec<(u64, u64)>,
    set_aside: Vec<Branch>,
    updated: String,
}

/// What a later epoch parted from.
#[derive(Serialize)]
struct Branch {
    epoch: u64,
    start: u64,
    end: u64,
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
            gaps: log.gaps.iter().map(|gap| (gap.start, gap.end)).collect(),
            set_aside: log
                .forks
                .iter()
                .map(|fork| Branch { epoch: fork.epoch, start: fork.start, end: fork.end })
                .collect(),
            updated: rfc3339(log.updated),
        };
        Self { logs: logs.iter().map(row).collect() }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header =
            ["LOG", "CONTENT", "EPOCH", "FIRST", "END", "SEGMENTS", "TAIL", "SNAPSHOTS", "GAPS", "CHANGED", "STORE"];
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
                row.gaps.len().to_string(),
                row.updated.clone(),
                row.store.clone(),
            ]);
        }
        f.write_str(&output::render(&mut table))?;
        for row in &self.logs {
            for Branch { epoch, start, end } in &row.set_aside {
                let log = &row.log;
                writeln!(
                    f,
                    "log {log}: what epoch {epoch} wrote from {start} to {end} is set aside; `longshore replay --epoch {epoch}` restores it"
                )?;
            }
        }
        Ok(())
    }
}

/// What was verified.
#[derive(Serialize)]
pub(super) struct Proof {
    log: String,
    first: u64,
    end: u64,
    intact: bool,
    /// Fetched now, and whole.
    objects: u64,
    bytes: u64,
    /// Proven by an earlier run, and there.
    known: u64,
    missing: Vec<Object>,
    corrupt: Vec<Object>,
    /// Ranges of targets that a database can be restored to: the log's beginning or a snapshot, and the last of them.
    restorable: Vec<(u64, u64)>,
    acknowledged_gaps: Vec<Object>,
    in_flight: Vec<Object>,
    unnamed: Vec<Object>,
    /// Why stores are no part of this.
    passed_over: Vec<String>,
    /// What to do about the first of them.
    #[serde(skip)]
    passed_over_kind: Option<ErrorKind>,
}

/// An object, and the positions that it holds or should hold, as far as they are known.
#[derive(Serialize)]
struct Object {
    store: String,
    object: String,
    start: Option<u64>,
    end: Option<u64>,
    what: String,
}

impl Object {
    fn new(store: String, object: String, range: Option<(Lsn, Lsn)>, what: impl Into<String>) -> Self {
        let (start, end) = range.map(|(start, end)| (start.get(), end.get())).unzip();
        Self { store, object, start, end, what: what.into() }
    }

    fn range(&self) -> String {
        match (self.start, self.end) {
            // A piece of a snapshot: the log itself does not need it.
            (Some(_), Some(end)) if self.object.contains("/snapshots/") => format!("the snapshot at {end}"),
            (Some(start), Some(end)) => format!("{start} to {end}"),
            _ => "-".to_owned(),
        }
    }
}

impl Proof {
    pub(super) fn new(archive: &Archive, verified: Verified) -> Self {
        let restorable = archive.restorable(&verified.findings);
        let unread: Vec<_> = archive.unread().collect();
        let mut proof = Self {
            log: archive.name().to_string(),
            first: archive.first().get(),
            end: archive.end().get(),
            intact: unread.is_empty(),
            objects: verified.objects,
            bytes: verified.bytes,
            known: verified.known,
            missing: Vec::new(),
            corrupt: Vec::new(),
            restorable: restorable.into_iter().map(|(from, to)| (from.get(), to.get())).collect(),
            acknowledged_gaps: Vec::new(),
            in_flight: Vec::new(),
            unnamed: Vec::new(),
            passed_over: unread.iter().map(ToString::to_string).collect(),
            passed_over_kind: unread.first().map(|error| error.kind()),
        };
        verified.findings.into_iter().for_each(|finding| proof.take(finding));
        proof
    }

    fn take(&mut self, finding: Finding) {
        match finding {
            Finding::Missing { store, object, start, end } => {
                self.intact = false;
                self.missing.push(Object::new(store, object, Some((start, end)), "it is gone"));
            }
            Finding::Corrupt { store, object, what, start, end } => {
                self.intact = false;
                self.corrupt.push(Object::new(store, object, Some((start, end)), what));
            }
            Finding::AcknowledgedGap { store, start, end, time } => {
                let what = format!("known since {}", rfc3339(time));
                self.acknowledged_gaps.push(Object::new(store, "-".to_owned(), Some((start, end)), what));
            }
            Finding::InFlight { store, object, range, bytes } => {
                let what = format!("{}, named by no manifest yet", show_bytes(bytes));
                self.in_flight.push(Object::new(store, object, range, what));
            }
            Finding::Unnamed { store, object, range, bytes } => {
                let what = format!("{}, named by no manifest", show_bytes(bytes));
                self.unnamed.push(Object::new(store, object, range, what));
            }
            // One that this version does not know is at least told.
            other => self.unnamed.push(Object::new(String::new(), String::new(), None, format!("{other:?}"))),
        }
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        let (kind, first, what) = match (self.corrupt.first(), self.missing.first()) {
            (Some(first), _) => (ErrorKind::Corrupt, first, "damaged"),
            (None, Some(first)) => (ErrorKind::Gap, first, "missing"),
            (None, None) => {
                let what = format!("log {}: {}", self.log, self.passed_over.first()?);
                return self.passed_over_kind.map(|kind| Failure::new(kind, what).next(PASSED_OVER));
            }
        };
        let (more, range) = (self.corrupt.len() + self.missing.len() - 1, first.range());
        let mut text = format!("log {}: {} in {} is {what}, and with it {range}", self.log, first.object, first.store);
        if kind == ErrorKind::Corrupt {
            text += &format!(": {}", first.what);
        }
        if 0 < more {
            text += &format!("; and {more} more, listed above");
        }
        let next = "copy it from another store with `longshore archive copy --full`, or restore with several --from: the good copy wins";
        Some(Failure::new(kind, text).next(next))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, first, end, objects, .. } = self;
        let state = if self.intact { "intact" } else { "NOT INTACT" };
        write!(f, "log {log}  {state}  {first} to {end}, {objects} objects, {}", show_bytes(self.bytes))?;
        if 0 < self.known {
            write!(f, "; {} more were proven before and are there", self.known)?;
        }
        writeln!(f)?;
        let mut table = output::table(&["", "OBJECT", "POSITIONS", "WHAT", "STORE"]);
        let all = [
            ("missing", &self.missing),
            ("corrupt", &self.corrupt),
            ("gap", &self.acknowledged_gaps),
            ("in flight", &self.in_flight),
        ];
        for (what, objects) in all {
            for object in objects {
                table.add_row([what, &object.object, &object.range(), &object.what, &object.store]);
            }
        }
        if !table.is_empty() {
            f.write_str(&output::render(&mut table))?;
        }
        if !self.missing.is_empty() || !self.corrupt.is_empty() {
            let ranges: Vec<_> = self.restorable.iter().map(|(from, to)| format!("lsn:{from} to lsn:{to}")).collect();
            let ranges = if ranges.is_empty() { "nothing".to_owned() } else { ranges.join(", ") };
            writeln!(f, "a database can be restored to: {ranges}")?;
        }
        for why in &self.passed_over {
            writeln!(f, "passed over: {why}")?;
        }
        match self.unnamed.len() {
            0 => Ok(()),
            many => writeln!(f, "{many} objects that no manifest names; `longshore archive prune` removes them"),
        }
    }
}

const PASSED_OVER: &str = "the others were looked at; run this again once that store can be read. A manifest that is missing comes back from another store by `longshore archive copy`; one that is damaged is removed before that";

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

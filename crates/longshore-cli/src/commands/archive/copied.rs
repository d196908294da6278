//! What `longshore archive copy` says: what went which way, and what it asked of the two stores.

use std::fmt;

use longshore::archive::{Copied, CopyPlan, Ledger, Store};
use longshore_format::Name;
use serde::Serialize;

use crate::output;
use crate::price::{Asked, Cost};
use crate::quantity::show_bytes;

/// One of the two stores of a copy, and what was asked of it.
pub(super) struct Side<'a> {
    pub(super) store: &'a Store,
    pub(super) used: Ledger,
}

/// Where a log is copied from, and where to.
pub(super) struct Sides<'a> {
    pub(super) from: Side<'a>,
    pub(super) to: Side<'a>,
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
    /// Of what was copied, what the store copied itself.
    by_store: u64,
    by_store_bytes: u64,
    /// What went through here.
    through_here: u64,
    through_here_bytes: u64,
    /// Of what the store copied, bytes that were read back.
    read_back_bytes: u64,
    /// Whether that, and what it costs, is the most that it can be, because only the copies tell whether they can be compared.
    at_most: bool,
    /// Why the store copied less than it could have.
    store_refused: Option<String>,
    /// Requests, and bytes, of both stores together.
    puts: u64,
    gets: u64,
    sent_bytes: u64,
    received_bytes: u64,
    cost: Cost,
}

impl CopiedLog {
    pub(super) fn new(name: &Name, Sides { from, to }: Sides<'_>, how: CopyPlan, mut copied: Copied) -> Self {
        let plan = how.plan_only;
        let (mut read, mut written) = (from.used, to.used);
        if plan {
            copied.read_back = copied.by_store_bytes;
            expect(&copied, &mut read, &mut written);
        }
        let asked = |ledger: &Ledger| Asked { puts: ledger.puts, gets: ledger.gets, bytes: ledger.received };
        Self {
            log: name.to_string(),
            from: from.store.label().to_owned(),
            to: to.store.label().to_owned(),
            plan,
            objects: copied.objects,
            copied: copied.copied,
            bytes: copied.bytes,
            by_store: copied.by_store,
            by_store_bytes: copied.by_store_bytes,
            through_here: copied.copied - copied.by_store,
            through_here_bytes: through_here(&copied),
            read_back_bytes: copied.read_back,
            at_most: plan && !how.full && 0 < copied.by_store,
            store_refused: copied.refused,
            puts: read.puts + written.puts,
            gets: read.gets + written.gets,
            sent_bytes: written.sent,
            received_bytes: read.received + written.received,
            cost: Cost::of(from.store, asked(&read)) + Cost::of(to.store, asked(&written)),
        }
    }

    fn ways_told(&self) -> String {
        let here = show_bytes(self.through_here_bytes);
        let by_store = show_bytes(self.by_store_bytes);
        let read_back = match self.at_most {
            true => "read back where it keeps no checksum that can be compared",
            false => "read back",
        };
        match (self.plan, self.by_store, self.through_here) {
            (true, 0, _) => format!("{here} through this machine"),
            (true, _, 0) => format!("{by_store} by the store itself, {read_back}"),
            (true, ..) => format!("{by_store} by the store itself, {read_back}; {here} through this machine"),
            (false, 0, _) => format!("{here} through this machine, each object checked against its digest"),
            (false, ..) => format!(
                "{} objects, {by_store}, by the store itself, of which {} were read back; {} objects, {here}, through this machine",
                self.by_store,
                show_bytes(self.read_back_bytes),
                self.through_here
            ),
        }
    }
}

fn through_here(copied: &Copied) -> u64 {
    copied.bytes - copied.by_store_bytes
}

/// Adds to what a plan has asked of both stores, which a run asks too, what is only asked by a run: the objects that go through
/// here, the copies by the store itself, each looked at and at most read back, and the put of the manifest.
fn expect(copied: &Copied, read: &mut Ledger, written: &mut Ledger) {
    let bytes = through_here(copied);
    read.gets += copied.copied - copied.by_store;
    read.received += bytes;
    written.puts += copied.copied + 1;
    written.sent += bytes;
    written.gets += 2 * copied.by_store;
    written.received += copied.read_back;
}

impl fmt::Display for CopiedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.plan { "would copy" } else { "copied" };
        let there = self.objects.saturating_sub(self.copied);
        writeln!(
            f,
            "log {}: {verb} {} of {} objects, {}, from {} to {}; {there} are there",
            self.log,
            self.copied,
            self.objects,
            show_bytes(self.bytes),
            self.from,
            self.to
        )?;
        let most = if self.at_most { "at most " } else { "" };
        let requests = format!("{} at the price of a put, {most}{} at that of a get", self.puts, self.gets);
        let mut rows = vec![("copied", self.ways_told())];
        rows.extend(self.store_refused.clone().map(|why| ("refused", format!("by the store to copy itself: {why}"))));
        rows.extend([("requests", requests), ("cost", format!("{most}{}", self.cost))]);
        f.write_str(&output::pairs(&rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three objects of ten bytes each, of which one is there; the store copies one itself.
    fn told(plan_only: bool, full: bool) -> CopiedLog {
        let disk = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", disk.path().display())).unwrap();
        let copied = Copied { objects: 3, copied: 2, bytes: 20, by_store: 1, by_store_bytes: 10, ..Copied::default() };
        // A look at each object, and at what is there with --full.
        let received = if full { 10 } else { 0 };
        let looked = Ledger { gets: 3 + u64::from(full), received, ..Ledger::default() };
        let from = Side { store: &store, used: Ledger { gets: 3, ..Ledger::default() } };
        let sides = Sides { from, to: Side { store: &store, used: looked } };
        CopiedLog::new(&"app".parse().unwrap(), sides, CopyPlan { plan_only, full }, copied)
    }

    #[test]
    fn a_plan_counts_what_a_run_reads_back() {
        // One through here, one read back.
        let planned = told(true, false);
        assert_eq!((planned.puts, planned.sent_bytes), (3, 10));
        assert_eq!((planned.gets, planned.received_bytes, planned.read_back_bytes), (3 + 3 + 1 + 2, 20, 10));
        let text = planned.to_string();
        assert!(text.contains("3 at the price of a put, at most 9 at that of a get"), "{text}");
        assert!(text.contains("by the store itself, read back where it keeps no checksum"), "{text}");

        let planned = told(true, true);
        assert_eq!((planned.gets, planned.received_bytes), (10, 30), "and what is there already");
        let text = planned.to_string();
        assert!(!text.contains("at most") && text.contains("by the store itself, read back; "), "{text}");

        let done = told(false, false);
        assert_eq!((done.gets, done.received_bytes, done.at_most), (6, 0, false), "a run counts what it asked");
    }
}

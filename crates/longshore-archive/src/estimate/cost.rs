//! What an archive costs a month, what one restore from it costs, and what a copy has cost up to now.

use std::time::Duration;

use super::{Price, Prices, RegionId, Workload};
use crate::store::Ledger;

/// So much of something at a price.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// In the unit of the price: GB-months, thousands of requests, GB.
    pub quantity: f64,
    /// `None` where it is not known.
    pub price: Option<Price>,
}

impl Item {
    fn new(quantity: f64, price: Option<&Price>) -> Item {
        Item { quantity, price: price.cloned() }
    }

    /// US dollars, where the price is known.
    pub fn usd(&self) -> Option<f64> {
        self.price.as_ref().map(|price| self.quantity * price.usd)
    }
}

/// A month of an archive, once as much is kept as ever will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Monthly {
    /// GB kept.
    pub storage: Item,
    /// Thousands of objects put.
    pub requests: Item,
    /// GB that leave the primary's region.
    pub egress: Item,
}

impl Monthly {
    /// Of an archive of `workload` at `to`, written from `from`.
    pub fn new(workload: &Workload, prices: &Prices, from: &RegionId, to: &RegionId) -> Monthly {
        let sent = workload.archive_rate() * MONTH.as_secs_f64();
        Monthly {
            storage: Item::new(workload.stored_bytes() / GB, prices.storage(to)),
            requests: Item::new(workload.puts_in(MONTH) / 1000.0, prices.put(to)),
            egress: Item::new(sent / GB, prices.egress(from, to)),
        }
    }

    /// US dollars; `None` when one part is not known.
    pub fn usd(&self) -> Option<f64> {
        Some(self.storage.usd()? + self.requests.usd()? + self.egress.usd()?)
    }
}

/// The longest restore: a snapshot and all log up to the next one, back to where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    /// Thousands of objects fetched.
    pub requests: Item,
    /// GB that leave the archive's region.
    pub egress: Item,
}

impl Restore {
    /// From an archive at `to`, into `from`.
    pub fn new(workload: &Workload, prices: &Prices, from: &RegionId, to: &RegionId) -> Restore {
        let (objects, bytes) = workload.restore();
        Restore {
            requests: Item::new(objects as f64 / 1000.0, prices.get(to)),
            egress: Item::new(bytes / GB, prices.egress(to, from)),
        }
    }

    /// US dollars; `None` when one part is not known.
    pub fn usd(&self) -> Option<f64> {
        Some(self.requests.usd()? + self.egress.usd()?)
    }
}

/// What a store was asked for, at its prices. What it keeps is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// Thousands of requests at the price of a put.
    pub puts: Item,
    /// Thousands of requests at the price of a get.
    pub gets: Item,
    /// GB that left this region for the store's.
    pub sent: Item,
    /// GB that left the store's region for this one.
    pub received: Item,
}

impl Spent {
    /// Of a store at `store`, asked from `from`; what is where nobody knows has no price.
    pub fn new(ledger: &Ledger, prices: &Prices, from: Option<&RegionId>, store: Option<&RegionId>) -> Spent {
        let thousands = |requests: u64| requests as f64 / 1000.0;
        Spent {
            puts: Item::new(thousands(ledger.puts), store.and_then(|store| prices.put(store))),
            gets: Item::new(thousands(ledger.gets), store.and_then(|store| prices.get(store))),
            sent: link(ledger.sent, prices, from, store),
            received: link(ledger.received, prices, store, from),
        }
    }

    /// US dollars; `None` when one part is not known.
    pub fn usd(&self) -> Option<f64> {
        Some(self.puts.usd()? + self.gets.usd()? + self.sent.usd()? + self.received.usd()?)
    }
}

/// GB that left one region for another; what is where nobody knows has no price.
pub fn link(bytes: u64, prices: &Prices, from: Option<&RegionId>, to: Option<&RegionId>) -> Item {
    Item::new(bytes as f64 / GB, from.zip(to).and_then(|(from, to)| prices.egress(from, to)))
}

/// What providers bill as a GB.
const GB: f64 = (1_u64 << 30) as f64;
/// What providers bill as a month: 730 hours.
const MONTH: Duration = Duration::from_secs(730 * 3600);

#[cfg(test)]
mod tests {
    use super::super::regions::tests::id;
    use super::super::workload::tests::workload;
    use super::*;

    fn close(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!((value - expected).abs() < expected * 1e-6, "{value} {expected}");
    }

    #[test]
    fn a_month_is_storage_requests_and_egress() {
        let monthly = Monthly::new(&workload(), &Prices::built_in(), &id("aws:eu-central-1"), &id("aws:eu-west-1"));
        // 2,909,440 MiB = 2,841.25 GB × 0.023.
        close(monthly.storage.usd(), 65.348_75);
        // 730 h: 2,628,000 tails, 2,628,000 / 64 = 41,062.5 segments, 160 × 730/24 = 4,866.667 of
        // snapshots; 2,673,929.167 × 0.005 / 1,000.
        close(monthly.requests.usd(), 13.369_645_83);
        // 2 × 2,628,000 MiB = 5,132.8125 GB, 10 GB × 730/24 = 304.1667 GB; 5,436.979167 × 0.02.
        close(monthly.egress.usd(), 108.739_583_3);
        close(monthly.usd(), 187.457_979_2);
    }

    #[test]
    fn a_restore_is_requests_and_egress_at_the_archives_prices() {
        let restore = Restore::new(&workload(), &Prices::built_in(), &id("aws:eu-central-1"), &id("gcp:europe-west1"));
        // 1,510 × 0.0004 / 1,000 = 0.000604; 96,640 MiB = 94.375 GB × 0.12 = 11.325.
        close(restore.usd(), 11.325_604);
    }

    #[test]
    fn one_unknown_part_makes_the_sum_unknown() {
        let monthly = Monthly::new(&workload(), &Prices::built_in(), &id("aws:eu-central-1"), &id("hetzner:fsn1"));
        assert_eq!(monthly.storage.usd(), None);
        close(monthly.egress.usd(), 489.328_125);
        assert_eq!(monthly.usd(), None);
    }

    #[test]
    fn what_was_spent_is_what_was_asked_for_at_the_prices_of_both_ends() {
        let gib = 1_u64 << 30;
        let ledger = Ledger { puts: 2_000, gets: 10_000, sent: 5 * gib, received: gib };
        let (from, to) = (id("aws:eu-central-1"), id("aws:us-east-1"));
        // 2 × 0.005 + 10 × 0.0004, and 5 × 0.02 + 1 × 0.02 between the regions.
        let prices = Prices::built_in();
        close(Spent::new(&ledger, &prices, Some(&from), Some(&to)).usd(), 0.134);
        close(link(5 * gib, &prices, Some(&from), Some(&to)).usd(), 0.1);
        for (from, to) in [(None, Some(&to)), (Some(&from), None)] {
            let spent = Spent::new(&ledger, &prices, from, to);
            assert_eq!((spent.usd(), spent.sent.usd()), (None, None));
            assert!((spent.sent.quantity - 5.0).abs() < 1e-9, "how much it was is known all the same");
        }
        let unknown = Spent::new(&ledger, &prices, Some(&from), Some(&id("hetzner:fsn1")));
        assert_eq!(unknown.usd(), None);
    }
}

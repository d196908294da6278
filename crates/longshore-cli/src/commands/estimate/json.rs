//! The answer for a program: bytes, seconds, US dollars; `null` is unknown.

use std::time::Duration;

use longshore_archive::estimate::{self, Assessment, Item, Rule};
use serde::Serialize;

use super::Estimated;

#[derive(Serialize)]
pub(super) struct Answer {
    transfer: Transfer,
    replica_bytes_per_second: f64,
    archive_bytes_per_second: f64,
    stored_bytes: f64,
    replica_rpo: Rpo,
    archive_rpo: Rpo,
    recovery: Recovery,
    from: Option<String>,
    /// The best first.
    candidates: Vec<Place>,
}

#[derive(Serialize)]
struct Transfer {
    formula: String,
    objects: u64,
    mean_bytes: u64,
    streaming_seconds: f64,
    waiting_seconds: f64,
    seconds: f64,
    rule: &'static str,
}

/// `seconds` is `null` when the copy falls further behind all the time.
#[derive(Serialize)]
struct Rpo {
    seconds: Option<f64>,
    growing: bool,
}

#[derive(Serialize)]
struct Recovery {
    detect_seconds: f64,
    fetch_seconds: f64,
    apply_seconds: f64,
    seconds: f64,
}

#[derive(Serialize)]
struct Place {
    region: String,
    rtt_seconds: Option<f64>,
    replica_rpo: Option<Rpo>,
    archive_rpo: Option<Rpo>,
    recovery: Option<Recovery>,
    storage: Cost,
    put_requests: Cost,
    egress: Cost,
    usd_per_month: Option<f64>,
    restore_requests: Cost,
    restore_egress: Cost,
    usd_per_restore: Option<f64>,
    same_provider: bool,
    shared_fate: String,
}

/// Quantities are GB-months, thousands of requests and GB; a GB is 2³⁰ bytes.
#[derive(Serialize)]
struct Cost {
    quantity: f64,
    usd: Option<f64>,
    usd_per_unit: Option<f64>,
    source: Option<String>,
    date: Option<String>,
}

impl From<&Estimated> for Answer {
    fn from(estimated: &Estimated) -> Answer {
        let workload = &estimated.plan.workload;
        Answer {
            transfer: Transfer::from(&estimated.transfer),
            replica_bytes_per_second: workload.link_rate(),
            archive_bytes_per_second: workload.archive_rate(),
            stored_bytes: workload.stored_bytes(),
            replica_rpo: Rpo::from(estimated.replica_rpo),
            archive_rpo: Rpo::from(estimated.archive_rpo),
            recovery: Recovery::from(estimated.recovery),
            from: estimated.from.as_ref().map(ToString::to_string),
            candidates: estimated.ranked.iter().map(Place::from).collect(),
        }
    }
}

impl From<&estimate::Transfer> for Transfer {
    fn from(transfer: &estimate::Transfer) -> Transfer {
        Transfer {
            formula: transfer.to_string(),
            objects: transfer.objects,
            mean_bytes: transfer.mean_bytes,
            streaming_seconds: transfer.streaming().as_secs_f64(),
            waiting_seconds: transfer.waiting().as_secs_f64(),
            seconds: transfer.total().as_secs_f64(),
            rule: match transfer.rule() {
                Rule::Bandwidth => "bandwidth",
                Rule::RoundTrips => "round-trips",
            },
        }
    }
}

impl From<estimate::Rpo> for Rpo {
    fn from(rpo: estimate::Rpo) -> Rpo {
        match rpo {
            estimate::Rpo::Within(within) => Rpo { seconds: Some(within.as_secs_f64()), growing: false },
            estimate::Rpo::Growing => Rpo { seconds: None, growing: true },
        }
    }
}

impl From<estimate::Recovery> for Recovery {
    fn from(recovery: estimate::Recovery) -> Recovery {
        Recovery {
            detect_seconds: recovery.detect.as_secs_f64(),
            fetch_seconds: recovery.fetch.total().as_secs_f64(),
            apply_seconds: recovery.apply.as_secs_f64(),
            seconds: recovery.total().as_secs_f64(),
        }
    }
}

impl From<&Assessment> for Place {
    fn from(one: &Assessment) -> Place {
        Place {
            region: one.region.to_string(),
            rtt_seconds: one.rtt.as_ref().map(Duration::as_secs_f64),
            replica_rpo: one.replica_rpo.map(Rpo::from),
            archive_rpo: one.archive_rpo.map(Rpo::from),
            recovery: one.recovery.map(Recovery::from),
            storage: Cost::from(&one.monthly.storage),
            put_requests: Cost::from(&one.monthly.requests),
            egress: Cost::from(&one.monthly.egress),
            usd_per_month: one.monthly.usd(),
            restore_requests: Cost::from(&one.restore.requests),
            restore_egress: Cost::from(&one.restore.egress),
            usd_per_restore: one.restore.usd(),
            same_provider: one.fate.same_provider,
            shared_fate: one.fate.to_string(),
        }
    }
}

impl From<&Item> for Cost {
    fn from(item: &Item) -> Cost {
        let price = item.price.as_ref();
        Cost {
            quantity: item.quantity,
            usd: item.usd(),
            usd_per_unit: price.map(|price| price.usd),
            source: price.map(|price| price.source.clone()),
            date: price.map(|price| price.date.clone()),
        }
    }
}

//! What a node measures of itself, for whichever recorder the program has installed.
//!
//! Names carry their unit. Gauges of replicas are set whether they are connected or not: the lag of
//! one that is away grows, and that is what an alert is for.
//!
//! [`METRICS`] lists them all.

use longshore_transport::{Lag, LogStatus, ReplicaStatus, StoreStatus};
use longshore_wal::{Pressure, SyncStats};
use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::log::Log;

/// Every metric: its name, its labels, and what it says.
pub(crate) const METRICS: &[(&str, &str, &str)] = &[
    ("longshore_log_end_bytes", "log", "where the log ends"),
    ("longshore_log_durable_bytes", "log", "where what is durable ends"),
    ("longshore_log_first_bytes", "log", "the oldest position held"),
    ("longshore_log_epoch", "log", "the number of the current epoch"),
    (
        "longshore_log_fenced",
        "log",
        "1 while this agent may not write the log it wrote, because it accepted a later epoch",
    ),
    ("longshore_log_uncaptured", "log", "1 while this agent writes a log of a SQLite database and none goes into it"),
    ("longshore_log_degraded", "log", "1 while appends are confirmed without what the policy asks for"),
    ("longshore_lease_held", "log", "with a lease: 1 while this agent holds it"),
    (
        "longshore_lease_epoch",
        "log",
        "the number of the epoch that it is held for, by whomever; 0 while nobody is known to",
    ),
    ("longshore_lease_valid_seconds", "log", "for how long this agent may yet rely on it; 0 where it does not hold it"),
    ("longshore_lease_trouble", "log", "1 while it cannot be asked for, or is not taken here although it is free"),
    ("longshore_log_poisoned", "log", "1 once a failure has stopped the log"),
    ("longshore_log_unsynced_bytes", "log", "appended and not yet synced"),
    ("longshore_log_disk_used_bytes", "log", "disk taken by the log"),
    ("longshore_log_disk_free_bytes", "log", "disk left for the log"),
    ("longshore_log_append_bytes_per_second", "log", "how fast the log grows"),
    ("longshore_log_tails", "log", "tails that forks set aside and nobody has forgotten yet"),
    ("longshore_log_tail_bytes", "log", "bytes of log in them that are not in the history that won"),
    ("longshore_log_tail_disk_bytes", "log", "disk taken by them"),
    ("longshore_syncs_total", "log", "syncs since the log was opened"),
    ("longshore_sync_bytes_total", "log", "bytes that they made durable"),
    ("longshore_sync_time_seconds", "log", "time that they took, together"),
    ("longshore_sync_longest_seconds", "log", "the longest of them"),
    ("longshore_sync_seconds_le", "log, le", "syncs that took at most `le` seconds, cumulative"),
    ("longshore_replica_connected", "log, replica, region", "1 while it is"),
    ("longshore_replica_lost", "log, replica, region", "1 once its place in the log is gone"),
    ("longshore_replica_lag_bytes", "log, replica, region, stage", "distance from the log's end"),
    ("longshore_replica_lag_seconds", "log, replica, region, stage", "age of the oldest record it lacks"),
    ("longshore_replica_headroom_bytes", "log, replica, region", "until it loses its place"),
    ("longshore_replica_headroom_seconds", "log, replica, region", "until it loses its place, at this rate"),
    ("longshore_replica_proved_equal_bytes", "log, replica, region", "proved equal by digests up to here"),
    ("longshore_upstream_heard_seconds", "log", "on a replica: since the upstream was last heard"),
    ("longshore_upstream_lag_bytes", "log", "on a replica: what the upstream has and this node has not"),
    ("longshore_sink_lag_bytes", "log, sink", "bytes that are not applied yet"),
    ("longshore_sink_lag_seconds", "log, sink", "age of the oldest record that is not applied yet"),
    ("longshore_sink_stopped", "log, sink", "1 while a problem stops it"),
    ("longshore_database_kept", "log", "copies of its databases that were kept because they held what is in no log"),
    ("longshore_seed_fetched_bytes_total", "log", "on a replica: bytes of snapshots fetched since the log was opened"),
    (
        "longshore_seed_held_bytes_total",
        "log",
        "on a replica: bytes of snapshots that were not fetched, because its databases held them",
    ),
    ("longshore_replica_sent_bytes_total", "log, replica, region", "bytes of log sent to it since the agent started"),
    ("longshore_archive_lag_bytes", "log, store", "durable here and not archived there yet"),
    ("longshore_archive_lag_seconds", "log, store", "age of the oldest record that is not archived there yet"),
    ("longshore_archive_longest_lag_seconds", "log, store", "the longest such age since the agent started"),
    ("longshore_archive_failing", "log, store", "1 while a store does not take what it is to take"),
    ("longshore_archive_objects", "log, store", "objects made since the agent started"),
    ("longshore_archive_bytes", "log, store", "bytes of them"),
    ("longshore_archive_bytes_per_second", "log, store", "how fast bytes go there"),
    ("longshore_archive_put_requests_total", "log, store", "requests at the price of a put since the agent started"),
    ("longshore_archive_get_requests_total", "log, store", "requests at the price of a get since the agent started"),
    ("longshore_archive_sent_bytes_total", "log, store", "bytes of objects sent there since the agent started"),
    (
        "longshore_archive_received_bytes_total",
        "log, store",
        "bytes of objects it was asked for since the agent started",
    ),
    ("longshore_capture_wal_bytes", "log", "beside a captured database: how long its -wal is"),
    ("longshore_capture_pinned_seconds", "log", "since when something keeps that from beginning anew"),
    ("longshore_capture_longest_hold_seconds", "log", "the longest time that its writers were held up by this agent"),
    (
        "longshore_capture_fenced",
        "log",
        "1 while the log is another's and this agent keeps writers out of the database",
    ),
    ("longshore_capture_paused", "log", "1 while nothing is captured for a reason that may pass, such as a full disk"),
    ("longshore_capture_transactions_total", "log", "transactions captured since the agent started"),
    ("longshore_capture_pages_total", "log", "pages in them"),
    ("longshore_capture_bytes_total", "log", "bytes that they take in the log"),
    ("longshore_capture_checkpoints_total", "log", "times that the -wal was copied back"),
    ("longshore_capture_resyncs_total", "log", "times that the database had to be compared with what was shipped"),
    ("longshore_certificate_days_left", "", "until this node's certificate expires"),
];

/// Tells the recorder what each means.
pub(crate) fn describe() {
    for (name, _, what) in METRICS {
        // What counts up does so by its name, too.
        match name.ends_with("_total") || name.ends_with("_le") {
            true => describe_counter!(*name, *what),
            false => describe_gauge!(*name, *what),
        }
    }
}

/// Sets what concerns a whole node.
pub(crate) fn record_certificate(days_left: Option<i64>) {
    if let Some(days) = days_left {
        gauge!("longshore_certificate_days_left").set(days as f64);
    }
}

/// Sets everything about one log.
pub(crate) fn record(log: &Log) {
    let status = log.status();
    let name = status.name.to_string();
    record_log(&name, &status, &log.wal.pressure());
    record_syncs(&name, &log.wal.sync_stats());
    for replica in &status.replicas {
        record_replica(&name, replica);
    }
    for store in &status.stores {
        record_archive(&name, store);
    }
    for sink in &status.sinks {
        gauge!("longshore_sink_lag_bytes", "log" => name.clone(), "sink" => sink.sink.clone())
            .set(sink.lag.bytes as f64);
        gauge!("longshore_sink_lag_seconds", "log" => name.clone(), "sink" => sink.sink.clone()).set(sink.lag.seconds);
        gauge!("longshore_sink_stopped", "log" => name.clone(), "sink" => sink.sink.clone())
            .set(flag(sink.problem.is_some()));
    }
    let kept = status.sinks.iter().map(|sink| sink.kept.len()).sum::<usize>();
    gauge!("longshore_database_kept", "log" => name.clone()).set(kept as f64);
    let (fetched, held) = log.seeding.counts.read();
    counter!("longshore_seed_fetched_bytes_total", "log" => name.clone()).absolute(fetched);
    counter!("longshore_seed_held_bytes_total", "log" => name.clone()).absolute(held);
    if let Some(upstream) = &status.upstream {
        let lag = upstream.durable.since(status.durable);
        gauge!("longshore_upstream_lag_bytes", "log" => name.clone()).set(lag as f64);
        if let Some(heard) = upstream.heard_ago {
            gauge!("longshore_upstream_heard_seconds", "log" => name).set(heard.as_secs_f64());
        }
    }
}

fn record_archive(log: &str, store: &StoreStatus) {
    let labels = [("log", log.to_owned()), ("store", store.store.clone())];
    let set = |metric: &'static str, value: f64| gauge!(metric, &labels).set(value);
    let count = |metric: &'static str, value: u64| counter!(metric, &labels).absolute(value);
    set("longshore_archive_lag_bytes", store.lag.bytes as f64);
    set("longshore_archive_lag_seconds", store.lag.seconds);
    set("longshore_archive_longest_lag_seconds", store.longest_lag.as_secs_f64());
    set("longshore_archive_failing", flag(store.trouble.is_some()));
    set("longshore_archive_objects", store.objects as f64);
    set("longshore_archive_bytes", store.bytes as f64);
    set("longshore_archive_bytes_per_second", store.rate);
    count("longshore_archive_put_requests_total", store.put_requests);
    count("longshore_archive_get_requests_total", store.get_requests);
    count("longshore_archive_sent_bytes_total", store.sent_bytes);
    count("longshore_archive_received_bytes_total", store.received_bytes);
}

fn record_log(name: &str, status: &LogStatus, pressure: &Pressure) {
    let set = |metric: &'static str, value: f64| gauge!(metric, "log" => name.to_owned()).set(value);
    set("longshore_log_end_bytes", status.end.get() as f64);
    set("longshore_log_durable_bytes", status.durable.get() as f64);
    set("longshore_log_first_bytes", status.first.get() as f64);
    set("longshore_log_epoch", status.epoch.number as f64);
    let is_degraded = status.reign.policy.as_ref().is_some_and(|policy| policy.degraded);
    set("longshore_log_fenced", flag(status.reign.fenced));
    set("longshore_log_uncaptured", flag(status.problem.is_some()));
    set("longshore_log_degraded", flag(is_degraded));
    if let Some(lease) = &status.reign.lease {
        set("longshore_lease_held", flag(lease.valid.is_some_and(|valid| !valid.is_zero())));
        set("longshore_lease_epoch", lease.epoch as f64);
        set("longshore_lease_valid_seconds", lease.valid.unwrap_or_default().as_secs_f64());
        set("longshore_lease_trouble", flag(lease.trouble.is_some()));
    }
    set("longshore_log_poisoned", flag(status.poisoned.is_some()));
    set("longshore_log_append_bytes_per_second", status.append_rate);
    set("longshore_log_unsynced_bytes", pressure.unsynced as f64);
    set("longshore_log_disk_used_bytes", pressure.disk_used as f64);
    if let Some(free) = pressure.disk_free {
        set("longshore_log_disk_free_bytes", free as f64);
    }
    set("longshore_log_tails", status.tails.len() as f64);
    set("longshore_log_tail_bytes", status.tails.iter().map(|tail| tail.to.since(tail.from)).sum::<u64>() as f64);
    set("longshore_log_tail_disk_bytes", status.tails.iter().map(|tail| tail.disk).sum::<u64>() as f64);
}

/// The log counts its syncs itself, off this path; here the totals are only shown.
fn record_syncs(name: &str, syncs: &SyncStats) {
    counter!("longshore_syncs_total", "log" => name.to_owned()).absolute(syncs.count);
    counter!("longshore_sync_bytes_total", "log" => name.to_owned()).absolute(syncs.bytes);
    gauge!("longshore_sync_time_seconds", "log" => name.to_owned()).set(syncs.total.as_secs_f64());
    gauge!("longshore_sync_longest_seconds", "log" => name.to_owned()).set(syncs.longest.as_secs_f64());
    let mut total = 0;
    for (power, count) in syncs.histogram.iter().enumerate() {
        total += count;
        let le = match power + 1 == syncs.histogram.len() {
            true => "+Inf".to_owned(),
            false => format!("{}", (1u64 << power) as f64 / 1e6),
        };
        counter!("longshore_sync_seconds_le", "log" => name.to_owned(), "le" => le).absolute(total);
    }
}

fn record_replica(log: &str, replica: &ReplicaStatus) {
    let region = replica.region.as_ref().map(ToString::to_string).unwrap_or_default();
    let labels = || [("log", log.to_owned()), ("replica", replica.name.to_string()), ("region", region.clone())];
    let set = |metric: &'static str, value: f64| gauge!(metric, &labels()).set(value);
    set("longshore_replica_connected", flag(replica.connected));
    set("longshore_replica_lost", flag(replica.lost));
    counter!("longshore_replica_sent_bytes_total", &labels()).absolute(replica.sent_bytes);
    set("longshore_replica_proved_equal_bytes", replica.proved_equal_to.get() as f64);
    set("longshore_replica_headroom_bytes", replica.headroom_bytes.map_or(f64::INFINITY, |bytes| bytes as f64));
    set("longshore_replica_headroom_seconds", replica.headroom.map_or(f64::INFINITY, |time| time.as_secs_f64()));
    let stages =
        [("received", replica.received_lag), ("durable", replica.durable_lag), ("applied", replica.applied_lag)];
    for (stage, Lag { bytes, seconds }) in stages {
        let [log, replica, region] = labels();
        let labels = [log, replica, region, ("stage", stage.to_owned())];
        gauge!("longshore_replica_lag_bytes", &labels).set(bytes as f64);
        gauge!("longshore_replica_lag_seconds", &labels).set(seconds);
    }
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_metric_and_no_other() {
        let table = include_str!("../../../docs/METRICS.md").lines().filter(|line| line.starts_with('|'));
        let words = table.flat_map(|line| line.split('`'));
        // What a drill measures is in a file of its own, and no agent exposes it.
        let is_metric = |word: &&str| word.starts_with("longshore_") && !word.starts_with("longshore_drill_");
        let mut told: Vec<_> = words.filter(is_metric).collect();
        let mut known: Vec<_> = METRICS.iter().map(|(name, ..)| *name).collect();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known);
    }

    #[test]
    fn every_metric_that_is_set_is_in_the_list() {
        let code = include_str!("metrics.rs").split_once("fn record_certificate").unwrap().1;
        let code = code.split_once("#[cfg(test)]").unwrap().0;
        for name in code.split('"').filter(|text| text.starts_with("longshore_")) {
            assert!(METRICS.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }
}

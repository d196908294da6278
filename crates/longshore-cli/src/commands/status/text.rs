//! The status as aligned tables: the log, its replicas, where it comes from and goes to.

use std::time::Duration;

use longshore_transport::{Lag, LogStatus, ReplicaStatus, SinkStatus, Status, UpstreamStatus};

use crate::output::{render as render_table, table};
use crate::quantity::{rfc3339, show_bytes, show_duration};

pub(super) fn render(status: &Status) -> String {
    let mut text = format!("{}, longshore {}, {}", status.node, status.version, rfc3339(status.time_micros));
    if let Some(days) = status.certificate_days_left {
        text += &format!(", certificate good for {days} days");
    }
    text.push('\n');
    if status.logs.is_empty() {
        text += "no logs\n";
    }
    for log in &status.logs {
        text.push('\n');
        text += &render_log(log);
    }
    text
}

fn render_log(log: &LogStatus) -> String {
    let role = if log.writer { "primary" } else { "replica" };
    let mut text = format!(
        "{} ({role}, {}, epoch {}): {} to {}, durable to {}",
        log.name, log.content, log.epoch, log.first, log.end, log.durable
    );
    text += &format!(
        "\n  {} used, {} free, {}/s appended\n",
        show_bytes(log.disk_used),
        show_bytes(log.disk_free),
        show_bytes(log.append_rate as u64)
    );
    if let Some(why) = &log.poisoned {
        text += &format!("  STOPPED: {why}\n");
    }
    if let Some(upstream) = &log.upstream {
        text += &render_upstream(log, upstream);
    }
    for sink in &log.sinks {
        text += &render_sink(sink);
    }
    if !log.replicas.is_empty() {
        text += &indented(&render_replicas(&log.replicas));
    }
    text
}

fn render_upstream(log: &LogStatus, upstream: &UpstreamStatus) -> String {
    let behind = show_bytes(upstream.durable.since(log.durable));
    let mut text = format!("  upstream {}: {}, {behind} behind", upstream.address, upstream.state);
    if let Some(heard) = upstream.heard_ago {
        text += &format!(", heard {} ago", show_duration(heard));
    }
    if let Some(problem) = &upstream.problem {
        text += &format!("\n    {problem}");
    }
    text + "\n"
}

fn render_sink(sink: &SinkStatus) -> String {
    let mut text = format!("  applied to {}: {}, lag {}", sink.sink, sink.applied, lag(&sink.lag));
    if let Some(problem) = &sink.problem {
        text += &format!("\n    STOPPED: {problem}");
    }
    text + "\n"
}

fn render_replicas(replicas: &[ReplicaStatus]) -> String {
    let mut rows = table(&[
        "REPLICA",
        "REGION",
        "STATE",
        "DURABLE",
        "LAG RECEIVED",
        "DURABLE",
        "APPLIED",
        "RATE",
        "CAUGHT UP",
        "PROVED EQUAL TO",
        "LOSES ITS PLACE",
    ]);
    for replica in replicas {
        rows.add_row([
            replica.name.to_string(),
            replica.region.as_ref().map(ToString::to_string).unwrap_or_default(),
            state(replica),
            replica.durable.to_string(),
            lag(&replica.received_lag),
            lag(&replica.durable_lag),
            lag(&replica.applied_lag),
            format!("{}/s", show_bytes(replica.ship_rate as u64)),
            caught_up(replica),
            proof(replica),
            headroom(replica),
        ]);
    }
    render_table(&mut rows)
}

fn state(replica: &ReplicaStatus) -> String {
    let seen = replica.seen_ago.map(|ago| format!(", seen {} ago", show_duration(ago))).unwrap_or_default();
    match (replica.lost, replica.connected) {
        (true, _) => format!("LOST{seen}"),
        (false, true) => "connected".to_owned(),
        (false, false) => format!("away{seen}"),
    }
}

fn lag(lag: &Lag) -> String {
    match lag.bytes {
        0 => "0".to_owned(),
        bytes => format!("{} {:.1}s", show_bytes(bytes), lag.seconds),
    }
}

fn caught_up(replica: &ReplicaStatus) -> String {
    match replica.catch_up {
        Some(Duration::ZERO) => "now".to_owned(),
        Some(time) => format!("in {}", show_duration(time)),
        None => "never at this rate".to_owned(),
    }
}

fn proof(replica: &ReplicaStatus) -> String {
    match replica.proof_age {
        Some(age) => format!("{}, {} ago", replica.proved_equal_to, show_duration(age)),
        None => "not yet".to_owned(),
    }
}

fn headroom(replica: &ReplicaStatus) -> String {
    match (replica.headroom, replica.headroom_bytes) {
        (Some(time), _) if time < A_LIFETIME => format!("in {} at this rate", show_duration(time)),
        (_, Some(bytes)) => format!("after {}", show_bytes(bytes)),
        (_, None) => "never".to_owned(),
    }
}

/// Longer than this is not told as a time.
const A_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

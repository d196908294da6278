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

/// Where they are, then how it will go on: two tables that fit a terminal.
fn render_replicas(replicas: &[ReplicaStatus]) -> String {
    let mut places = table(&["REPLICA", "REGION", "STATE", "DURABLE TO", "LAG: RECEIVED", "DURABLE", "APPLIED"]);
    let mut outlook = table(&["REPLICA", "PROVED EQUAL TO", "RATE", "CAUGHT UP", "LOSES ITS PLACE"]);
    for replica in replicas {
        places.add_row([
            replica.name.to_string(),
            replica.region.as_ref().map(ToString::to_string).unwrap_or_default(),
            state(replica),
            replica.durable.to_string(),
            lag(&replica.received_lag),
            lag(&replica.durable_lag),
            lag(&replica.applied_lag),
        ]);
        outlook.add_row([
            replica.name.to_string(),
            proof(replica),
            format!("{}/s", show_bytes(replica.ship_rate as u64)),
            caught_up(replica),
            headroom(replica),
        ]);
    }
    format!("{}\n{}", render_table(&mut places), render_table(&mut outlook))
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
    text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use longshore_format::Lsn;
    use longshore_protocol::NodeId;

    use super::*;

    fn away() -> ReplicaStatus {
        ReplicaStatus {
            name: NodeId::new("eu-west").unwrap(),
            region: None,
            provider: None,
            connected: false,
            lost: false,
            sent: Lsn::new(8192),
            received: Lsn::new(8192),
            durable: Lsn::new(8192),
            applied: Lsn::new(8192),
            received_lag: Lag::default(),
            durable_lag: Lag { bytes: 1 << 20, seconds: 61.25 },
            applied_lag: Lag { bytes: 1 << 20, seconds: 61.25 },
            proved_equal_to: Lsn::ZERO,
            proof_age: None,
            ship_rate: 0.0,
            catch_up: None,
            headroom_bytes: Some(1 << 30),
            headroom: Some(Duration::from_secs(41 * 60)),
            seen_ago: Some(Duration::from_secs(90)),
        }
    }

    #[test]
    fn a_replica_that_is_away_is_told_of_by_what_matters() {
        let text = render_replicas(&[away()]);
        for told in ["away, seen 1m30s ago", "1.0 MiB 61.2s", "never at this rate", "in 41m at this rate", "not yet"] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }

    #[test]
    fn headroom_is_a_time_only_where_somebody_lives_to_see_it() {
        let far = ReplicaStatus { headroom: Some(A_LIFETIME * 3), ..away() };
        assert_eq!(headroom(&far), "after 1.0 GiB");
        assert_eq!(headroom(&ReplicaStatus { headroom_bytes: None, ..far }), "never");
        assert!(state(&ReplicaStatus { lost: true, ..away() }).starts_with("LOST"));
    }
}

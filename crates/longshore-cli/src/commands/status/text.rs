//! The status as aligned tables: the log, its replicas and archives, where it comes from and goes to.

use std::time::Duration;

use longshore_archive::estimate::Rpo;
use longshore_transport::{Lag, LogStatus, ReplicaStatus, SinkStatus, Status, StoreStatus, TailStatus, UpstreamStatus};

use super::figures::{Figure, Figures};
use super::{reign, role};
use crate::output::{render as render_table, table};
use crate::quantity::{rfc3339, show_bytes, show_duration, show_rate};

pub(super) fn render(status: &Status, figures: &Figures) -> String {
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
        text += &render_log(log, figures);
    }
    text
}

fn render_log(log: &LogStatus, figures: &Figures) -> String {
    let mut text = format!(
        "{} ({}, {}, epoch {}): {} to {}, durable to {}",
        log.name,
        role(log),
        log.content,
        log.epoch,
        log.first,
        log.end,
        log.durable
    );
    text += &format!(
        "\n  {} used, {} free, {} appended\n",
        show_bytes(log.disk_used),
        show_bytes(log.disk_free),
        show_rate(log.append_rate)
    );
    text += &reign::render(log);
    if let Some(why) = &log.poisoned {
        text += &format!("  STOPPED: {why}\n");
    }
    if let Some(why) = &log.problem {
        text += &format!("  NOT CAPTURED: {why}\n");
    }
    if let Some(upstream) = &log.upstream {
        text += &render_upstream(log, upstream);
    }
    for sink in &log.sinks {
        text += &render_sink(sink);
    }
    for tail in &log.tails {
        text += &render_tail(tail);
    }
    let mut tables = Vec::new();
    if !log.replicas.is_empty() {
        tables.push(render_replicas(&log.replicas));
    }
    if !log.stores.is_empty() {
        tables.push(render_stores(&log.stores));
    }
    if !tables.is_empty() {
        tables.push(render_figures(log, figures));
    }
    text + &indented(&tables.join("\n"))
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
    let mut text = match sink.captured {
        true => format!("  captured from {}: {}", sink.sink, sink.applied),
        false => format!("  applied to {}: {}, lag {}", sink.sink, sink.applied, lag(&sink.lag)),
    };
    if let Some(problem) = &sink.problem {
        text += &format!("\n    STOPPED: {problem}");
    }
    if let Some(saw) = sink.readers_saw {
        text += &format!("\n    readers see an earlier state than before, until {saw} is applied");
    }
    for kept in &sink.kept {
        text += &format!("\n    kept before it was replaced, in no log: {kept}");
    }
    text + "\n"
}

fn render_tail(tail: &TailStatus) -> String {
    let TailStatus { place, from, to, disk, epoch, set_aside } = tail;
    format!(
        "  tail {place}: {} of epoch {epoch}, {from} to {to}, set aside {}, {} of disk\n",
        show_bytes(to.since(*from)),
        rfc3339(*set_aside),
        show_bytes(*disk)
    )
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
            show_rate(replica.ship_rate),
            caught_up(replica),
            headroom(replica),
        ]);
    }
    format!("{}\n{}", render_table(&mut places), render_table(&mut outlook))
}

/// Where they are; why one does not go on stands below.
fn render_stores(stores: &[StoreStatus]) -> String {
    let mut places = table(&["ARCHIVE", "STATE", "ARCHIVED TO", "LAG", "OBJECTS", "BYTES"]);
    let mut troubles = String::new();
    for store in stores {
        let state = match (store.ended, &store.trouble, store.archived) {
            (true, ..) => "ENDED",
            (false, Some(_), _) => "FAILING",
            (false, None, None) => "opening",
            (false, None, Some(_)) => "archiving",
        };
        places.add_row([
            store.store.clone(),
            state.to_owned(),
            store.archived.map_or("unknown".to_owned(), |at| at.to_string()),
            lag(&store.lag),
            store.objects.to_string(),
            show_bytes(store.bytes),
        ]);
        match &store.trouble {
            Some(trouble) if trouble.starts_with(&store.store) => troubles += &format!("{trouble}\n"),
            Some(trouble) => troubles += &format!("{}: {trouble}\n", store.store),
            None => {}
        }
    }
    format!("{}{troubles}", render_table(&mut places))
}

/// What is measured beside what is predicted, and what was asked for since the agent started: a row for each copy.
fn render_figures(log: &LogStatus, figures: &Figures) -> String {
    let mut measured = table(&["COPY", "RATE", "PREDICTED", "BEHIND", "LONGEST", "PREDICTED"]);
    let mut ledger = table(&["SINCE THE START", "PUTS", "GETS", "SENT", "RECEIVED", "COST"]);
    for replica in &log.replicas {
        let (name, figure) = (replica.name.to_string(), figures.of_replica(log, replica));
        let behind = seconds(replica.durable_lag.seconds);
        measured.add_row(measures(&name, replica.ship_rate, behind, String::new(), figure));
        let sent = show_bytes(replica.sent_bytes);
        ledger.add_row([name, String::new(), String::new(), sent, String::new(), cost(figure.usd)]);
    }
    for store in &log.stores {
        let figure = figures.of_store(log, store);
        let longest = seconds(store.longest_lag.as_secs_f64());
        measured.add_row(measures(&store.store, store.rate, seconds(store.lag.seconds), longest, figure));
        ledger.add_row([
            store.store.clone(),
            store.put_requests.to_string(),
            store.get_requests.to_string(),
            show_bytes(store.sent_bytes),
            show_bytes(store.received_bytes),
            cost(figure.usd),
        ]);
    }
    format!("{}\n{}", render_table(&mut measured), render_table(&mut ledger))
}

fn measures(name: &str, rate: f64, behind: String, longest: String, predicted: Figure) -> [String; 6] {
    let rpo = match predicted.rpo {
        Rpo::Within(time) => seconds(time.as_secs_f64()),
        Rpo::Growing => "more and more".to_owned(),
    };
    [name.to_owned(), show_rate(rate), show_rate(predicted.rate), behind, longest, rpo]
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1}s")
}

fn cost(usd: Option<f64>) -> String {
    usd.map_or("unknown".to_owned(), |usd| format!("${usd:.4}"))
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
    use super::super::figures::tests::{figures, store};
    use longshore_format::Lsn;

    use super::super::tests::{log, replica as away};
    use super::*;

    fn status() -> Status {
        let (node, version) = ("primary".to_owned(), "0.1.0".to_owned());
        Status { node, version, time_micros: 0, certificate_days_left: None, logs: Vec::new() }
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

    #[test]
    fn a_tail_is_told_of_by_its_place_and_its_length() {
        let epoch = log().epoch;
        let (from, to, set_aside) = (Lsn::new(8192), Lsn::new(8192 + 2048), 1_700_000_000_000_000);
        let tail = TailStatus { place: "diverged/8192-17".to_owned(), from, to, disk: 64 << 20, epoch, set_aside };
        let text = render(&Status { logs: vec![LogStatus { tails: vec![tail], ..log() }], ..status() }, &figures(None));
        let told = format!(
            "tail diverged/8192-17: 2.0 KiB of epoch {epoch}, 8192 to 10240, set aside 2023-11-14T22:13:20Z, 64.0 MiB of disk"
        );
        assert!(text.contains(&told), "{text}");
    }

    #[test]
    fn an_archive_is_told_of_with_its_trouble() {
        let good = store("file:///mnt/archive", None);
        let failing = StoreStatus { trouble: Some("access denied".to_owned()), ..store("s3://bucket/p", None) };
        let ended = StoreStatus { ended: true, ..failing.clone() };
        let opening = StoreStatus { archived: None, ..good.clone() };
        let text = render_stores(&[good, failing, ended, opening]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let row = ["file:///mnt/archive", "archiving", "8192", "1.0", "MiB", "1.2s", "12", "3.0", "MiB"];
        assert_eq!(words[1], row, "{text}");
        assert_eq!([words[2][1], words[3][1], words[4][1]], ["FAILING", "ENDED", "opening"], "{text}");
        assert_eq!(text.matches("s3://bucket/p: access denied").count(), 2, "{text}");
    }

    #[test]
    fn figures_stand_beside_what_was_predicted_and_paid() {
        let log = LogStatus { stores: vec![store("s3://bucket/p", Some("aws:us-east-1"))], ..log() };
        let text = render_figures(&log, &figures(Some("aws:eu-central-1")));
        let line = |n: usize| text.lines().nth(n).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line(1), "eu-west 0 B/s 976.6 KiB/s 61.2s 0.1s");
        assert_eq!(line(2), "s3://bucket/p 1.4 MiB/s 1.9 MiB/s 1.2s 2.5s 1.1s");
        assert_eq!(line(5), "eu-west 5.0 MiB unknown");
        assert_eq!(line(6), "s3://bucket/p 2000 1000 1.0 GiB 0 B $0.0304");
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }
}
